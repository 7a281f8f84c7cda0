//! Names that the operator gives: objects, labels, annotations, ports.

use std::collections::BTreeMap;

use kube::core::ObjectMeta;

pub const MANAGER: &str = "weft-operator";

pub const BROKER: &str = "broker";
pub const LOGGER: &str = "logger";
pub const LISTENER: &str = "listener";
pub const AUTHENTICATION: &str = "authentication";
pub const MAIL: &str = "mail";
pub const FRONTEND: &str = "frontend";
pub const POSTGRES: &str = "postgres";
/// The store that mail is handed in to: a catcher, or a server of the user's.
pub const SMTP: &str = "smtp";
pub const MAILCATCHER: &str = "mailcatcher";
pub const MONGODB: &str = "mongodb";
pub const RABBITMQ: &str = "rabbitmq";
pub const JAEGER: &str = "jaeger";

/// Every object of ours has it with the value [`MANAGER`]; watches select by it.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The Stack that an object belongs to.
pub const STACK: &str = "weft.dev/stack";
/// On what holds data, or opens it: never pruned, and owned by nobody unless the Stack wants it deleted.
pub const DATA: &str = "weft.dev/data";
/// On a managed store's volume: the Stack uses an external store instead.
pub const LEFT: &str = "weft.dev/left";
/// On the Secret [`ENCRYPTION_SECRET`]: authentication has a user.
pub const FIRST_USER: &str = "weft.dev/first-user";
/// On a pod that reaches a store although it is not the store's service, such as a Job that dumps it.
pub const CLIENT_OF: &str = "weft.dev/client-of";
/// On a namespace: the release whose operator looks after it.
pub const OPERATOR: &str = "weft.dev/operator";
/// On a pod template: when a restart was asked for.
pub const RESTARTED_AT: &str = "weft.dev/restarted-at";
/// On the Secret that opens a managed store, and on that of its next user: the request for new credentials that it was made for.
pub const ROTATED_AT: &str = "weft.dev/rotated-at";
/// On the Secret that opens a managed store for its service: the image of the Job that gave its user the rights it has, and the
/// uid of the volume on which it did. The first is empty before a Job has done so, and missing where an earlier operator made the
/// user the superuser.
pub const GRANTED_BY: &str = "weft.dev/granted-by";
pub const GRANTED_ON: &str = "weft.dev/granted-on";
/// On the pods of Jobs that change a managed store's users: which store's.
pub const ROTATES: &str = "weft.dev/rotates";
/// On the ControllerRevision that keeps a Stack's pod templates; watches select by it. Those that the cluster makes for a
/// StatefulSet have its pods' labels, and are not ours.
pub const KEEPS: &str = "weft.dev/keeps";
/// On a pod template: a digest of the ConfigMaps and Secrets that it uses, so that their change rolls it.
pub const INPUTS: &str = "weft.dev/inputs";

/// The Secret with the keys that authentication encrypts its signing keys with.
pub const ENCRYPTION_SECRET: &str = "weft-authentication";
/// The key of that Secret that has them, one a line.
pub const ENCRYPTION_KEYS: &str = "encryption-keys";

pub const HTTP_PORT: i32 = 8080;
pub const GRPC_PORT: i32 = 50051;
pub const ADMIN_PORT: i32 = 9090;
pub const MONGODB_PORT: i32 = 27017;
pub const AMQP_PORT: i32 = 5672;
/// RabbitMQ's management API, for the Jobs that change its users.
pub const MANAGEMENT_PORT: i32 = 15672;
pub const POSTGRES_PORT: i32 = 5432;
/// The catcher's.
pub const SMTP_PORT: i32 = 1025;
/// The catcher's page and API.
pub const MAILCATCHER_PORT: i32 = 1080;
pub const OTLP_GRPC_PORT: i32 = 4317;
pub const OTLP_HTTP_PORT: i32 = 4318;
pub const JAEGER_QUERY_PORT: i32 = 16686;

/// True when authentication had a user, by a note on the Secret [`ENCRYPTION_SECRET`].
pub fn is_reported(secret: &ObjectMeta) -> bool {
    is_set(secret, FIRST_USER)
}

/// True when an annotation is "true".
pub fn is_set(meta: &ObjectMeta, annotation: &str) -> bool {
    meta.annotations.as_ref().and_then(|all| all.get(annotation)).is_some_and(|value| value == "true")
}

/// The claim that the StatefulSet controller makes for a store.
pub fn claim(store: &str) -> String {
    format!("data-{store}-0")
}

/// The Secret with a managed store's superuser: only the store's own pod and the Jobs that change its users read it.
pub fn superuser_secret(store: &str) -> String {
    format!("{store}-superuser")
}

/// The Secret with a managed store's next user, while its credentials change.
pub fn next_secret(store: &str) -> String {
    format!("{store}-next")
}

/// What the pods that change a store's users are called. No workload of the user's can have this name: there are no dots in those.
pub fn rotation(store: &str) -> String {
    format!("{store}.rotation")
}

/// The Secret with the first user's email and password, unless the Stack names one.
pub fn admin_secret(stack: &str) -> String {
    format!("{stack}-admin")
}

/// The DNS name of a Service.
pub fn host(service: &str, namespace: &str) -> String {
    format!("{service}.{}", domain(namespace))
}

/// Where the Services of a namespace are found.
pub fn domain(namespace: &str) -> String {
    format!("{namespace}.svc.cluster.local")
}

/// What pods are selected by. It can't be changed once a Deployment stands.
pub fn selector(name: &str, stack: &str) -> BTreeMap<String, String> {
    [("app.kubernetes.io/name", name), (STACK, stack)]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

/// Selects the pods that a Stack runs. Others may have its label too, to reach a store.
pub fn pods(stack: &str) -> String {
    format!("{STACK}={stack},{MANAGED_BY}={MANAGER}")
}

/// The labels of an object.
pub fn labels(name: &str, stack: &str) -> BTreeMap<String, String> {
    let mut labels = selector(name, stack);
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    labels.insert("app.kubernetes.io/part-of".to_owned(), stack.to_owned());
    labels
}
