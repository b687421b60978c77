//! What a node is told when it starts.

use selvedge_gateway::upstream::Resolve;
use selvedge_mesh::{BindError, Endpoint, Identity as NodeIdentity};
use selvedge_observe::Registry;
use selvedge_rt::links::side::Boxed;
use selvedge_rt::links::{self, Links};
use selvedge_rt::{self as rt, Clock, Disk, Net, Rng, Secrets, Tasks};
use selvedge_types::resource::{Listener, PopName, RegionName};
use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// What a node is told when it starts; everything else is declared by manifests.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its name.
    pub name: String,
    /// Its point of presence.
    pub pop: PopName,
    /// Its region.
    pub region: RegionName,
    /// Where it answers http.
    pub http: Vec<SocketAddr>,
    /// Where it answers https.
    pub https: Vec<SocketAddr>,
    /// Where its API is.
    pub api: SocketAddr,
    /// Where its mesh is, over UDP.
    pub mesh: Vec<SocketAddr>,
    /// How many data-plane threads there are.
    pub workers: usize,
    /// Bytes of memory for the cache, in place of the settings'.
    pub cache_ram: Option<u64>,
    /// Bytes of disk for the cache, in place of the settings'.
    pub cache_disk: Option<u64>,
    /// The sizes of what it writes.
    pub storage: Storage,
    /// Where its data is, for reports.
    pub data: Option<PathBuf>,
    /// The backup that its state begins with, where there is none yet.
    pub restore: Option<PathBuf>,
    /// Listening sockets handed over by a predecessor or the service manager, by name.
    pub sockets: Arc<Mutex<BTreeMap<String, Vec<TcpListener>>>>,
}

/// The sizes of what a node writes to its disk. A simulation makes them small, to get to their ends.
#[derive(Debug, Clone, Default)]
pub struct Storage {
    /// Of the control state.
    pub state: selvedge_state::Options,
    /// Of the cache's disk tier; `bytes_max` comes from the settings.
    pub segments: selvedge_store::segments::Options,
}

/// What a node stands on: the machine's or a simulation's.
pub struct Seams {
    /// Clocks.
    pub clock: Clock,
    /// Randomness.
    pub rng: Rng,
    /// Randomness for keys and tokens.
    pub secrets: Secrets,
    /// Network.
    pub net: Net,
    /// Makes its links with other nodes.
    pub links: Arc<dyn BindLinks>,
    /// Looks origins' names up.
    pub resolver: Arc<dyn Resolve>,
    /// The data directory.
    pub disk: Disk,
    /// The owner of its tasks.
    pub tasks: Tasks,
    /// Its metrics.
    pub registry: Registry,
}

/// Makes a node's links: the machine's, or a simulation's.
pub trait BindLinks: Send + Sync {
    /// Listens on `addresses` as that node.
    fn bind<'a>(
        &'a self,
        identity: &'a NodeIdentity,
        addresses: &'a [SocketAddr],
        options: links::Options,
        clock: &'a Clock,
        tasks: &'a Tasks,
    ) -> Boxed<'a, Result<Links, BindError>>;
}

/// Links over the machine's network.
pub struct RealLinks;

impl BindLinks for RealLinks {
    fn bind<'a>(
        &'a self,
        identity: &'a NodeIdentity,
        addresses: &'a [SocketAddr],
        options: links::Options,
        clock: &'a Clock,
        tasks: &'a Tasks,
    ) -> Boxed<'a, Result<Links, BindError>> {
        Box::pin(Endpoint::bind(identity, addresses, options, clock, tasks))
    }
}

/// An address to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen {
    /// The address.
    pub addr: SocketAddr,
    /// Clients speak TLS.
    pub tls: bool,
    /// Connections begin with a PROXY protocol header.
    pub proxy_protocol: bool,
}

impl Listen {
    /// The name that its socket has when it is handed over.
    pub(super) fn name(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }
}

impl From<&Listener> for Listen {
    fn from(declared: &Listener) -> Self {
        let Listener { address, tls, proxy_protocol } = declared;
        Listen { addr: address.0, tls: *tls, proxy_protocol: *proxy_protocol }
    }
}

impl Config {
    /// The addresses on the command line, without which the node does not start.
    pub(super) fn listens(&self) -> impl Iterator<Item = Listen> {
        let plain = self.http.iter().map(|addr| Listen { addr: *addr, tls: false, proxy_protocol: false });
        let tls = self.https.iter().map(|addr| Listen { addr: *addr, tls: true, proxy_protocol: false });
        plain.chain(tls)
    }

    /// A socket of that name for that address, if one was handed over.
    pub(super) fn handed_over(&self, name: &str, addr: SocketAddr) -> Option<io::Result<rt::Listener>> {
        let mut sockets = self.sockets.lock().ok()?;
        let named = sockets.get_mut(name)?;
        let is_it = |socket: &TcpListener| {
            socket.local_addr().is_ok_and(|at| at == addr || (addr.port() == 0 && at.ip() == addr.ip()))
        };
        let place = named.iter().position(is_it)?;
        Some(rt::Listener::from_std(named.remove(place)))
    }

    /// Closes the sockets that were handed over and are not declared any more: clients that connect to them would
    /// wait without end.
    pub(super) fn close_unclaimed(&self) {
        let Ok(mut sockets) = self.sockets.lock() else { return };
        for (name, socket) in std::mem::take(&mut *sockets)
            .into_iter()
            .flat_map(|(name, list)| list.into_iter().map(move |socket| (name.clone(), socket)))
        {
            let addr = socket.local_addr().map_or_else(|_| "unknown".to_owned(), |addr| addr.to_string());
            tracing::info!(name, addr, "was handed over and is not declared any more: closed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use selvedge_types::resource::Text;
    use std::net::TcpStream;

    #[tokio::test]
    async fn a_socket_that_nobody_asks_for_is_closed() {
        let any = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (asked, other) = (any(), any());
        let (asked_at, other_at) = (asked.local_addr().unwrap(), other.local_addr().unwrap());
        let config = Config {
            name: String::new(),
            pop: PopName::parse_text("default").unwrap(),
            region: RegionName::parse_text("default").unwrap(),
            http: vec![asked_at],
            https: Vec::new(),
            api: asked_at,
            mesh: Vec::new(),
            workers: 1,
            cache_ram: None,
            cache_disk: None,
            storage: Storage::default(),
            restore: None,
            data: None,
            sockets: Arc::new(Mutex::new(BTreeMap::from([("http".to_owned(), vec![other, asked])]))),
        };
        // One that is kept for later, as the API does.
        let kept = config.clone();
        let _open = config.handed_over("http", asked_at).unwrap().unwrap();
        config.close_unclaimed();
        assert!(TcpStream::connect(asked_at).is_ok());
        assert!(TcpStream::connect(other_at).is_err());
        drop(kept);
    }
}
