use futures::future::join_all;
use weft_e2e::{Kind, road};

use crate::helpers::{broker, jaeger, shared};

const AT_ONCE: usize = 50;

/// The logger inserts concurrent writes together, but each caller has its own database span.
#[tokio::test]
async fn each_write_of_a_group_has_its_own_database_span() {
    let stack = shared().await;
    let (broker, jaeger) = (broker(stack), jaeger(stack));
    let name = road::unique("grouped");
    // Opens the connections first, so that the measured writes arrive together.
    for name in ["grouped-warm-up", &name] {
        let replies = join_all((0..AT_ONCE).map(|_| broker.log(name, ""))).await;
        for reply in &replies {
            assert_eq!(reply.as_ref().unwrap().status, 202);
        }
        if name == "grouped-warm-up" {
            continue;
        }
        let mut largest = 0;
        for reply in replies {
            let trace = jaeger.trace(&reply.unwrap().trace_id().unwrap(), road::is_rpc_trace).await.unwrap();
            let insert = trace.only(Kind::Client, "insert").unwrap();
            let size =
                insert.attributes.get("db.operation.batch.size").map_or(1, |size| size.parse().unwrap());
            largest = largest.max(size);
        }
        assert!(largest > 1, "none of {AT_ONCE} writes at once shared an insert");
    }
}
