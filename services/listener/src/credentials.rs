//! Rotation of RabbitMQ's credentials: `listener credentials grant` and `listener credentials retire`, run by a Job. AMQP has no
//! commands for users, so this uses the HTTP API of the management plugin.
//!
//! | setting | default | |
//! |---|---|---|
//! | `AMQP_URI`, `AMQP_URI_FILE` | none, required | address, current user and password |
//! | `RABBITMQ_MANAGEMENT_URL` | `http://<host of AMQP_URI>:15672` | address of the management API |

use reqwest::{Client, Method, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use weft_events::Amqp;
use weft_runtime::config::{ConfigError, ExposeSecret as _, Settings};
use weft_runtime::credentials::Change;

const MANAGEMENT_PORT: u16 = 15_672;
const SETTING: &str = "RABBITMQ_MANAGEMENT_URL";
const WANTED: &str = "a URL such as http://rabbitmq:15672";

/// Why RabbitMQ's users were not changed.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A setting is missing or invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The management API is unreachable or not enabled.
    #[error(
        "failed to reach RabbitMQ's management API at {url} (if an older operator started this store, restart it to enable the \
         API: set spec.stores.rabbitmq.managed.restartedAt)"
    )]
    Unreachable {
        /// Address of the API.
        url: String,
        /// The cause.
        #[source]
        source: reqwest::Error,
    },
    /// RabbitMQ refuses the user or password.
    #[error("RabbitMQ refuses the credentials in AMQP_URI")]
    Unauthorized,
    /// RabbitMQ refused a request.
    #[error("RabbitMQ refused to {what}: {answer}")]
    Refused {
        /// What was requested.
        what: &'static str,
        /// RabbitMQ's answer.
        answer: String,
    },
    /// The user to delete is the one of `AMQP_URI`.
    #[error("can't retire {0}: AMQP_URI uses this user")]
    CurrentUser(String),
}

/// Grants or retires a user. Idempotent.
///
/// # Errors
/// When a setting is missing or invalid, or RabbitMQ is unreachable or refuses.
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

    /// Creates a user with the tags and permissions of the current one.
    async fn grant(&self, username: &str, password: &str) -> Result<(), CredentialsError> {
        let me = self.amqp.username();
        let current: Value = self.get("read the current user", &["users", me]).await?;
        let permissions: Vec<Value> =
            self.get("read the current user's permissions", &["users", me, "permissions"]).await?;
        let user = json!({ "password": password, "tags": tags(&current["tags"]) });
        self.send(Method::PUT, "create a user", &["users", username], Some(user)).await?;
        for permission in permissions {
            let [vhost, configure, write, read] = ["vhost", "configure", "write", "read"]
                .map(|key| permission[key].as_str().unwrap_or_default());
            let body = json!({ "configure": configure, "write": write, "read": read });
            let path = ["permissions", vhost, username];
            self.send(Method::PUT, "set a user's permissions", &path, Some(body)).await?;
        }
        Ok(())
    }

    /// Deletes a user. RabbitMQ closes the user's connections.
    async fn retire(&self, username: &str) -> Result<(), CredentialsError> {
        if self.amqp.username() == username {
            return Err(CredentialsError::CurrentUser(username.to_owned()));
        }
        self.send(Method::DELETE, "delete a user", &["users", username], None).await.map(drop)
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
        let may_be_missing = method == Method::DELETE;
        let request = self.client.request(method, self.url_of(path));
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
            StatusCode::NOT_FOUND if may_be_missing => Ok(String::new()),
            status if status.is_success() => Ok(text),
            status => Err(CredentialsError::Refused { what, answer: format!("{status}: {text}") }),
        }
    }

    /// Escapes each segment, because a vhost may be `/`.
    fn url_of(&self, path: &[&str]) -> Url {
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("api").extend(path);
        }
        url
    }
}

/// Depending on its version, RabbitMQ returns a list or comma-separated text. All versions accept the latter.
fn tags(tags: &Value) -> String {
    match tags {
        Value::String(tags) => tags.clone(),
        tags => {
            let tags = tags.as_array().into_iter().flatten().filter_map(Value::as_str);
            tags.collect::<Vec<_>>().join(",")
        }
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
    fn derives_the_url_from_the_amqp_host_and_escapes_segments() {
        let url_of = |url: &str, path: &[&str]| management(url).url_of(path).to_string();
        assert_eq!(url_of("", &["users", "weft"]), "http://rabbit:15672/api/users/weft");
        assert_eq!(
            url_of("http://a:1/b/", &["permissions", "/", "a?b#c/%"]),
            "http://a:1/b/api/permissions/%2F/a%3Fb%23c%2F%25"
        );
    }

    #[test]
    fn reads_tags_as_a_list_or_as_text() {
        assert_eq!(tags(&json!(["administrator", "monitoring"])), "administrator,monitoring");
        assert_eq!(tags(&json!("administrator")), "administrator");
        assert_eq!(tags(&Value::Null), "");
    }

    #[tokio::test]
    async fn refuses_to_retire_the_current_user() {
        let error = management("http://127.0.0.1:1").retire("us").await.unwrap_err().to_string();
        assert_eq!(error, "can't retire us: AMQP_URI uses this user");
    }
}
