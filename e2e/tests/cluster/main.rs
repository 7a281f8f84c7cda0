//! The road on Kubernetes, and everything on it broken in turn. One release serves all tests, so they run one by one, in
//! this order, and it is removed after the last, pass or fail.

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

/// A test's name, and how it starts; `$test` is an async function of the place.
macro_rules! tests {
    ($($module:ident :: $test:ident),* $(,)?) => {
        fn trials(runtime: &Arc<Runtime>, place: &Option<Arc<Place>>) -> Vec<Trial> {
            vec![$({
                let (runtime, place) = (Arc::clone(runtime), place.clone());
                Trial::test(stringify!($test), move || {
                    // Without a place nothing runs: the tests are only listed.
                    let Some(place) = place else { return Err("there is no cluster".into()) };
                    runtime.block_on(place.told($module::$test(&place))).map_err(Into::into)
                })
            }),*]
        }
    };
}

tests![
    walks::an_entry_goes_in_by_rpc_and_comes_out_with_its_trace,
    walks::an_event_goes_through_rabbitmq_and_comes_out_with_its_trace,
    walks::a_sign_in_is_recorded_and_is_one_trace,
    walks::a_mail_is_for_the_signed_in_and_arrives_through_rabbitmq,
    walks::the_gateway_for_rpc_alone_is_one_trace,
    walks::a_sign_out_sends_its_mail_and_is_one_trace,
    restricted::every_container_is_restricted,
    roles::a_service_s_role_owns_one_database_and_is_no_superuser,
    refuses::a_stack_with_an_unknown_field_is_refused_by_its_name,
    refuses::a_stack_with_a_wrong_value_is_refused,
    refuses::an_unknown_version_stalls_and_names_the_known_ones,
    rolls::rollouts_scaling_and_deleted_pods_fail_no_call,
    rotates::new_credentials_under_load_fail_no_call_and_the_former_open_nothing,
    operator::helm_s_test_finds_its_event_and_its_trace,
    operator::another_leads_within_three_seconds_of_the_leader_s_clean_end,
    upgrades::an_upgrade_from_the_previous_commit_s_chart_rolls_no_pod_of_a_stack,
    heals::deleted_objects_come_back_and_secrets_stay,
    kills::killed_pods_and_processes_lose_nothing_and_double_nothing,
    kills::every_sign_in_has_its_record_and_every_sign_out_its_mail,
    lives::a_stack_is_stopped_upgraded_deleted_and_comes_back_with_its_data,
    keeps_data::mongodb_s_pod_is_replaced_and_its_entries_are_there,
    keeps_data::postgresql_s_pod_is_replaced_and_its_people_are_there,
    keeps_data::rabbitmq_s_pod_is_replaced_and_its_events_are_there,
    samples::the_sample_and_a_workload_of_ones_own_run_as_they_stand,
    samples::with_everything_external_the_operator_runs_no_store,
    moves::postgresql_and_mongodb_move_out_and_back_with_their_data,
];

fn main() -> Result<ExitCode> {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let runtime = Arc::new(Runtime::new()?);
    if arguments.list {
        return Ok(libtest_mimic::run(&arguments, trials(&runtime, &None)).exit_code());
    }
    eprintln!("installing a release of our own");
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
