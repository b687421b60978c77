//! One contract for all links: each line is tried on those between simulated nodes and on real ones.

mod contract;
mod faults;
mod world;

macro_rules! contract {
    ($($name:ident)*) => {
        mod simulated {
            $(#[tokio::test(start_paused = true)]
            async fn $name() {
                super::contract::$name(super::world::World::simulated()).await;
            })*
        }
    };
}

contract! {
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
