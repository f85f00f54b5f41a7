//! The names of all cases, for [`journal_contract!`](crate::journal_contract).

pub use super::dead_letters::{
    dead_letters_are_found_newest_first, dead_letters_are_kept_by_consumer,
    forgotten_dead_letters_are_gone, revived_dead_letters_are_gone,
};
pub use super::deletion::{
    a_deleted_body_gets_no_dead_letter, a_deleted_body_is_gone_and_its_number_stays,
    deleting_again_changes_nothing, deletions_are_numbered, retention_passes_deleted_bodies,
    the_newest_body_can_be_deleted,
};
pub use super::desks::{
    a_forgotten_consumer_is_new_again, introducing_keeps_what_is_known, progress_comes_back,
    rows_of_progress_change_one_by_one, saves_and_appends_all_count,
};
pub use super::documents::{
    a_changed_document_is_not_overwritten, changes_of_documents_are_numbered,
    documents_are_found_by_prefix,
};
pub use super::duplicates::{
    a_clock_set_back_makes_no_duplicates, a_key_holds_for_its_window,
    an_empty_window_holds_nothing, each_key_is_new_once, only_the_newest_of_a_state_is_an_original,
};
pub use super::log::{
    everything_received_comes_back, kept_times_never_go_back, numbers_follow_each_other,
    reading_is_in_order, the_newest_body_is_never_trimmed, the_tail_shows_what_is_durable,
    trimmed_bodies_are_gone,
};
pub use super::parts::{
    a_body_without_parts_is_kept, a_partly_duplicate_body_is_kept, dead_letters_are_kept_by_part,
    each_part_has_its_own_key,
};
#[doc(hidden)]
pub use super::provider::open;
pub use super::shares::{
    a_fenced_save_changes_nothing, a_later_desk_fences_an_earlier_one,
    a_share_has_progress_of_its_own, parts_are_divided_into_shares,
    tails_of_all_instances_are_equal, two_owners_share_one_log,
};

/// Makes a test of each case of the suite for the journals that a
/// [`Provider`](crate::journal::contract::Provider) opens. The provider is an expression.
#[macro_export]
macro_rules! journal_contract {
    ($provider:expr) => {
        $crate::journal_contract! { @cases $provider;
            a_body_without_parts_is_kept,
            a_changed_document_is_not_overwritten,
            a_clock_set_back_makes_no_duplicates,
            a_deleted_body_gets_no_dead_letter,
            a_deleted_body_is_gone_and_its_number_stays,
            a_fenced_save_changes_nothing,
            a_forgotten_consumer_is_new_again,
            a_key_holds_for_its_window,
            a_later_desk_fences_an_earlier_one,
            a_partly_duplicate_body_is_kept,
            a_share_has_progress_of_its_own,
            an_empty_window_holds_nothing,
            changes_of_documents_are_numbered,
            dead_letters_are_found_newest_first,
            dead_letters_are_kept_by_consumer,
            dead_letters_are_kept_by_part,
            deleting_again_changes_nothing,
            deletions_are_numbered,
            documents_are_found_by_prefix,
            each_key_is_new_once,
            each_part_has_its_own_key,
            everything_received_comes_back,
            forgotten_dead_letters_are_gone,
            introducing_keeps_what_is_known,
            rows_of_progress_change_one_by_one,
            kept_times_never_go_back,
            numbers_follow_each_other,
            only_the_newest_of_a_state_is_an_original,
            parts_are_divided_into_shares,
            progress_comes_back,
            reading_is_in_order,
            retention_passes_deleted_bodies,
            revived_dead_letters_are_gone,
            saves_and_appends_all_count,
            tails_of_all_instances_are_equal,
            the_newest_body_can_be_deleted,
            the_newest_body_is_never_trimmed,
            the_tail_shows_what_is_durable,
            trimmed_bodies_are_gone,
            two_owners_share_one_log,
        }
    };
    (@cases $provider:expr; $($case:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $case() {
                // Lives as long as the case, because it may own the journal's folder.
                let provider = $provider;
                let (instances, clock) = $crate::journal::contract::cases::open(&provider).await;
                $crate::journal::contract::cases::$case(instances, clock).await;
            }
        )*
    };
}
