//! What `up` and `dev` share: building a node, saying where it is, running it until it is told to stop.

use crate::cli::context::{Context, user_directory};
use crate::cli::{Failure, Output, Table};
use crate::node::{BindLinks, Config, DistantLinks, IdentityError, Node, NodeError, RealLinks, Seams};
use clap::Args;
use selvedge_gateway::upstream::SystemResolver;
use selvedge_mesh::ticket::Ticket;
use selvedge_observe::Registry;
use selvedge_observe::machine::MachineCollector;
use selvedge_rt::{Clock, Disk, Net, Rng, Secrets, Tasks};
use selvedge_types::resource::{ByteSize, CacheSizes, Text};
use serde::{Deserialize, Serialize};
use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How much of the machine the node uses.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Machine")]
pub struct MachineArgs {
    /// Threads that serve requests [default: one for each CPU]
    #[arg(long, value_name = "COUNT")]
    pub workers: Option<usize>,
    /// Memory for the cache, in place of the settings': 512MiB
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub cache_ram: Option<u64>,
    /// Disk space for the cache, in place of the settings'; 0B for none
    #[arg(long, value_name = "SIZE", value_parser = disk_size)]
    pub cache_disk: Option<u64>,
}

impl MachineArgs {
    /// How many threads serve requests.
    pub(super) fn workers(&self) -> usize {
        let cpus = || std::thread::available_parallelism().map_or(1, usize::from);
        self.workers.unwrap_or_else(cpus).max(1)
    }
}

fn disk_size(text: &str) -> Result<u64, String> {
    let least = CacheSizes::DISK_MIN;
    let is_usable = |bytes: &u64| *bytes == 0 || *bytes >= least.get();
    size(text).and_then(|bytes| {
        is_usable(&bytes).then_some(bytes).ok_or(format!("at least {least}, or 0B for none"))
    })
}

fn size(text: &str) -> Result<u64, String> {
    ByteSize::parse_text(text).map(|size| size.get()).map_err(|e| format!("{}: {}", e.message, e.help))
}

/// Where a node answers, as printed when it starts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Addresses {
    http: Vec<String>,
    https: Vec<String>,
    api: String,
    /// The first token's secret, when it was just made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    /// The file that has the token, where the token itself is not printed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token_file: Option<PathBuf>,
}

impl Addresses {
    /// The addresses of `node`, which may have a secret to show.
    pub(super) fn of(node: &Node) -> Self {
        let urls = |scheme: &str, list: &[SocketAddr]| -> Vec<String> {
            list.iter().map(|addr| format!("{scheme}://{}/", reachable(*addr))).collect()
        };
        Addresses {
            http: urls("http", &node.http),
            https: urls("https", &node.https),
            api: format!("http://{}/", reachable(node.api)),
            token: node.first_token.as_ref().map(|secret| secret.reveal().to_owned()),
            token_file: None,
        }
    }

    /// Those of a node that listens there.
    pub(super) fn at(http: SocketAddr, https: SocketAddr, api: SocketAddr) -> Self {
        Addresses {
            http: vec![format!("http://{http}/")],
            https: vec![format!("https://{https}/")],
            api: format!("http://{api}/"),
            token: None,
            token_file: None,
        }
    }

    /// The same, with a token to show.
    pub(super) fn with_token(&self, token: &str) -> Self {
        Addresses { token: Some(token.to_owned()), token_file: None, ..self.clone() }
    }

    /// Where it answers http; the first of several.
    pub(super) fn front(&self) -> Option<SocketAddr> {
        address(self.http.first()?)
    }

    /// Where it answers https; the first of several.
    pub(super) fn tls(&self) -> Option<SocketAddr> {
        address(self.https.first()?)
    }

    /// Names the context file in `data` in place of a new token, unless a person looks on: what is printed may be
    /// kept in a log.
    pub(super) fn without_secret(mut self, data: &Path) -> Self {
        if !io::stdout().is_terminal() && self.token.take().is_some() {
            self.token_file = Some(Context::path(data));
        }
        self
    }

    /// Prints them.
    pub(super) fn print(&self, output: Output) -> Result<(), Failure> {
        output.print(self, Addresses::table).map(drop)
    }

    /// They as a table.
    pub(super) fn table(&self) -> Table {
        let mut table = Table::new().column("").column("");
        self.http.iter().for_each(|url| table.row(["http", url]));
        self.https.iter().for_each(|url| table.row(["https", url]));
        table.row(["api", &self.api]);
        if let Some(file) = &self.token_file {
            table.row(["token", &format!("in {}", file.display())]);
            table.row(["dashboard", &self.api]);
        }
        if let Some(token) = &self.token {
            table.row(["token", token]);
            table.row(["dashboard", &format!("{}#token={token}", self.api)]);
        }
        table
    }

    /// The API's URL, as for a context file.
    pub(super) fn api(&self) -> &str {
        self.api.trim_end_matches('/')
    }
}

/// The address in a URL that was printed.
fn address(url: &str) -> Option<SocketAddr> {
    url.split_once("://")?.1.trim_end_matches('/').parse().ok()
}

/// An address to connect to in place of one that means all of the machine's.
pub(super) fn reachable(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => SocketAddr::from(([127, 0, 0, 1], v4.port())),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => {
            SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], v6.port()))
        }
        other => other,
    }
}

/// Builds the node on the machine's own clock, network and disk.
pub(super) async fn build(config: Config, data: &Path) -> Result<Node, Failure> {
    let mut node = begin(config, data).await?;
    node.open_api();
    Ok(node)
}

/// As [`build`], but the node does not answer its API yet.
pub(super) async fn begin(config: Config, data: &Path) -> Result<Node, Failure> {
    let seams = seams(data)?;
    MachineCollector::register(&seams.registry, Some(data.to_owned()));
    config.begin(seams).await.map_err(|error| not_built(error, data))
}

/// Has the node of a data directory let into the cluster of a ticket.
pub(super) async fn join(config: &Config, data: &Path, ticket: &Ticket) -> Result<(), Failure> {
    let seams = seams(data)?;
    let joined = config.join(ticket, &seams).await;
    seams.tasks.stop();
    joined.map_err(|error| not_built(error, data))
}

/// The machine's own clock, network and disk.
fn seams(data: &Path) -> Result<Seams, Failure> {
    let rng = Rng::from_os().map_err(|e| Failure::failed("the machine gives no randomness").because(e))?;
    Ok(Seams {
        clock: Clock::real(),
        rng,
        secrets: Secrets::System,
        net: Net::Real,
        links: links(),
        resolver: Arc::new(SystemResolver::new()),
        disk: Disk::real(data).map_err(|error| unusable(data, error))?,
        tasks: Tasks::real(),
        registry: Registry::default(),
    })
}

/// Names the file that says how far other nodes are, for nodes of a world that `dev` makes.
pub(super) const DISTANCES_VARIABLE: &str = "SELVEDGE_DISTANCES";

/// The machine's own network, where nodes of `dev` are as if at a distance.
fn links() -> Arc<dyn BindLinks> {
    match std::env::var_os(DISTANCES_VARIABLE).filter(|file| !file.is_empty()) {
        Some(file) => Arc::new(DistantLinks { file: file.into() }),
        None => Arc::new(RealLinks),
    }
}

/// Why a data directory cannot be used, and what to do then.
fn unusable(data: &Path, error: io::Error) -> Failure {
    let (what, next) = match error.kind() {
        io::ErrorKind::WouldBlock => {
            let pid = std::fs::read_to_string(data.join(crate::node::PID)).unwrap_or_default();
            let by = if pid.trim().is_empty() { String::new() } else { format!(", process {}", pid.trim()) };
            let what = format!("the data directory {} is in use by another node{by}", data.display());
            return Failure::failed(what).next(
                "stop that one first, or give this one a directory of its own with --data; `selvedge upgrade` \
                 replaces a running node's program",
            );
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            ("the disk is full", "free space there, or name another directory with --data")
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            ("its file system is read-only", "mount it for writing, or name another directory with --data")
        }
        io::ErrorKind::PermissionDenied => (
            "this user may not write to it",
            "name one that this user may write to with --data, or change who owns it",
        ),
        _ => ("it cannot be read or written", "name another directory with --data"),
    };
    Failure::failed(format!("cannot use the data directory {}: {what}", data.display()))
        .because(error)
        .next(next)
}

fn not_built(error: NodeError, data: &Path) -> Failure {
    let error = match error {
        NodeError::Data { source, .. } | NodeError::Identity(IdentityError::Io(source)) => {
            return unusable(data, source);
        }
        other => other,
    };
    let next = match &error {
        NodeError::FirstToken(_) | NodeError::State(_) => {
            "nothing was lost: is there space on the disk? run the same command again"
        }
        NodeError::Listen { .. } => {
            "choose another address; port 0 picks a free one, ports below 1024 need a right"
        }
        _ => "",
    };
    let failure = Failure::failed("the node cannot start").because(error);
    if next.is_empty() { failure } else { failure.next(next) }
}

/// The context files that a node leaves.
pub(super) struct LeftContext {
    /// What is in them.
    pub(super) context: Context,
    /// What was in the user's before.
    former: Option<Context>,
}

/// What finds the node: where it is, and the token that was just made or that its data directory has, if it has one.
pub(super) fn context(addresses: &Addresses, data: &Path) -> Context {
    let known = || Context::read(data).ok().flatten().and_then(|context| context.token);
    Context { api: addresses.api().to_owned(), token: addresses.token.clone().or_else(known) }
}

/// Whether commands without more words go to another node that they have a token for.
pub(super) fn is_second(context: &Context) -> bool {
    let user = || user_directory().and_then(|home| Context::read(&home).ok().flatten());
    context.token.is_none() && user().is_some_and(|user| user.token.is_some())
}

/// Leaves the context file in the data directory and for the user. Says so if commands went to another node until now.
pub(super) fn leave(context: Context, data: &Path) -> LeftContext {
    let former = user_directory().and_then(|home| Context::read(&home).ok().flatten());
    let kept = data.join(FORMER);
    let former = match former {
        // This node's predecessor, or itself before it was killed, has left it: what was before that is kept.
        Some(own) if own == context => Context::read(&kept).ok().flatten(),
        former => {
            let written = match &former {
                Some(former) => former.write(&kept).map(|_| ()),
                None => Context::remove(&kept),
            };
            if let Err(e) = written {
                tracing::warn!(error = %e, "after an upgrade commands will not go where they went before");
            }
            former
        }
    };
    if let Some(former) = former.as_ref().filter(|former| former.api != context.api) {
        tracing::warn!(
            "commands without --data or --api go to this node ({}) while it runs, not to {} as before",
            context.api,
            former.api,
        );
    }
    leave_in(&context, [Some(data.to_owned()), user_directory()]);
    LeftContext { context, former }
}

/// Leaves the context file in these directories.
pub(super) fn leave_in(context: &Context, directories: impl IntoIterator<Item = Option<PathBuf>>) {
    for directory in directories.into_iter().flatten() {
        if let Err(e) = context.write(&directory) {
            tracing::warn!(directory = %directory.display(), error = %e, "no context file was left");
        }
    }
}

/// In the data directory: where the user's context file is kept that was there before the node's.
const FORMER: &str = "former";

impl LeftContext {
    /// Leaves the user's context file as it was before, if it is still this node's.
    pub(super) fn take_back(self) {
        let Some(home) = user_directory() else { return };
        if Context::read(&home).ok().flatten().as_ref() != Some(&self.context) {
            return;
        }
        let restored = match self.former {
            Some(former) => former.write(&home).map(|_| ()),
            None => Context::remove(&home),
        };
        if let Err(e) = restored {
            tracing::warn!(error = %e, "the context file is left as it is");
        }
    }
}

/// Sends what happens to standard error: warnings, or what `SELVEDGE_LOG` says.
pub(super) fn start_log(default: &str) {
    use tracing_subscriber::EnvFilter;
    let set = std::env::var("SELVEDGE_LOG").unwrap_or_default();
    let wanted = if set.is_empty() { default } else { &set };
    // Each step of an election is news for the library, and for nobody else unless it is asked for by name.
    let filter = EnvFilter::try_new(format!("openraft=warn,{wanted}"));
    let filter = filter.unwrap_or_else(|_| EnvFilter::new(default));
    let colour =
        std::io::IsTerminal::is_terminal(&std::io::stderr()) && std::env::var_os("NO_COLOR").is_none();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second one, as in tests, changes nothing.
    let _ = log.with_ansi(colour).with_target(false).try_init();
}

/// Lets the process have as many open files as the system allows.
pub(super) fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // It is a matter of capacity only: connections over the limit wait.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// The signals that a node listens to.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    upgrade: Signal,
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// Stop.
    Stop,
    /// Hand over to the binary that is there now.
    Upgrade,
    /// Begin anew: what the node lacked at its start may be there. No signal asks for this.
    Renew,
}

impl Signals {
    /// Listens from now on.
    pub(super) fn listen() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|e| Failure::failed("cannot listen to signals").because(e));
        Ok(Signals {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            upgrade: listen(SignalKind::user_defined2())?,
        })
    }

    /// The next one. Cancel-safe.
    pub(super) async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.interrupt.recv() => Asked::Stop,
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.upgrade.recv() => Asked::Upgrade,
        }
    }

    /// The next one that asks to stop. Cancel-safe.
    pub(super) async fn stop(&mut self) {
        while self.next().await != Asked::Stop {}
    }
}

/// Resolves when there is nothing more to read from standard input.
pub(super) async fn stdin_ends(tasks: &Tasks) {
    let read = tasks.blocking("read standard input", || io::copy(&mut io::stdin().lock(), &mut io::sink()));
    // An input that cannot be read has ended.
    let _ = read.await;
}

/// Stops the node; a second signal ends the waiting.
pub(super) async fn shut_down(node: Node, signals: &mut Signals) {
    tokio::select! {
        drained = node.shut_down() => if !drained {
            tracing::warn!("not all requests ended in time");
        },
        () = signals.stop() => tracing::warn!("stopped at once"),
    }
}
