"""Where each mutant was found first: its seed, and how what it broke is told."""

__all__ = ["FOUND"]

FOUND: dict[str, tuple[int, str]] = {
    "the_inbox_is_not_checked": (10, "every_event_is_heard_once"),
    "a_restart_forgets_the_inbox": (87, "every_event_is_heard_once"),
    "a_restart_forgets_the_steps": (77, "nothing_happens_twice"),
    "a_restart_forgets_the_timers": (4, "every_trip_is_reminded"),
    "a_restart_forgets_the_retries": (526, "every_saga_ends"),
    "a_restart_forgets_the_outbox": (279, "every_saga_ends"),
    "no_tombstone_is_left": (7, "what_is_undone_stays_undone"),
    "it_acks_before_it_writes": (12, "the_tracker_sees_the_truth"),
    "it_publishes_before_it_writes": (0, "nothing_leaves_unwritten"),
    "a_lost_race_counts_as_written": (5, "the_tracker_sees_the_truth"),
    "an_unanswered_write_counts_as_done": (19, "nothing_leaves_unwritten"),
    "a_failed_publish_counts_as_sent": (1, "every_saga_ends"),
    "the_relay_reads_no_outbox": (1, "every_saga_ends"),
    "settling_empties_the_whole_outbox": (38, "the_tracker_sees_the_truth"),
    "a_restart_loses_deadlines": (4, "every_trip_is_reminded"),
    "a_postponed_step_is_not_stored": (33, "every_saga_ends"),
    "a_stored_retry_outlives_its_success": (2, "nothing_is_left_over"),
    "money_is_taken_without_a_key": (0, "money_adds_up"),
    "money_goes_back_without_a_key": (0, "money_adds_up"),
    "stock_is_held_without_a_key": (0, "stock_adds_up"),
    "a_repeated_hold_takes_more": (55, "stock_adds_up"),
    "the_carrier_is_not_asked_to_cancel": (0, "the_tracker_sees_the_truth"),
    "a_partial_hold_is_kept": (22, "stock_adds_up"),
    "more_is_held_than_there_is": (10, "stock_is_never_oversold"),
}
