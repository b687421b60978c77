//! Who may link with a node, and where they are.

use selvedge_types::NodeKey;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many addresses of a peer are kept; the one learnt first goes for the next.
pub const ADDRESSES_MAX: usize = 8;

/// The table of peers. Clones share it. What it says about a key is asked in each handshake.
#[derive(Clone, Debug, Default)]
pub struct Peers(Arc<Mutex<BTreeMap<NodeKey, Vec<SocketAddr>>>>);

impl Peers {
    /// Lets `peer` link from now on and adds to its addresses.
    pub fn allow(&self, peer: NodeKey, addresses: &[SocketAddr]) {
        let mut table = self.table();
        let known = table.entry(peer).or_default();
        addresses.iter().for_each(|address| add(known, *address));
    }

    /// Adds an address of `peer`, if it may link; says whether it may.
    pub fn learn(&self, peer: &NodeKey, address: SocketAddr) -> bool {
        self.table().get_mut(peer).map(|known| add(known, address)).is_some()
    }

    /// Whether `peer` may link.
    pub fn knows(&self, peer: &NodeKey) -> bool {
        self.table().contains_key(peer)
    }

    /// Where `peer` may be, the latest first.
    pub fn addresses(&self, peer: &NodeKey) -> Vec<SocketAddr> {
        self.table().get(peer).map_or_else(Vec::new, |known| known.iter().rev().copied().collect())
    }

    /// All who may link, in the keys' order.
    pub fn all(&self) -> Vec<NodeKey> {
        self.table().keys().copied().collect()
    }

    /// Lets `peer` make no more links: [`super::Links::remove`] also ends those that are.
    pub(super) fn remove(&self, peer: &NodeKey) {
        self.table().remove(peer);
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<NodeKey, Vec<SocketAddr>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add(known: &mut Vec<SocketAddr>, address: SocketAddr) {
    known.retain(|other| *other != address);
    if known.len() >= ADDRESSES_MAX {
        known.remove(0);
    }
    known.push(address);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn the_latest_addresses_are_kept_and_come_first() {
        let (peers, key) = (Peers::default(), NodeKey::from_bytes([1; 32]));
        assert!(!peers.learn(&key, address(1)));
        peers.allow(key, &[address(1)]);
        (2..20).chain([5]).for_each(|port| assert!(peers.learn(&key, address(port))));
        let known = peers.addresses(&key);
        assert_eq!(known.len(), ADDRESSES_MAX);
        assert_eq!(known.first(), Some(&address(5)));
        peers.remove(&key);
        assert!(!peers.knows(&key) && peers.addresses(&key).is_empty());
    }
}
