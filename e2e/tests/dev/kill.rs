//! Kills every process and store while entries flow. Every acknowledged entry must be stored exactly once.

use std::time::Duration;

use rand::RngExt as _;
use rand::seq::SliceRandom as _;
use weft_devstack::Process;
use weft_e2e::{Flow, Route, seeded};

use crate::helpers::Own;

const PER_SECOND: u32 = 100;
const BACK_WITHIN: Duration = Duration::from_secs(90);

#[tokio::test]
async fn kill_9_of_each_process_loses_and_duplicates_nothing() {
    let mut chance = seeded("kill");
    let own = Own::start().await;
    let stack = &own.stack;
    let jaeger: &Process = stack.jaeger.as_ref().unwrap();
    let mut victims: [(&str, &Process); 6] = [
        ("broker", &stack.broker),
        ("logger", &stack.logger),
        ("listener", &stack.listener),
        ("mongodb", &stack.mongodb),
        ("rabbitmq", &stack.rabbitmq),
        ("jaeger", jaeger),
    ];
    victims.shuffle(&mut chance);
    stack.rabbitmq.sync_declarations().unwrap();

    let flow = Flow::start(&own.broker(), Route::Both, PER_SECOND);
    for (name, victim) in victims {
        // At a random position of the stream.
        let before = chance.random_range(50..200);
        flow.advance(before, BACK_WITHIN).await.unwrap();
        eprintln!("kill -9 of {name} after {before} more");
        victim.kill().await.unwrap();
        victim.start().await.unwrap();
    }
    flow.advance(100, BACK_WITHIN).await.unwrap();
    let outcome = flow.finish().await.unwrap();
    eprintln!("kill: {outcome:?}");
    assert!(outcome.acknowledged >= 500, "{outcome:?}");
    assert!(outcome.repeated > 0, "no request met a killed process: {outcome:?}");
}

#[tokio::test]
async fn repeated_kills_of_listener_and_logger_duplicate_no_event() {
    let mut chance = seeded("repeated kills");
    let own = Own::start().await;
    let flow = Flow::start(&own.broker(), Route::Event, PER_SECOND);
    for _ in 0..5 {
        flow.advance(chance.random_range(20..80), BACK_WITHIN).await.unwrap();
        let victim: &Process = if chance.random() { &own.stack.listener } else { &own.stack.logger };
        victim.kill().await.unwrap();
        victim.start().await.unwrap();
    }
    let outcome = flow.finish().await.unwrap();
    assert!(outcome.acknowledged >= 100, "{outcome:?}");
}
