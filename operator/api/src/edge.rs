use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What one client address, or one user, may do.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Requests to one pod of the broker each second, in the long run. 0: any number. Default: 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000000))]
    pub requests_per_second: Option<i32>,
    /// Requests at once. Default: 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000000))]
    pub requests_burst: Option<i32>,
    /// Failed attempts to sign in at once; the same for wrong current passwords of a user who changes the password. Default: 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000000))]
    pub sign_in_burst: Option<i32>,
    /// Failed attempts to sign in each minute, in the long run, over all pods of authentication. 0: any number.
    /// Default: 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000000))]
    pub sign_in_per_minute: Option<i32>,
    /// Bytes a day that may be written to one pod of the broker without a sign-in, where `openActions` allows it. 0: any number.
    /// Default: 1073741824 (1 GiB).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000000000000000_i64))]
    pub open_bytes_per_day: Option<i64>,
    /// Mails an hour of one user, or of one client address without a sign-in, that one pod of the broker takes. 0: any number.
    /// Default: 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000000))]
    pub user_mails_per_hour: Option<i32>,
    /// Mails an hour to one recipient, whoever sends them, that one pod of the broker takes; and those about sign-outs that one pod
    /// of authentication sends. 0: any number. Default: 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000000))]
    pub recipient_mails_per_hour: Option<i32>,
}

/// An action of the broker that can be opened to callers who have not signed in.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum OpenAction {
    /// Writing a log entry, by `POST /handle` and `POST /log-grpc`.
    Log,
    /// Publishing an event, by `POST /handle`.
    Event,
    /// Sending a mail, to any address.
    Mail,
}

impl OpenAction {
    /// As the broker's settings name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Event => "event",
            Self::Mail => "mail",
        }
    }
}
