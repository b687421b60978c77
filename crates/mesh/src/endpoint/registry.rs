//! The links that are open, so that they can be closed by their peer's key.

use iroh::endpoint::{Connection, VarInt, WeakConnectionHandle};
use selvedge_rt::links::{Code, LINKS_MAX, LINKS_PER_PEER_MAX};
use selvedge_types::NodeKey;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// What this end said when it closed a link: QUIC remembers only what the other said.
pub(super) type Said = Arc<OnceLock<Code>>;

/// Holds no link open.
#[derive(Default)]
pub(super) struct Registry(Mutex<BTreeMap<NodeKey, VecDeque<Entry>>>);

struct Entry {
    conn: WeakConnectionHandle,
    said: Said,
}

impl Entry {
    fn open(&self) -> Option<Connection> {
        self.conn.upgrade().filter(|conn| conn.close_reason().is_none())
    }

    fn close(&self, code: Code) {
        if let Some(conn) = self.open() {
            close(&conn, &self.said, code);
        }
    }
}

/// Closes a link and remembers why.
pub(super) fn close(conn: &Connection, said: &Said, code: Code) {
    said.get_or_init(|| code);
    conn.close(VarInt::from_u32(code.0), b"");
}

impl Registry {
    /// Notes a link.
    pub(super) fn add(&self, peer: NodeKey, conn: Connection) -> (Connection, Said) {
        let said = Said::default();
        let mut links = self.links();
        let of_peer = links.entry(peer).or_default();
        of_peer.retain(|entry| entry.open().is_some());
        of_peer.push_back(Entry { conn: conn.weak_handle(), said: said.clone() });
        (conn, said)
    }

    /// Lets the oldest links with `peer` go for the next.
    pub(super) fn make_room(&self, peer: &NodeKey) {
        let mut links = self.links();
        let Some(of_peer) = links.get_mut(peer) else { return };
        of_peer.retain(|entry| entry.open().is_some());
        while of_peer.len() >= LINKS_PER_PEER_MAX {
            of_peer.pop_front().iter().for_each(|entry| entry.close(Code::REPLACED));
        }
    }

    /// Whether there are as many links as there may be.
    pub(super) fn is_full(&self) -> bool {
        let mut links = self.links();
        let count = |links: &BTreeMap<_, VecDeque<_>>| links.values().map(VecDeque::len).sum::<usize>();
        if count(&links) >= LINKS_MAX {
            links.retain(|_, of_peer| {
                of_peer.retain(|entry: &Entry| entry.open().is_some());
                !of_peer.is_empty()
            });
        }
        count(&links) >= LINKS_MAX
    }

    /// Closes all links with one peer.
    pub(super) fn cut(&self, peer: &NodeKey, code: Code) {
        let links = self.links().remove(peer);
        links.iter().flatten().for_each(|entry| entry.close(code));
    }

    /// Closes all links.
    pub(super) fn close(&self, code: Code) {
        let links = std::mem::take(&mut *self.links());
        links.values().flatten().for_each(|entry| entry.close(code));
    }

    fn links(&self) -> MutexGuard<'_, BTreeMap<NodeKey, VecDeque<Entry>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
