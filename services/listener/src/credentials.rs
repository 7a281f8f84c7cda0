//! New credentials of RabbitMQ: `listener credentials grant` and `credentials retire`, as a Job runs them. AMQP knows no users,
//! so this goes through the management plugin's HTTP API.
//!
//! | setting | default | |
//! |---|---|---|
//! | `AMQP_URI`, `AMQP_URI_FILE` | none, required | an administrator, and the virtual host that its users may use |
//! | `RABBITMQ_MANAGEMENT_URL` | `http://<host of AMQP_URI>:15672` | where the plugin listens |

use reqwest::{Client, Method, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use weft_events::Amqp;
use weft_runtime::config::{ConfigError, ExposeSecret as _, Settings};
use weft_runtime::credentials::Change;

const MANAGEMENT_PORT: u16 = 15_672;
const SETTING: &str = "RABBITMQ_MANAGEMENT_URL";
const WANTED: &str = "a URL such as http://rabbitmq:15672";

/// Why the users of RabbitMQ could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It has no management API, or none that can be reached.
    #[error(
        "failed to reach RabbitMQ's management API at {url} (a store that an older operator started has none until it is \
         restarted: spec.stores.rabbitmq.managed.restartedAt)"
    )]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// It does not take our user and password.
    #[error("RabbitMQ refuses the credentials in AMQP_URI")]
    Unauthorized,
    /// It refused what it was asked.
    #[error("RabbitMQ refused to {what}: {answer}")]
    Refused {
        /// What.
        what: &'static str,
        /// In its own words.
        answer: String,
    },
    /// It is the user that we are.
    #[error("{0} is the user that AMQP_URI names")]
    Ourselves(String),
}

/// Does it, once.
///
/// # Errors
/// When a setting is wrong, or RabbitMQ can't be reached or refuses. It may be repeated.
pub async fn change(settings: Settings, change: Change) -> Result<(), CredentialsError> {
    let management = Management::from_settings(&settings)?;
    match change {
        Change::Grant { username, password } => management.grant(&username, password.expose_secret()).await,
        Change::Retire { username } => management.retire(&username).await,
    }
}

struct Management {
    client: Client,
    url: Url,
    amqp: Amqp,
}

impl Management {
    fn from_settings(settings: &Settings) -> Result<Self, ConfigError> {
        let amqp = Amqp::from_settings(settings)?;
        let url = settings.text(SETTING);
        let url = url.unwrap_or_else(|| format!("http://{}:{MANAGEMENT_PORT}", amqp.host()));
        let url = Url::parse(&url).map_err(|error| ConfigError::Invalid {
            name: SETTING.to_owned(),
            value: url,
            wanted: WANTED,
            reason: error.to_string(),
        })?;
        Ok(Self { client: Client::new(), url, amqp })
    }

    /// The new user may do everything in our virtual host and nothing elsewhere: without a tag it cannot use this API.
    async fn grant(&self, username: &str, password: &str) -> Result<(), CredentialsError> {
        self.refuse_ourselves(username)?;
        let vhost = self.amqp.vhost();
        let user = json!({ "password": password, "tags": "" });
        self.send(Method::PUT, "make a user", &["users", username], Some(user)).await?;
        let everything = json!({ "configure": ".*", "write": ".*", "read": ".*" });
        let path = ["permissions", vhost, username];
        self.send(Method::PUT, "give permissions to a user", &path, Some(everything)).await?;
        let permissions: Vec<Value> =
            self.get("read the permissions of a user", &["users", username, "permissions"]).await?;
        let elsewhere = permissions.iter().filter_map(|permission| permission["vhost"].as_str());
        for other in elsewhere.filter(|other| *other != vhost) {
            let path = ["permissions", other, username];
            self.send(Method::DELETE, "take permissions from a user", &path, None).await?;
        }
        Ok(())
    }

    /// RabbitMQ ends the connections that the user still has.
    async fn retire(&self, username: &str) -> Result<(), CredentialsError> {
        self.refuse_ourselves(username)?;
        self.send(Method::DELETE, "delete a user", &["users", username], None).await.map(drop)
    }

    fn refuse_ourselves(&self, username: &str) -> Result<(), CredentialsError> {
        if self.amqp.username() == username {
            return Err(CredentialsError::Ourselves(username.to_owned()));
        }
        Ok(())
    }

    async fn get<T: DeserializeOwned>(
        &self,
        what: &'static str,
        path: &[&str],
    ) -> Result<T, CredentialsError> {
        let text = self.send(Method::GET, what, path, None).await?;
        serde_json::from_str(&text)
            .map_err(|error| CredentialsError::Refused { what, answer: error.to_string() })
    }

    async fn send(
        &self,
        method: Method,
        what: &'static str,
        path: &[&str],
        body: Option<Value>,
    ) -> Result<String, CredentialsError> {
        let unreachable = |source: reqwest::Error| CredentialsError::Unreachable {
            url: self.url.to_string(),
            source: source.without_url(),
        };
        let gone = method == Method::DELETE;
        let request = self.client.request(method, self.at(path));
        let request = request.basic_auth(self.amqp.username(), Some(self.amqp.password()));
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        let answer = request.send().await.map_err(unreachable)?;
        let status = answer.status();
        let text = answer.text().await.map_err(unreachable)?;
        match status {
            StatusCode::UNAUTHORIZED => Err(CredentialsError::Unauthorized),
            StatusCode::NOT_FOUND if gone => Ok(String::new()),
            status if status.is_success() => Ok(text),
            status => Err(CredentialsError::Refused { what, answer: format!("{status}: {text}") }),
        }
    }

    /// Each segment is escaped: a vhost may be `/`.
    fn at(&self, path: &[&str]) -> Url {
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("api").extend(path);
        }
        url
    }
}

#[cfg(test)]
mod tests {
    use weft_runtime::config::Fixed;

    use super::*;

    fn management(url: &str) -> Management {
        let settings = [("AMQP_URI", "amqp://us:hunter2@rabbit:5673/%2f"), (SETTING, url)];
        Management::from_settings(&Settings::new(Fixed::new(settings))).unwrap()
    }

    #[test]
    fn it_is_asked_where_rabbitmq_is_and_segments_are_escaped() {
        let at = |url: &str, path: &[&str]| management(url).at(path).to_string();
        assert_eq!(at("", &["users", "weft"]), "http://rabbit:15672/api/users/weft");
        assert_eq!(
            at("http://a:1/b/", &["permissions", "/", "a?b#c/%"]),
            "http://a:1/b/api/permissions/%2F/a%3Fb%23c%2F%25"
        );
    }

    #[tokio::test]
    async fn who_we_are_is_neither_changed_nor_taken_away() {
        let management = management("http://127.0.0.1:1");
        for refused in [management.retire("us").await, management.grant("us", "").await] {
            assert_eq!(refused.unwrap_err().to_string(), "us is the user that AMQP_URI names");
        }
    }
}
