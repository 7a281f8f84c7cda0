//! Password reset links. A link exists only in the call that delivers its mail: the outbox has the mail without the link, and the
//! store has only a hash of the token.

use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use tonic::Status;
use weft_proto::weft::mail::v1::SendRequest;
use weft_runtime::clock::Clock;
use weft_runtime::telemetry::chain;

use crate::outbox::Letter;
use crate::seal::Sealer;
use crate::session::{after, token_of};
use crate::store::PostgresStore;

/// Template of the mail.
pub const TEMPLATE: &str = "password-reset";
/// How long a link is valid, and how long after the request its mail may be sent.
const VALID_FOR: Duration = Duration::from_secs(1_800);
/// Path of the console's page. The token is the URL's fragment, which browsers do not send to servers.
const PAGE: &str = "/account/reset-password";

/// Creates reset links.
#[derive(Clone)]
pub struct ResetLinks {
    pub store: Arc<PostgresStore>,
    pub sealer: Sealer,
    pub clock: Arc<dyn Clock>,
    /// Public URL of the console.
    pub console: Option<String>,
}

impl ResetLinks {
    /// The mail with the link for the user with this address; `None` if no active user has the address. All delivery attempts have the
    /// same link, so that the mail service recognizes a repeat.
    ///
    /// # Errors
    /// FAILED_PRECONDITION when the request is too old or `AUTH_CONSOLE_URL` is not set; UNAVAILABLE when the store is unavailable.
    pub async fn mail(&self, letter: &Letter, email: &str) -> Result<Option<SendRequest>, Status> {
        let now = self.clock.now();
        if after(letter.created_at, VALID_FOR) <= now {
            return Err(Status::failed_precondition(
                "the reset mail could not be sent within 30 min of the request",
            ));
        }
        let Some(console) = &self.console else {
            return Err(Status::failed_precondition("AUTH_CONSOLE_URL is not set"));
        };
        let text = format!("password reset {} {}", letter.id, letter.created_at);
        let (token, hash) = token_of(&self.sealer.token(text.as_bytes()));
        let user = self.store.add_reset(email, &hash, after(now, VALID_FOR)).await.map_err(|error| {
            tracing::warn!(error = chain(&error), "failed to store the hash of a reset token");
            Status::unavailable("failed to store the reset token")
        })?;
        let Some(user) = user else { return Ok(None) };
        let values = [
            ("email", user.email.clone()),
            ("first_name", user.first_name),
            ("link", format!("{console}{PAGE}#{}", token.expose_secret())),
            ("minutes", (VALID_FOR.as_secs() / 60).to_string()),
        ];
        Ok(Some(SendRequest {
            id: letter.id.to_string(),
            template: TEMPLATE.to_owned(),
            to: user.email,
            reply_to: String::new(),
            values: values.map(|(name, value)| (name.to_owned(), value)).into(),
        }))
    }
}
