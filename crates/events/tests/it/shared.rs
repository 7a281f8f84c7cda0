use lapin::options::QueueDeleteOptions;
use tokio::time::timeout;
use weft_events::{ConsumerOptions, Consumers, EventMetrics, Outcome, Queue};
use weft_runtime::{clock, lifecycle::Shutdown, metrics::Metrics};

use crate::helpers::{Place, SOON, event, handler_fn, next, soon};

#[tokio::test]
async fn consumers_share_a_connection_and_survive_a_deleted_queue() {
    let place = Place::own().await;
    let publisher = place.publisher();
    let metrics = EventMetrics::register(&Metrics::default());
    let consumers = Consumers::start(publisher.clone(), clock::system(), metrics);
    let shutdown = Shutdown::default();
    let (of_log, mut logs) = handler_fn(|_| Outcome::Done);
    let (of_mail, mut mails) = handler_fn(|_| Outcome::Done);
    let log = consumers.of(Queue::Log, ConsumerOptions::default(), of_log);
    let mail = consumers.of(Queue::Mail, ConsumerOptions::default(), of_mail);
    let (log_status, mut mail_status) = (log.watch(), mail.watch());
    let running = [log, mail].map(|consumer| tokio::spawn(consumer.run(shutdown.clone())));
    timeout(SOON, mail_status.wait_for(|status| status.consuming)).await.unwrap().unwrap();

    let raw = place.channel().await;
    raw.channel.queue_delete(Queue::Mail.name().into(), QueueDeleteOptions::default()).await.unwrap();
    timeout(SOON, mail_status.wait_for(|status| !status.consuming)).await.unwrap().unwrap();
    publisher.publish(&event("log.INFO"), soon()).await.unwrap();
    next(&mut logs).await;
    assert!(log_status.borrow().consuming && log_status.borrow().store.reachable);

    // Every new connection declares the topology.
    place.publisher().publish(&event("mail.send"), soon()).await.unwrap();
    next(&mut mails).await;
    let connections = place.rabbit.server.ctl(&["list_connections", "client_properties", "--quiet"]).unwrap();
    assert_eq!(connections.matches("\"consumer\"").count(), 1, "{connections}");
    shutdown.request();
    for consumer in running {
        consumer.await.unwrap();
    }
    consumers.close().await;
}
