//! A watch that is told 410 Gone lists anew; bookmarks are taken.

use serde_json::json;

use crate::faults::Faults;
use crate::fixtures;
use crate::world::{self, calm, ends, start};

#[tokio::test(start_paused = true)]
async fn what_happened_while_the_history_was_compacted_is_found_all_the_same() {
    let fixture = fixtures::named("plain");
    let cluster = world::cluster_with(&fixture);
    let operator = start(&cluster, &Faults::default()).await;
    calm(&cluster).await;
    for round in 1..=5 {
        let broker = fixture.within("deployments", "broker");
        cluster.act(|state| {
            state.bookmark();
            // Nobody is told of any of this.
            state.watchers.clear();
            state.delete(&broker);
            state.edit_at(&fixture.id(), |stack| {
                stack["spec"]["services"] = json!({ "logger": { "replicas": round + 1 } });
            });
            state.compact();
        });
        calm(&cluster).await;
        assert_eq!(ends(&cluster, &fixture), "Ready");
        let state = cluster.state();
        assert!(state.objects.contains_key(&broker));
        assert_eq!(state.objects[&fixture.within("deployments", "logger")]["spec"]["replicas"], round + 1);
    }
    operator.stop().await;
}
