//! What an operator of a running system does to it every day, and how many calls fail meanwhile.

use std::time::Duration;

use anyhow::Result;
use reqwest::Client;
use serde_json::{Map, Value, json};
use weft_devcluster::Calls;

use crate::cluster::{Cluster, NAMESPACE, READY_WITHIN, Release, STACK};
use crate::figure::Measured;

/// Low enough for two cores that also run the cluster.
const PER_SECOND: u32 = 50;
const CALLS: u64 = 10_000;
/// Answered between two changes.
const BETWEEN: u64 = 100;
/// One call in so many is a sign-in, which costs what a password's hash costs.
const SIGN_IN_EVERY: u64 = 8;
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
const CHANGED: [&str; 3] = ["broker", "authentication", "logger"];

/// A change of a running Stack.
#[derive(Clone, Copy, Debug)]
enum Change {
    Roll(&'static str),
    Scale(u32),
    DeletePod(&'static str),
}

pub(super) async fn measure(cluster: &mut Cluster) -> Result<Measured> {
    let release = cluster.release().await?;
    release.ready().await?;
    let limits = json!({
        "requestsPerSecond": 0, "signInBurst": 100_000, "signInPerMinute": 1_000_000, "openBytesPerDay": 0,
    });
    release.change(&json!({ "limits": limits, "services": each(|_| json!({ "replicas": 2 })) })).await?;
    let under_load = under_load(release).await;
    let none = json!({ "limits": null, "services": each(|_| json!({ "replicas": null, "env": null })) });
    release.change(&none).await?;
    under_load
}

async fn under_load(release: &Release) -> Result<Measured> {
    let (broker, admin) = (release.broker().await?, release.admin().await?);
    let http = Client::builder().timeout(ANSWER_WITHIN).build()?;
    let bodies = bodies(&admin);
    let calls = Calls::start(PER_SECOND, move |turn| {
        let body = match turn {
            turn if turn.is_multiple_of(SIGN_IN_EVERY) => &bodies[0],
            turn if turn.is_multiple_of(2) => &bodies[1],
            _ => &bodies[2],
        };
        accepted(http.post(format!("{broker}/handle")).json(body))
    });
    let changes = change_again_and_again(release, &calls).await;
    let (answered, failed) = calls.finish().await?;
    let changes = changes?;
    let mut notes = vec![format!(
        "{answered} calls answered at {PER_SECOND}/s, none repeated: entries by gRPC, events, sign-ins; meanwhile {changes} changes: {} \
         rolled, scaled to 3 and back, a pod of each deleted, again and again",
        CHANGED.join(", ")
    )];
    notes.extend(failed.iter().take(3).cloned());
    Ok(Measured { value: u32::try_from(failed.len()).map(f64::from)?, notes })
}

/// Changes one thing after the other until enough calls were answered. Returns how many changes that were.
async fn change_again_and_again(release: &Release, calls: &Calls) -> Result<usize> {
    let changes = CHANGED.map(Change::Roll).into_iter();
    let changes = changes.chain([3, 2].map(Change::Scale)).chain(CHANGED.map(Change::DeletePod)).cycle();
    for (done, change) in changes.enumerate() {
        if calls.answered() >= CALLS {
            return Ok(done);
        }
        eprintln!("  {} calls answered; now {change:?}", calls.answered());
        change.make(release, done).await?;
        calls.advance(BETWEEN, READY_WITHIN).await?;
    }
    Ok(0)
}

impl Change {
    async fn make(self, release: &Release, turn: usize) -> Result<()> {
        match self {
            Self::Roll(app) => {
                let env = json!([{ "name": "WEFT_BENCH", "value": turn.to_string() }]);
                release.change(&json!({ "services": { app: { "env": env } } })).await
            }
            Self::Scale(replicas) => {
                release.change(&json!({ "services": each(|_| json!({ "replicas": replicas })) })).await
            }
            Self::DeletePod(app) => release.kubectl().replace_pod(NAMESPACE, app, READY_WITHIN).await,
        }
    }
}

fn each(says: impl Fn(&str) -> Value) -> Map<String, Value> {
    CHANGED.iter().map(|app| ((*app).to_owned(), says(app))).collect()
}

fn bodies((email, password): &(String, String)) -> [Value; 3] {
    let entry = json!({ "name": STACK, "data": "called" });
    [
        json!({ "action": "auth", "auth": { "email": email, "password": password } }),
        json!({ "action": "log", "log": entry }),
        json!({ "action": "event", "event": entry }),
    ]
}

async fn accepted(request: reqwest::RequestBuilder) -> Result<(), String> {
    let answer = request.send().await.map_err(|error| format!("no answer: {error:?}"))?;
    let status = answer.status();
    let body = answer.text().await.map_err(|error| format!("half an answer: {error:?}"))?;
    if status == reqwest::StatusCode::ACCEPTED { Ok(()) } else { Err(format!("answered {status}: {body}")) }
}
