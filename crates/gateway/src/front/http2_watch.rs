//! When an HTTP/2 connection has to end.
//!
//! Streams with a task of their own watch their own time. Here is what no task sees: a connection without streams,
//! content that waits in the connection, and a client that takes no bytes at all. A client's frames are no progress by
//! themselves: one that opens no window may send PINGs for ever.

use super::counters::Cause;
use super::http2_delivery::{Delivery, Shared};
use super::options::Timeouts;
use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::Instant;

/// The time in which [`Http2Limits::resets_max`](super::Http2Limits::resets_max) counts.
const RESETS_WINDOW: Duration = Duration::from_secs(10);

/// What a connection's deadlines depend on.
pub(crate) struct Watch {
    shared: Arc<Shared>,
    /// When the last request came.
    last_request: Instant,
    /// Since when there is no stream.
    idle: Option<Instant>,
    /// Since when content waits, and how much was taken then.
    waiting: Option<(Instant, u64)>,
    /// Since when the client takes no bytes, and how many it took before.
    blocked: Option<(Instant, u64)>,
    /// Responses without a task whose content may still wait, oldest first; with each, when its request came.
    answered: VecDeque<(Instant, Weak<Delivery>)>,
    answered_max: usize,
    is_ending: bool,
    resets_before: u32,
    resets_since: Instant,
}

/// What is to be done when a deadline has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nobody uses the connection: it is closed as the protocol wants it.
    Idle,
    /// It is cut.
    Cut(Cause),
}

impl Watch {
    /// For a connection that begins now and has `streams_max` streams at a time.
    pub(crate) fn new(shared: Arc<Shared>, streams_max: u32) -> Self {
        let now = Instant::now();
        Watch {
            shared,
            last_request: now,
            idle: Some(now),
            waiting: None,
            blocked: None,
            answered: VecDeque::new(),
            answered_max: 2 * streams_max as usize,
            is_ending: false,
            resets_before: 0,
            resets_since: now,
        }
    }

    /// A request came.
    pub(crate) fn note_request(&mut self, now: Instant) {
        self.last_request = now;
        self.idle = None;
    }

    /// The last request was answered without a task, and the content waits in the connection.
    pub(crate) fn note_answer(&mut self, delivery: Option<Arc<Delivery>>) {
        let Some(delivery) = delivery else { return };
        if self.answered.len() >= self.answered_max {
            // Those under way are as many as there are streams.
            self.answered.retain(|(_, delivery)| is_under_way(delivery));
        }
        self.answered.push_back((self.last_request, Arc::downgrade(&delivery)));
    }

    /// All that could be done now is done.
    pub(crate) fn note(&mut self, now: Instant, has_streams: bool, blocked_at: Option<u64>) {
        self.idle = (!has_streams).then(|| self.idle.unwrap_or(now));
        self.waiting = since(self.waiting, self.shared.is_waiting().then(|| self.shared.taken()), now);
        self.blocked = since(self.blocked, blocked_at, now);
        while self.answered.front().is_some_and(|(_, delivery)| !is_under_way(delivery)) {
            self.answered.pop_front();
        }
        if self.idle.is_some() {
            self.answered = VecDeque::new();
        }
    }

    /// The connection takes no more streams; false if that was said before.
    pub(crate) fn begin_end(&mut self, now: Instant) -> bool {
        if self.idle.is_some() {
            self.idle = Some(now);
        }
        !std::mem::replace(&mut self.is_ending, true)
    }

    /// When something has to be done, and what.
    pub(crate) fn deadline(&self, timeouts: &Timeouts) -> Option<(Instant, Due)> {
        let write = |since: Option<(Instant, u64)>| {
            since.map(|(since, _)| (since + timeouts.write, Due::Cut(Cause::WriteTimeout)))
        };
        // After GOAWAY the client has to acknowledge, and no more.
        let patience = if self.is_ending { timeouts.write } else { timeouts.keep_alive };
        let idle = self.idle.map(|since| (since + patience, Due::Idle));
        let exchange = |begun: Instant| (begun + timeouts.exchange, Due::Cut(Cause::ExchangeTimeout));
        let oldest = self.answered.front().map(|(begun, _)| exchange(*begun));
        // By then the tasks have ended all streams.
        let last = self.idle.is_none().then(|| exchange(self.last_request + timeouts.write));
        let all = [idle, write(self.waiting), write(self.blocked), oldest, last];
        all.into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// Whether more streams were cancelled lately than is allowed.
    pub(crate) fn is_cancelling(&mut self, limit: u32) -> bool {
        let resets = self.shared.resets.load(Relaxed);
        if resets == self.resets_before {
            return false;
        }
        if self.resets_since.elapsed() > RESETS_WINDOW {
            self.resets_since = Instant::now();
            self.resets_before = resets.saturating_sub(1);
        }
        resets - self.resets_before > limit
    }
}

fn is_under_way(delivery: &Weak<Delivery>) -> bool {
    delivery.upgrade().is_some_and(|delivery| !delivery.is_over())
}

/// Since when a count has stayed as it is, if it is there at all.
fn since(before: Option<(Instant, u64)>, count: Option<u64>, now: Instant) -> Option<(Instant, u64)> {
    let count = count?;
    before.filter(|(_, same)| *same == count).or(Some((now, count)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn timeouts() -> Timeouts {
        Timeouts {
            write: 10 * SECOND,
            keep_alive: 70 * SECOND,
            exchange: 300 * SECOND,
            ..Timeouts::default()
        }
    }

    fn watch() -> (Arc<Shared>, Watch, Instant) {
        let shared = Arc::<Shared>::default();
        let watch = Watch::new(shared.clone(), 2);
        let begun = watch.last_request;
        (shared, watch, begun)
    }

    /// In how many seconds after `begun` something is due.
    fn due(watch: &Watch, begun: Instant) -> (u64, Due) {
        let (at, due) = watch.deadline(&timeouts()).unwrap();
        ((at - begun).as_secs(), due)
    }

    #[test]
    fn a_connection_without_streams_ends_though_frames_come() {
        let (_, mut watch, begun) = watch();
        for second in 0..5 {
            watch.note(begun + second * SECOND, false, None);
            assert_eq!(due(&watch, begun), (70, Due::Idle));
        }
        watch.note_request(begun + 5 * SECOND);
        watch.note(begun + 5 * SECOND, true, None);
        assert_eq!(due(&watch, begun), (315, Due::Cut(Cause::ExchangeTimeout)));
        watch.note(begun + 8 * SECOND, false, None);
        assert_eq!(due(&watch, begun), (78, Due::Idle));
        assert!(watch.begin_end(begun + 78 * SECOND) && !watch.begin_end(begun + 79 * SECOND));
        assert_eq!(due(&watch, begun).1, Due::Idle);
    }

    #[test]
    fn content_that_waits_has_the_time_for_writing_since_some_of_it_was_taken() {
        let (shared, mut watch, begun) = watch();
        let delivery = Delivery::new(shared, None, true);
        let mut piece = delivery.piece(bytes::Bytes::from_static(b"abc"));
        watch.note_request(begun);
        for (second, takes, expected) in [(1, 0, 11), (2, 0, 11), (3, 1, 13), (4, 0, 13)] {
            bytes::Buf::advance(&mut piece, takes);
            watch.note(begun + second * SECOND, true, None);
            assert_eq!(due(&watch, begun), (expected, Due::Cut(Cause::WriteTimeout)), "{second}");
        }
        drop(piece);
        watch.note(begun + 5 * SECOND, true, None);
        assert_eq!(due(&watch, begun).1, Due::Cut(Cause::ExchangeTimeout));
    }

    #[test]
    fn a_client_that_takes_no_bytes_has_the_time_for_writing_since_it_took_some() {
        let (_, mut watch, begun) = watch();
        for (second, blocked_at, expected) in
            [(1, Some(5), 11), (2, Some(5), 11), (3, Some(6), 13), (4, None, 70)]
        {
            watch.note(begun + second * SECOND, false, blocked_at);
            assert_eq!(due(&watch, begun).0, expected, "{second}");
        }
    }

    #[test]
    fn the_oldest_answer_that_waits_has_the_time_of_an_exchange() {
        let (shared, mut watch, begun) = watch();
        let answer = |watch: &mut Watch, second: u32| {
            watch.note_request(begun + second * SECOND);
            let delivery = Delivery::new(shared.clone(), None, false);
            let mut piece = delivery.piece(bytes::Bytes::from_static(b"ab"));
            delivery.end();
            watch.note_answer(Some(delivery));
            bytes::Buf::advance(&mut piece, 1);
            piece
        };
        let cut = Due::Cut(Cause::ExchangeTimeout);
        let (first, second) = (answer(&mut watch, 1), answer(&mut watch, 2));
        for i in 0..100 {
            drop(answer(&mut watch, 3));
            assert!(watch.answered.len() <= 4, "{i}");
        }
        let moving = |watch: &mut Watch| watch.note(begun + 299 * SECOND, true, None);
        moving(&mut watch);
        assert_eq!(due(&watch, begun), (301, cut));
        drop(first);
        moving(&mut watch);
        assert_eq!(due(&watch, begun), (302, cut));
        drop(second);
        moving(&mut watch);
        assert!(watch.answered.is_empty());
    }
}
