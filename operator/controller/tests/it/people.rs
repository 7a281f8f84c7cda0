//! What a Stack says of people: who signs in, where mail goes, what the edge is told.

use serde_json::{Value, json};
use weft_operator::reconcile::build::Plan;
use weft_operator::reconcile::dereference::{
    Found, FoundAdmin, FoundEncryption, FoundSmtp, FoundTemplates, SecretProblem,
};
use weft_operator::reconcile::validate::Refusal;
use weft_operator::view::ContentDigest;

use crate::build::{attempt, found, plan, templates, value};
use crate::harness::{full, installation};

fn with(found: Found, spec: Value) -> Result<Plan, Refusal> {
    attempt(spec, found, &installation())
}

fn pod(plan: &Plan, name: &str) -> Value {
    let (_, template) = templates(plan).into_iter().find(|(found, _)| found == name).unwrap();
    serde_json::to_value(template).unwrap()
}

fn inputs(plan: &Plan, name: &str) -> Value {
    pod(plan, name)["metadata"]["annotations"]["weft.dev/inputs"].clone()
}

fn told(plan: &Plan, service: &str, variable: &str) -> Value {
    value(plan, service, variable).into()
}

#[test]
fn the_edge_is_told_what_the_stack_says() {
    let spec = json!({
        "version": "0.1.0", "tracing": { "managed": {} },
        "origins": ["http://127.0.0.1:30081", "https://shop.example"],
        "trustedProxies": ["10.0.0.0/8", "fd00::/8"], "openActions": ["log", "event", "mail"],
        "limits": { "requestsPerSecond": 0, "requestsBurst": 2, "signInBurst": 3, "signInPerMinute": 4,
            "openBytesPerDay": 107374182400_i64, "userMailsPerHour": 5, "recipientMailsPerHour": 6 },
        "console": { "url": "http://127.0.0.1:30081", "brokerUrl": "http://127.0.0.1:30080", "jaegerUrl": "http://127.0.0.1:30686" },
    });
    let plan = plan(spec);
    for (service, variable, wanted) in [
        ("broker", "BROKER_ORIGINS", "http://127.0.0.1:30081,https://shop.example"),
        ("broker", "BROKER_TRUSTED_PROXIES", "10.0.0.0/8,fd00::/8"),
        ("broker", "BROKER_OPEN_ACTIONS", "log,event,mail"),
        ("broker", "BROKER_REQUESTS_PER_SECOND", "0"),
        ("broker", "BROKER_REQUESTS_BURST", "2"),
        ("broker", "BROKER_JAEGER_URL", "http://jaeger.shop.svc.cluster.local:16686"),
        ("broker", "BROKER_OPEN_BYTES_PER_DAY", "107374182400"),
        ("broker", "BROKER_USER_MAILS_PER_HOUR", "5"),
        ("broker", "BROKER_RECIPIENT_MAILS_PER_HOUR", "6"),
        ("authentication", "AUTH_RECIPIENT_MAILS_PER_HOUR", "6"),
        ("authentication", "AUTH_CONSOLE_URL", "http://127.0.0.1:30081"),
        ("authentication", "AUTH_SIGN_IN_BURST", "3"),
        ("authentication", "AUTH_SIGN_IN_PER_MINUTE", "4"),
        ("frontend", "FRONTEND_BROKER_URL", "http://127.0.0.1:30080"),
        ("frontend", "FRONTEND_JAEGER_URL", "http://127.0.0.1:30686"),
    ] {
        assert_eq!(told(&plan, service, variable), wanted, "{variable}");
    }
}

#[test]
fn what_a_stack_does_not_say_keeps_the_services_defaults() {
    let plan = plan(json!({ "version": "0.1.0" }));
    for (service, variable) in [
        ("broker", "BROKER_ORIGINS"),
        ("broker", "BROKER_TRUSTED_PROXIES"),
        ("broker", "BROKER_OPEN_ACTIONS"),
        ("broker", "BROKER_REQUESTS_PER_SECOND"),
        ("broker", "BROKER_REQUESTS_BURST"),
        ("broker", "BROKER_OPEN_BYTES_PER_DAY"),
        ("broker", "BROKER_USER_MAILS_PER_HOUR"),
        ("broker", "BROKER_RECIPIENT_MAILS_PER_HOUR"),
        ("broker", "BROKER_JAEGER_URL"),
        ("authentication", "AUTH_CONSOLE_URL"),
        ("authentication", "AUTH_SIGN_IN_BURST"),
        ("authentication", "AUTH_SIGN_IN_PER_MINUTE"),
        ("frontend", "FRONTEND_BROKER_URL"),
        ("frontend", "FRONTEND_JAEGER_URL"),
        ("mail", "MAIL_USERNAME"),
        ("mail", "MAIL_TEMPLATES_DIR"),
    ] {
        assert_eq!(told(&plan, service, variable), Value::Null, "{variable}");
    }
}

#[test]
fn a_collector_of_ones_own_is_no_place_to_read_traces_from() {
    let plan =
        plan(json!({ "version": "0.1.0", "tracing": { "otlp": { "endpoint": "http://collector:4317" } } }));
    assert_eq!(told(&plan, "broker", "BROKER_JAEGER_URL"), Value::Null);
}

#[test]
fn tokens_of_one_stack_are_worth_nothing_to_another() {
    let plan = plan(full());
    assert_eq!(told(&plan, "authentication", "AUTH_ISSUER"), "weft:shop/shop");
    assert_eq!(told(&plan, "broker", "BROKER_TOKEN_ISSUER"), "weft:shop/shop");
}

#[test]
fn a_network_that_is_none_is_refused_by_its_name() {
    let refused = with(found(true), json!({ "version": "0.1.0", "trustedProxies": ["10.0.0.0/33"] }));
    let said = refused.unwrap_err().to_string();
    assert!(said.contains("spec.trustedProxies") && said.contains("10.0.0.0/33"), "{said}");
}

#[test]
fn the_first_user_comes_from_a_secret_that_is_made_once() {
    let plan = plan(full());
    let named =
        |secret: &&k8s_openapi::api::core::v1::Secret| secret.metadata.name.as_deref() == Some("shop-admin");
    let secret = plan.data_secrets.iter().find(named).unwrap();
    let text = |key: &str| String::from_utf8(secret.data.as_ref().unwrap()[key].0.clone()).unwrap();
    assert_eq!((text("email").as_str(), text("password").as_str()), ("admin@example.com", "admin-pass"));
    let env = pod(&plan, "authentication")["spec"]["containers"][0]["env"].clone();
    let email = env.as_array().unwrap().iter().find(|one| one["name"] == "AUTH_FIRST_USER_EMAIL").unwrap();
    assert_eq!(email["valueFrom"]["secretKeyRef"], json!({ "name": "shop-admin", "key": "email" }));
    let file = told(&plan, "authentication", "AUTH_FIRST_USER_PASSWORD_FILE");
    assert_eq!(file, "/etc/weft/admin/password");

    let mine =
        with(found(true), json!({ "version": "0.1.0", "admin": { "email": "me@example.org" } })).unwrap();
    let secret = mine.data_secrets.iter().find(named).unwrap();
    assert_eq!(secret.data.as_ref().unwrap()["email"].0, b"me@example.org");
}

#[test]
fn a_first_user_whose_secret_is_gone_is_not_made_again() {
    let plan = with(Found { admin: FoundAdmin::Gone { reported: true }, ..found(false) }, full()).unwrap();
    assert!(plan.data_secrets.is_empty());
    assert_eq!(told(&plan, "authentication", "AUTH_FIRST_USER_PASSWORD_FILE"), Value::Null);
}

#[test]
fn a_secret_of_ones_own_holds_the_first_user() {
    let kept = |digest: &str| {
        let digest = ContentDigest(digest.to_owned());
        let admin = FoundAdmin::Kept { secret: "boss".to_owned(), digest };
        with(Found { admin, ..found(false) }, full()).unwrap()
    };
    let plan = kept("one");
    assert!(plan.data_secrets.is_empty());
    let volumes = pod(&plan, "authentication")["spec"]["volumes"].clone();
    let admin = volumes.as_array().unwrap().iter().find(|volume| volume["name"] == "admin").unwrap();
    assert_eq!(admin["secret"]["secretName"], "boss");
    assert_ne!(
        inputs(&plan, "authentication"),
        inputs(&kept("two"), "authentication"),
        "its change rolls it"
    );
    let missing = FoundAdmin::Wrong(SecretProblem::Missing { name: "boss".to_owned() });
    let refused = with(Found { admin: missing, ..found(false) }, full()).unwrap_err();
    assert!(refused.is_waiting() && refused.reason() == "SecretMissing", "{refused}");
}

#[test]
fn authentication_gets_its_encryption_keys_as_a_file_from_a_secret_that_is_made_once() {
    let named = |secret: &&k8s_openapi::api::core::v1::Secret| {
        secret.metadata.name.as_deref() == Some("weft-authentication")
    };
    let fresh = plan(full());
    let secret = fresh.data_secrets.iter().find(named).unwrap();
    assert_eq!(secret.data.as_ref().unwrap()["encryption-keys"].0, b"encryption-key");
    assert_eq!(secret.metadata.labels.as_ref().unwrap()["weft.dev/data"], "true");
    assert!(secret.metadata.owner_references.is_none(), "it goes with no Stack");
    let file = told(&fresh, "authentication", "AUTH_ENCRYPTION_KEYS_FILE");
    assert_eq!(file, "/etc/weft/encryption/keys");
    let volumes = pod(&fresh, "authentication")["spec"]["volumes"].clone();
    let volume = volumes.as_array().unwrap().iter().find(|volume| volume["name"] == "encryption").unwrap();
    assert_eq!(volume["secret"]["secretName"], "weft-authentication");
    assert_eq!(volume["secret"]["items"], json!([{ "key": "encryption-keys", "path": "keys" }]));

    let kept = |digest: &str| {
        let encryption = FoundEncryption::Kept(ContentDigest(digest.to_owned()));
        with(Found { encryption, ..found(false) }, full()).unwrap()
    };
    assert!(kept("one").data_secrets.is_empty());
    assert_ne!(inputs(&kept("one"), "authentication"), inputs(&kept("two"), "authentication"));
    let problem = SecretProblem::NoKey { name: "weft-authentication".into(), key: "encryption-keys".into() };
    let refused =
        with(Found { encryption: FoundEncryption::Wrong(problem), ..found(false) }, full()).unwrap_err();
    assert_eq!((refused.reason(), refused.is_waiting()), ("SecretUnusable", true), "{refused}");
}

#[test]
fn mail_goes_to_a_catcher_unless_a_server_is_named() {
    let plan = plan(json!({ "version": "0.1.0" }));
    for (variable, wanted) in [
        ("MAIL_HOST", "mailcatcher.shop.svc.cluster.local"),
        ("MAIL_PORT", "1025"),
        ("MAIL_ENCRYPTION", "none"),
        ("FROM_NAME", "shop"),
        ("FROM_ADDRESS", "no-reply@example.com"),
    ] {
        assert_eq!(told(&plan, "mail", variable), wanted, "{variable}");
    }
    let catcher = pod(&plan, "mailcatcher");
    assert_eq!(catcher["spec"]["securityContext"]["runAsUser"], 1000, "the official image's");
}

#[test]
fn a_mail_server_of_ones_own_is_told_with_its_password_in_a_file() {
    let spec = |external: Value| {
        json!({
            "version": "0.1.0", "stores": { "smtp": { "external": external } },
            "mail": { "from": { "name": "The Shop", "address": "shop@example.com" } },
        })
    };
    let open = Found { smtp: FoundSmtp::External(Ok(None)), ..found(true) };
    let plan = with(open, spec(json!({ "host": "smtp.example.com" }))).unwrap();
    assert_eq!(told(&plan, "mail", "MAIL_HOST"), "smtp.example.com");
    assert_eq!(told(&plan, "mail", "MAIL_PORT"), "587");
    assert_eq!(told(&plan, "mail", "MAIL_ENCRYPTION"), "tls", "unless the Stack says otherwise");
    assert_eq!(told(&plan, "mail", "FROM_NAME"), "The Shop");
    assert!(templates(&plan).iter().all(|(name, _)| name != "mailcatcher"));

    let signed = |digest: &str| {
        let smtp = FoundSmtp::External(Ok(Some(ContentDigest(digest.to_owned()))));
        let external = json!({ "host": "relay", "encryption": "ssl", "secretRef": { "name": "relay" } });
        with(Found { smtp, ..found(true) }, spec(external)).unwrap()
    };
    let plan = signed("one");
    assert_eq!(told(&plan, "mail", "MAIL_PORT"), "465");
    assert_eq!(told(&plan, "mail", "MAIL_PASSWORD_FILE"), "/etc/weft/smtp/password");
    let env = pod(&plan, "mail")["spec"]["containers"][0]["env"].clone();
    let user = env.as_array().unwrap().iter().find(|one| one["name"] == "MAIL_USERNAME").unwrap();
    assert_eq!(user["valueFrom"]["secretKeyRef"], json!({ "name": "relay", "key": "username" }));
    assert_ne!(inputs(&plan, "mail"), inputs(&signed("two"), "mail"), "its change rolls mail");
}

#[test]
fn nobody_s_address_is_no_sender_for_a_server_of_ones_own() {
    let open = Found { smtp: FoundSmtp::External(Ok(None)), ..found(true) };
    let spec = json!({ "version": "0.1.0", "stores": { "smtp": { "external": { "host": "relay" } } } });
    assert_eq!(with(open, spec).unwrap_err(), Refusal::NoSender);
}

#[test]
fn templates_are_mounted_and_their_change_rolls_mail_alone() {
    let written = |digest: &str| {
        let (config_map, digest) = ("letters".to_owned(), ContentDigest(digest.to_owned()));
        with(Found { templates: FoundTemplates::Kept { config_map, digest }, ..found(false) }, full())
            .unwrap()
    };
    let (one, two) = (written("one"), written("two"));
    assert_eq!(told(&one, "mail", "MAIL_TEMPLATES_DIR"), "/etc/weft/templates");
    assert_eq!(pod(&one, "mail")["spec"]["volumes"][0]["configMap"]["name"], "letters");
    assert_ne!(inputs(&one, "mail"), inputs(&two, "mail"));
    for (name, _) in templates(&one).iter().filter(|(name, _)| name != "mail") {
        assert_eq!(pod(&one, name), pod(&two, name));
    }
    let missing = FoundTemplates::Missing { config_map: "letters".to_owned() };
    let refused = with(Found { templates: missing, ..found(false) }, full()).unwrap_err();
    assert!(refused.is_waiting() && refused.to_string().contains("ConfigMap letters"), "{refused}");
}

#[test]
fn postgres_runs_as_the_official_image_does() {
    let plan = plan(full());
    let pod = pod(&plan, "postgres")["spec"].clone();
    assert_eq!(pod["securityContext"]["runAsUser"], 999);
    let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
    let data = mounts.iter().find(|mount| mount["name"] == "data").unwrap();
    let folder = value(&plan, "postgres", "PGDATA").unwrap();
    assert!(folder.starts_with(&format!("{}/", data["mountPath"].as_str().unwrap())), "{folder}");
    assert_eq!(told(&plan, "authentication", "DATABASE_URL_FILE"), "/etc/weft/postgres/uri");
}
