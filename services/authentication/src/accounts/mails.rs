use std::collections::BTreeMap;
use std::time::Instant;

use super::Accounts;
use crate::outbox::{Letter, Message};
use crate::user::User;

impl Accounts {
    /// A mail to a user; `None` when the user's hourly limit at this replica is reached.
    pub(super) fn mail(
        &self,
        user: &User,
        template: &str,
        values: BTreeMap<String, String>,
    ) -> Option<Letter> {
        if let Some(allowance) = &self.mails
            && allowance.take(&user.id, 1, Instant::now()).is_err()
        {
            tracing::warn!(user.id = %user.id, template, "mail not sent: the recipient's hourly limit is reached");
            return None;
        }
        let to = user.email.clone();
        Some(self.letter(Message::Mail { template: template.to_owned(), to, values }))
    }
}
