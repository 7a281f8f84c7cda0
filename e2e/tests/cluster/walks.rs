use anyhow::Result;
use weft_e2e::road;

use crate::place::Place;

pub(crate) async fn an_entry_goes_in_by_rpc_and_comes_out_with_its_trace(place: &Place) -> Result<()> {
    road::by_rpc(place.broker()?, place.jaeger()?).await
}

pub(crate) async fn an_event_goes_through_rabbitmq_and_comes_out_with_its_trace(place: &Place) -> Result<()> {
    road::by_event(place.broker()?, place.jaeger()?).await
}
