//! What a Stack becomes, without any cluster.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::{Value, json};
use weft_operator::installation::{Flavour, Installation};
use weft_operator::reconcile::build::{Plan, build};
use weft_operator::reconcile::dereference::{
    Credentials, Found, FoundAdmin, FoundEncryption, FoundLife, FoundSmtp, FoundStore, FoundTemplates, Login,
};
use weft_operator::reconcile::validate::{Refusal, validate};
use weft_operator::view::ContentDigest;
use weft_operator_api::{RESERVED_ENV, Stack};

use crate::harness::{full, installation, stack};

pub(crate) fn found(fresh: bool) -> Found {
    let credentials = |name: &str| {
        let login = || Login { username: "weft_admin".to_owned(), password: format!("{name}-superpass") };
        let (credentials, superuser) = if fresh {
            (Credentials::Fresh(format!("{name}-pass")), Some(login()))
        } else {
            (Credentials::Kept(ContentDigest(format!("digest-of-{name}"))), None)
        };
        FoundStore::Managed { credentials, superuser }
    };
    let digest = || ContentDigest("digest-of-admin".to_owned());
    Found {
        elder: None,
        mongodb: credentials("mongodb"),
        rabbitmq: credentials("rabbitmq"),
        postgres: credentials("postgres"),
        smtp: FoundSmtp::Catcher,
        templates: FoundTemplates::Unused,
        admin: if fresh {
            FoundAdmin::Fresh("admin-pass".to_owned())
        } else {
            FoundAdmin::Kept { secret: "shop-admin".to_owned(), digest: digest() }
        },
        encryption: if fresh {
            FoundEncryption::Fresh("encryption-key".to_owned())
        } else {
            FoundEncryption::Kept(ContentDigest("digest-of-weft-authentication".to_owned()))
        },
        life: FoundLife::default(),
        inputs: Default::default(),
        jobs: Default::default(),
    }
}

fn planned(spec: Value, installation: &Installation, fresh: bool) -> Plan {
    attempt(spec, found(fresh), installation).unwrap()
}

pub(crate) fn attempt(spec: Value, found: Found, installation: &Installation) -> Result<Plan, Refusal> {
    let mut object = stack("shop", spec).1;
    object["metadata"]["uid"] = "the-uid".into();
    let stack: Stack = serde_json::from_value(object).unwrap();
    validate(&stack, found, installation).map(|stack| build(&stack))
}

pub(crate) fn plan(spec: Value) -> Plan {
    planned(spec, &installation(), true)
}

pub(crate) fn templates(plan: &Plan) -> Vec<(String, &PodTemplateSpec)> {
    let name = |name: &Option<String>| name.clone().unwrap();
    let deployments =
        plan.deployments.iter().map(|o| (name(&o.metadata.name), &o.spec.as_ref().unwrap().template));
    let sets =
        plan.stateful_sets.iter().map(|o| (name(&o.metadata.name), &o.spec.as_ref().unwrap().template));
    deployments.chain(sets).collect()
}

const SERVICES: [&str; 6] = ["broker", "authentication", "logger", "mail", "listener", "frontend"];

fn both_majors() -> [Plan; 2] {
    [1, 2].map(|major| {
        let mut installation = installation();
        installation.tracing.jaeger.major = major;
        planned(full(), &installation, true)
    })
}

#[test]
fn names_are_bare() {
    let plan = plan(full());
    let names: Vec<_> = templates(&plan).into_iter().map(|(name, _)| name).collect();
    let stores = ["mongodb", "rabbitmq", "postgres"];
    assert_eq!(names, [&["mailcatcher", "jaeger"], &SERVICES[..], &stores[..]].concat());
    let mut faces: Vec<_> =
        plan.services.iter().map(|service| service.metadata.name.clone().unwrap()).collect();
    faces.push("listener".to_owned());
    faces.sort();
    let mut all = names;
    all.sort();
    assert_eq!(faces, all, "everything has a Service, except that the listener serves nobody");
}

#[test]
fn every_pod_is_restricted() {
    for (name, template) in both_majors().iter().flat_map(templates) {
        let template = serde_json::to_value(template).unwrap();
        restricted(&name, &template["spec"], !["mongodb", "rabbitmq"].contains(&name.as_str()));
        assert_eq!(template["spec"]["automountServiceAccountToken"], false, "{name}");
        assert_eq!(template["spec"]["serviceAccountName"], name.as_str());
    }
}

/// Kubernetes's restricted profile, and what we ask for beyond it.
pub(crate) fn restricted(name: &str, pod: &Value, read_only_root: bool) {
    let security = &pod["securityContext"];
    assert_eq!(security["runAsNonRoot"], true, "{name}");
    assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault", "{name}");
    assert!(
        pod["hostNetwork"].is_null() && pod["hostPID"].is_null() && pod["initContainers"].is_null(),
        "{name}"
    );
    for volume in pod["volumes"].as_array().into_iter().flatten() {
        assert!(volume["hostPath"].is_null(), "{name}");
    }
    for container in pod["containers"].as_array().unwrap() {
        let security = &container["securityContext"];
        assert_eq!(security["allowPrivilegeEscalation"], false, "{name}");
        assert_eq!(security["capabilities"], json!({ "drop": ["ALL"] }), "{name}");
        assert_eq!(security["readOnlyRootFilesystem"], read_only_root, "{name}");
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            assert!(container[probe].is_object(), "{name} has no {probe}");
            assert!(container[probe]["exec"].is_null(), "{name}");
        }
        for kind in ["requests", "limits"] {
            for resource in ["cpu", "memory"] {
                assert!(
                    !container["resources"][kind][resource].is_null(),
                    "{name} has no {kind} of {resource}"
                );
            }
        }
        assert_eq!(container["resources"]["requests"]["cpu"], "10m", "{name}");
    }
}

#[test]
fn everything_is_owned_except_data() {
    let plan = serde_json::to_value(Everything::from(plan(full()))).unwrap();
    for object in plan["owned"].as_array().unwrap() {
        assert_eq!(object["metadata"]["ownerReferences"][0]["uid"], "the-uid", "{object}");
        assert_eq!(object["metadata"]["labels"]["app.kubernetes.io/managed-by"], "weft-operator");
    }
    let data = plan["data"].as_array().unwrap();
    assert_eq!(data.len(), 8, "three stores, each with a superuser, authentication and the first user");
    for secret in data {
        assert!(secret["metadata"]["ownerReferences"].is_null());
        assert_eq!(secret["metadata"]["labels"]["weft.dev/data"], "true");
    }
    for set in plan["sets"].as_array().unwrap() {
        let spec = &set["spec"];
        assert_eq!(
            spec["persistentVolumeClaimRetentionPolicy"],
            json!({ "whenDeleted": "Retain", "whenScaled": "Retain" })
        );
        assert!(spec["volumeClaimTemplates"][0]["metadata"]["ownerReferences"].is_null());
    }
}

/// All objects of a plan; a new field can't be forgotten.
#[derive(serde::Serialize)]
struct Everything {
    owned: Vec<Value>,
    data: Vec<Value>,
    sets: Vec<Value>,
}

impl From<Plan> for Everything {
    fn from(plan: Plan) -> Self {
        let Plan {
            data_secrets,
            derived_secrets,
            service_accounts,
            config_maps,
            jobs,
            // What they write is data, and has tests of its own.
            rotations: _,
            services,
            deployments,
            stateful_sets,
            controller_revisions,
            bases: _,
            disruption_budgets,
            autoscalers,
            network_policies,
            ingresses,
        } = plan;
        fn values<T: serde::Serialize>(objects: Vec<T>) -> Vec<Value> {
            objects.into_iter().map(|object| serde_json::to_value(object).unwrap()).collect()
        }
        let sets = values(stateful_sets);
        let kinds = [
            values(derived_secrets),
            values(service_accounts),
            values(config_maps),
            values(jobs),
            values(services),
            values(deployments),
            values(controller_revisions),
            values(disruption_budgets),
            values(autoscalers),
            values(network_policies),
            values(ingresses),
        ];
        let owned = kinds.into_iter().flatten().chain(sets.clone()).collect();
        Self { owned, data: values(data_secrets), sets }
    }
}

fn env(plan: &Plan, name: &str) -> Vec<(String, String)> {
    let (_, template) = templates(plan).into_iter().find(|(found, _)| found == name).unwrap();
    let container = &template.spec.as_ref().unwrap().containers[0];
    let env = container.env.clone().unwrap_or_default().into_iter();
    env.map(|variable| (variable.name, variable.value.unwrap_or_default())).collect()
}

pub(crate) fn value(plan: &Plan, name: &str, variable: &str) -> Option<String> {
    env(plan, name).into_iter().find(|(found, _)| found == variable).map(|(_, value)| value)
}

#[test]
fn services_are_told_where_things_are() {
    let plan = plan(full());
    for name in SERVICES {
        let told = |variable: &str| value(&plan, name, variable).unwrap_or_default();
        assert_eq!(told("WEFT_MESH_SECURITY"), "plaintext");
        assert_eq!(told("WEFT_DRAIN_DELAY"), "3s", "endpoints are withdrawn before connections are refused");
        assert_eq!(told("WEFT_MESH_DOMAIN"), "shop.svc.cluster.local");
        assert_eq!(told("OTEL_EXPORTER_OTLP_ENDPOINT"), "http://jaeger.shop.svc.cluster.local:4317");
        assert_eq!(told("OTEL_TRACES_SAMPLER_ARG"), "1");
        assert!(told("OTEL_RESOURCE_ATTRIBUTES").contains("k8s.pod.name=$(POD_NAME)"));
        let names: Vec<_> = env(&plan, name).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names[0], "POD_NAME", "it stands before what refers to it");
        assert_eq!(
            names.iter().collect::<std::collections::BTreeSet<_>>().len(),
            names.len(),
            "no name twice"
        );
    }
    assert_eq!(value(&plan, "broker", "AMQP_URI_FILE").as_deref(), Some("/etc/weft/rabbitmq/uri"));
    assert_eq!(value(&plan, "listener", "AMQP_URI_FILE").as_deref(), Some("/etc/weft/rabbitmq/uri"));
    assert_eq!(value(&plan, "logger", "MONGODB_URI_FILE").as_deref(), Some("/etc/weft/mongodb/uri"));
    assert_eq!(value(&plan, "broker", "BROKER_TRUST_INCOMING_TRACES").as_deref(), Some("false"));
}

/// What the operator writes, a Stack may not: a name twice in one pod would be refused by the API server.
#[test]
fn whatever_a_service_is_told_is_reserved() {
    let spec = json!({
        "version": "0.1.0", "tracing": { "managed": {} },
        "origins": ["http://127.0.0.1:30081"], "trustedProxies": ["10.0.0.0/8"], "openActions": ["mail"],
        "limits": { "requestsPerSecond": 1, "requestsBurst": 2, "signInBurst": 3, "signInPerMinute": 4,
            "openBytesPerDay": 5, "userMailsPerHour": 6, "recipientMailsPerHour": 7 },
        "workloads": [{ "name": "orders", "image": "orders:3", "port": 80 }],
        "routes": [{ "prefix": "/shop", "to": "orders" }],
        "console": { "url": "http://127.0.0.1:30081", "brokerUrl": "http://127.0.0.1:30080", "jaegerUrl": "http://127.0.0.1:30686" },
        "mail": { "from": { "address": "shop@example.com" }, "templates": { "configMap": "letters" } },
        "stores": { "smtp": { "external": { "host": "relay", "secretRef": { "name": "relay" } } } },
    });
    let digest = || ContentDigest("digest".to_owned());
    let found = Found {
        smtp: FoundSmtp::External(Ok(Some(digest()))),
        templates: FoundTemplates::Kept { config_map: "letters".to_owned(), digest: digest() },
        ..found(true)
    };
    let plan = attempt(spec, found, &installation()).unwrap();
    let told: std::collections::BTreeSet<_> =
        SERVICES.iter().flat_map(|name| env(&plan, name)).map(|(name, _)| name).collect();
    let also = [
        "AMQP_URI",
        "AUTH_ENCRYPTION_KEYS",
        "AUTH_FIRST_USER_PASSWORD",
        "DATABASE_URL",
        "MAIL_PASSWORD",
        "MONGODB_URI",
        "WEFT_MESH_ADDRESSES",
    ];
    let reserved: std::collections::BTreeSet<_> =
        RESERVED_ENV.iter().filter(|name| !also.contains(name)).map(|name| (*name).to_owned()).collect();
    assert_eq!(told, reserved);
}

#[test]
fn what_a_stack_tunes_arrives() {
    let spec = json!({
        "version": "0.2.0",
        "services": {
            "broker": { "replicas": 5, "resources": { "limits": { "memory": "1Gi" }, "requests": { "cpu": 1 } } },
            "logger": { "env": [{ "name": "LOG_RETENTION", "value": "7d" }] },
            "listener": { "enabled": false }, "authentication": { "enabled": false }, "mail": { "enabled": false },
            "frontend": { "enabled": false },
        },
        "stores": { "mongodb": { "managed": { "storage": "7Gi" } } },
        "tracing": { "otlp": { "endpoint": "http://collector:4317" }, "ratio": 0.25, "trustIncoming": true },
    });
    let found = Found {
        postgres: FoundStore::Unused,
        smtp: FoundSmtp::Unused,
        admin: FoundAdmin::Unused,
        encryption: FoundEncryption::Unused,
        ..found(true)
    };
    let plan = attempt(spec, found, &installation()).unwrap();
    assert_eq!(plan.data_secrets.len(), 4, "of two stores: nobody signs in");
    let broker =
        plan.deployments.iter().find(|found| found.metadata.name.as_deref() == Some("broker")).unwrap();
    let broker = serde_json::to_value(broker).unwrap();
    assert_eq!(broker["spec"]["replicas"], 5);
    let container = &broker["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], "weft/broker:0.2.0");
    let wanted =
        json!({ "limits": { "cpu": "2", "memory": "1Gi" }, "requests": { "cpu": "1", "memory": "32Mi" } });
    assert_eq!(container["resources"], wanted);
    assert_eq!(value(&plan, "logger", "LOG_RETENTION").as_deref(), Some("7d"));
    assert_eq!(
        value(&plan, "broker", "OTEL_EXPORTER_OTLP_ENDPOINT").as_deref(),
        Some("http://collector:4317")
    );
    assert_eq!(value(&plan, "broker", "OTEL_TRACES_SAMPLER_ARG").as_deref(), Some("0.25"));
    assert_eq!(value(&plan, "broker", "BROKER_TRUST_INCOMING_TRACES").as_deref(), Some("true"));
    let names: Vec<_> = templates(&plan).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["broker", "logger", "mongodb", "rabbitmq"], "neither what is off nor Jaeger");
    let claim = &plan.stateful_sets[0].spec.as_ref().unwrap().volume_claim_templates.as_ref().unwrap()[0];
    assert_eq!(serde_json::to_value(claim).unwrap()["spec"]["resources"]["requests"]["storage"], "7Gi");
}

#[test]
fn without_tracing_no_span_leaves() {
    let plan = plan(json!({ "version": "0.1.0" }));
    assert_eq!(value(&plan, "broker", "OTEL_EXPORTER_OTLP_ENDPOINT"), None);
}

#[test]
fn a_rollout_waits_for_the_new_pod() {
    let plan = plan(full());
    for name in SERVICES {
        let found =
            plan.deployments.iter().find(|found| found.metadata.name.as_deref() == Some(name)).unwrap();
        let spec = serde_json::to_value(found).unwrap()["spec"].clone();
        assert_eq!(spec["strategy"]["rollingUpdate"], json!({ "maxSurge": 1, "maxUnavailable": 0 }));
        assert_eq!(spec["template"]["spec"]["terminationGracePeriodSeconds"], 30);
    }
}

#[test]
fn the_pass_that_makes_a_secret_and_the_next_give_the_same_pods() {
    let first = plan(full());
    let digest = |name: &str| {
        let secret =
            first.data_secrets.iter().find(|secret| secret.metadata.name.as_deref() == Some(name)).unwrap();
        ContentDigest::of(secret.data.as_ref().unwrap().iter().map(|(key, value)| (key, &value.0)))
    };
    let kept =
        |name: &str| FoundStore::Managed { credentials: Credentials::Kept(digest(name)), superuser: None };
    let found = Found {
        elder: None,
        mongodb: kept("mongodb"),
        rabbitmq: kept("rabbitmq"),
        postgres: kept("postgres"),
        smtp: FoundSmtp::Catcher,
        templates: FoundTemplates::Unused,
        admin: FoundAdmin::Kept { secret: "shop-admin".to_owned(), digest: digest("shop-admin") },
        encryption: FoundEncryption::Kept(digest("weft-authentication")),
        life: FoundLife::default(),
        inputs: Default::default(),
        jobs: Default::default(),
    };
    let second = attempt(full(), found, &installation()).unwrap();
    assert!(second.data_secrets.is_empty(), "made once");
    assert_eq!(second.deployments, first.deployments);
    assert_eq!(second.stateful_sets, first.stateful_sets);
}

#[test]
fn connection_secrets_hold_what_clients_expect() {
    let secret = |plan: &Plan, name: &str| {
        let found =
            plan.data_secrets.iter().find(|secret| secret.metadata.name.as_deref() == Some(name)).unwrap();
        let text = |value: &k8s_openapi::ByteString| String::from_utf8(value.0.clone()).unwrap();
        found.data.as_ref().unwrap().iter().map(|(key, value)| (key.clone(), text(value))).collect::<Vec<_>>()
    };
    let pairs =
        |pairs: [(&str, &str); 5]| pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
    let plan = plan(full());
    let rabbitmq = pairs([
        ("host", "rabbitmq.shop.svc.cluster.local"),
        ("password", "rabbitmq-pass"),
        ("port", "5672"),
        ("uri", "amqp://weft:rabbitmq-pass@rabbitmq.shop.svc.cluster.local:5672/%2f"),
        ("username", "weft"),
    ]);
    assert_eq!(secret(&plan, "rabbitmq"), rabbitmq);
    let postgres = pairs([
        ("host", "postgres.shop.svc.cluster.local"),
        ("password", "postgres-pass"),
        ("port", "5432"),
        ("uri", "postgres://weft:postgres-pass@postgres.shop.svc.cluster.local:5432/weft"),
        ("username", "weft"),
    ]);
    assert_eq!(secret(&plan, "postgres"), postgres);
    let uri = |plan: &Plan| secret(plan, "mongodb").into_iter().find(|(key, _)| key == "uri").unwrap().1;
    assert_eq!(
        uri(&plan),
        "mongodb://weft:mongodb-pass@mongodb.shop.svc.cluster.local:27017/?authSource=admin"
    );
    let mut local = installation();
    local.stores.mongodb.flavour = Flavour::FerretDb;
    assert_eq!(uri(&planned(full(), &local, true)), "mongodb://mongodb.shop.svc.cluster.local:27017/");
}

#[test]
fn rabbitmq_keeps_its_cookie_off_the_volume() {
    let plan = plan(full());
    let set = plan.stateful_sets.iter().find(|set| set.metadata.name.as_deref() == Some("rabbitmq")).unwrap();
    let pod = serde_json::to_value(set).unwrap()["spec"]["template"]["spec"].clone();
    let mounts = pod["containers"][0]["volumeMounts"].clone();
    assert_eq!(mounts[0], json!({ "name": "home", "mountPath": "/var/lib/rabbitmq" }));
    assert_eq!(mounts[1], json!({ "name": "data", "mountPath": "/var/lib/rabbitmq/mnesia" }));
    assert_eq!(value(&plan, "rabbitmq", "RABBITMQ_NODENAME").as_deref(), Some("rabbit@localhost"));
}

#[test]
fn jaeger_2_is_configured_by_a_file_whose_change_rolls_it() {
    let [first, second] = both_majors();
    let of_jaeger = |plan: &Plan| {
        plan.config_maps.iter().find(|map| map.metadata.name.as_deref() == Some("jaeger")).cloned()
    };
    assert_eq!(of_jaeger(&first), None);
    let config_map = of_jaeger(&second).unwrap();
    let text = &config_map.data.as_ref().unwrap()["config.yaml"];
    let config: Value = serde_yaml_ng::from_str(text).unwrap();
    assert_eq!(config["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"], "0.0.0.0:4317");
    let named = |section: &str, names: &Value| {
        names.as_array().unwrap().iter().all(|name| config[section][name.as_str().unwrap()].is_object())
    };
    assert!(named("extensions", &config["service"]["extensions"]));
    for (section, key) in
        [("receivers", "receivers"), ("processors", "processors"), ("exporters", "exporters")]
    {
        assert!(named(section, &config["service"]["pipelines"]["traces"][key]), "{section}");
    }
    let (_, template) = templates(&second).into_iter().find(|(name, _)| name == "jaeger").unwrap();
    assert!(
        template.metadata.as_ref().unwrap().annotations.as_ref().unwrap().contains_key("weft.dev/inputs")
    );
}

#[test]
fn any_password_is_escaped_in_a_uri() {
    let fresh = || FoundStore::Managed {
        credentials: Credentials::Fresh("p@ss/".to_owned()),
        superuser: Some(Login { username: "some:one".to_owned(), password: "p@ss/".to_owned() }),
    };
    let found = Found { mongodb: fresh(), rabbitmq: fresh(), postgres: fresh(), ..found(true) };
    let plan = attempt(full(), found, &installation()).unwrap();
    let secrets: Vec<_> =
        plan.data_secrets.iter().filter_map(|secret| secret.data.as_ref()?.get("uri")).collect();
    assert_eq!(secrets.len(), 6);
    for uri in secrets {
        let uri = std::str::from_utf8(&uri.0).unwrap();
        assert!(uri.contains("://weft:p%40ss%2F@") || uri.contains("://some%3Aone:p%40ss%2F@"), "{uri}");
    }
}
