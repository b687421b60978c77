//! The node's listening sockets: those of the command line, which stay, and those that the settings declare, which
//! come and go with them.

use super::config::{Config, Listen};
use super::error::NodeError;
use selvedge_gateway::front::{CertificateError, Certificates, Endpoint, Front, Tls};
use selvedge_rt::{Listener, Net, Tasks, WorkerRuntimes};
use selvedge_types::resource::Settings;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// The sockets that are open. Clones share them.
#[derive(Clone)]
pub(super) struct Listening(Arc<Shared>);

struct Shared {
    front: Arc<Front>,
    certificates: Certificates,
    net: Net,
    tasks: Tasks,
    workers: WorkerRuntimes,
    open: Mutex<Vec<Open>>,
}

struct Open {
    listen: Listen,
    addr: SocketAddr,
    listener: Listener,
    /// Told to stop when it is declared no more.
    tasks: Tasks,
    /// From the command line.
    stays: bool,
}

/// The command line's sockets. They come before those that a manifest adds: whatever is declared, the API can be
/// reached to change it.
pub(super) struct Bound {
    pub(super) api: Listener,
    pub(super) api_addr: SocketAddr,
    /// The API's, to be handed over.
    pub(super) api_copy: Option<std::net::TcpListener>,
    pub(super) front: Vec<(Listen, Listener)>,
}

impl Bound {
    /// Opens them, or takes those that were handed over. Nothing is accepted yet.
    pub(super) async fn open(config: &Config, net: &Net) -> Result<Self, NodeError> {
        let api = bind(config, net, "api", config.api).await;
        let api = api.map_err(cannot_listen(config.api, "the API"))?;
        let api_addr = api.local_addr().unwrap_or(config.api);
        let api_copy = api.try_clone_std().map_err(cannot_listen(api_addr, "the API"))?;
        let mut front = Vec::new();
        for listen in config.listens() {
            let listener = bind(config, net, listen.name(), listen.addr).await;
            front.push((listen, listener.map_err(cannot_listen(listen.addr, listen.name()))?));
        }
        Ok(Bound { api, api_addr, api_copy, front })
    }
}

async fn bind(config: &Config, net: &Net, name: &str, addr: SocketAddr) -> io::Result<Listener> {
    match config.handed_over(name, addr) {
        Some(listener) => listener,
        None => net.bind(addr).await,
    }
}

fn cannot_listen(addr: SocketAddr, what: &'static str) -> impl FnOnce(io::Error) -> NodeError {
    move |source| NodeError::Listen { addr, what, source }
}

/// Why an address is not listened on.
#[derive(Debug, thiserror::Error)]
pub(super) enum ListenError {
    #[error(transparent)]
    Bind(#[from] io::Error),
    #[error(transparent)]
    Tls(#[from] CertificateError),
}

impl Listening {
    /// No sockets yet. What they accept belongs to `tasks` and runs on `workers`.
    pub(super) fn new(
        front: Arc<Front>,
        certificates: Certificates,
        net: Net,
        tasks: Tasks,
        workers: WorkerRuntimes,
    ) -> Self {
        Listening(Arc::new(Shared { front, certificates, net, tasks, workers, open: Mutex::default() }))
    }

    /// Accepts connections on one of the command line's, which stays.
    pub(super) fn open(&self, listen: Listen, listener: Listener) -> Result<(), NodeError> {
        self.begin(listen, listener, true).map_err(|error| match error {
            ListenError::Bind(source) => cannot_listen(listen.addr, listen.name())(source),
            ListenError::Tls(error) => error.into(),
        })
    }

    /// Opens those that `settings` declare and that are not open, and stops those that were declared before and
    /// are no more: connections on these end as when the node stops. Returns what cannot be opened.
    pub(super) async fn follow(&self, config: &Config, settings: &Settings) -> Vec<String> {
        let declared: Vec<Listen> = settings.listener.iter().map(Listen::from).collect();
        let ended: Vec<Open> =
            self.lock().extract_if(.., |open| !open.stays && !declared.contains(&open.listen)).collect();
        for open in ended {
            tracing::info!(addr = %open.addr, "no longer declared: accepts no more connections");
            open.tasks.stop();
        }
        let mut problems = Vec::new();
        for listen in declared {
            if self.lock().iter().any(|open| !open.stays && open.listen == listen) {
                continue;
            }
            if let Err(error) = self.declared(config, listen).await {
                problems.push(format!("listener {}: cannot be opened: {error}", listen.addr));
            }
        }
        problems
    }

    fn begin(&self, listen: Listen, listener: Listener, stays: bool) -> Result<(), ListenError> {
        let shared = &self.0;
        let tls = listen.tls.then(|| Tls::new(&shared.certificates)).transpose()?;
        let endpoint = Endpoint { tls, proxy_protocol: listen.proxy_protocol };
        let tasks = shared.tasks.part();
        serve(&shared.front, &listener, &endpoint, &shared.workers, &tasks)?;
        let addr = listener.local_addr().unwrap_or(listen.addr);
        self.lock().push(Open { listen, addr, listener, tasks, stays });
        Ok(())
    }

    async fn declared(&self, config: &Config, listen: Listen) -> Result<(), ListenError> {
        let listener = bind(config, &self.0.net, listen.name(), listen.addr).await?;
        self.begin(listen, listener, false)
    }

    /// Where it answers, with or without TLS.
    pub(super) fn addresses(&self, tls: bool) -> Vec<SocketAddr> {
        self.lock().iter().filter(|open| open.listen.tls == tls).map(|open| open.addr).collect()
    }

    /// Copies of the sockets with their names, to be handed to a successor.
    pub(super) fn sockets(&self) -> io::Result<Vec<(&'static str, std::net::TcpListener)>> {
        let open = self.lock();
        let copies = open.iter().map(|open| Ok((open.listen.name(), open.listener.try_clone_std()?)));
        let copies: io::Result<Vec<_>> = copies.collect();
        Ok(copies?.into_iter().filter_map(|(name, socket)| Some((name, socket?))).collect())
    }

    /// Closes the sockets.
    pub(super) fn close(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Open>> {
        // Whole between any two operations.
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves a listener on every data-plane thread.
fn serve(
    front: &Arc<Front>,
    listener: &Listener,
    endpoint: &Endpoint,
    workers: &WorkerRuntimes,
    tasks: &Tasks,
) -> io::Result<()> {
    let mut sockets = Vec::new();
    for _ in 0..workers.count() {
        sockets.push(Mutex::new(Some(listener.try_clone_handle()?)));
    }
    workers.on_each(|i| {
        let socket = sockets[i].lock().ok().and_then(|mut s| s.take());
        let (front, endpoint, tasks) = (front.clone(), endpoint.clone(), tasks.clone());
        async move {
            match socket.map(selvedge_rt::net::ListenerHandle::open) {
                Some(Ok(listener)) => front.serve(listener, endpoint, tasks).await,
                Some(Err(error)) => tracing::error!(%error, "a data-plane thread cannot listen"),
                None => {}
            }
        }
    });
    Ok(())
}
