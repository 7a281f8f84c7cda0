//! Tests on Kubernetes, with failures of every component. All tests share one release, so they run one after the other in
//! this order. The release is removed at the end, also after failures.

mod elsewhere;
mod heals;
mod keeps_data;
mod kills;
mod lives;
mod moves;
mod operator;
mod place;
mod refuses;
mod restricted;
mod roles;
mod rolls;
mod rotates;
mod samples;
mod upgrades;
mod walks;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use libtest_mimic::{Arguments, Trial};
use tokio::runtime::Runtime;

use crate::place::Place;

/// Defines the tests. `$test` is an async function of [`Place`].
macro_rules! tests {
    ($($module:ident :: $test:ident),* $(,)?) => {
        fn trials(runtime: &Arc<Runtime>, place: &Option<Arc<Place>>) -> Vec<Trial> {
            vec![$({
                let (runtime, place) = (Arc::clone(runtime), place.clone());
                Trial::test(stringify!($test), move || {
                    // None when the tests are only listed.
                    let Some(place) = place else { return Err("no cluster".into()) };
                    runtime.block_on(place.with_cluster_state($module::$test(&place))).map_err(Into::into)
                })
            }),*]
        }
    };
}

tests![
    walks::stores_an_entry_by_rpc_in_one_trace,
    walks::stores_an_event_through_rabbitmq_in_one_trace,
    walks::records_a_sign_in_in_one_trace,
    walks::sends_a_mail_of_a_signed_in_user_through_rabbitmq,
    walks::log_grpc_is_one_trace,
    walks::sends_the_mail_of_a_sign_out_in_one_trace,
    restricted::every_container_is_restricted,
    roles::a_services_role_owns_one_database_and_is_not_superuser,
    refuses::rejects_an_unknown_field,
    refuses::rejects_an_invalid_value,
    refuses::an_unknown_version_stalls_the_stack,
    rolls::rollouts_scaling_and_deleted_pods_fail_no_call,
    rotates::new_credentials_fail_no_call_and_revoke_the_former,
    operator::helm_test_passes,
    operator::hands_over_leadership_within_three_seconds,
    upgrades::an_operator_upgrade_rolls_no_pod,
    heals::recreates_deleted_objects_and_keeps_secrets,
    kills::killed_pods_and_processes_lose_and_duplicate_nothing,
    kills::every_sign_in_has_its_record_and_every_sign_out_its_mail,
    lives::keeps_data_when_stopped_upgraded_and_deleted,
    keeps_data::a_replaced_mongodb_pod_keeps_entries,
    keeps_data::a_replaced_postgresql_pod_keeps_users,
    keeps_data::a_replaced_rabbitmq_pod_keeps_events,
    samples::samples_run_unchanged,
    samples::runs_no_store_when_all_are_external,
    moves::moves_stores_out_and_back_with_their_data,
];

fn main() -> Result<ExitCode> {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let runtime = Arc::new(Runtime::new()?);
    if arguments.list {
        return Ok(libtest_mimic::run(&arguments, trials(&runtime, &None)).exit_code());
    }
    eprintln!("installing the release");
    let place = Arc::new(runtime.block_on(Place::make())?);
    let conclusion = match runtime.block_on(place.open()) {
        Ok(()) => libtest_mimic::run(&arguments, trials(&runtime, &Some(Arc::clone(&place)))),
        Err(error) => {
            eprintln!("the Stack did not become Ready: {error}");
            runtime.block_on(place.remove())?;
            return Ok(ExitCode::FAILURE);
        }
    };
    runtime.block_on(place.remove())?;
    Ok(conclusion.exit_code())
}
