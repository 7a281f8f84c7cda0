//! Open actions, which need no sign-in.

use std::str::FromStr;

/// An action that a Stack may open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// `log` of `POST /handle`, and `POST /log-grpc`.
    Log,
    Event,
    Mail,
}

/// The actions that need no sign-in; none by default.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct OpenActions(Vec<Action>);

impl OpenActions {
    pub(crate) fn contains(&self, action: Action) -> bool {
        self.0.contains(&action)
    }
}

impl FromStr for OpenActions {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        names.map(action).collect::<Result<_, _>>().map(Self)
    }
}

fn action(name: &str) -> Result<Action, String> {
    match name {
        "log" => Ok(Action::Log),
        "event" => Ok(Action::Event),
        "mail" => Ok(Action::Mail),
        _ => Err(format!("unknown action `{name}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_the_named_actions() {
        let open: OpenActions = "log, mail".parse().unwrap();
        assert!(open.contains(Action::Log) && open.contains(Action::Mail) && !open.contains(Action::Event));
        assert_eq!("".parse(), Ok(OpenActions::default()));
        assert_eq!("log,auth".parse::<OpenActions>().unwrap_err(), "unknown action `auth`");
    }
}
