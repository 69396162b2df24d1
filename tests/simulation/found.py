"""A seed that finds each mutant, and the invariant that it breaks there."""

__all__ = ["FOUND", "NOT_FOUND"]

FOUND: dict[str, tuple[int, str]] = {
    "the_inbox_is_not_checked": (2, "every_event_is_heard_once"),
    "a_restart_forgets_the_inbox": (14, "every_event_is_heard_once"),
    "a_restart_forgets_the_steps": (117, "what_is_undone_stays_undone"),
    "a_restart_forgets_the_timers": (49, "every_trip_is_reminded"),
    "a_restart_forgets_the_retries": (703, "nothing_is_left_over"),
    "a_restart_forgets_the_outbox": (157, "the_tracker_sees_the_truth"),
    "no_tombstone_is_left": (3, "what_is_undone_stays_undone"),
    "an_instance_believes_that_it_is_alone": (13, "nobodys_order_is_unknown"),
    "an_effects_result_is_used_on_another_document": (57, "every_event_is_heard_once"),
    "it_acks_before_it_writes": (14, "every_saga_ends"),
    "it_publishes_before_it_writes": (40, "nothing_leaves_unwritten"),
    "a_lost_race_counts_as_written": (25, "the_tracker_sees_the_truth"),
    "an_unanswered_write_counts_as_done": (41, "the_tracker_sees_the_truth"),
    "a_failed_publish_counts_as_sent": (45, "every_saga_ends"),
    "the_relay_reads_no_outbox": (11, "the_tracker_sees_the_truth"),
    "settling_empties_the_whole_outbox": (116, "the_tracker_sees_the_truth"),
    "a_restart_loses_deadlines": (55, "every_trip_is_reminded"),
    "a_postponed_step_is_not_stored": (47, "every_saga_ends"),
    "a_stored_retry_outlives_its_success": (47, "nothing_is_left_over"),
    "an_outage_of_the_store_kills_effects": (307, "nothing_is_left_over"),
    "money_is_taken_without_a_key": (0, "money_adds_up"),
    "money_goes_back_without_a_key": (40, "money_adds_up"),
    "stock_is_held_without_a_key": (40, "stock_adds_up"),
    "a_repeated_hold_takes_more": (65, "stock_adds_up"),
    "a_release_leaves_no_marker": (65, "stock_adds_up"),
    "a_withdrawal_leaves_no_marker": (158, "stock_adds_up"),
    "a_rejection_leaves_no_marker": (1463, "stock_adds_up"),
    "leaked_holds_are_sought_in_the_wrong_place": (2, "stock_adds_up"),
    "a_void_leaves_no_marker": (682, "money_adds_up"),
    "the_carrier_is_not_asked_to_cancel": (5, "all_done_or_all_undone"),
    "a_partial_hold_is_kept": (50, "stock_adds_up"),
    "more_is_held_than_there_is": (43, "stock_is_never_oversold"),
}

#: What no world can show, and why: docs/simulate.md.
NOT_FOUND = {"an_inverse_is_left_out"}
