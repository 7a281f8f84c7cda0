//! Applies the Stacks of k8s/ unchanged, except for addresses, passwords and the name of an image.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weft_e2e::{Broker, Mailbox, road, until};

use crate::elsewhere::{self, MAIL_HOST};
use crate::place::{ELSEWHERE, MAIN, Place, READY_WITHIN, SAMPLES};

const SHOP: &str = "shop";
const SOON: Duration = Duration::from_secs(60);

pub(crate) async fn samples_run_unchanged(place: &Place) -> Result<()> {
    erase(place).await?;
    apply(place, "stack.yaml", |_| Ok(())).await?;
    place.becomes(SAMPLES, SHOP, "True", "Ready").await?;
    let broker = broker(place, "shop-admin").await?;
    let jaeger = place.kubectl().node_port(SAMPLES, "jaeger", 16686).await?;
    road::by_event(&broker, &weft_e2e::Jaeger::new(jaeger)?).await?;

    // Uses the mail catcher as the workload.
    let image =
        place.ready_pod(SAMPLES, "mailcatcher", None).await?["spec"]["containers"][0]["image"].clone();
    let settings = json!({"MAILDEV_WEB_PORT": "8080", "MAILDEV_BASE_PATHNAME": "/shop"});
    apply(place, "with-workload.yaml", |object| {
        match object["kind"].as_str() {
            Some("ConfigMap") => object["data"] = settings.clone(),
            Some("Stack") => {
                let orders = &mut object["spec"]["workloads"][0];
                orders["image"] = image.clone();
                orders["probes"]["readiness"]["path"] = "/shop/api/healthz".into();
            }
            _ => {}
        }
        Ok(())
    })
    .await?;
    place.becomes(SAMPLES, SHOP, "True", "Ready").await?;
    let page = until("the workload through the broker", SOON, async || {
        let page = broker.get("/shop/api/config").send().await?;
        ensure!(page.status() == 200, "{}", page.status());
        Ok(page.text().await?)
    })
    .await?;
    ensure!(page.contains("smtpPort"), "unexpected page of the workload: {page}");

    let before = place.pods(SAMPLES, "orders").await?;
    ensure!(before.len() == 2, "{} pods of orders", before.len());
    let patch = json!({"data": {"A_NEW_SETTING": "1"}}).to_string();
    let change = ["--namespace", SAMPLES, "patch", "configmap", "orders", "--type=merge", "--patch", &patch];
    place.kubectl().run(&change).await?;
    let uids = |pods: &[Value]| pods.iter().map(|pod| pod["metadata"]["uid"].clone()).collect::<Vec<_>>();
    until("both pods to have the new setting", READY_WITHIN, async || {
        let now = uids(&place.pods(SAMPLES, "orders").await?);
        ensure!(now.len() == 2 && uids(&before).iter().all(|old| !now.contains(old)), "{now:?}");
        Ok(())
    })
    .await?;
    erase(place).await
}

pub(crate) async fn runs_no_store_when_all_are_external(place: &Place) -> Result<()> {
    erase(place).await?;
    let uris = elsewhere::fresh(place).await?;
    apply(place, "all-external.yaml", |object| {
        let named = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        match (object["kind"].as_str(), named.as_str()) {
            (Some("Secret"), "my-admin" | "my-smtp") => {}
            (Some("Secret"), name) => {
                let store = name.trim_start_matches("my-");
                object["stringData"] = json!({"uri": uris.get(store).context("unknown store")?});
            }
            (Some("Stack"), _) => {
                // The mail catcher has no TLS and no authentication.
                object["spec"]["stores"]["smtp"]["external"] =
                    json!({"host": MAIL_HOST, "port": 1025, "encryption": "none"});
                let endpoint = format!("http://jaeger.{MAIN}:4317");
                object["spec"]["tracing"] = json!({"otlp": {"endpoint": endpoint}});
                // The checks send entries and events without signing in.
                object["spec"]["openActions"] = json!(["log", "event"]);
            }
            _ => {}
        }
        Ok(())
    })
    .await?;
    place.becomes(SAMPLES, SHOP, "True", "Ready").await?;
    let broker = broker(place, "my-admin").await?;
    road::by_rpc(&broker, place.jaeger()?).await?;
    road::by_event(&broker, place.jaeger()?).await?;
    mail_arrives(place, &broker).await?;

    for kind in ["statefulsets", "persistentvolumeclaims"] {
        let found = place.kubectl().list(SAMPLES, &[kind]).await?;
        ensure!(found.is_empty(), "{kind}: {found:?}");
    }
    let made = place.kubectl().list(SAMPLES, &["ingresses"]).await?;
    ensure!(made.len() == 1 && made[0]["spec"]["rules"][0]["host"] == "shop.example.com", "{made:?}");
    // Without metrics the autoscaler keeps the minimum.
    place.ready_pods(SAMPLES, "broker", 2, None).await?;
    erase(place).await
}

/// Waits for the mail of a sign-out at the external mail catcher.
async fn mail_arrives(place: &Place, broker: &Broker) -> Result<()> {
    let mailbox = Mailbox::new(place.kubectl().node_port(ELSEWHERE, "mailcatcher", 1080).await?)?;
    let token = broker.token().await?;
    let reply = weft_e2e::Reply::of(broker.post("/logout", &json!({})).bearer_auth(token)).await?;
    ensure!(reply.status == 202, "{} {}", reply.status, reply.body);
    until("the mail of the sign-out", SOON, async || {
        let mails = mailbox.to("admin@example.com").await?;
        ensure!(mails.len() == 1, "{} mails", mails.len());
        Ok(())
    })
    .await
}

async fn broker(place: &Place, admin: &str) -> Result<Broker> {
    let (email, password) = place.user(SAMPLES, admin).await?;
    let broker =
        Broker::signing_in(place.kubectl().node_port(SAMPLES, "broker", 8080).await?, &email, &password)?;
    // kube-proxy takes a moment to open a new node port.
    until("the broker to answer through its node port", READY_WITHIN, async || {
        ensure!(broker.get("/ping").send().await?.status().is_success(), "no 200");
        Ok(())
    })
    .await?;
    Ok(broker)
}

/// Deletes the Stack and its data, if they exist.
async fn erase(place: &Place) -> Result<()> {
    let delete = ["--namespace", SAMPLES, "delete", "--ignore-not-found", "--wait"];
    place.kubectl().run(&[&delete[..], &["stack", SHOP]].concat()).await?;
    place.no_pods(SAMPLES, "weft.dev/stack").await?;
    place.kubectl().run(&[&delete[..], &["pvc,secret", "-l", "weft.dev/stack"]].concat()).await.map(drop)
}

/// Runs `kubectl apply` with the objects of k8s/<file>, in the test namespace.
async fn apply(place: &Place, file: &str, mut change: impl FnMut(&mut Value) -> Result<()>) -> Result<()> {
    let mut objects = place.read(file).await?;
    objects.retain(|object| object["kind"] != "Namespace");
    ensure!(objects.iter().any(|object| object["kind"] == "Stack"), "{file} has no Stack");
    for object in &mut objects {
        object["metadata"]["namespace"] = SAMPLES.into();
        change(object)?;
    }
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    place.kubectl().apply(&list.to_string()).await.map(drop)
}
