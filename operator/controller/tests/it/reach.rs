//! What a Stack says of its services' pods, of services of the user's, and of who reaches whom.

use serde_json::{Value, json};
use weft_operator::installation::Installation;
use weft_operator::reconcile::build::Plan;
use weft_operator::reconcile::dereference::{Found, FoundSmtp};
use weft_operator::view::ContentDigest;

use crate::build::{attempt, found, plan, restricted, templates, value};
use crate::fake::{Id, Step};
use crate::faults::{Fault, Faults, Script};
use crate::harness::{Operator, installation, ready, stack};
use crate::world;

fn named<T: serde::Serialize>(objects: &[T], name: &str) -> Value {
    let all = objects.iter().map(|object| serde_json::to_value(object).unwrap());
    all.into_iter().find(|object| object["metadata"]["name"] == name).unwrap_or_default()
}

fn refused(spec: Value) -> String {
    attempt(spec, found(true), &installation()).unwrap_err().to_string()
}

fn shop() -> Value {
    json!({
        "version": "0.1.0",
        "tracing": { "managed": {} },
        "workloads": [
            { "name": "orders", "image": "orders:3", "port": 80, "allowFrom": ["listener"] },
            { "name": "stock", "image": "stock:1", "port": 50051, "protocol": "grpc", "allowFrom": ["orders"] },
            { "name": "nightly", "image": "nightly:1" },
        ],
        "routes": [{ "prefix": "/shop", "to": "orders" }],
    })
}

#[test]
fn pods_are_placed_labelled_and_spread_as_the_stack_says() {
    let service = json!({
        "replicas": 2, "nodeSelector": { "disk": "fast" }, "labels": { "team": "core" },
        "tolerations": [{ "key": "gpu", "operator": "Exists", "effect": "NoSchedule" }, { "key": "a", "value": "b" }],
    });
    let plan = plan(json!({ "version": "0.1.0", "services": { "logger": service } }));
    let template = named(&plan.deployments, "logger")["spec"]["template"].clone();
    assert_eq!(template["spec"]["nodeSelector"], json!({ "disk": "fast" }));
    let tolerations = json!([
        { "key": "gpu", "operator": "Exists", "effect": "NoSchedule" },
        { "key": "a", "operator": "Equal", "value": "b" },
    ]);
    assert_eq!(template["spec"]["tolerations"], tolerations);
    assert_eq!(template["metadata"]["labels"]["team"], "core");
    assert_eq!(template["metadata"]["labels"]["app.kubernetes.io/version"], "0.1.0");
    let spread = template["spec"]["topologySpreadConstraints"].as_array().unwrap();
    assert!(spread.len() == 2 && spread.iter().all(|one| one["whenUnsatisfiable"] == "ScheduleAnyway"));
    let budget = named(&plan.disruption_budgets, "logger");
    assert_eq!(budget["spec"]["maxUnavailable"], 1);
    assert_eq!(
        plan.disruption_budgets.len(),
        1,
        "a single pod's budget would keep its node from being drained"
    );
}

#[test]
fn an_autoscaler_owns_the_number_of_pods() {
    let scaled = json!({ "minReplicas": 2, "maxReplicas": 6, "targetCpuPercent": 70 });
    let workload = json!({ "name": "orders", "image": "o", "autoscaling": { "maxReplicas": 3 } });
    let plan = plan(json!({
        "version": "0.1.0", "services": { "broker": { "autoscaling": scaled } }, "workloads": [workload],
    }));
    assert!(named(&plan.deployments, "broker")["spec"].get("replicas").is_none());
    let spec = named(&plan.autoscalers, "broker")["spec"].clone();
    assert_eq!((&spec["minReplicas"], &spec["maxReplicas"]), (&json!(2), &json!(6)));
    let target = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "name": "broker" });
    assert_eq!(spec["scaleTargetRef"], target);
    assert_eq!(spec["metrics"][0]["resource"]["target"]["averageUtilization"], 70);
    assert!(!named(&plan.disruption_budgets, "broker").is_null(), "never fewer than two");
    assert!(named(&plan.disruption_budgets, "orders").is_null(), "it may be one");
    assert_eq!(named(&plan.autoscalers, "orders")["spec"]["minReplicas"], 1);
}

#[tokio::test]
async fn the_number_of_pods_is_handed_to_the_autoscaler() {
    let fixed = json!({ "broker": { "replicas": 4 } });
    let (cluster, _operator) = ready(json!({ "version": "0.1.0", "services": fixed })).await;
    let scaled = json!({ "broker": { "autoscaling": { "minReplicas": 2, "maxReplicas": 6 } } });
    let (before, edited) = (cluster.state().revision, scaled.clone());
    cluster.act(|state| state.edit("stacks", "shop", |stack| stack["spec"]["services"] = edited));
    let broker = Id::shop("deployments", "broker");
    let replicas = vec![Step::Field("spec".to_owned()), Step::Field("replicas".to_owned())];
    let says = |state: &crate::fake::State, manager| state.owned_by(&broker, manager).contains(&replicas);
    cluster
        .eventually("the operator has let go of it", |state| {
            state.get("horizontalpodautoscalers", "broker").is_some() && !says(state, "weft-operator")
        })
        .await;
    let since: Vec<_> = {
        let state = cluster.state();
        let all = state.history.iter().filter(|(when, id, _)| *when > before && *id == broker);
        all.map(|(.., event)| event["object"]["spec"]["replicas"].clone()).collect()
    };
    assert!(
        !since.is_empty() && since.iter().all(|replicas| *replicas == 4),
        "it never was another: {since:?}"
    );
    // Back again, from what the autoscaler has made of it.
    cluster.act(|state| state.edit("deployments", "broker", |broker| broker["spec"]["replicas"] = 6.into()));
    let fixed = json!({ "broker": { "replicas": 3 } });
    cluster.act(|state| state.edit("stacks", "shop", |stack| stack["spec"]["services"] = fixed));
    cluster
        .eventually("the Stack says it again", |state| {
            state.get("deployments", "broker").unwrap()["spec"]["replicas"] == 3
                && says(state, "weft-operator")
                && state.is_ready("shop")
        })
        .await;
    assert!(!says(&cluster.state(), "weft-operator-scale"));
}

#[tokio::test(start_paused = true)]
async fn a_number_that_can_t_be_handed_over_is_not_let_go_of() {
    let spec = |broker| json!({ "version": "0.1.0", "services": { "broker": broker } });
    for number in 0..3 {
        let cluster = world::cluster();
        let (id, object) = stack("shop", spec(json!({ "replicas": 4 })));
        cluster.act(|state| state.put(&id, object));
        let operator = world::start(&cluster, &Faults::default()).await;
        world::calm(&cluster).await;
        operator.stop().await;
        let before = cluster.state().revision;
        let scaled = spec(json!({ "autoscaling": { "minReplicas": 2, "maxReplicas": 6 } }));
        cluster.act(|state| state.edit_at(&id, |stack| stack["spec"] = scaled));
        let faults = Faults::of(Script { write: Some((number, Fault::Refused(500))), ..Script::default() });
        let operator = world::start(&cluster, &faults).await;
        world::calm(&cluster).await;
        operator.stop().await;
        let state = cluster.state();
        assert!(state.is_ready("shop") && state.get("horizontalpodautoscalers", "broker").is_some());
        let broker = Id::shop("deployments", "broker");
        let since = state.history.iter().filter(|(when, id, _)| *when > before && *id == broker);
        for (.., event) in since {
            assert_eq!(event["object"]["spec"]["replicas"], 4, "write {number} failed");
        }
    }
}

#[tokio::test]
async fn what_the_autoscaler_decides_is_left_alone() {
    let services = json!({ "broker": { "autoscaling": { "maxReplicas": 6 } } });
    let (cluster, _operator) = ready(json!({ "version": "0.1.0", "services": services })).await;
    cluster.act(|state| state.edit("deployments", "broker", |broker| broker["spec"]["replicas"] = 4.into()));
    let told = |state: &crate::fake::State| {
        let services = state.get("stacks", "shop").unwrap()["status"]["services"].clone();
        let found = services.as_array().unwrap().iter().find(|one| one["name"] == "broker").cloned();
        found.is_some_and(|broker| broker["desired"] == 4 && broker["ready"] == 4)
    };
    cluster.eventually("the status follows the autoscaler", told).await;
    assert_eq!(cluster.state().get("deployments", "broker").unwrap()["spec"]["replicas"], 4);
    // Its controller notes something every 15 s: that is no edit, but another bound is.
    let writes = |state: &crate::fake::State| {
        state.writes.iter().filter(|write| write.contains("horizontalpodautoscalers")).count()
    };
    let before = writes(&cluster.state());
    cluster.act(|state| {
        state.edit("horizontalpodautoscalers", "broker", |hpa| {
            hpa["status"] = json!({ "desiredReplicas": 4, "currentMetrics": null })
        });
        state.edit("deployments", "broker", |broker| {
            broker["metadata"]["labels"]["weft.dev/stack"] = "other".into()
        });
    });
    let healed = |state: &crate::fake::State| {
        state.get("deployments", "broker").unwrap()["metadata"]["labels"]["weft.dev/stack"] == "shop"
    };
    cluster.eventually("a pass has looked at all of it", healed).await;
    assert_eq!(writes(&cluster.state()), before, "the status is the controller's");
    cluster.act(|state| {
        state.edit("horizontalpodautoscalers", "broker", |hpa| hpa["spec"]["maxReplicas"] = 50.into());
    });
    let bound = |state: &crate::fake::State| {
        state.get("horizontalpodautoscalers", "broker").unwrap()["spec"]["maxReplicas"] == 6
    };
    cluster.eventually("it is put back", bound).await;
}

#[test]
fn a_workload_runs_restricted_with_what_its_stack_says() {
    let workload = json!({
        "name": "orders", "image": "registry.example/orders:3", "command": ["/orders"], "args": ["--port", "80"],
        "env": [{ "name": "OTEL_SERVICE_NAME", "value": "mine" }, { "name": "DATABASE_URL", "value": "x" }],
        "envFrom": [{ "secretRef": { "name": "keys" }, "prefix": "K_" }, { "configMapRef": { "name": "texts" } }],
        "port": 80, "replicas": 3, "imagePullSecrets": [{ "name": "registry" }], "runAsUser": 1001,
        "readOnlyRootFilesystem": true,
        "probes": {
            "startup": { "type": "tcp", "failureThreshold": 30 }, "liveness": { "type": "http", "path": "/livez", "port": 81 },
            "readiness": { "type": "grpc" },
        },
    });
    let digest = |text: &str| Some(ContentDigest(text.to_owned()));
    let inputs = [("Secret", "keys", digest("d1")), ("ConfigMap", "texts", digest("d2"))];
    let inputs = inputs.map(|(kind, name, digest)| ((kind, name.to_owned()), digest)).into();
    let spec = json!({ "version": "0.1.0", "tracing": { "managed": {} }, "workloads": [workload] });
    let plan = attempt(spec, Found { inputs, ..found(true) }, &installation()).unwrap();
    let deployment = named(&plan.deployments, "orders");
    assert_eq!(deployment["spec"]["replicas"], 3);
    let template = &deployment["spec"]["template"];
    restricted("orders", &template["spec"], true);
    assert_eq!(
        template["metadata"]["annotations"]["weft.dev/inputs"], "d1-d2",
        "a change of either rolls it"
    );
    assert_eq!(template["spec"]["securityContext"]["runAsUser"], 1001);
    assert_eq!(template["spec"]["imagePullSecrets"], json!([{ "name": "registry" }]));
    let container = &template["spec"]["containers"][0];
    assert_eq!((&container["command"], &container["args"]), (&json!(["/orders"]), &json!(["--port", "80"])));
    assert_eq!(container["envFrom"][0], json!({ "prefix": "K_", "secretRef": { "name": "keys" } }));
    assert_eq!(container["livenessProbe"]["httpGet"]["port"], 81);
    assert_eq!(container["readinessProbe"]["grpc"]["port"], 80);
    assert_eq!(value(&plan, "orders", "OTEL_SERVICE_NAME").unwrap(), "mine");
    assert_eq!(
        value(&plan, "orders", "DATABASE_URL").unwrap(),
        "x",
        "what we reserve of ours is theirs to set"
    );
    let endpoint = value(&plan, "orders", "OTEL_EXPORTER_OTLP_ENDPOINT").unwrap();
    assert_eq!(endpoint, "http://jaeger.shop.svc.cluster.local:4317");
    assert_eq!(named(&plan.services, "orders")["spec"]["ports"][0]["port"], 80);
    assert!(!named(&plan.service_accounts, "orders").is_null());
}

#[test]
fn a_workload_of_few_words_has_the_image_s_user_and_is_ready_once_it_listens() {
    let plan = plan(shop());
    let spec = named(&plan.deployments, "orders")["spec"]["template"]["spec"].clone();
    assert_eq!(spec["securityContext"]["runAsNonRoot"], true);
    assert!(spec["securityContext"]["runAsUser"].is_null(), "the image's user");
    let container = &spec["containers"][0];
    assert_eq!(container["readinessProbe"]["tcpSocket"]["port"], "http");
    assert_eq!(container["securityContext"]["capabilities"], json!({ "drop": ["ALL"] }));
    assert!(named(&plan.services, "nightly").is_null(), "without a port nobody calls it");
    assert_eq!(
        value(&plan, "broker", "BROKER_ROUTES").unwrap(),
        "/shop=http://orders.shop.svc.cluster.local:80"
    );
    assert!(templates(&plan).iter().any(|(name, _)| name == "nightly"));
}

#[test]
fn what_contradicts_itself_is_refused_with_its_field() {
    let with = |workloads: Value, routes: Value| {
        refused(json!({ "version": "0.1.0", "workloads": workloads, "routes": routes }))
    };
    let orders = || json!({ "name": "orders", "image": "o", "port": 80 });
    let none = || json!([]);
    for (workloads, routes, field, part) in [
        (
            json!([{ "name": "broker", "image": "b" }]),
            none(),
            "spec.workloads[broker].name",
            "operator's own",
        ),
        (json!([orders(), orders()]), none(), "spec.workloads[orders].name", "another"),
        (
            json!([{ "name": "a", "image": "a", "port": 1, "allowFrom": ["nobody"] }]),
            none(),
            "spec.workloads[a].allowFrom",
            "`nobody`",
        ),
        (none(), json!([{ "prefix": "/shop", "to": "orders" }]), "spec.routes[/shop]", "no workload"),
        (
            json!([{ "name": "a", "image": "a" }]),
            json!([{ "prefix": "/a", "to": "a" }]),
            "spec.routes[/a]",
            "speaks http",
        ),
        (
            json!([orders()]),
            json!([{ "prefix": "/v1/orders", "to": "orders" }]),
            "spec.routes[/v1/orders]",
            "own",
        ),
        (
            json!([{ "name": "a", "image": "a", "envFrom": [{}] }]),
            none(),
            "spec.workloads[a].envFrom",
            "exactly one",
        ),
    ] {
        let said = with(workloads, routes);
        assert!(said.contains(field) && said.contains(part), "{said}");
    }
}

#[tokio::test]
async fn what_a_workload_s_environment_needs_is_waited_for_and_its_change_rolls() {
    let cluster = crate::fake::Cluster::default();
    let workload =
        json!({ "name": "orders", "image": "o", "envFrom": [{ "secretRef": { "name": "keys" } }] });
    let secret = |value: &str| json!({ "metadata": {}, "data": { "KEY": value } });
    cluster.act(|state| {
        state.pods_run = true;
        let (id, object) = stack("shop", json!({ "version": "0.1.0", "workloads": [workload] }));
        state.put(&id, object);
    });
    let operator = Operator::start(&cluster).await;
    let names_it = |state: &crate::fake::State| {
        state.condition("shop", "Ready").is_some_and(|(status, reason, message)| {
            status == "False" && reason == "SecretMissing" && message.contains("Secret keys")
        })
    };
    cluster.eventually("it names what is missing", names_it).await;
    cluster.act(|state| state.put(&Id::shop("secrets", "keys"), secret("YQ==")));
    cluster.eventually("it goes on", |state| state.is_ready("shop")).await;
    let digest = |state: &crate::fake::State| {
        state.get("deployments", "orders").unwrap()["spec"]["template"]["metadata"]["annotations"].clone()
    };
    let before = digest(&cluster.state());
    // Who starts anew looks at once; else it is looked at every 30 s.
    operator.stop().await;
    cluster.act(|state| state.put(&Id::shop("secrets", "keys"), secret("Yg==")));
    let _operator = Operator::start(&cluster).await;
    cluster.eventually("its change rolls the pods", |state| digest(state) != before).await;
}

fn paths(plan: &Plan) -> Vec<(String, String, String)> {
    let ingress = named(&plan.ingresses, "shop");
    let paths = ingress["spec"]["rules"][0]["http"]["paths"].as_array().unwrap().clone();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let path = |path: &Value| {
        (text(&path["path"]), text(&path["pathType"]), text(&path["backend"]["service"]["name"]))
    };
    paths.iter().map(path).collect()
}

#[test]
fn an_ingress_has_console_broker_and_routes_on_one_origin() {
    let mut spec = shop();
    spec["expose"] =
        json!({ "host": "shop.example.com", "tls": { "secretName": "cert" }, "ingressClass": "nginx" });
    let plan = plan(spec.clone());
    let ingress = named(&plan.ingresses, "shop");
    assert_eq!(ingress["spec"]["ingressClassName"], "nginx");
    assert_eq!(ingress["spec"]["tls"], json!([{ "hosts": ["shop.example.com"], "secretName": "cert" }]));
    assert_eq!(ingress["spec"]["rules"][0]["host"], "shop.example.com");
    let paths_of = paths(&plan);
    let to = |wanted: &str| {
        paths_of.iter().find(|(path, ..)| path == wanted).map(|(_, type_, to)| (type_.as_str(), to.as_str()))
    };
    assert_eq!(to("/handle"), Some(("Exact", "broker")));
    assert_eq!(to("/v1"), Some(("Prefix", "broker")));
    assert_eq!(to("/shop"), Some(("Prefix", "broker")));
    assert_eq!(to("/"), Some(("Prefix", "frontend")));
    assert_eq!(value(&plan, "broker", "BROKER_ORIGINS").unwrap(), "https://shop.example.com");
    assert_eq!(value(&plan, "authentication", "AUTH_CONSOLE_URL").unwrap(), "https://shop.example.com");
    assert_eq!(value(&plan, "broker", "BROKER_COOKIE_SECURE").unwrap(), "always");
    assert_eq!(value(&plan, "frontend", "FRONTEND_BROKER_URL"), None, "its own origin");

    spec["expose"] = json!({ "host": "shop.example.com" });
    spec["services"] = json!({ "frontend": { "enabled": false } });
    let plain = crate::build::plan(spec);
    assert_eq!(value(&plain, "broker", "BROKER_COOKIE_SECURE"), None);
    assert_eq!(value(&plain, "broker", "BROKER_ORIGINS").unwrap(), "http://shop.example.com");
    assert_eq!(paths(&plain).last().unwrap().2, "broker", "nobody else is there to answer the rest");
}

/// Who may call this port of a component, by the policies of both sides.
fn callers(plan: &Plan, to: &str, port: i64) -> Vec<String> {
    let has_port = |rule: &Value| rule["ports"].as_array().unwrap().iter().any(|one| one["port"] == port);
    let policy = named(&plan.network_policies, to);
    let rules = policy["spec"]["ingress"].as_array().unwrap().iter().filter(|rule| has_port(rule));
    let peers = rules.flat_map(|rule| rule["from"].as_array().cloned().unwrap_or_default());
    let names = peers.filter_map(|peer| {
        Some(peer["podSelector"]["matchLabels"]["app.kubernetes.io/name"].as_str()?.to_owned())
    });
    let mut names: Vec<_> = names.filter(|from| lets_out(plan, from, to, port)).collect();
    names.sort();
    names
}

fn lets_out(plan: &Plan, from: &str, to: &str, port: i64) -> bool {
    let spec = named(&plan.network_policies, from)["spec"].clone();
    if !spec["policyTypes"].as_array().unwrap().contains(&json!("Egress")) {
        return true;
    }
    spec["egress"].as_array().unwrap().iter().any(|rule| {
        rule["to"][0]["podSelector"]["matchLabels"]["app.kubernetes.io/name"] == to
            && rule["ports"].as_array().unwrap().iter().any(|one| one["port"] == port)
    })
}

#[test]
fn policies_allow_the_graph_and_nothing_else() {
    let plan = plan(shop());
    let run = templates(&plan).len() + plan.rotations.len();
    assert_eq!(plan.network_policies.len(), run, "one for each pod template and each Job");
    for (to, port, allowed) in [
        ("authentication", 50051, vec!["broker"]),
        ("logger", 50051, vec!["authentication", "broker", "listener"]),
        ("mail", 50051, vec!["authentication", "listener"]),
        ("listener", 50051, vec![]),
        ("mongodb", 27017, vec!["logger"]),
        ("postgres", 5432, vec!["authentication"]),
        ("rabbitmq", 5672, vec!["broker", "listener"]),
        ("mailcatcher", 1025, vec!["mail"]),
        ("jaeger", 16686, vec!["broker"]),
        ("orders", 80, vec!["broker", "listener"]),
        ("stock", 50051, vec!["orders"]),
    ] {
        assert_eq!(callers(&plan, to, port), allowed, "{to}:{port}");
    }
    assert_eq!(callers(&plan, "jaeger", 4317).len(), 9, "everybody but the stores sends spans");
    let ingress = |name: &str| named(&plan.network_policies, name)["spec"]["ingress"].clone();
    for name in ["broker", "frontend"] {
        let open = ingress(name)
            .as_array()
            .unwrap()
            .iter()
            .any(|rule| rule["from"].is_null() && rule["ports"][0]["port"] == 8080);
        assert!(open, "{name} is reached from anywhere");
    }
    for name in ["broker", "listener", "mail"] {
        let rules = ingress(name);
        let admin =
            rules.as_array().unwrap().iter().find(|rule| rule["ports"][0]["port"] == 9090).unwrap().clone();
        assert_eq!(admin["from"], json!([{ "namespaceSelector": {} }]), "{name}: Prometheus may be anywhere");
    }
    assert_eq!(ingress("nightly"), Value::Null, "nobody calls it");
    for (name, _) in
        templates(&plan).iter().filter(|(name, _)| !["orders", "stock", "nightly"].contains(&name.as_str()))
    {
        let egress = named(&plan.network_policies, name)["spec"]["egress"].clone();
        assert!(
            egress.as_array().unwrap().iter().any(|rule| rule["ports"][0]["port"] == 53),
            "{name} finds names"
        );
    }
}

#[test]
fn metrics_are_read_from_where_prometheus_is_and_by_the_operator() {
    let installation =
        Installation { monitoring_namespaces: vec!["monitoring".to_owned()], ..installation() };
    let plan = attempt(json!({ "version": "0.1.0" }), found(true), &installation).unwrap();
    let rules = named(&plan.network_policies, "logger")["spec"]["ingress"].clone();
    let admin = rules.as_array().unwrap().iter().find(|rule| rule["ports"][0]["port"] == 9090).unwrap();
    let from = ["weft-system", "monitoring"].map(
        |name| json!({ "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": name } } }),
    );
    assert_eq!(admin["from"], json!(from));
}

#[test]
fn what_is_elsewhere_is_reached_and_policies_can_be_left_out() {
    let spec = json!({
        "version": "0.1.0", "tracing": { "otlp": { "endpoint": "http://collector.elsewhere:4317" } },
        "mail": { "from": { "address": "a@example.com" } },
        "stores": { "smtp": { "external": { "host": "relay", "port": 2525, "encryption": "none" } } },
    });
    let found = Found { smtp: FoundSmtp::External(Ok(None)), ..found(true) };
    let plan = attempt(spec, found, &installation()).unwrap();
    let anywhere = |name: &str, port: i64| {
        let egress = named(&plan.network_policies, name)["spec"]["egress"].clone();
        egress.as_array().unwrap().iter().any(|rule| rule["to"].is_null() && rule["ports"][0]["port"] == port)
    };
    assert!(anywhere("mail", 2525) && !anywhere("logger", 2525));
    assert!(anywhere("logger", 4317) && anywhere("frontend", 4317));
    let none = crate::build::plan(json!({ "version": "0.1.0", "networkPolicies": false }));
    assert!(none.network_policies.is_empty());
}

#[test]
fn a_built_in_service_can_be_opened_to_a_workload() {
    let mut spec = shop();
    spec["services"] = json!({ "logger": { "allowFrom": ["orders"] } });
    assert_eq!(callers(&plan(spec), "logger", 50051), ["authentication", "broker", "listener", "orders"]);
    let unknown = json!({ "version": "0.1.0", "services": { "logger": { "allowFrom": ["orders"] } } });
    assert!(refused(unknown).contains("spec.services.logger.allowFrom"));
}

#[tokio::test]
async fn what_a_stack_no_longer_asks_for_goes() {
    let mut spec = shop();
    spec["expose"] = json!({ "host": "shop.example.com" });
    spec["services"] = json!({ "broker": { "autoscaling": { "minReplicas": 2, "maxReplicas": 3 } } });
    let (cluster, _operator) = ready(spec).await;
    let gone = ["ingresses", "horizontalpodautoscalers", "poddisruptionbudgets"];
    for plural in gone {
        assert!(!cluster.state().names(plural).is_empty(), "{plural}");
    }
    cluster.act(|state| state.edit("stacks", "shop", |stack| stack["spec"] = json!({ "version": "0.1.0" })));
    cluster
        .eventually("all of it is pruned", |state| {
            gone.iter().all(|plural| state.names(plural).is_empty())
                && !["deployments", "services", "networkpolicies"]
                    .iter()
                    .any(|plural| state.names(plural).contains(&"orders"))
                && state.is_ready("shop")
        })
        .await;
}
