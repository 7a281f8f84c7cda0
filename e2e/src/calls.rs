//! A steady mix of calls to the broker.

use anyhow::Result;
use weft_devcluster::Calls;

use crate::road::unique;
use crate::{Broker, Reply};

/// Every n-th call is a sign-in. They are fewer because hashing passwords is expensive.
const SIGN_IN_EVERY: u64 = 8;

/// Starts making this many calls per second: log by gRPC, log through RabbitMQ, and sign-ins.
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
            check_accepted(what, reply)
        }
    })
}

fn check_accepted(what: &str, reply: Result<Reply>) -> Result<(), String> {
    match reply {
        Ok(reply) if reply.status == 202 => Ok(()),
        Ok(reply) => Err(format!("{what} failed with status {}: {}", reply.status, reply.body)),
        Err(error) => Err(format!("{what}: {error:#}")),
    }
}
