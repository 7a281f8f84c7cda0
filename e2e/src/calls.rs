//! What a front end asks of the broker all the time.

use anyhow::Result;
use weft_devcluster::Calls;

use crate::road::unique;
use crate::{Broker, Reply};

/// One call in so many is a sign-in, which costs what a password's hash costs.
const SIGN_IN_EVERY: u64 = 8;

/// Begins to make this many calls each second: log by gRPC, log through RabbitMQ, and sign-ins.
#[must_use]
pub fn calls(broker: &Broker, per_second: u32) -> Calls {
    let (broker, name) = (broker.clone(), unique("calls"));
    Calls::start(per_second, move |turn| {
        let (broker, name) = (broker.clone(), name.clone());
        async move {
            let (what, reply) = match turn {
                turn if turn.is_multiple_of(SIGN_IN_EVERY) => ("auth", broker.sign_in().await),
                turn if turn.is_multiple_of(2) => ("log", broker.log(&name, "called").await),
                _ => ("event", broker.event(&name, "called").await),
            };
            accepted(what, reply)
        }
    })
}

fn accepted(what: &str, reply: Result<Reply>) -> Result<(), String> {
    match reply {
        Ok(reply) if reply.status == 202 => Ok(()),
        Ok(reply) => Err(format!("{what} was answered {}: {}", reply.status, reply.body)),
        Err(error) => Err(format!("{what}: {error:#}")),
    }
}
