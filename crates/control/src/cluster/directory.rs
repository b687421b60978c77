//! Who may link with this node: the nodes of the cluster, and holders of tickets that can be used.

use super::join::Known;
use selvedge_mesh::Mesh;
use selvedge_mesh::ticket::{NodeRole, TicketRecord};
use selvedge_rt::links::Peers;
use selvedge_rt::{Clock, Tasks};
use selvedge_state::{Change, Kind, Value};
use selvedge_types::NodeKey;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// How often tickets are looked through.
const SWEEP: Duration = Duration::from_secs(5);

/// How long the key of a ticket that was used up may link still: whoever used it has to hear so.
const GRACE: Duration = Duration::from_secs(30);

/// Keeps the mesh's table of peers as the control state has it. Clones are the same.
#[derive(Clone)]
pub struct Directory(Arc<Inner>);

struct Inner {
    me: NodeKey,
    peers: Peers,
    clock: Clock,
    mesh: OnceLock<Mesh>,
    known: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    /// Nodes that may take part in groups.
    voters: BTreeSet<NodeKey>,
    tickets: BTreeMap<NodeKey, TicketRecord>,
    /// Since when tickets cannot be used.
    over: BTreeMap<NodeKey, Duration>,
}

impl Directory {
    /// The directory of node `me`, which keeps `peers`.
    pub fn new(me: NodeKey, peers: Peers, clock: Clock) -> Self {
        Directory(Arc::new(Inner { me, peers, clock, mesh: OnceLock::new(), known: Mutex::default() }))
    }

    /// Cuts links off in `mesh` from now on, too. Only the first call counts.
    pub fn serve(&self, mesh: Mesh) {
        drop(self.0.mesh.set(mesh));
    }

    /// Takes nodes for members that are not in the control state yet: those of which a new node was told.
    pub fn seed(&self, nodes: &[Known]) {
        for Known { key, addresses, .. } in nodes.iter().filter(|known| known.key != self.0.me) {
            self.0.peers.allow(*key, addresses);
            self.known().voters.insert(*key);
        }
    }

    /// Whether a node may take part in groups.
    pub fn may_vote(&self, key: &NodeKey) -> bool {
        self.known().voters.contains(key)
    }

    /// Follows the control state. Does not block.
    pub fn observe(&self, changes: &[Change]) {
        for change in changes {
            let Ok(key) = change.object.name.parse::<NodeKey>() else { continue };
            match (change.object.kind, &change.value) {
                (Kind::Node, Some((_, Value::Node(node)))) if key != self.0.me => {
                    self.0.peers.allow(key, &node.mesh);
                    let mut known = self.known();
                    match node.role {
                        NodeRole::Voter => known.voters.insert(key),
                        NodeRole::Edge => known.voters.remove(&key),
                    };
                }
                (Kind::Node, None) => {
                    self.known().voters.remove(&key);
                    self.cut(&key);
                }
                (Kind::Ticket, Some((_, Value::Ticket(record)))) => self.take_ticket(key, record),
                (Kind::Ticket, None) => {
                    let mut known = self.known();
                    known.tickets.remove(&key);
                    known.over.remove(&key);
                    drop(known);
                    self.cut(&key);
                }
                _ => {}
            }
        }
    }

    fn take_ticket(&self, key: NodeKey, record: &TicketRecord) {
        if record.revoked {
            self.known().tickets.remove(&key);
            return self.cut(&key);
        }
        self.known().tickets.insert(key, record.clone());
        if record.usable(self.0.clock.wall()).is_ok() {
            self.0.peers.allow(key, &[]);
        }
    }

    /// Lets the keys of tickets that cannot be used any more link no longer, until the tasks end.
    pub async fn sweep(self, tasks: Tasks) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(SWEEP) => {}
                () = tasks.stopped() => return,
            }
            let (wall, now) = (self.0.clock.wall(), self.0.clock.monotonic());
            let mut gone = Vec::new();
            {
                let known = &mut *self.known();
                for (key, record) in &known.tickets {
                    if record.usable(wall).is_err() && now >= *known.over.entry(*key).or_insert(now) + GRACE {
                        gone.push(*key);
                    }
                }
                for key in &gone {
                    known.tickets.remove(key);
                    known.over.remove(key);
                }
            }
            gone.iter().for_each(|key| self.cut(key));
        }
    }

    fn cut(&self, key: &NodeKey) {
        // Before there is a mesh nobody is linked, and the table of peers is filled anew at each start.
        if let Some(mesh) = self.0.mesh.get() {
            mesh.remove(key);
        }
    }

    fn known(&self) -> MutexGuard<'_, Table> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
