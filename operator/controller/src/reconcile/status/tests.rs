use super::*;
use crate::reconcile::apply::ApplyError;
use crate::reconcile::data::DataKind;
use crate::reconcile::dereference::SecretProblem;

const THEN: &str = "2026-01-01T00:00:00Z";
const NOW: &str = "2026-01-01T00:01:00Z";

fn running() -> Observation {
    Observation {
        version: "0.1.0".to_owned(),
        services: vec![ServiceStatus { name: "broker".to_owned(), desired: 2, updated: 2, ready: 2 }],
        stores: vec![(
            "mongodb",
            StoreState { status: ConditionStatus::True, reason: "Usable", message: String::new() },
        )],
        ..Observation::default()
    }
}

fn is(status: &StackStatus, type_: &str) -> ConditionStatus {
    status.condition(type_).unwrap().status
}

/// Ready, Reconciling, Stalled.
fn triple(status: &StackStatus) -> [ConditionStatus; 3] {
    [READY, RECONCILING, STALLED].map(|type_| is(status, type_))
}

const YES: ConditionStatus = ConditionStatus::True;
const NO: ConditionStatus = ConditionStatus::False;

#[test]
fn kstatus_reads_current_in_progress_and_failed() {
    let from = |outcome| compute(Some(3), &StackStatus::default(), outcome, None, NOW);
    let ready = from(Outcome::Observed(running()));
    assert_eq!(triple(&ready), [YES, NO, NO]);
    assert_eq!(ready.observed_generation, Some(3));
    assert_eq!(ready.summary.as_deref(), Some("broker 2/2"));
    let pending = Observation { pending: vec!["broker: 1 of 2 pods ready".to_owned()], ..running() };
    assert_eq!(triple(&from(Outcome::Observed(pending.clone()))), [NO, YES, NO]);
    let stuck = Observation { stuck: true, ..pending };
    assert_eq!(triple(&from(Outcome::Observed(stuck))), [NO, NO, YES]);
    let unknown = Refusal::UnknownVersion { wanted: "9".to_owned(), known: "0.1.0".to_owned() };
    let unknown = from(Outcome::Refused(unknown));
    assert_eq!(triple(&unknown), [NO, NO, YES]);
    assert!(unknown.condition(STALLED).unwrap().message.contains("it knows 0.1.0"));
    let failed = Outcome::Failed { reason: "ReadFailed", message: "forbidden".to_owned() };
    assert_eq!(triple(&from(failed)), [NO, YES, NO]);
}

#[test]
fn a_missing_secret_is_waited_for_and_shown_at_its_store() {
    let problem = SecretProblem::Missing { name: "my-mongo".to_owned() };
    let status = compute(
        Some(1),
        &StackStatus::default(),
        Outcome::Refused(Refusal::Secret { store: "mongodb", problem }),
        None,
        NOW,
    );
    assert_eq!(triple(&status), [NO, YES, NO]);
    assert_eq!(is(&status, "MongoDBReady"), NO);
    assert!(status.condition("MongoDBReady").unwrap().message.contains("my-mongo"));
}

#[test]
fn a_store_that_is_away_makes_the_stack_unready() {
    let away = StoreState { status: NO, reason: "Unreachable", message: "connection refused".to_owned() };
    let observation = Observation { stores: vec![("rabbitmq", away)], ..running() };
    let status = compute(Some(1), &StackStatus::default(), Outcome::Observed(observation), None, NOW);
    assert_eq!(is(&status, READY), NO);
    assert!(status.condition(READY).unwrap().message.contains("rabbitmq: connection refused"));
}

#[test]
fn what_has_not_changed_keeps_its_time_and_so_the_status_stays_equal() {
    let first = compute(Some(1), &StackStatus::default(), Outcome::Observed(running()), None, THEN);
    let second = compute(Some(1), &first, Outcome::Observed(running()), None, NOW);
    assert_eq!(first, second);
    let pending = Observation { pending: vec!["broker: 1 of 2 pods ready".to_owned()], ..running() };
    let third = compute(Some(1), &second, Outcome::Observed(pending), None, NOW);
    assert_eq!(third.condition(READY).unwrap().last_transition_time, NOW);
    assert_eq!(third.condition(STALLED).unwrap().last_transition_time, THEN);
}

#[test]
fn the_version_that_serves_is_the_former_one_until_the_new_one_is_ready() {
    let first = compute(Some(1), &StackStatus::default(), Outcome::Observed(running()), None, THEN);
    let moving =
        Observation { version: "0.2.0".to_owned(), pending: vec!["broker: 0".to_owned()], ..running() };
    let second = compute(Some(2), &first, Outcome::Observed(moving), None, NOW);
    assert_eq!(second.version.as_deref(), Some("0.1.0"));
    let third = compute(
        Some(2),
        &second,
        Outcome::Observed(Observation { version: "0.2.0".to_owned(), ..running() }),
        None,
        NOW,
    );
    assert_eq!(third.version.as_deref(), Some("0.2.0"));
}

#[test]
fn messages_are_bounded() {
    let sentences = "One sentence. ".repeat(100);
    assert_eq!(shortened(sentences, 30), "One sentence. One sentence …");
    assert_eq!(shortened("words without an end".to_owned(), 16), "words without …");
    assert_eq!(shortened("short".to_owned(), 16), "short");
    let failed = Outcome::Failed { reason: "ReadFailed", message: "ü".repeat(5_000) };
    let status = compute(Some(1), &StackStatus::default(), failed, None, NOW);
    assert!(status.condition(READY).unwrap().message.len() < 1_100);
}

#[test]
fn a_mail_server_that_is_away_is_told_and_holds_nothing_up() {
    let away = StoreState { status: NO, reason: "Unreachable", message: "connection refused".to_owned() };
    let observation = Observation { stores: vec![("smtp", away)], ..running() };
    let status = compute(Some(1), &StackStatus::default(), Outcome::Observed(observation), None, NOW);
    assert_eq!(is(&status, "SMTPReady"), NO);
    assert_eq!(triple(&status), [YES, NO, NO]);
}

#[test]
fn what_others_have_yet_to_make_is_waited_for() {
    let admin = Refusal::Admin { problem: SecretProblem::Missing { name: "boss".to_owned() } };
    let templates = Refusal::Templates { config_map: "letters".to_owned() };
    for (refusal, named) in [(admin, "boss"), (templates, "letters")] {
        let status = compute(Some(1), &StackStatus::default(), Outcome::Refused(refusal), None, NOW);
        assert_eq!(triple(&status), [NO, YES, NO]);
        assert!(status.condition(READY).unwrap().message.contains(named));
    }
    let status = compute(Some(1), &StackStatus::default(), Outcome::Refused(Refusal::NoSender), None, NOW);
    assert_eq!(triple(&status), [NO, NO, YES]);
    assert_eq!(is(&status, "SMTPReady"), NO);
}

#[test]
fn a_condition_that_an_outcome_says_nothing_of_stays() {
    let first = compute(Some(1), &StackStatus::default(), Outcome::Observed(running()), None, THEN);
    let failed = Outcome::Failed { reason: "ReadFailed", message: "no answer".to_owned() };
    let second = compute(Some(2), &first, failed, None, NOW);
    assert_eq!(triple(&second), [NO, YES, NO]);
    assert_eq!(second.condition("MongoDBReady"), first.condition("MongoDBReady"));
    let without = Observation { stores: Vec::new(), ..running() };
    let third = compute(Some(3), &second, Outcome::Observed(without), None, NOW);
    assert_eq!(third.condition("MongoDBReady"), None, "the Stack has no such store any more");
    let owned = Data { deletion: Deletion::NotAllowed, ..Data::default() };
    let told = compute(Some(4), &third, Outcome::Observed(running()), Some(&owned), NOW);
    let failed = || Outcome::Failed { reason: "ReadFailed", message: "no answer".to_owned() };
    let unknown = compute(Some(5), &told, failed(), None, NOW);
    assert_eq!(unknown.condition(DATA_DELETION), told.condition(DATA_DELETION));
    let released = compute(Some(6), &told, failed(), Some(&Data::default()), NOW);
    assert_eq!(released.condition(DATA_DELETION), None, "what data carries is known");
}

#[test]
fn the_condition_of_data_says_what_data_carries() {
    let object = |is_owned| DataObject {
        kind: DataKind::Claim,
        name: format!("data-{is_owned}"),
        uid: String::new(),
        is_owned,
    };
    let told = |deletion, owned: &[bool], failure| {
        let objects = owned.iter().copied().map(object).collect();
        let data = Data { deletion, objects, failure, ..Data::default() };
        let status =
            compute(Some(1), &StackStatus::default(), Outcome::Observed(running()), Some(&data), NOW);
        let told = status.condition(DATA_DELETION).cloned();
        told.map(|told| (told.status, told.reason, told.message))
    };
    let reason = |deletion, owned: &[bool]| told(deletion, owned, None).map(|(status, why, _)| (status, why));
    let is = |status, why: &str| Some((status, why.to_owned()));
    assert_eq!(reason(Deletion::Deleted, &[true, true]), is(YES, "Allowed"));
    assert_eq!(reason(Deletion::Deleted, &[true, false]), is(YES, "Partial"));
    assert_eq!(reason(Deletion::Deleted, &[false]), is(NO, "Pending"));
    assert_eq!(reason(Deletion::NotAllowed, &[false]), is(NO, "NotAllowed"));
    assert_eq!(reason(Deletion::Retained, &[false]), None, "that is the default");
    let (status, why, message) =
        told(Deletion::Retained, &[true, false], Some(ApplyError::Outdated)).unwrap();
    assert_eq!((status, why.as_str()), (YES, "ReleaseFailed"));
    assert!(
        message.contains("PersistentVolumeClaim data-true; the Stack or its data was changed"),
        "{message}"
    );
}
