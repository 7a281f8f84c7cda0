//! Links that set a new password. A link exists only in the call that hands its mail over: the outbox has the mail without it, and the
//! store has a hash of its token.

use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use tonic::Status;
use weft_proto::weft::mail::v1::SendRequest;
use weft_runtime::clock::Clock;
use weft_runtime::telemetry::chain;

use crate::outbox::Letter;
use crate::random::Random;
use crate::session::{after, new_refresh_token};
use crate::store::PostgresStore;

/// The template of the mail.
pub const TEMPLATE: &str = "password-reset";
/// How long a link is good, and how long after it was asked for its mail may still be sent.
const GOOD_FOR: Duration = Duration::from_secs(1_800);
/// The console's page. The token is the fragment, which no browser sends to a server.
const PAGE: &str = "/account/reset-password";

/// Makes links.
#[derive(Clone)]
pub struct ResetLinks {
    /// Where hashes of tokens are kept.
    pub store: Arc<PostgresStore>,
    /// Makes tokens.
    pub random: Arc<dyn Random>,
    /// The present moment.
    pub clock: Arc<dyn Clock>,
    /// The console as browsers reach it.
    pub console: Option<String>,
}

impl ResetLinks {
    /// The mail with a new link for who has this address; `None` when no active person has it. Each attempt to send the mail has a link of its own:
    /// which of them the person gets is unknown when an outcome was.
    ///
    /// # Errors
    /// FAILED_PRECONDITION when it was asked for too long ago or there is no console, UNAVAILABLE when the store can't be asked now.
    pub async fn mail(&self, letter: &Letter, email: &str) -> Result<Option<SendRequest>, Status> {
        let now = self.clock.now();
        if after(letter.created_at, GOOD_FOR) <= now {
            return Err(Status::failed_precondition(
                "the mail could not be sent within 30 min after it was asked for",
            ));
        }
        let Some(console) = &self.console else {
            return Err(Status::failed_precondition("AUTH_CONSOLE_URL is not set"));
        };
        let (token, hash) = new_refresh_token(&*self.random);
        let person = self.store.add_reset(email, &hash, after(now, GOOD_FOR)).await.map_err(|error| {
            tracing::warn!(error = chain(&error), "failed to store a reset link");
            Status::unavailable("the store did not take the reset link")
        })?;
        let Some(person) = person else { return Ok(None) };
        let values = [
            ("email", person.email.clone()),
            ("first_name", person.first_name),
            ("link", format!("{console}{PAGE}#{}", token.expose_secret())),
            ("minutes", (GOOD_FOR.as_secs() / 60).to_string()),
        ];
        Ok(Some(SendRequest {
            id: letter.id.to_string(),
            template: TEMPLATE.to_owned(),
            to: person.email,
            reply_to: String::new(),
            values: values.map(|(name, value)| (name.to_owned(), value)).into(),
        }))
    }
}
