//! Moves stores from managed to external and back with their data, following docs/stores.md.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weft_devcluster::condition;
use weft_e2e::{Broker, road, until};

use crate::elsewhere;
use crate::place::{ELSEWHERE, MAIN, Place, READY_WITHIN, STACK};

/// A store, the services to stop during the move, and the copy Job.
struct Store {
    name: &'static str,
    services_to_stop: &'static [&'static str],
    job: &'static str,
}

const STORES: [Store; 2] = [
    Store { name: "postgres", services_to_stop: &["authentication"], job: "copy-postgres" },
    Store { name: "mongodb", services_to_stop: &["logger", "listener"], job: "copy-mongodb" },
];

pub(crate) async fn moves_stores_out_and_back_with_their_data(place: &Place) -> Result<()> {
    let kept = Kept::make(place).await?;
    let uris = elsewhere::fresh(place).await?;
    for store in &STORES {
        let external_secret = format!("my-{}", store.name);
        let uri = uris.get(store.name).context("no URI")?;
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": external_secret, "namespace": MAIN},
            "stringData": {"uri": uri},
        });
        place.kubectl().apply(&secret.to_string()).await?;
        rejects_a_switch_without_leave_data(place, store, &external_secret).await?;
        let external =
            json!({"external": {"secretRef": {"name": external_secret}, "leaveData": true}, "managed": null});
        scale(place, store, 0).await?;
        copy(place, store, store.name, &external_secret).await?;
        switch(place, store, external).await?;
        delete_data(place, store).await?;
        kept.is_there(place).await?;
    }
    let here = place.kubectl().list(MAIN, &["statefulsets"]).await?;
    ensure!(here.len() == 1, "expected only RabbitMQ, found {here:?}");
    for store in &STORES {
        let managed = json!({"external": null, "managed": {"leaveData": true}});
        scale(place, store, 0).await?;
        place.patch(&json!({"stores": {store.name: managed}})).await?;
        place.ready_pod(MAIN, store.name, None).await?;
        has_its_users_secret(place, store).await?;
        copy(place, store, &format!("my-{}", store.name), store.name).await?;
        switch(place, store, managed).await?;
        kept.is_there(place).await?;
    }
    place.patch(&json!({"stores": null})).await?;
    place.ready().await
}

/// A user and an entry created before the moves.
struct Kept {
    user: Broker,
    entry: String,
}

impl Kept {
    async fn make(place: &Place) -> Result<Self> {
        let (email, password) =
            (format!("{}@example.com", road::unique("moved")), "tulips in a blue vase 1887");
        let body = json!({
            "email": email, "first_name": "Ann", "last_name": "Other", "role": "user", "password": password,
        });
        let users = place.broker()?.at("/v1/users");
        let reply = place.broker()?.signed_in(|http| http.post(&users).json(&body)).await?;
        ensure!(reply.status == 201, "{} {}", reply.status, reply.body);
        let entry = road::unique("moved");
        let reply = place.broker()?.log(&entry, "before").await?;
        ensure!(reply.status == 202, "{} {}", reply.status, reply.body);
        Ok(Self { user: Broker::signing_in(place.broker()?.at(""), email, password)?, entry })
    }

    async fn is_there(&self, place: &Place) -> Result<()> {
        until("the user to sign in", READY_WITHIN, async || {
            let reply = self.user.sign_in().await?;
            ensure!(reply.status == 202, "{} {}", reply.status, reply.body);
            Ok(())
        })
        .await?;
        let entry = place.broker()?.entry(&[("text", &self.entry)], READY_WITHIN).await?;
        ensure!(entry["data"] == "before", "{entry}");
        Ok(())
    }
}

async fn rejects_a_switch_without_leave_data(
    place: &Place,
    store: &Store,
    external_secret: &str,
) -> Result<()> {
    let without_leave_data = json!({"external": {"secretRef": {"name": external_secret}}, "managed": null});
    place.patch(&json!({"stores": {store.name: without_leave_data}})).await?;
    place.becomes(MAIN, STACK, "False", "DataLeftBehind").await?;
    let stack = place.found_stack(STACK, MAIN).await?;
    ensure!(condition(&stack, "Stalled").is_some_and(|stalled| stalled["status"] == "True"), "{stack}");
    place.patch(&json!({"stores": {store.name: null}})).await?;
    place.ready().await
}

/// Scales the services that write to the store.
async fn scale(place: &Place, store: &Store, replicas: u32) -> Result<()> {
    let services: serde_json::Map<_, _> = store
        .services_to_stop
        .iter()
        .map(|owner| ((*owner).to_owned(), json!({"replicas": replicas})))
        .collect();
    place.patch(&json!({"services": services})).await?;
    for owner in store.services_to_stop {
        place.no_pods(MAIN, &format!("app.kubernetes.io/name={owner}")).await?;
    }
    Ok(())
}

/// Switches the store and restores the replicas of the services that write to it.
async fn switch(place: &Place, store: &Store, to: Value) -> Result<()> {
    let services: serde_json::Map<_, _> =
        store.services_to_stop.iter().map(|owner| ((*owner).to_owned(), json!({"replicas": null}))).collect();
    place.patch(&json!({"stores": {store.name: to}, "services": services})).await?;
    place.ready().await
}

/// Waits until a Job has created the service's user in an empty store. FerretDB, which the local node runs, has no users.
async fn has_its_users_secret(place: &Place, store: &Store) -> Result<()> {
    if !place.secret(MAIN, store.name, "uri").await?.contains('@') {
        return Ok(());
    }
    let wait = r"--for=jsonpath={.metadata.annotations.weft\.dev/granted-on}";
    let secret = format!("secret/{}", store.name);
    place.kubectl().run(&["--namespace", MAIN, "wait", &secret, wait, "--timeout=120s"]).await.map(drop)
}

async fn delete_data(place: &Place, store: &Store) -> Result<()> {
    let (claim, secret) = (format!("pvc/data-{}-0", store.name), format!("secret/{}", store.name));
    let superuser = format!("{secret}-superuser");
    let delete = ["--namespace", MAIN, "delete", "--ignore-not-found", &claim, &secret, &superuser];
    place.kubectl().run(&delete).await.map(drop)
}

/// Runs the copy Job of k8s/ from the store of one Secret to that of another, with the images of this cluster.
async fn copy(place: &Place, store: &Store, from: &str, to: &str) -> Result<()> {
    let kubectl = place.kubectl();
    let mut job = place.read(&format!("{}.yaml", store.job)).await?.pop().context("the file has no Job")?;
    job["metadata"]["namespace"] = MAIN.into();
    let template = &mut job["spec"]["template"];
    template["metadata"]["labels"]["weft.dev/stack"] = STACK.into();
    let image = match store.name {
        "postgres" => place.image(ELSEWHERE, "postgres").await?,
        _ => place.image(MAIN, "logger").await?,
    };
    for kind in ["initContainers", "containers"] {
        for container in template["spec"][kind].as_array_mut().into_iter().flatten() {
            container["image"] = image.as_str().into();
            for variable in container["env"].as_array_mut().into_iter().flatten() {
                let secret = &mut variable["valueFrom"]["secretKeyRef"]["name"];
                let is_from = *secret == store.name;
                *secret = if is_from { from } else { to }.into();
            }
        }
    }
    kubectl.apply(&job.to_string()).await?;
    let (job, log) = (format!("job/{}", store.job), ["logs", "--all-containers", "--prefix"]);
    let namespace = ["--namespace", MAIN];
    let done = kubectl
        .run(&[&namespace[..], &["wait", &job, "--for=condition=Complete", "--timeout=120s"]].concat())
        .await;
    let log_text = kubectl.run(&[&namespace[..], &log, &[&job]].concat()).await?;
    done.with_context(|| format!("log of the Job:\n{log_text}"))?;
    eprintln!("{} from {from} to {to}:\n{log_text}", store.name);
    kubectl.run(&[&namespace[..], &["delete", &job, "--wait"]].concat()).await.map(drop)
}
