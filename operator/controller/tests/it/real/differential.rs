//! The API server in memory and a real one, asked the same: they answer with the same code and reason, and the same happens.

mod objects;
mod steps;

use http::Request;
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde_json::Value;

use super::Space;
use super::space::Refused;
use crate::fake::Cluster;
use steps::{Step, steps};

/// What an answer says, apart from its words.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// The object's generation, and whether it was changed.
    Done {
        generation: Option<i64>,
        is_changed: bool,
    },
    Refused(u16, String),
}

#[tokio::test]
async fn the_api_server_in_memory_answers_as_a_real_one() {
    let (space, cluster) = (Space::new().await, Cluster::default());
    let (mut differences, mut refused) = (Vec::new(), 0);
    for step in steps(&space.path("", "")) {
        let real = ask(&step, async |method, path, body| space.send(method, path, &body).await).await;
        let fake =
            ask(&step, async |method, path, body| in_memory(&cluster, method, path, &body).await).await;
        refused += u32::from(matches!(real.0, Answer::Refused(..)));
        if real.0 != fake.0 {
            differences.push(format!("{}: {:?}, in memory {:?}: {}", step.what, real.0, fake.0, real.1));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    println!("differential: {refused} refusals are the same");
}

/// Sends a step, with what it names of the object as it stands. Returns the message of a refusal too.
async fn ask(
    step: &Step,
    send: impl AsyncFn(&str, &str, Value) -> Result<Value, Refused>,
) -> (Answer, String) {
    let before = send("GET", &step.object, Value::Null).await.unwrap_or_default();
    let meta = |key: &str| before["metadata"][key].as_str().unwrap_or_default();
    let body =
        step.body.to_string().replace("{uid}", meta("uid")).replace("{version}", meta("resourceVersion"));
    match send(step.method, &step.path, serde_json::from_str(&body).unwrap()).await {
        Ok(_) => {
            let after = send("GET", &step.object, Value::Null).await.unwrap_or_default();
            let is_changed = before["metadata"]["resourceVersion"] != after["metadata"]["resourceVersion"];
            (Answer::Done { generation: after["metadata"]["generation"].as_i64(), is_changed }, String::new())
        }
        Err(Refused { code, reason, message }) => {
            (Answer::Refused(code, reason), message.chars().take(300).collect())
        }
    }
}

async fn in_memory(cluster: &Cluster, method: &str, path: &str, body: &Value) -> Result<Value, Refused> {
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let request = Request::builder().method(method).uri(path).body(Body::from(body)).unwrap();
    let answer = cluster.answer(request).await;
    let code = answer.status().as_u16();
    let body: Value =
        serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap();
    if code < 300 {
        return Ok(body);
    }
    let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
    Err(Refused { code, reason: text("reason"), message: text("message") })
}
