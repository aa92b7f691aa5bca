//! The suite that every store passes: test support, not for production.
//!
//! A test crate names where its stores live, a [`Site`], and one of the macros makes a test of each
//! function here: [`volatile_store_contract!`](crate::volatile_store_contract) for a store that
//! keeps nothing, [`durable_store_contract!`](crate::durable_store_contract) for one that does.
//!
//! Here: what the trait [`Store`] promises, seen through the trait alone. Not here: how one store
//! keeps its promises; what its tables look like from outside; its own faults.

#![allow(
    clippy::missing_panics_doc,
    clippy::indexing_slicing,
    reason = "every function here is a test and panics to say that it failed"
)]

pub mod audit;
pub mod audit_blocks;
pub mod commit;
pub mod durable;
mod fixture;
pub mod health;
pub mod rewrite;
pub mod tenure;

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::Store;

/// A place of its own for one test, in which stores are opened.
pub trait Site: Sync {
    /// Opens a store on the data of this site, which are empty at first.
    fn open(&self) -> BoxFuture<'_, Arc<dyn Store>>;
}

/// A site whose data outlive the store and can be reached beside it.
pub trait DurableSite: Site {
    /// Runs SQL that every engine understands, as another program would.
    fn execute<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, ()>;
}

/// One test per function; `$site` is evaluated in each.
#[doc(hidden)]
#[macro_export]
macro_rules! store_contract_tests {
    ($site:expr; $($module:ident::$name:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $name() {
                $crate::contract::$module::$name(&$site).await;
            }
        )*
    };
}

/// Makes the tests of a store that keeps nothing. Takes an expression that makes a [`Site`].
#[macro_export]
macro_rules! volatile_store_contract {
    ($site:expr) => {
        $crate::store_contract_tests! { $site;
            tenure::a_new_store_is_empty_and_begins_with_epoch_one,
            tenure::each_acquisition_is_the_next_epoch_of_the_same_registry,
            tenure::a_store_from_before_a_remembered_tenure_begins_a_new_registry,
            tenure::an_ended_epoch_writes_nothing,
            tenure::renewing_and_releasing_prove_the_epoch,
            commit::what_is_committed_is_loaded_unchanged,
            commit::sequences_follow_one_another_without_gap_or_repetition,
            commit::acquiring_tells_the_last_batch,
            commit::an_empty_batch_counts,
            commit::putting_again_replaces_the_row,
            commit::putting_without_reset_leaves_health_alone,
            commit::deleting_removes_the_row_and_only_it,
            commit::a_deleted_pod_can_come_back,
            commit::a_batch_of_thousands_is_stored_whole,
            commit::a_dropped_commit_is_stored_wholly_or_not_at_all,
            health::health_is_written_to_the_current_registration_only,
            health::updated_at_moves_with_the_status_alone,
            health::health_is_written_beside_commits,
            rewrite::rewriting_makes_the_store_hold_exactly_these_pods,
            rewrite::batches_go_on_after_a_rewrite,
            rewrite::pruning_the_audit_is_bounded_and_spares_the_young,
            audit::the_audit_is_read_newest_first_as_it_was_written,
            audit::an_empty_audit_is_an_empty_page,
            audit::pages_of_the_audit_follow_one_another,
            audit::conditions_narrow_the_audit,
            audit::entries_that_were_stored_late_are_found_by_their_time,
            audit::totals_of_the_audit_are_counted_up_to_a_limit,
            audit_blocks::digests_change_no_answer,
        }
    };
}

/// Makes the tests of a store that outlives its process. Takes an expression that makes a
/// [`DurableSite`].
#[macro_export]
macro_rules! durable_store_contract {
    ($site:expr) => {
        $crate::volatile_store_contract! { $site }
        $crate::store_contract_tests! { $site;
            durable::what_was_committed_survives_reopening,
            durable::the_same_owner_opening_again_takes_over,
            durable::rows_of_earlier_managers_are_kept_and_shown,
            durable::rows_of_earlier_managers_live_on_like_others,
            durable::an_operators_row_is_read_at_the_next_start,
            audit_blocks::complete_blocks_are_digested_once_newest_first,
            audit_blocks::a_block_is_passed_over_because_of_its_digest_alone,
            audit_blocks::a_digest_that_is_lost_or_damaged_hides_nothing,
            audit_blocks::digests_go_with_the_entries_they_tell_of,
            audit_blocks::an_ended_epoch_stores_no_digest,
        }
    };
}
