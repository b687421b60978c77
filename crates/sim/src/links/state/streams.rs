//! Streams: what is under way in each direction.

use super::super::wait::Step;
use super::{HELD, State};
use bytes::Bytes;
use selvedge_rt::links::{Code, LinkError, STREAM_WINDOW_BYTES, STREAMS_MAX};
use selvedge_types::NodeKey;
use std::collections::VecDeque;
use std::time::Duration;

/// Two directions that were opened together.
#[derive(Default)]
pub(super) struct StreamPair {
    /// The side of the link that opened it.
    opener: usize,
    accepted: bool,
    /// By the side that sends.
    halves: [Half; 2],
}

/// One direction.
#[derive(Default)]
struct Half {
    /// What was sent, and when it arrives; `None` is the end.
    items: VecDeque<(Duration, Option<Bytes>)>,
    /// Nothing arrives before what was sent before it.
    last: Duration,
    /// Bytes that the sender does not know to be read.
    unread: usize,
    /// Bytes that were read, and when the sender hears of it.
    credit: VecDeque<(Duration, usize)>,
    /// The sender broke it off: when that arrives.
    reset: Option<(Duration, Code)>,
    /// The reader wants no more: when that arrives.
    stop: Option<(Duration, Code)>,
    /// All was read: when the sender hears of it.
    done: Option<Duration>,
    sender_gone: bool,
    reader_gone: bool,
}

impl Half {
    fn first_arrival(&self) -> Option<Duration> {
        let reset = self.reset.map(|(at, _)| at);
        self.items.front().map(|(at, _)| *at).into_iter().chain(reset).min()
    }

    /// Takes what the reader gets next, if it is there; else says when it may be.
    fn take(&mut self, max: usize, now: Duration) -> Step<Result<Option<Bytes>, LinkError>> {
        if let Some((_, code)) = self.reset.filter(|(at, _)| *at <= now) {
            return Step::Done(Err(LinkError::Reset(code)));
        }
        match self.items.front_mut() {
            Some((at, item)) if *at <= now => Step::Done(Ok(match item {
                Some(bytes) if bytes.len() > max => Some(bytes.split_to(max)),
                _ => self.items.pop_front().and_then(|(_, item)| item),
            })),
            _ => Step::Wait(self.first_arrival()),
        }
    }

    /// Gives what was held a time of arrival.
    fn release(&mut self, at: Duration) {
        let held = |time: &mut Duration| {
            if *time == HELD {
                *time = at;
            }
        };
        self.items.iter_mut().for_each(|(time, _)| held(time));
        held(&mut self.last);
        self.reset.iter_mut().for_each(|(time, _)| held(time));
    }

    /// The same for what goes the other way.
    fn release_replies(&mut self, at: Duration) {
        let held = |time: &mut Duration| {
            if *time == HELD {
                *time = at;
            }
        };
        self.credit.iter_mut().for_each(|(time, _)| held(time));
        self.stop.iter_mut().for_each(|(time, _)| held(time));
        self.done.iter_mut().for_each(held);
    }
}

impl State {
    /// Opens a stream, unless the peer allows no more.
    pub(in super::super) fn open_stream(
        &mut self,
        id: u64,
        side: usize,
        now: Duration,
    ) -> Step<Result<u64, LinkError>> {
        let lost_at = match self.check(id, side, now) {
            Ok(at) => at,
            Err(why) => return Step::Done(Err(why)),
        };
        let Some(pair) = self.pairs.get_mut(&id) else { return Step::Done(Err(LinkError::Lost)) };
        let open = pair.streams.values().filter(|stream| stream.opener == side).count();
        if open >= STREAMS_MAX as usize {
            return Step::Wait(lost_at);
        }
        pair.streams_made += 1;
        pair.streams.insert(pair.streams_made, StreamPair { opener: side, ..StreamPair::default() });
        Step::Done(Ok(pair.streams_made))
    }

    /// The next stream that the peer opened and sent something in.
    pub(in super::super) fn accept_stream(
        &mut self,
        id: u64,
        side: usize,
        now: Duration,
    ) -> Step<Result<u64, LinkError>> {
        let over = self.check(id, side, now);
        let Some(pair) = self.pairs.get_mut(&id) else { return Step::Done(Err(LinkError::Lost)) };
        let mut next = None;
        for (number, stream) in &mut pair.streams {
            let waits = !stream.accepted && stream.opener != side;
            match stream.halves[1 - side].first_arrival() {
                Some(at) if waits && at <= now => {
                    stream.accepted = true;
                    return Step::Done(Ok(*number));
                }
                Some(at) if waits => next = next.into_iter().chain([at]).min(),
                _ => {}
            }
        }
        match over {
            Err(why) => Step::Done(Err(why)),
            Ok(at) => Step::Wait(next.into_iter().chain(at).filter(|at| *at != HELD).min()),
        }
    }

    pub(in super::super) fn write(
        &mut self,
        id: u64,
        side: usize,
        stream: u64,
        chunk: &mut Bytes,
        now: Duration,
    ) -> Step<Result<(), LinkError>> {
        let lost_at = match self.check(id, side, now) {
            Ok(at) => at,
            Err(why) => return Step::Done(Err(why)),
        };
        let Some(half) = self.half(id, stream, side) else { return Step::Done(Err(LinkError::Ended)) };
        if let Some((_, code)) = half.stop.filter(|(at, _)| *at <= now) {
            return Step::Done(Err(LinkError::Stopped(code)));
        }
        while let Some((_, read)) = half.credit.pop_front_if(|(at, _)| *at <= now) {
            half.unread = half.unread.saturating_sub(read);
        }
        let room = (STREAM_WINDOW_BYTES as usize).saturating_sub(half.unread);
        if room == 0 {
            let news = half.credit.front().map(|(at, _)| *at).into_iter().chain(half.stop.map(|(at, _)| at));
            return Step::Wait(news.chain(lost_at).filter(|at| *at != HELD).min());
        }
        let taken = chunk.split_to(chunk.len().min(room));
        half.unread += taken.len();
        self.send(id, side, stream, Some(taken), now);
        Step::Done(Ok(()))
    }

    pub(in super::super) fn finish(
        &mut self,
        id: u64,
        side: usize,
        stream: u64,
        now: Duration,
    ) -> Result<(), LinkError> {
        self.check(id, side, now)?;
        self.send(id, side, stream, None, now);
        Ok(())
    }

    fn send(&mut self, id: u64, side: usize, stream: u64, item: Option<Bytes>, now: Duration) {
        let Some((from, to)) = self.direction(id, side) else { return };
        let arrives = self.surely_arrives(from, to, now);
        if let Some(half) = self.half(id, stream, side) {
            half.last = half.last.max(arrives);
            half.items.push_back((half.last, item));
        }
        self.wake(id, 1 - side);
    }

    pub(in super::super) fn reset(&mut self, id: u64, side: usize, stream: u64, code: Code, now: Duration) {
        let Ok(_) = self.check(id, side, now) else { return };
        let Some((from, to)) = self.direction(id, side) else { return };
        let arrives = self.surely_arrives(from, to, now);
        if let Some(half) = self.half(id, stream, side) {
            half.reset.get_or_insert((arrives, code));
        }
        self.wake(id, 1 - side);
    }

    pub(in super::super) fn stop(&mut self, id: u64, side: usize, stream: u64, code: Code, now: Duration) {
        let Ok(_) = self.check(id, side, now) else { return };
        let Some((from, to)) = self.direction(id, side) else { return };
        let arrives = self.surely_arrives(from, to, now);
        if let Some(half) = self.half(id, stream, 1 - side) {
            half.stop.get_or_insert((arrives, code));
        }
        self.wake(id, 1 - side);
    }

    pub(in super::super) fn read(
        &mut self,
        id: u64,
        side: usize,
        stream: u64,
        max: usize,
        now: Duration,
    ) -> Step<Result<Option<Bytes>, LinkError>> {
        let over = self.check(id, side, now);
        let Some(half) = self.half(id, stream, 1 - side) else {
            return Step::Done(Err(over.err().unwrap_or(LinkError::Lost)));
        };
        let taken = half.take(max, now);
        match (taken, over) {
            (Step::Done(read), _) => {
                self.acknowledge(id, side, stream, &read, now);
                Step::Done(read)
            }
            (Step::Wait(_), Err(why)) => Step::Done(Err(why)),
            (Step::Wait(next), Ok(at)) => {
                Step::Wait(next.into_iter().chain(at).filter(|at| *at != HELD).min())
            }
        }
    }

    /// Tells the sender what was read.
    fn acknowledge(
        &mut self,
        id: u64,
        side: usize,
        stream: u64,
        read: &Result<Option<Bytes>, LinkError>,
        now: Duration,
    ) {
        let (Some((from, to)), Ok(read)) = (self.direction(id, side), read) else { return };
        let at = self.surely_arrives(from, to, now);
        if let Some(half) = self.half(id, stream, 1 - side) {
            match read {
                Some(bytes) => half.credit.push_back((at, bytes.len())),
                None => half.done = Some(at),
            }
        }
        self.wake(id, 1 - side);
    }

    pub(in super::super) fn stopped(
        &mut self,
        id: u64,
        side: usize,
        stream: u64,
        now: Duration,
    ) -> Step<LinkError> {
        let lost_at = match self.check(id, side, now) {
            Ok(at) => at,
            Err(why) => return Step::Done(why),
        };
        let Some(half) = self.half(id, stream, side) else { return Step::Done(LinkError::Ended) };
        match (half.stop, half.done) {
            (Some((at, code)), _) if at <= now => Step::Done(LinkError::Stopped(code)),
            (_, Some(at)) if at <= now => Step::Done(LinkError::Ended),
            (stop, done) => {
                let news = stop.map(|(at, _)| at).into_iter().chain(done).chain(lost_at);
                Step::Wait(news.filter(|at| *at != HELD).min())
            }
        }
    }

    /// One of the two holders of a half is gone; a stream that nobody holds makes room for another.
    pub(in super::super) fn drop_half(&mut self, id: u64, stream: u64, sender: usize, is_sender: bool) {
        let Some(half) = self.half(id, stream, sender) else { return };
        if is_sender {
            half.sender_gone = true;
        } else {
            half.reader_gone = true;
        }
        let Some(pair) = self.pairs.get_mut(&id) else { return };
        let over = |half: &Half| half.sender_gone && half.reader_gone;
        if pair.streams.get(&stream).is_some_and(|s| s.halves.iter().all(over)) {
            pair.streams.remove(&stream);
            self.wake(id, 0);
            self.wake(id, 1);
        }
    }

    pub(in super::super) fn reset_streams(
        &mut self,
        one: NodeKey,
        other: NodeKey,
        code: Code,
        now: Duration,
    ) {
        for id in self.pairs_between(one, other) {
            let numbers: Vec<u64> =
                self.pairs.get(&id).map_or_else(Vec::new, |p| p.streams.keys().copied().collect());
            for number in numbers {
                for side in 0..2 {
                    self.reset(id, side, number, code, now);
                    self.stop(id, side, number, code, now);
                }
            }
        }
    }

    /// What was held on the way from one node to another goes on.
    pub(super) fn release(&mut self, from: NodeKey, to: NodeKey, now: Duration) {
        let at = self.surely_arrives(from, to, now);
        for pair in self.pairs.values_mut() {
            for sender in 0..2 {
                let ends = (pair.ends[sender].key, pair.ends[1 - sender].key);
                for stream in pair.streams.values_mut() {
                    if ends == (from, to) {
                        stream.halves[sender].release(at);
                        stream.halves[1 - sender].release_replies(at);
                    }
                }
            }
        }
        if let Some(node) = self.nodes.get_mut(&to) {
            node.backlog.iter_mut().filter(|(time, _)| *time == HELD).for_each(|(time, _)| *time = at);
        }
    }

    fn half(&mut self, id: u64, stream: u64, sender: usize) -> Option<&mut Half> {
        self.pairs.get_mut(&id)?.streams.get_mut(&stream).map(|s| &mut s.halves[sender])
    }

    fn wake(&self, id: u64, side: usize) {
        if let Some(pair) = self.pairs.get(&id) {
            pair.ends[side].notify.notify_waiters();
        }
    }
}
