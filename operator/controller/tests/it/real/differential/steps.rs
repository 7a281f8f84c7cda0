//! Requests of the kinds that the operator makes, right and wrong ones.

use serde_json::{Value, json};

use super::objects::{claim, deployment, labelled, merge, ready, service, template};

pub(super) struct Step {
    pub(super) what: String,
    pub(super) method: &'static str,
    /// The path of the request.
    pub(super) path: String,
    /// The path of the object that it is about.
    pub(super) object: String,
    /// May hold `{uid}` and `{version}` of that object.
    pub(super) body: Value,
}

/// Plural, group and version, kind.
const KINDS: [(&str, &str, &str); 12] = [
    ("configmaps", "v1", "ConfigMap"),
    ("secrets", "v1", "Secret"),
    ("services", "v1", "Service"),
    ("controllerrevisions", "apps/v1", "ControllerRevision"),
    ("deployments", "apps/v1", "Deployment"),
    ("statefulsets", "apps/v1", "StatefulSet"),
    ("jobs", "batch/v1", "Job"),
    ("ingresses", "networking.k8s.io/v1", "Ingress"),
    ("networkpolicies", "networking.k8s.io/v1", "NetworkPolicy"),
    ("poddisruptionbudgets", "policy/v1", "PodDisruptionBudget"),
    ("horizontalpodautoscalers", "autoscaling/v2", "HorizontalPodAutoscaler"),
    ("stacks", "weft.dev/v1alpha1", "Stack"),
];

struct Script {
    /// `/namespaces/<name>/`
    namespace: String,
    steps: Vec<Step>,
}

impl Script {
    /// An apply with force, as the operator's.
    fn apply(&mut self, what: &str, plural: &str, name: &str, fields: Value) {
        self.apply_by(what, plural, name, fields, "fieldManager=weft-operator&force=true");
    }

    fn apply_by(&mut self, what: &str, plural: &str, name: &str, fields: Value, query: &str) {
        let (mut object, path) = (self.object(plural, name), self.path(plural, name));
        merge(&mut object, fields);
        self.push(what, "PATCH", format!("{path}?{query}"), path, object);
    }

    fn create(&mut self, what: &str, plural: &str, name: &str, fields: Value) {
        let (mut object, path) = (self.object(plural, name), self.path(plural, name));
        merge(&mut object, fields);
        self.push(what, "POST", self.path(plural, "").trim_end_matches('/').to_owned(), path, object);
    }

    fn replace(&mut self, what: &str, plural: &str, name: &str, fields: Value) {
        let (mut object, path) = (self.object(plural, name), self.path(plural, name));
        merge(&mut object, fields);
        self.push(what, "PUT", path.clone(), path, object);
    }

    fn delete(&mut self, what: &str, plural: &str, name: &str, preconditions: Value) {
        let path = self.path(plural, name);
        let body = json!({ "apiVersion": "v1", "kind": "DeleteOptions", "preconditions": preconditions });
        self.push(what, "DELETE", path.clone(), path, body);
    }

    fn push(&mut self, what: &str, method: &'static str, path: String, object: String, body: Value) {
        self.steps.push(Step { what: what.to_owned(), method, path, object, body });
    }

    fn path(&self, plural: &str, name: &str) -> String {
        let (_, version, _) = kind(plural);
        let root = if version.contains('/') { "/apis" } else { "/api" };
        format!("{root}/{version}{}{plural}/{name}", self.namespace)
    }

    fn object(&self, plural: &str, name: &str) -> Value {
        let (_, version, kind) = kind(plural);
        json!({ "apiVersion": version, "kind": kind, "metadata": { "name": name } })
    }
}

fn kind(plural: &str) -> (&'static str, &'static str, &'static str) {
    KINDS.into_iter().find(|(known, ..)| *known == plural).unwrap()
}

pub(super) fn steps(namespace: &str) -> Vec<Step> {
    let mut script = Script { namespace: namespace.to_owned(), steps: Vec::new() };
    of_objects(&mut script);
    preconditions(&mut script);
    immutable(&mut script);
    metadata(&mut script);
    pods(&mut script);
    lists(&mut script);
    others(&mut script);
    too_large(&mut script);
    script.steps
}

fn of_objects(script: &mut Script) {
    script.create("create", "configmaps", "one", json!({ "data": { "a": "b" } }));
    script.create("create again", "configmaps", "one", json!({}));
    script.create("create another's Deployment", "deployments", "theirs", deployment(json!({})));
    script.apply("apply what is new", "deployments", "one", deployment(json!({})));
    script.apply("apply the same", "deployments", "one", deployment(json!({})));
    script.apply("apply a change", "deployments", "one", deployment(json!({ "replicas": 3 })));
    script.apply("apply labels", "deployments", "one", labelled("labels", json!({ "team": "core" })));
    let by_another = "fieldManager=another";
    let changed = deployment(json!({ "replicas": 5 }));
    script.apply_by("apply against another", "deployments", "one", changed, by_another);
    script.apply_by("apply without a manager", "deployments", "one", deployment(json!({})), "force=true");
    let mut named = deployment(json!({}));
    named["metadata"] = json!({ "name": "other" });
    script.apply("apply under another name", "deployments", "one", named);
    script.replace("replace what is missing", "configmaps", "missing", json!({}));
    script.delete("delete what is missing", "configmaps", "missing", Value::Null);
}

fn preconditions(script: &mut Script) {
    let meta = |key: &str, value: &str| json!({ "metadata": { key: value }, "data": { "a": "c" } });
    script.apply("apply to another uid", "configmaps", "one", meta("uid", "another"));
    script.apply("apply to this uid", "configmaps", "one", meta("uid", "{uid}"));
    script.apply("apply to a former version", "configmaps", "one", meta("resourceVersion", "1"));
    script.apply("apply to this version", "configmaps", "one", meta("resourceVersion", "{version}"));
    script.apply("a Stack", "stacks", "one", json!({ "spec": { "version": "0.1.0" } }));
    let status = |script: &mut Script, what: &str, name: &str, meta: Value| {
        let (mut object, path) = (script.object("stacks", name), script.path("stacks", name));
        merge(&mut object, json!({ "metadata": meta, "status": ready() }));
        script.push(
            what,
            "PATCH",
            format!("{path}/status?fieldManager=weft-operator&force=true"),
            path,
            object,
        );
    };
    status(script, "the status of nothing", "missing", json!({}));
    status(script, "the status of another uid", "one", json!({ "uid": "another" }));
    status(script, "the status of a former version", "one", json!({ "resourceVersion": "1" }));
    status(script, "the status of this version", "one", json!({ "resourceVersion": "{version}" }));
    script.apply("apply with a uid to nothing", "configmaps", "missing", meta("uid", "another"));
    script.replace("replace a former version", "configmaps", "one", meta("resourceVersion", "1"));
    script.replace("replace this version", "configmaps", "one", meta("resourceVersion", "{version}"));
    script.delete("delete another uid", "configmaps", "one", json!({ "uid": "another" }));
    script.delete("delete a former version", "configmaps", "one", json!({ "resourceVersion": "1" }));
    let both = json!({ "uid": "{uid}", "resourceVersion": "{version}" });
    script.delete("delete this one", "configmaps", "one", both);
    script.delete("delete it again", "configmaps", "one", Value::Null);
}

fn immutable(script: &mut Script) {
    let selects = |name: &str| json!({ "matchLabels": { "app": name } });
    let mut other = deployment(json!({ "selector": selects("other") }));
    other["spec"]["template"]["metadata"]["labels"]["app"] = "other".into();
    script.apply("another selector of a Deployment", "deployments", "one", other);
    let mut unselected = deployment(json!({}));
    unselected["spec"]["template"]["metadata"]["labels"]["app"] = "other".into();
    script.apply("a selector without its pods", "deployments", "one", unselected);
    let set = |more: Value| {
        let mut set = json!({ "spec": {
            "serviceName": "one", "selector": selects("one"), "template": template(), "replicas": 1,
            "volumeClaimTemplates": [claim("1Gi")],
        } });
        merge(&mut set["spec"], more);
        set
    };
    script.apply("a StatefulSet", "statefulsets", "one", set(json!({})));
    script.apply("another number of pods", "statefulsets", "one", set(json!({ "replicas": 2 })));
    let claims = |amount: &str| json!({ "volumeClaimTemplates": [claim(amount)] });
    script.apply("another volume", "statefulsets", "one", set(claims("5Gi")));
    script.apply(
        "another Service of a StatefulSet",
        "statefulsets",
        "one",
        set(json!({ "serviceName": "two" })),
    );
    script.apply("another policy", "statefulsets", "one", set(json!({ "podManagementPolicy": "Parallel" })));
    script.apply("no volume", "statefulsets", "two", set(claims("0")));
    let job = |image: &str| {
        let mut template = template();
        template["spec"]["restartPolicy"] = "Never".into();
        template["spec"]["containers"][0]["image"] = image.into();
        json!({ "spec": { "template": template } })
    };
    script.apply("a Job", "jobs", "one", job("one:1"));
    script.apply("another pod of a Job", "jobs", "one", job("one:2"));
    let revision = |text: &str| json!({ "revision": 1, "data": { "kept": text } });
    script.apply("a ControllerRevision", "controllerrevisions", "one", revision("one"));
    script.apply("other data of a ControllerRevision", "controllerrevisions", "one", revision("two"));
    script.apply("a Secret", "secrets", "one", json!({ "type": "Opaque", "data": { "a": "YQ==" } }));
    script.apply("another type of a Secret", "secrets", "one", json!({ "type": "example.com/other" }));
    script.apply("a key that is no file name", "secrets", "one", json!({ "data": { "a/b": "YQ==" } }));
}

fn metadata(script: &mut Script) {
    let long = "a".repeat(64);
    for (what, key, value) in [
        ("a label with a space", "team", "core team"),
        ("a label of 64 characters", "team", &*long),
        ("a label that ends in a hyphen", "team", "core-"),
        ("a label's key with a space", "the team", "core"),
        ("a label's key of 64 characters", &*long, "core"),
        ("a label's key with a wrong prefix", "Example/team", "core"),
        ("a label's empty key", "", "core"),
        ("an empty label", "team", ""),
    ] {
        script.apply(what, "deployments", "one", labelled("labels", json!({ key: value })));
        let mut pods = deployment(json!({}));
        pods["spec"]["template"]["metadata"]["labels"][key] = value.into();
        script.apply(&format!("{what}, of pods"), "deployments", "one", pods);
    }
    let annotations = labelled("annotations", json!({ "the key": "any text" }));
    script.apply("an annotation's key with a space", "deployments", "one", annotations);
    for name in ["One", "a_b", "a..b", &"a".repeat(254)] {
        script.apply(&format!("the name {name:.5}"), "configmaps", name, json!({}));
    }
    script.apply("a Service's name with a dot", "services", "a.b", service());
    script.apply("a Service's long name", "services", &long, service());
    let owner = |uid: &str, controls: bool| json!({ "apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": uid, "controller": controls });
    let owned = |owners: Value| labelled("ownerReferences", owners);
    script.apply("an owner without a uid", "deployments", "one", owned(json!([owner("", true)])));
    let both = json!([owner("a", true), owner("b", true)]);
    script.apply("two that control", "deployments", "one", owned(both));
    script.apply("an owner twice", "deployments", "one", owned(json!([owner("a", true), owner("a", true)])));
}

fn pods(script: &mut Script) {
    let resources =
        |requests: Value, limits: Value| json!({ "resources": { "requests": requests, "limits": limits } });
    for (what, fields) in [
        ("resources", resources(json!({ "memory": "32Mi" }), json!({ "memory": "0.1Gi" }))),
        ("a request over its limit", resources(json!({ "memory": "512Mi" }), json!({ "memory": "256Mi" }))),
        ("a request over its limit of cpu", resources(json!({ "cpu": "1500m" }), json!({ "cpu": 1 }))),
        ("a quantity of another unit", resources(json!({ "memory": "1Xi" }), json!({}))),
        ("a negative quantity", resources(json!({ "memory": "-1" }), json!({}))),
        ("an empty quantity", resources(json!({ "memory": "" }), json!({}))),
        ("no image", json!({ "image": "" })),
        ("an image with a space", json!({ "image": " one:1" })),
        ("a port of 0", json!({ "ports": [{ "containerPort": 0 }] })),
        ("a port of 65536", json!({ "ports": [{ "containerPort": 65_536 }] })),
        (
            "a port's name of 16 characters",
            json!({ "ports": [{ "containerPort": 80, "name": "a234567890123456" }] }),
        ),
        ("a variable without a name", json!({ "env": [{ "name": "", "value": "a" }] })),
        ("a variable with an equals sign", json!({ "env": [{ "name": "a=b", "value": "a" }] })),
        ("a mount without a volume", json!({ "volumeMounts": [{ "name": "none", "mountPath": "/a" }] })),
        ("a probe without a path", json!({ "livenessProbe": { "httpGet": { "path": "", "port": 80 } } })),
        (
            "a probe's period",
            json!({ "livenessProbe": { "tcpSocket": { "port": 80 }, "periodSeconds": -1 } }),
        ),
    ] {
        let mut changed = deployment(json!({}));
        merge(&mut changed["spec"]["template"]["spec"]["containers"][0], fields);
        script.apply(what, "deployments", "one", changed);
    }
    let key = |more: Value| {
        let mut toleration = json!({ "key": "a", "operator": "Exists" });
        merge(&mut toleration, more);
        json!({ "tolerations": [toleration] })
    };
    for (what, fields) in [
        ("a node's label with a space", json!({ "nodeSelector": { "disk": "very fast" } })),
        ("a node's key with a space", json!({ "nodeSelector": { "the disk": "fast" } })),
        ("a taint", key(json!({}))),
        ("a taint's key with a space", key(json!({ "key": "the key" }))),
        ("a taint's value without Equal", key(json!({ "value": "a" }))),
        ("a taint's value with a space", key(json!({ "operator": "Equal", "value": "the value" }))),
        ("a taint's time without its effect", key(json!({ "tolerationSeconds": 5 }))),
        ("a taint's time", key(json!({ "effect": "NoExecute", "tolerationSeconds": 5 }))),
        ("a user below 0", json!({ "securityContext": { "runAsUser": -1 } })),
        ("a grace below 0", json!({ "terminationGracePeriodSeconds": -1 })),
        ("a pull secret without a name", json!({ "imagePullSecrets": [{ "name": "" }] })),
    ] {
        let mut changed = deployment(json!({}));
        merge(&mut changed["spec"]["template"]["spec"], fields);
        script.apply(what, "deployments", "one", changed);
    }
    script.apply("pods below 0", "deployments", "one", deployment(json!({ "replicas": -1 })));
}

/// Lists that an apply merges by key.
fn lists(script: &mut Script) {
    let twice = |item: Value| json!([item, item]);
    for (what, fields) in [
        ("a variable twice", json!({ "env": twice(json!({ "name": "A", "value": "a" })) })),
        ("a port twice", json!({ "ports": twice(json!({ "containerPort": 80, "protocol": "TCP" })) })),
        ("a mount twice", json!({ "volumeMounts": twice(json!({ "name": "tmp", "mountPath": "/tmp" })) })),
    ] {
        let mut changed = deployment(json!({}));
        merge(&mut changed["spec"]["template"]["spec"]["containers"][0], fields);
        script.apply(what, "deployments", "one", changed);
    }
    for (what, fields) in [
        ("a pull secret twice", json!({ "imagePullSecrets": twice(json!({ "name": "a" })) })),
        ("a volume twice", json!({ "volumes": twice(json!({ "name": "tmp", "emptyDir": {} })) })),
    ] {
        let mut changed = deployment(json!({}));
        merge(&mut changed["spec"]["template"]["spec"], fields);
        script.apply(what, "deployments", "one", changed);
    }
    let mut ports = service();
    ports["spec"]["ports"] = twice(json!({ "name": "http", "port": 80, "protocol": "TCP" }));
    script.apply("a Service's port twice", "services", "one", ports);
}

fn others(script: &mut Script) {
    let host = |host: &str, path: &str| {
        let backend = json!({ "service": { "name": "one", "port": { "name": "http" } } });
        let path = json!({ "path": path, "pathType": "Prefix", "backend": backend });
        json!({ "spec": { "rules": [{ "host": host, "http": { "paths": [path] } }] } })
    };
    script.apply("an Ingress", "ingresses", "one", host("a.example", "/"));
    script.apply("an address for a host", "ingresses", "one", host("10.0.0.1", "/"));
    script.apply("a host with an underscore", "ingresses", "one", host("a_b.example", "/"));
    script.apply("a path of dots", "ingresses", "one", host("a.example", "/a/../b"));
    script.apply("a path without a slash", "ingresses", "one", host("a.example", "a"));
    let egress =
        |port: i64| json!({ "spec": { "podSelector": {}, "egress": [{ "ports": [{ "port": port }] }] } });
    script.apply("a NetworkPolicy", "networkpolicies", "one", egress(443));
    script.apply("a NetworkPolicy's port", "networkpolicies", "one", egress(65_536));
    let budget = |most: i64| json!({ "spec": { "maxUnavailable": most, "selector": { "matchLabels": { "app": "one" } } } });
    script.apply("a budget", "poddisruptionbudgets", "one", budget(1));
    script.apply("another budget", "poddisruptionbudgets", "one", budget(2));
    let target = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "name": "one" });
    let scaled =
        |most: i64| json!({ "spec": { "scaleTargetRef": target, "minReplicas": 1, "maxReplicas": most } });
    script.apply("an autoscaler", "horizontalpodautoscalers", "one", scaled(2));
    script.apply("another autoscaler", "horizontalpodautoscalers", "one", scaled(3));
    script.apply("a Service", "services", "one", service());
    let mut ports = service();
    ports["spec"]["ports"][0]["port"] = 0.into();
    script.apply("a Service's port of 0", "services", "one", ports);
}

fn too_large(script: &mut Script) {
    let text = |bytes: usize| "x".repeat(bytes);
    script.apply(
        "a ConfigMap of a mebibyte",
        "configmaps",
        "large",
        json!({ "data": { "a": text(1 << 20) } }),
    );
    script.apply("a larger one", "configmaps", "large", json!({ "data": { "a": text((1 << 20) + 1) } }));
    let annotated = |bytes: usize| labelled("annotations", json!({ "a": text(bytes) }));
    script.apply("annotations of 256 KiB", "deployments", "one", annotated(1 << 18));
    let revision = |bytes: usize| json!({ "revision": 1, "data": { "kept": text(bytes) } });
    script.apply("more than etcd takes", "controllerrevisions", "large", revision(1_600_000));
    script.apply("more than a request takes", "controllerrevisions", "large", revision(3_200_000));
}
