//! Kills every process and pod while entries flow.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use rand::seq::SliceRandom as _;
use weft_devcluster::of_container;
use weft_e2e::{Flow, People, Route, seeded};

use crate::place::{MAIN, Place};

/// Low, because the cluster runs on the same two cores.
const PER_SECOND: u32 = 20;
const BACK_WITHIN: Duration = Duration::from_secs(180);
/// Number of acknowledged entries between two kills.
const BETWEEN: u64 = 40;

/// How to kill.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// SIGKILL to the process; the kubelet restarts the container.
    Process,
    /// Deletes the pod without a grace period; another pod replaces it.
    Pod,
}

pub(crate) async fn killed_pods_and_processes_lose_and_duplicate_nothing(place: &Place) -> Result<()> {
    let operator = place.release();
    let mut kills = vec![(operator, "weft-operator", Way::Process), (operator, "weft-operator", Way::Pod)];
    for app in ["broker", "authentication", "logger", "mail", "listener", "mongodb", "rabbitmq", "postgres"] {
        kills.extend([(MAIN, app, Way::Process), (MAIN, app, Way::Pod)]);
    }
    kills.shuffle(&mut seeded("kills"));

    let flow = Flow::start(place.broker()?, Route::Both, PER_SECOND);
    for (namespace, app, way) in kills {
        flow.advance(BETWEEN, BACK_WITHIN).await?;
        eprintln!("killing {app} ({way:?})");
        kill(place, namespace, app, way).await?;
    }
    flow.advance(BETWEEN, BACK_WITHIN).await?;
    place.ready().await?;
    let outcome = flow.finish().await?;
    eprintln!("kills: {outcome:?}");
    ensure!(outcome.acknowledged >= 400, "{outcome:?}");
    ensure!(outcome.repeated > 0, "no request met a killed process: {outcome:?}");
    Ok(())
}

/// Each user signs in and out ten times, so 500 of each.
const USERS: usize = 50;

pub(crate) async fn every_sign_in_has_its_record_and_every_sign_out_its_mail(place: &Place) -> Result<()> {
    let mut victims = ["logger", "mail", "rabbitmq", "postgres"];
    victims.shuffle(&mut seeded("people"));
    let people = People::start(place.broker()?, place.mailbox()?, USERS).await?;
    let between = People::total(USERS) / (victims.len() as u64 + 1);
    for app in victims {
        people.advance(between, BACK_WITHIN).await?;
        if people.are_done() {
            let visits = people.finish().await?;
            bail!("all users finished before {app} was killed: {visits:?}");
        }
        eprintln!("killing {app}");
        kill(place, MAIN, app, Way::Process).await?;
    }
    let visits = people.finish().await?;
    eprintln!("people: {visits:?}");
    ensure!((visits.sign_ins, visits.sign_outs) == (USERS * 10, USERS * 10), "{visits:?}");
    ensure!(visits.repeated > 0, "no request met a killed process: {visits:?}");
    place.ready().await
}

async fn kill(place: &Place, namespace: &str, app: &str, way: Way) -> Result<()> {
    // The operator has two replicas. The first may or may not be the leader.
    let pods = place.ready_pods(namespace, app, 1, None).await?;
    let (count, pod) = (pods.len(), pods[0].clone());
    let uid = pod["metadata"]["uid"].as_str();
    match way {
        Way::Process => {
            for pid in of_container(&pod)? {
                // Fails for a process that has ended with another.
                Command::new("kill").args(["-KILL", &pid.to_string()]).output()?;
            }
            // The pod becomes ready again only after the kubelet has noticed.
            let before = restarts(&pod);
            weft_e2e::until(&format!("{app} to be restarted"), BACK_WITHIN, async || {
                let pods = place.pods(namespace, app).await?;
                let mut same = pods.iter().filter(|found| found["metadata"]["uid"] == pod["metadata"]["uid"]);
                ensure!(same.any(|pod| restarts(pod) > before), "not restarted yet");
                Ok(())
            })
            .await?;
            place.ready_pods(namespace, app, count, None).await?;
        }
        Way::Pod => {
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            place
                .kubectl()
                .run(&["--namespace", namespace, "delete", "pod", name, "--grace-period=0", "--force"])
                .await?;
            place.ready_pods(namespace, app, count, uid).await?;
        }
    }
    Ok(())
}

fn restarts(pod: &serde_json::Value) -> u64 {
    pod["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap_or_default()
}
