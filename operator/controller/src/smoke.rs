//! Does a Stack do what it is for? Signs in, publishes an event, finds its entry and its trace, all through the broker.
//!
//! | setting | default | |
//! |---|---|---|
//! | `SMOKE_BROKER_URL` | | `http://broker.shop:8080` |
//! | `SMOKE_EMAIL` | | of somebody who may sign in |
//! | `SMOKE_PASSWORD` (or `SMOKE_PASSWORD_FILE`) | | |
//! | `SMOKE_WITHIN` | `120s` | everything together; less than an access token's five minutes |
//! | `SMOKE_TRACE` | `true` | `false` for a Stack without managed tracing, or that keeps only a share of its traces |

mod broker;

use std::process::ExitCode;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use weft_runtime::clock;
use weft_runtime::config::{ConfigError, Environment, SecretString, Settings};
use weft_runtime::telemetry::chain;

use broker::{Broker, Trial};

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(250);
/// Whom an event's trace leads through.
const ROAD: [&str; 3] = ["broker", "listener", "logger"];

/// What is tried, and how long.
#[derive(Debug)]
pub struct Smoke {
    broker: Broker,
    email: String,
    password: SecretString,
    within: Duration,
    trace: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum SmokeError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("SMOKE_BROKER_URL: invalid value `{0}`: expected http://<host>:<port>")]
    Url(String),
    #[error("{step}: {reason}")]
    Refused { step: &'static str, reason: String },
    #[error("{step}: not within the time that SMOKE_WITHIN gives; at last: {reason}")]
    Late { step: &'static str, reason: String },
}

/// The process: settings from the environment, what happens on standard output.
pub fn main() -> ExitCode {
    let run = async {
        let smoke = Smoke::from_settings(&Settings::new(Environment))?;
        smoke.run(|line| println!("{line}")).await
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(run).map_err(|error| chain(&error)),
        Err(error) => Err(chain(&error)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("weft-operator smoke: {reason}");
            ExitCode::FAILURE
        }
    }
}

impl Smoke {
    /// Reads the settings that the module names.
    ///
    /// # Errors
    /// When one is missing or wrong.
    pub fn from_settings(settings: &Settings) -> Result<Self, SmokeError> {
        let url = settings.required_text("SMOKE_BROKER_URL", "the broker's address, http://<host>:<port>")?;
        Ok(Self {
            broker: Broker::at(&url).ok_or(SmokeError::Url(url))?,
            email: settings.required_text("SMOKE_EMAIL", "the email of somebody who may sign in")?,
            password: settings.required_secret("SMOKE_PASSWORD", "that person's password")?,
            within: settings.duration("SMOKE_WITHIN", Duration::from_secs(120))?,
            trace: settings.or("SMOKE_TRACE", "true or false", true)?,
        })
    }

    /// Tries it out, and says how far it is.
    ///
    /// # Errors
    /// With the step that failed and why.
    pub async fn run(&self, mut say: impl FnMut(String)) -> Result<(), SmokeError> {
        let Self { broker, email, password, within, trace } = self;
        let deadline = Instant::now() + *within;
        let token = until("to sign in", deadline, async || broker.sign_in(email, password).await).await?;
        say(format!("signed in as {email}"));
        // Another name for each try: an event whose answer was lost is not taken for the one that was acknowledged.
        let (name, id) = until("to publish an event", deadline, async || {
            let name = format!("smoke-{}", clock::system().new_id().simple());
            Ok((name.clone(), broker.publish(&token, &name).await?))
        })
        .await?;
        say(format!("event {name} is acknowledged; its trace is {id}"));
        until("to find the event's entry", deadline, async || broker.entry(&token, &name, &id).await).await?;
        say("its entry is stored".to_owned());
        if *trace {
            until("to find the event's trace", deadline, async || broker.trace(&token, &id, &ROAD).await)
                .await?;
            say(format!("its trace leads through {}", ROAD.join(", ")));
        }
        Ok(())
    }
}

/// Tries until it is done, refused for good, or too late.
async fn until<T>(
    step: &'static str,
    deadline: Instant,
    mut attempt: impl AsyncFnMut() -> Result<T, Trial>,
) -> Result<T, SmokeError> {
    let mut reason = "no answer".to_owned();
    loop {
        match timeout_at(deadline, attempt()).await {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(Trial::Refused(reason))) => return Err(SmokeError::Refused { step, reason }),
            Ok(Err(Trial::NotYet(later))) => reason = later,
            Err(_) => return Err(SmokeError::Late { step, reason }),
        }
        if Instant::now() + PAUSE >= deadline {
            return Err(SmokeError::Late { step, reason });
        }
        sleep(PAUSE).await;
    }
}
