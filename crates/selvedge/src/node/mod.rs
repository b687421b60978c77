//! A node: every part, put together.
//!
//! `Config::build(seams) -> Node` is the one place that knows all parts. The data plane runs on threads of its
//! own and follows snapshots; the control state, the API and everything that waits for disks run on the
//! caller's runtime.

mod build;
mod cluster;
mod config;
mod control;
pub(crate) mod distances;
mod error;
mod events;
mod following;
mod gateway;
mod handles;
mod identity;
mod listening;
mod purges;
mod restoring;
mod settings;

pub use config::{BindLinks, Config, Listen, RealLinks, Seams, Storage};
pub use distances::DistantLinks;
pub use error::NodeError;
pub(crate) use error::chain;
pub use identity::{Identity, IdentityError};
pub(crate) use restoring::MARK as RESTORING;

use cluster::Linked;
use following::InForce;
use listening::Listening;
use selvedge_control::{ApiOptions, Handles, Secret};
use selvedge_gateway::plane::Plane;
use selvedge_observe::Events;
use selvedge_rt::disk::DiskLock;
use selvedge_rt::{OnEnd, Tasks, Workers};
use selvedge_state::State;
use selvedge_types::Event;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// The file that says by its lock that a node runs.
pub(crate) const LOCK: &str = "lock";
/// The file with the number of the node's process.
pub(crate) const PID: &str = "pid";

/// How long what uses the data directory may take to end.
const LENDING: Duration = Duration::from_secs(10);

/// A running node.
pub struct Node {
    /// Where it answers http.
    pub http: Vec<SocketAddr>,
    /// Where it answers https.
    pub https: Vec<SocketAddr>,
    /// Where its API is.
    pub api: SocketAddr,
    /// The first token, when it was just made.
    pub first_token: Option<Secret>,
    /// Why the control state is not available, if it is not: the node serves from its last snapshot.
    pub state_problem: Option<String>,
    /// That is because the disk is full.
    pub waits_for_space: bool,
    plane: Plane,
    state: Option<State>,
    linked: Linked,
    in_force: InForce,
    events: Events,
    listening: Listening,
    /// The API's socket, to be handed over.
    api_copy: Option<std::net::TcpListener>,
    /// The API, as long as it is not answered.
    closed_api: Option<(selvedge_rt::Listener, Handles)>,
    tasks: Tasks,
    data_tasks: Tasks,
    traffic_tasks: Tasks,
    workers: Workers,
    lock: Option<DiskLock>,
}

impl Node {
    /// The data plane.
    pub fn plane(&self) -> &Plane {
        &self.plane
    }

    /// Copies of its sockets with their names, to be handed to a successor.
    pub fn sockets(&self) -> io::Result<Vec<(&'static str, std::net::TcpListener)>> {
        let mut sockets = self.listening.sockets()?;
        if let Some(api) = &self.api_copy {
            sockets.push(("api", api.try_clone()?));
        }
        Ok(sockets)
    }

    /// Resolves when an essential part has ended, with its name.
    pub async fn failed(&self) -> &'static str {
        tokio::select! {
            () = self.tasks.stopped() => {}
            () = self.data_tasks.stopped() => {}
        }
        self.tasks.failed().unwrap_or("the node")
    }

    /// Answers its API from now on.
    pub fn open_api(&mut self) {
        if let Some((listener, handles)) = self.closed_api.take() {
            let answers_edges = self.state.is_some() && !self.linked.is_edge();
            let forwarding = answers_edges.then(|| self.linked.forwarding.serve(handles.clone()));
            let serving = async move {
                selvedge_control::serve(listener, ApiOptions::default(), handles).await;
                drop(forwarding);
            };
            self.data_tasks.spawn("api", OnEnd::Essential, serving);
        }
    }

    /// Ends everything that uses the data directory, and lets go of that for another node. Requests are answered as
    /// before, but without the disk cache, and by what was declared until now. Says whether it is free; if not,
    /// this can be called again.
    pub async fn lend(&mut self) -> bool {
        if !self.is_lent() {
            self.events.tell(Event::HandedOver);
        }
        self.data_tasks.stop();
        // Its successor is reached where this one was.
        self.linked.mesh.close().await;
        let free = self.data_tasks.shut_down(LENDING).await;
        if free {
            self.lock = None;
        }
        free
    }

    /// Whether its data directory was asked back from it.
    pub fn is_lent(&self) -> bool {
        self.data_tasks.is_stopping()
    }

    /// Stops accepting, and has requests under way be the last on their connections.
    pub fn close(&mut self) {
        self.listening.close();
        self.api_copy = None;
        self.traffic_tasks.stop();
    }

    /// Tells other nodes that this one goes, if there are any.
    async fn leave(&self) {
        let alone = self.state.as_ref().is_none_or(|state| state.nodes().len() <= 1);
        if !alone && !self.is_lent() {
            self.linked.members.leave().await;
        }
    }

    /// Stops accepting, lets requests under way end, then everything else. Says whether all ended in time.
    pub async fn shut_down(mut self) -> bool {
        if !self.is_lent() {
            self.events.tell(Event::Stopping);
        }
        self.close();
        // Others hear that it leaves while its requests end.
        let (drained, ()) = tokio::join!(self.traffic_tasks.shut_down(self.in_force.drain()), self.leave());
        if !drained {
            self.traffic_tasks.abandon();
        }
        self.data_tasks.stop();
        self.linked.mesh.close().await;
        let stopped = self.data_tasks.shut_down(Duration::from_secs(10)).await
            & self.tasks.shut_down(Duration::from_secs(10)).await;
        // Threads end when their tasks have, or were given up.
        let joined = self.workers.ended().await;
        drained && stopped && joined
    }
}

/// The owners of a node's tasks.
#[derive(Clone)]
struct Owners {
    all: Tasks,
    /// Of what uses the data directory: a node that hands over ends it before its last requests have ended.
    data: Tasks,
    /// Of what answers requests.
    traffic: Tasks,
}

impl Owners {
    /// Ends what was begun of a node that will not be.
    async fn give_up(&self) {
        let ended = [&self.data, &self.traffic, &self.all].map(|tasks| tasks.shut_down(LENDING));
        let [data, traffic, all] = ended;
        if !(data.await & traffic.await & all.await) {
            tracing::warn!("not all that was begun has ended in time");
        }
        self.traffic.abandon();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use selvedge_gateway::upstream::SystemResolver;
    use selvedge_observe::Registry;
    use selvedge_rt::{Clock, Disk, Net, Rng, Secrets};
    use selvedge_types::resource::{PopName, RegionName, Text};
    use std::sync::Arc;

    fn config(api: SocketAddr) -> Config {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Config {
            name: "one".into(),
            pop: PopName::parse_text("default").unwrap(),
            region: RegionName::parse_text("default").unwrap(),
            http: vec![any],
            https: Vec::new(),
            api,
            mesh: vec![any],
            workers: 1,
            cache_ram: Some(1 << 20),
            cache_disk: Some(64 << 20),
            storage: Storage::default(),
            restore: None,
            data: None,
            sockets: Arc::default(),
        }
    }

    fn seams(dir: &tempfile::TempDir, tasks: &Tasks) -> Seams {
        Seams {
            clock: Clock::real(),
            rng: Rng::from_seed(1),
            secrets: Secrets::System,
            net: Net::Real,
            links: Arc::new(RealLinks),
            resolver: Arc::new(SystemResolver::new()),
            disk: Disk::real(dir.path()).unwrap(),
            tasks: tasks.clone(),
            registry: Registry::default(),
        }
    }

    #[tokio::test]
    async fn what_was_begun_of_a_node_that_cannot_be_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let tasks = Tasks::real();
        let failed = config(busy.local_addr().unwrap()).begin(seams(&dir, &tasks)).await;
        assert!(matches!(failed.err(), Some(NodeError::Listen { .. })));
        assert!(
            !Identity::is_there(&Disk::real(dir.path()).unwrap()).unwrap(),
            "it can still be told to join"
        );
        let busy_mesh = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut cut_off = config(SocketAddr::from(([127, 0, 0, 1], 0)));
        cut_off.mesh = vec![busy_mesh.local_addr().unwrap()];
        let failed = cut_off.begin(seams(&dir, &tasks)).await;
        assert!(matches!(failed.err(), Some(NodeError::Mesh(_))));
        assert!(!Identity::is_there(&Disk::real(dir.path()).unwrap()).unwrap());
        // At once, and as often as one likes: nothing uses the directory.
        drop(busy);
        // What a node that was killed has left says nothing of this one.
        std::fs::write(dir.path().join(PID), "1\n").unwrap();
        for _ in 0..2 {
            let node =
                config(SocketAddr::from(([127, 0, 0, 1], 0))).build(seams(&dir, &tasks)).await.unwrap();
            assert!(node.state_problem.is_none() && !dir.path().join(PID).exists());
            assert!(node.shut_down().await);
        }
        assert!(!tasks.is_stopping(), "the owner's other tasks go on");
    }
}
