//! The cases that hold on every store; all cases of a store share its process.

use crate::bed::Bed;
use crate::stores::EtcdProcess;
use crate::{bounds, runs, serving};

macro_rules! cases {
    ($($module:ident::$case:ident)*) => {
        async fn holds(bed: &Bed) {
            $(
                println!("case {}", stringify!($case));
                $module::$case(bed.place(stringify!($case))).await;
            )*
        }
    };
}

cases! {
    runs::projects_take_turns_however_many_jobs_one_has
    runs::a_job_goes_on_elsewhere_from_its_last_step
    runs::steps_run_side_by_side_and_one_name_has_one_result
    runs::a_late_owner_cannot_record_a_step
    runs::a_job_that_was_cancelled_is_dropped_where_it_stands
    runs::a_wish_to_cancel_outlives_the_node_that_should_heed_it
    runs::a_wish_to_cancel_is_heeded_by_a_run_that_ends_before_it_has_heard_of_it
    runs::a_job_that_nobody_runs_is_cancelled_at_once
    runs::a_wrong_job_fails_with_its_fault
    runs::work_that_panics_fails
    runs::a_job_that_takes_its_node_along_again_and_again_fails
    runs::a_step_that_was_recorded_makes_deaths_forgotten
    runs::a_job_that_was_dropped_is_free_again
    runs::the_progress_that_others_see_ends_with_the_final_state
    serving::jobs_are_done_by_two_nodes_once_each_and_no_more_at_once_than_slots
    serving::a_node_that_stops_releases_its_jobs
    serving::a_node_that_lost_its_lease_takes_another_one
    serving::what_failed_for_a_passing_reason_is_tried_again
    bounds::the_same_key_gives_the_same_job
    bounds::a_key_is_for_one_piece_of_work
    bounds::large_values_come_back_whole_and_go_with_the_job
    bounds::what_is_too_large_is_refused
    bounds::too_many_waiting_jobs_are_refused
    bounds::only_the_newest_finished_jobs_are_kept
    bounds::a_record_of_a_later_release_is_named_and_left_alone
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_holds_on_sled() {
    holds(&Bed::Sled).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_holds_on_etcd() {
    let Some(etcd) = EtcdProcess::start().await else { return };
    holds(&Bed::Etcd(etcd)).await;
}
