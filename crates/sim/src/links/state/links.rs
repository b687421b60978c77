//! Links: how they begin, live and end.

use super::super::wait::Step;
use super::State;
use super::streams::StreamPair;
use bytes::Bytes;
use selvedge_rt::links::{Code, IDLE_MAX, LINKS_PER_PEER_MAX, LinkError, Protocol};
use selvedge_types::NodeKey;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// How many datagrams wait for their reader; the oldest goes for the next.
const DATAGRAMS_MAX: usize = 256;

/// A link: two ends and its streams.
pub(super) struct Pair {
    protocol: Protocol,
    /// The end that made it, and the one that accepted it.
    pub(super) ends: [End; 2],
    pub(super) streams: BTreeMap<u64, StreamPair>,
    pub(super) streams_made: u64,
}

pub(super) struct End {
    pub(super) key: NodeKey,
    pub(super) notify: Arc<Notify>,
    /// Why it is over for this end.
    over: Option<LinkError>,
    /// The peer's good-bye, and when it arrives.
    farewell: Option<(Duration, Code)>,
    /// Since when it sends nothing any more.
    silent_since: Option<Duration>,
    /// Whether nothing of it is held any more.
    dropped: bool,
    datagrams: VecDeque<(Duration, Bytes)>,
}

impl End {
    fn new(key: NodeKey) -> Self {
        End {
            key,
            notify: Arc::new(Notify::new()),
            over: None,
            farewell: None,
            silent_since: None,
            dropped: false,
            datagrams: VecDeque::new(),
        }
    }

    fn end(&mut self, why: LinkError, now: Duration) {
        self.over.get_or_insert(why);
        self.silent_since.get_or_insert(now);
        self.notify.notify_waiters();
    }
}

impl Pair {
    /// The node's life ends: its end says nothing more, and nobody asks it.
    pub(super) fn fall_silent(&mut self, key: NodeKey, now: Duration) {
        for side in 0..2 {
            if self.ends[side].key == key {
                self.ends[side].end(LinkError::Lost, now);
                self.ends[1 - side].notify.notify_waiters();
            }
        }
    }

    pub(super) fn is_between(&self, one: NodeKey, other: NodeKey) -> bool {
        let [a, b] = [self.ends[0].key, self.ends[1].key];
        (a, b) == (one, other) || (a, b) == (other, one)
    }
}

impl State {
    /// Makes a link; none if the caller's life is over.
    pub(in super::super) fn link(
        &mut self,
        (key, life): (NodeKey, u64),
        peer: NodeKey,
        protocol: Protocol,
        now: Duration,
    ) -> Option<(u64, Arc<Notify>)> {
        self.nodes.get(&key).filter(|node| node.life == life && node.listens)?;
        self.make_room(key, peer, now);
        self.links_made += 1;
        let id = self.links_made;
        let arrives = self.surely_arrives(key, peer, now);
        let pair = Pair {
            protocol,
            ends: [End::new(key), End::new(peer)],
            streams: BTreeMap::new(),
            streams_made: 0,
        };
        let notify = pair.ends[0].notify.clone();
        self.pairs.insert(id, pair);
        let node = self.nodes.get_mut(&peer)?;
        node.backlog.push_back((arrives, id));
        node.notify.notify_waiters();
        Some((id, notify))
    }

    /// The oldest link goes for the next.
    fn make_room(&mut self, key: NodeKey, peer: NodeKey, now: Duration) {
        let mut open = self.pairs_between(key, peer);
        open.retain(|id| self.pairs.get(id).is_some_and(|pair| pair.ends.iter().all(|e| e.over.is_none())));
        let many = (open.len() + 1).saturating_sub(LINKS_PER_PEER_MAX);
        for id in open.into_iter().take(many) {
            let accepts = self.pairs.get(&id).map_or(1, |pair| usize::from(pair.ends[1].key == peer));
            self.close(id, accepts, Code::REPLACED, now);
        }
    }

    /// The next link that the node accepts: none when it takes no more; else when to look again.
    #[allow(clippy::type_complexity)]
    pub(in super::super) fn next_link(
        &mut self,
        key: NodeKey,
        life: u64,
        now: Duration,
    ) -> Result<Option<(u64, Arc<Notify>)>, Option<Duration>> {
        let Some(node) = self.nodes.get_mut(&key).filter(|node| node.life == life && node.listens) else {
            return Ok(None);
        };
        let Some(at) = node.backlog.iter().position(|(arrives, _)| *arrives <= now) else {
            let next = node.backlog.iter().map(|(arrives, _)| *arrives).filter(|at| *at != super::HELD);
            return Err(next.min());
        };
        let id = node.backlog.remove(at).map_or(0, |(_, id)| id);
        let Some(pair) = self.pairs.get(&id) else { return Err(Some(now)) };
        Ok(Some((id, pair.ends[1].notify.clone())))
    }

    /// Whose end it is, who is at the other, and what they speak.
    pub(in super::super) fn who(&self, id: u64, side: usize) -> (NodeKey, NodeKey, Protocol) {
        let nobody = NodeKey::from_bytes([0; 32]);
        self.pairs.get(&id).map_or((nobody, nobody, Protocol { name: "", version: 0 }), |pair| {
            (pair.ends[side].key, pair.ends[1 - side].key, pair.protocol)
        })
    }

    /// Why the end is over; else when that may be, if nothing changes.
    pub(in super::super) fn check(
        &mut self,
        id: u64,
        side: usize,
        now: Duration,
    ) -> Result<Option<Duration>, LinkError> {
        let Some(pair) = self.pairs.get(&id) else { return Err(LinkError::Lost) };
        let (end, peer) = (&pair.ends[side], &pair.ends[1 - side]);
        if let Some(why) = &end.over {
            return Err(why.clone());
        }
        let unheard = [self.cut_since(peer.key, end.key), peer.silent_since].into_iter().flatten().min();
        let lost_at = unheard.map(|since| since + IDLE_MAX);
        let farewell = end.farewell;
        let over = match (farewell, lost_at) {
            (Some((at, code)), _) if at <= now => Some(LinkError::ClosedByPeer(code)),
            (_, Some(at)) if at <= now => Some(LinkError::Lost),
            _ => None,
        };
        match over {
            Some(why) => {
                self.end(id, side, why.clone(), now);
                Err(why)
            }
            None => Ok([lost_at, farewell.map(|(at, _)| at)].into_iter().flatten().min()),
        }
    }

    fn end(&mut self, id: u64, side: usize, why: LinkError, now: Duration) {
        if let Some(pair) = self.pairs.get_mut(&id) {
            self.trace.line("links", format_args!("link {id} is over for {:?}: {why}", pair.ends[side].key));
            pair.ends[side].end(why, now);
            pair.ends[1 - side].notify.notify_waiters();
        }
    }

    pub(in super::super) fn close(&mut self, id: u64, side: usize, code: Code, now: Duration) {
        let Ok(_) = self.check(id, side, now) else { return };
        let Some((from, to)) = self.direction(id, side) else { return };
        // Sent once: lost with its packet.
        let arrives = self.packet_arrives(from, to, now);
        if let Some(pair) = self.pairs.get_mut(&id) {
            pair.ends[1 - side].farewell = arrives.map(|at| (at, code));
        }
        self.end(id, side, LinkError::Closed(code), now);
    }

    /// Closes the node's links with one peer or all.
    pub(in super::super) fn close_all(
        &mut self,
        key: NodeKey,
        peer: Option<&NodeKey>,
        code: Code,
        now: Duration,
    ) {
        let of_peer = |pair: &Pair, side: usize| {
            pair.ends[side].key == key && peer.is_none_or(|peer| pair.ends[1 - side].key == *peer)
        };
        let sides = self.pairs.iter().flat_map(|(id, pair)| [(*id, 0, pair), (*id, 1, pair)]);
        let found: Vec<_> =
            sides.filter(|(_, side, pair)| of_peer(pair, *side)).map(|(id, side, _)| (id, side)).collect();
        found.into_iter().for_each(|(id, side)| self.close(id, side, code, now));
    }

    pub(in super::super) fn drop_end(&mut self, id: u64, side: usize, now: Duration) {
        self.close(id, side, Code::DONE, now);
        let Some(pair) = self.pairs.get_mut(&id) else { return };
        pair.ends[side].dropped = true;
        if pair.ends.iter().all(|end| end.dropped) {
            self.pairs.remove(&id);
        }
    }

    pub(in super::super) fn send_datagram(
        &mut self,
        id: u64,
        side: usize,
        bytes: Bytes,
        now: Duration,
    ) -> Result<(), LinkError> {
        self.check(id, side, now)?;
        let Some((from, to)) = self.direction(id, side) else { return Err(LinkError::Lost) };
        let Some(on_the_way) = self.conditions(from, to) else { return Ok(()) };
        let copies = 1 + u32::from(self.chance(on_the_way.duplicate));
        for _ in 0..copies {
            let Some(mut at) = self.packet_arrives(from, to, now) else { continue };
            if self.chance(on_the_way.reorder) {
                at += on_the_way.latency_max;
            }
            let Some(pair) = self.pairs.get_mut(&id) else { break };
            let reader = &mut pair.ends[1 - side];
            if reader.datagrams.len() >= DATAGRAMS_MAX {
                reader.datagrams.pop_front();
            }
            reader.datagrams.push_back((at, bytes.clone()));
            reader.notify.notify_waiters();
        }
        Ok(())
    }

    pub(in super::super) fn recv_datagram(
        &mut self,
        id: u64,
        side: usize,
        now: Duration,
    ) -> Step<Result<Bytes, LinkError>> {
        let over = self.check(id, side, now);
        let Some(pair) = self.pairs.get_mut(&id) else { return Step::Done(Err(LinkError::Lost)) };
        let waiting = &mut pair.ends[side].datagrams;
        // Whichever came first, of those that are there.
        let first = waiting.iter().enumerate().min_by_key(|(_, (at, _))| *at).map(|(n, (at, _))| (n, *at));
        match (first, over) {
            (Some((n, at)), _) if at <= now => {
                Step::Done(waiting.remove(n).map(|(_, bytes)| bytes).ok_or(LinkError::Lost))
            }
            (_, Err(why)) => Step::Done(Err(why)),
            (first, Ok(at)) => Step::Wait(first.map(|(_, at)| at).into_iter().chain(at).min()),
        }
    }

    pub(in super::super) fn rtt(&self, id: u64) -> Option<Duration> {
        let (from, to) = self.direction(id, 0)?;
        let mean = |from, to| self.conditions(from, to).map(|c| (c.latency_min + c.latency_max) / 2);
        Some(mean(from, to)? + mean(to, from)?)
    }

    /// From whom to whom what this end sends goes.
    pub(super) fn direction(&self, id: u64, side: usize) -> Option<(NodeKey, NodeKey)> {
        self.pairs.get(&id).map(|pair| (pair.ends[side].key, pair.ends[1 - side].key))
    }

    pub(super) fn pairs_between(&self, one: NodeKey, other: NodeKey) -> Vec<u64> {
        self.pairs.iter().filter(|(_, pair)| pair.is_between(one, other)).map(|(id, _)| *id).collect()
    }

    pub(super) fn wake_between(&self, one: NodeKey, other: NodeKey) {
        for pair in self.pairs.values().filter(|pair| pair.is_between(one, other)) {
            pair.ends.iter().for_each(|end| end.notify.notify_waiters());
        }
        [one, other].iter().filter_map(|key| self.nodes.get(key)).for_each(|n| n.notify.notify_waiters());
    }
}
