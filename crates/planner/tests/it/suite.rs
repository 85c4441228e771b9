//! The cases that hold on every store; all cases of a store share its process.

use crate::bed::Bed;
use crate::stores::EtcdProcess;
use crate::{crossing, edits, faults, history, life, once};

macro_rules! cases {
    ($($module:ident::$case:ident)*) => {
        async fn holds(bed: &Bed) {
            $(
                let started = std::time::Instant::now();
                // All of them in one future would not fit on a test's stack.
                Box::pin($module::$case(bed.place(stringify!($case)).await)).await;
                println!("{:>6} ms {}", started.elapsed().as_millis(), stringify!($case));
            )*
        }
    };
}

cases! {
    life::a_name_is_taken_once_and_bad_ones_are_refused
    life::what_is_not_there_is_not_found
    life::a_tag_tells_of_its_changes_until_it_is_gone
    life::models_of_its_own_stay_with_a_project
    life::the_current_tag_is_what_calls_without_one_mean
    life::a_copy_has_the_tasks_and_a_life_of_its_own
    life::a_renamed_tag_keeps_tasks_and_history
    life::what_was_deleted_shows_nowhere_again
    edits::what_is_written_is_read_back
    edits::more_than_a_transaction_takes_is_one_change
    edits::huge_texts_are_kept_and_larger_ones_are_refused
    edits::ten_thousand_tasks_read_back_the_same
    edits::what_nobody_here_knows_survives_to_the_letter
    edits::tasks_move_between_tags_at_once
    crossing::no_edit_of_many_writers_is_lost
    crossing::changes_of_all_tasks_cross_small_ones
    crossing::trees_that_replace_each_other_cross_small_changes
    crossing::a_sweep_spares_what_another_node_is_writing
    crossing::what_a_dead_copy_wrote_is_found
    crossing::a_copy_that_a_sweep_takes_is_made_whole
    crossing::whoever_writes_into_a_tag_that_goes_is_told
    faults::a_change_whose_answer_is_lost_is_done_once
    faults::a_lost_answer_is_told_where_others_came_at_once
    once::the_second_of_two_clients_is_told_of_the_first
    once::a_dry_run_changes_nothing
    once::the_same_key_twice_does_it_once_and_tells_the_same
    once::a_key_of_a_client_is_for_one_change
    once::what_changes_nothing_makes_no_event
    history::it_tells_who_did_what_and_why_newest_first
    history::small_changes_are_undone_and_that_as_well
    history::changes_of_many_tasks_are_undone_and_that_as_well
    history::what_was_touched_since_is_not_undone
    history::what_would_break_a_rule_is_not_undone
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
