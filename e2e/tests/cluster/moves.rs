//! Stores that move from managed to external and back, step by step as docs/stores.md says, with their data.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weft_devcluster::condition;
use weft_e2e::{Broker, road, until};

use crate::elsewhere;
use crate::place::{ELSEWHERE, Place, READY_WITHIN, ROAD, STACK};

/// A store, its service, and who else stands still while it moves.
struct Store {
    name: &'static str,
    owners: &'static [&'static str],
    job: &'static str,
}

const STORES: [Store; 2] = [
    Store { name: "postgres", owners: &["authentication"], job: "copy-postgres" },
    Store { name: "mongodb", owners: &["logger", "listener"], job: "copy-mongodb" },
];

pub(crate) async fn postgresql_and_mongodb_move_out_and_back_with_their_data(place: &Place) -> Result<()> {
    let kept = Kept::make(place).await?;
    let uris = elsewhere::fresh(place).await?;
    for store in &STORES {
        let theirs = format!("my-{}", store.name);
        let uri = uris.get(store.name).context("no URI")?;
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": theirs, "namespace": ROAD},
            "stringData": {"uri": uri},
        });
        place.kubectl().apply(&secret.to_string()).await?;
        is_refused_while_data_would_be_left(place, store, &theirs).await?;
        let external =
            json!({"external": {"secretRef": {"name": theirs}, "leaveData": true}, "managed": null});
        stand_still(place, store, 0).await?;
        copy(place, store, store.name, &theirs).await?;
        switch(place, store, external).await?;
        erase(place, store).await?;
        kept.is_there(place).await?;
    }
    let here = place.kubectl().list(ROAD, &["statefulsets"]).await?;
    ensure!(here.len() == 1, "only RabbitMQ is here still: {here:?}");
    for store in &STORES {
        let managed = json!({"external": null, "managed": {"leaveData": true}});
        stand_still(place, store, 0).await?;
        place.patch(&json!({"stores": {store.name: managed}})).await?;
        place.ready_pod(ROAD, store.name, None).await?;
        has_its_user(place, store).await?;
        copy(place, store, &format!("my-{}", store.name), store.name).await?;
        switch(place, store, managed).await?;
        kept.is_there(place).await?;
    }
    place.patch(&json!({"stores": null})).await?;
    place.ready().await
}

/// A user and an entry of before.
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
        until("the user of before to sign in", READY_WITHIN, async || {
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

async fn is_refused_while_data_would_be_left(place: &Place, store: &Store, theirs: &str) -> Result<()> {
    let unsaid = json!({"external": {"secretRef": {"name": theirs}}, "managed": null});
    place.patch(&json!({"stores": {store.name: unsaid}})).await?;
    place.becomes(ROAD, STACK, "False", "DataLeftBehind").await?;
    let stack = place.found_stack(STACK, ROAD).await?;
    ensure!(condition(&stack, "Stalled").is_some_and(|stalled| stalled["status"] == "True"), "{stack}");
    place.patch(&json!({"stores": {store.name: null}})).await?;
    place.ready().await
}

/// Scales those away that write to the store.
async fn stand_still(place: &Place, store: &Store, replicas: u32) -> Result<()> {
    let services: serde_json::Map<_, _> =
        store.owners.iter().map(|owner| ((*owner).to_owned(), json!({"replicas": replicas}))).collect();
    place.patch(&json!({"services": services})).await?;
    for owner in store.owners {
        place.no_pods(ROAD, &format!("app.kubernetes.io/name={owner}")).await?;
    }
    Ok(())
}

/// The store in its new place, and those back that write to it.
async fn switch(place: &Place, store: &Store, to: Value) -> Result<()> {
    let services: serde_json::Map<_, _> =
        store.owners.iter().map(|owner| ((*owner).to_owned(), json!({"replicas": null}))).collect();
    place.patch(&json!({"stores": {store.name: to}, "services": services})).await?;
    place.ready().await
}

/// A store that is empty gets its service's user from a Job. FerretDB, which the local node runs, has no users.
async fn has_its_user(place: &Place, store: &Store) -> Result<()> {
    if !place.secret(ROAD, store.name, "uri").await?.contains('@') {
        return Ok(());
    }
    let wait = r"--for=jsonpath={.metadata.annotations.weft\.dev/granted-by}";
    let secret = format!("secret/{}", store.name);
    place.kubectl().run(&["--namespace", ROAD, "wait", &secret, wait, "--timeout=120s"]).await.map(drop)
}

async fn erase(place: &Place, store: &Store) -> Result<()> {
    let (claim, secret) = (format!("pvc/data-{}-0", store.name), format!("secret/{}", store.name));
    let superuser = format!("{secret}-superuser");
    let delete = ["--namespace", ROAD, "delete", "--ignore-not-found", &claim, &secret, &superuser];
    place.kubectl().run(&delete).await.map(drop)
}

/// Runs the Job of k8s/ from one Secret's store to another's, with the images of this cluster.
async fn copy(place: &Place, store: &Store, from: &str, to: &str) -> Result<()> {
    let kubectl = place.kubectl();
    let mut job = place.read(&format!("{}.yaml", store.job)).await?.pop().context("the file has no Job")?;
    job["metadata"]["namespace"] = ROAD.into();
    let template = &mut job["spec"]["template"];
    template["metadata"]["labels"]["weft.dev/stack"] = STACK.into();
    let image = match store.name {
        "postgres" => place.image(ELSEWHERE, "postgres").await?,
        _ => place.image(ROAD, "logger").await?,
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
    let namespace = ["--namespace", ROAD];
    let done = kubectl
        .run(&[&namespace[..], &["wait", &job, "--for=condition=Complete", "--timeout=120s"]].concat())
        .await;
    let said = kubectl.run(&[&namespace[..], &log, &[&job]].concat()).await?;
    done.with_context(|| format!("the Job said:\n{said}"))?;
    eprintln!("{} from {from} to {to}:\n{said}", store.name);
    kubectl.run(&[&namespace[..], &["delete", &job, "--wait"]].concat()).await.map(drop)
}
