//! One contract for all links, and for calls and membership over them: each line is tried between simulated nodes, near
//! each other and as if at a distance, and on real ones.

mod calls;
mod contract;
mod distance;
mod faults;
mod groups;
mod members;
mod stamps;
mod world;

/// One way, where nodes are as if at a distance.
const DISTANCE: std::time::Duration = std::time::Duration::from_millis(20);

macro_rules! contract {
    ($on:ident $simulated:ident $distant:ident $real:ident: $($name:ident)*) => {
        mod $simulated {
            $(#[tokio::test(start_paused = true)]
            async fn $name() {
                super::$on::$name(super::world::World::simulated()).await;
            })*
        }

        mod $distant {
            $(#[tokio::test(start_paused = true)]
            async fn $name() {
                super::$on::$name(super::world::World::distant(super::DISTANCE)).await;
            })*
        }

        mod $real {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$on::$name(super::world::World::real()).await;
            })*
        }
    };
}

contract! {
    contract simulated distant real:
    streams_carry_bytes_both_ways_and_in_order
    either_end_opens_streams
    both_ends_know_each_other_by_key
    whom_this_node_does_not_know_it_does_not_call
    an_unknown_key_is_refused_and_never_seen
    a_node_of_another_cluster_is_refused
    the_latest_protocol_that_both_know_is_spoken
    an_unfinished_stream_never_looks_finished
    a_finished_stream_arrives_although_its_sender_is_dropped
    codes_arrive_with_resets_and_stops
    a_reader_that_goes_stops_its_writer
    a_sender_learns_that_all_was_read
    a_writer_waits_for_its_reader
    a_stalled_stream_does_not_hold_up_another
    a_peer_opens_no_more_streams_than_it_may
    datagrams_arrive_whole
    a_removed_node_is_cut_off_at_once
    who_closes_a_link_says_why
    a_link_that_nobody_holds_closes
    a_node_that_stops_says_good_bye
    the_oldest_link_with_a_peer_goes_for_the_next
    a_peer_is_found_where_it_is_learnt_to_be
    a_peer_that_is_not_there_is_unreachable
    a_key_that_nobody_holds_is_not_taken_for_another
    waiting_for_links_can_be_given_up
}

contract! {
    calls simulated_calls distant_calls real_calls:
    a_question_is_answered_to_whom_asked
    many_ask_at_once
    a_link_serves_both_directions
    deadlines_travel
    a_late_answer_is_none_and_its_work_is_dropped
    who_stops_asking_cancels_the_work
    faults_are_data
    a_newer_caller_finds_the_version_that_both_know
    who_cannot_be_asked_is_told_apart
    a_call_that_loses_its_link_has_an_unknown_outcome
    a_node_asks_no_more_at_once_than_it_may
    bodies_go_both_ways
    a_fetch_goes_on_where_it_broke_off
    bulk_that_nobody_reads_holds_up_nothing_else
    datagrams_reach_their_service_also_when_there_is_no_link_yet
    a_timestamp_too_far_ahead_is_refused_and_its_message_is_not
    whatever_a_hostile_peer_sends_others_are_served
    a_head_that_never_ends_is_given_up
}

contract! {
    members simulated_members distant_members real_members:
    nodes_find_each_other_through_one_that_all_know
    whoever_leaves_is_known_to_have_left
}
