use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, sleep, timeout};
use weft_events::{Event, MAX_BODY_BYTES, PublishError, Queue};
use weft_runtime::status::StoreStatus;

use crate::helpers::{Place, amqp, event, header, publisher, soon};

#[tokio::test]
async fn a_confirmed_event_is_in_its_queue_with_its_attributes() {
    let place = Place::new().await;
    let event = event("log.INFO");
    place.publisher().publish(&event, soon()).await.unwrap();

    let message = place.channel().await.take(Queue::Log.name()).await;
    assert_eq!(message.data, event.data);
    assert_eq!(message.exchange.as_str(), "events");
    assert_eq!(header(&message, "cloudEvents:id"), Some(event.id.clone()));
    assert_eq!(header(&message, "cloudEvents:type").as_deref(), Some("log.INFO"));
    assert_eq!(header(&message, "cloudEvents:source").as_deref(), Some("test"));
    assert_eq!(header(&message, "cloudEvents:time"), Some(event.time.to_string()));
    assert_eq!(message.properties.message_id().as_ref().map(ToString::to_string), Some(event.id));
    assert_eq!(*message.properties.delivery_mode(), Some(2));
}

#[tokio::test]
async fn concurrent_publications_each_get_their_own_result() {
    let place = Place::new().await;
    let publisher = place.publisher();
    let wanted: Vec<Event> = (0..100).map(|_| event("log.INFO")).collect();
    let unwanted: Vec<Event> = (0..100).map(|_| event("nobody.wants")).collect();
    let publish =
        async |events: &[Event]| join_all(events.iter().map(|event| publisher.publish(event, soon()))).await;
    let (confirmed, returned) = tokio::join!(publish(&wanted), publish(&unwanted));

    assert!(confirmed.iter().all(Result::is_ok), "{confirmed:?}");
    let unroutable = |result: &Result<(), PublishError>| matches!(result, Err(PublishError::Unroutable { key, reason, .. }) if key == "nobody.wants" && reason == "NO_ROUTE");
    assert!(returned.iter().all(unroutable), "{returned:?}");
    place.channel().await.until_waiting(Queue::Log.name(), 100).await;
}

#[tokio::test]
async fn publishing_without_rabbitmq_fails_at_the_deadline_with_the_cause() {
    let port = weft_devstack::free_port().unwrap();
    let publisher = publisher(amqp(&format!("amqp://u:p@127.0.0.1:{port}/%2f")));
    let start = Instant::now();
    let error = publisher.publish(&event("log.INFO"), start + Duration::from_millis(700)).await.unwrap_err();
    let elapsed = start.elapsed();
    assert!(elapsed >= Duration::from_millis(700), "{elapsed:?}");
    let PublishError::Unavailable { reason } = &error else { panic!("{error:?}") };
    assert!(reason.contains("refused"), "{reason}");
    assert!(error.is_transient());
    assert!(!publisher.status().reachable);
}

#[tokio::test]
async fn reports_refused_credentials_and_recovers_without_a_restart() {
    let place = Place::own().await;
    let (before, after) = place.uri.split_once('@').unwrap();
    let wrong = format!("{before}wrong@{after}");
    let password = wrong.split([':', '@']).nth(2).unwrap().to_owned();
    let publisher = publisher(amqp(&wrong));
    let becomes = async |holds: fn(&StoreStatus) -> bool| {
        let reached = async {
            while !holds(&publisher.status()) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(120), reached).await.expect("the status did not change");
        publisher.status()
    };
    let status = becomes(|status| status.reachable).await;
    assert!(!status.authenticated && !status.migrated);
    let message = status.message.unwrap();
    assert!(
        message.contains("refuses the credentials in AMQP_URI") && !message.contains(&password),
        "{message}"
    );

    place.rabbit.server.ctl(&["change_password", "weft", &password]).unwrap();
    becomes(StoreStatus::is_usable).await;
    publisher.publish(&event("log.INFO"), soon()).await.unwrap();
}

#[tokio::test]
async fn reports_a_missing_vhost() {
    let place = Place::new().await;
    let publisher = publisher(amqp(&format!("{}x", place.uri)));
    let error =
        publisher.publish(&event("log.INFO"), Instant::now() + Duration::from_secs(5)).await.unwrap_err();
    assert!(error.to_string().contains("vhost"), "{error}");
    assert!(publisher.status().reachable && publisher.status().authenticated);
}

#[tokio::test]
async fn publishes_the_largest_event_and_rejects_a_larger_one() {
    let place = Place::new().await;
    let publisher = place.publisher();
    let of_size = |size: usize| Event {
        data: format!("\"{}\"", "x".repeat(size - 2)).into_bytes(),
        ..event("log.INFO")
    };
    publisher.publish(&of_size(MAX_BODY_BYTES), soon()).await.unwrap();
    let error = publisher.publish(&of_size(MAX_BODY_BYTES + 1), soon()).await.unwrap_err();
    assert!(matches!(error, PublishError::Invalid(_)) && !error.is_transient(), "{error:?}");
    place.channel().await.until_waiting(Queue::Log.name(), 1).await;
}

#[tokio::test]
async fn a_dropped_publication_does_not_affect_later_ones() {
    let place = Place::new().await;
    let publisher = place.publisher();
    publisher.publish(&event("log.INFO"), soon()).await.unwrap();
    for _ in 0..50 {
        // Unroutable, and dropped at a varying point.
        let lost = event("nobody.wants");
        let _ = timeout(Duration::from_micros(300), publisher.publish(&lost, soon())).await;
        publisher.publish(&event("log.INFO"), soon()).await.unwrap();
    }
    place.channel().await.until_waiting(Queue::Log.name(), 51).await;
}
