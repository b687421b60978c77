//! `selvedge up`

use crate::cli::client::runtime;
use crate::cli::{Context, Exit, Failure, Output, SYSTEM_DATA, user_directory};
use crate::node::{Config, Node, NodeError, Seams, chain};
use clap::Args;
use selvedge_observe::Registry;
use selvedge_rt::{Clock, Disk, Net, Rng, Tasks};
use selvedge_types::resource::{ByteSize, Text};
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// What `up` takes.
#[derive(Debug, Args)]
#[command(after_help = "Ctrl-C lets requests under way end and exits; a second one exits at once.")]
pub struct UpArgs {
    /// Begin a new cluster of this one node; ignored where the data directory holds a node already
    #[arg(long)]
    pub new: bool,
    /// Where the node keeps everything it owns
    #[arg(long, env = "SELVEDGE_DATA", default_value = SYSTEM_DATA, value_name = "DIR")]
    pub data: PathBuf,
    /// The node's name [default: the machine's]
    #[arg(long)]
    pub name: Option<String>,
    /// The node's point of presence
    #[arg(long, default_value = "local")]
    pub pop: String,
    /// The part of the world it is in
    #[arg(long, default_value = "local")]
    pub region: String,
    /// Where to answer http; port 0 picks a free one. May be given more than once
    #[arg(long, default_value = "0.0.0.0:8080", value_name = "ADDR")]
    pub http: Vec<SocketAddr>,
    /// Where to answer https. May be given more than once
    #[arg(long, default_value = "0.0.0.0:8443", value_name = "ADDR")]
    pub https: Vec<SocketAddr>,
    /// Where the admin API is
    #[arg(long, default_value = "127.0.0.1:7070", value_name = "ADDR")]
    pub api: SocketAddr,
    /// Data-plane threads [default: one for each processor]
    #[arg(long, value_name = "N")]
    pub workers: Option<usize>,
    /// Memory for the cache, such as 256MiB, in place of the settings' size
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub cache_ram: Option<u64>,
    /// Disk for the cache, such as 4GiB, in place of the settings' size; 0B for none
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub cache_disk: Option<u64>,
}

fn size(text: &str) -> Result<u64, String> {
    ByteSize::parse_text(text).map(|size| size.get()).map_err(|e| format!("{}; {}", e.message, e.help))
}

/// Runs a node until interrupted.
pub(super) fn run(output: Output, args: &UpArgs) -> Result<Exit, Failure> {
    let known = args.data.join("identity").exists();
    if !known && !args.new {
        return Err(Failure::usage(format!("{} holds no node", args.data.display()))
            .next("begin a new cluster with `selvedge up --new`, or name the data directory with --data"));
    }
    start_logging();
    let config = config(args)?;
    runtime()?.block_on(async move {
        let node = build(config, &args.data).await?;
        announce(output, &node, &args.data)?;
        wait(node).await
    })
}

fn config(args: &UpArgs) -> Result<Config, Failure> {
    let machine = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    Ok(Config {
        name: args.name.clone().unwrap_or_else(machine),
        pop: args.pop.clone(),
        region: args.region.clone(),
        http: args.http.clone(),
        https: args.https.clone(),
        api: args.api,
        workers: args.workers.unwrap_or_else(processors),
        cache_ram: args.cache_ram,
        cache_disk: args.cache_disk,
        data: Some(args.data.clone()),
        sockets: Arc::new(Mutex::new(BTreeMap::new())),
    })
}

/// How many processors this process may run on.
pub(super) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Builds a node on this machine.
pub(super) async fn build(config: Config, data: &Path) -> Result<Node, Failure> {
    let cannot = |e: std::io::Error| {
        Failure::failed(format!("the data directory {} cannot be used", data.display()))
            .because(e)
            .next("name a directory that this user may write with --data")
    };
    let seams = Seams {
        clock: Clock::real(),
        rng: Rng::from_os().map_err(|e| Failure::failed("no randomness from the system").because(e))?,
        net: Net::Real,
        disk: Disk::real(data).map_err(cannot)?,
        tasks: Tasks::real(),
        registry: Registry::default(),
    };
    config.build(seams).await.map_err(|error| {
        let next = match &error {
            NodeError::Listen { .. } => "choose another address; port 0 picks a free one",
            NodeError::Data { .. } => "stop the process that has it, or name another directory with --data",
            _ => "see docs/operations.md",
        };
        Failure::failed("the node did not start").because(error).next(next)
    })
}

/// Prints where the node answers, and leaves the context file.
pub(super) fn announce(output: Output, node: &Node, data: &Path) -> Result<(), Failure> {
    let api = format!("http://{}", reachable(node.api));
    let mut text = String::new();
    for (name, addrs) in [("http", &node.http), ("https", &node.https)] {
        addrs.iter().for_each(|addr| text.push_str(&format!("{name:<6} {name}://{}\n", reachable(*addr))));
    }
    text.push_str(&format!("api    {api}\n"));
    if let Some(secret) = &node.first_token {
        let context = Context { api, token: secret.reveal().to_owned() };
        let written = context.write(data);
        let path = written.map_err(|e| Failure::failed("the context file cannot be written").because(e))?;
        text.push_str(&format!("token  {} (shown once; kept in {})\n", secret.reveal(), path.display()));
        leave_for_user(&context);
    } else if let Ok(Some(context)) = Context::read(data) {
        // The API's address may be another one since the last start.
        let context = Context { api, ..context };
        context.write(data).map_err(|e| Failure::failed("the context file cannot be written").because(e))?;
        leave_for_user(&context);
    }
    if let Some(problem) = &node.state_problem {
        eprintln!("the control state is not available ({problem}); serving from the last snapshot");
    }
    output.text(&text).map(drop)
}

fn leave_for_user(context: &Context) {
    if let Some(directory) = user_directory()
        && let Err(error) = context.write(&directory)
    {
        tracing::debug!(%error, "no context file for the user");
    }
}

/// An address that a client on this machine can connect to.
pub(super) fn reachable(addr: SocketAddr) -> SocketAddr {
    let mut addr = addr;
    if addr.ip().is_unspecified() {
        addr.set_ip(if addr.is_ipv4() {
            [127, 0, 0, 1].into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        });
    }
    addr
}

/// Waits for a signal or a failure, then shuts the node down.
pub(super) async fn wait(node: Node) -> Result<Exit, Failure> {
    let failed = tokio::select! {
        () = interrupted() => None,
        name = node.failed() => Some(name),
    };
    eprintln!("stopping; requests under way may end. Interrupt again to stop at once.");
    tokio::select! {
        ended = node.shut_down() => if !ended {
            eprintln!("some requests did not end in time and were cut off");
        },
        () = interrupted() => return Ok(Exit::Failed),
    }
    match failed {
        Some(name) => Err(Failure::failed(format!("{name} ended")).next("see the log above")),
        None => Ok(Exit::Done),
    }
}

/// SIGINT or SIGTERM.
pub(super) async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = match signal(SignalKind::terminate()) {
        Ok(terminate) => terminate,
        Err(error) => {
            tracing::warn!(problem = chain(&error), "SIGTERM is not handled");
            let _ = tokio::signal::ctrl_c().await;
            return;
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

/// Sends the node's own log to standard error; `SELVEDGE_LOG` filters it.
pub(super) fn start_logging() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("SELVEDGE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    let colour = std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()) && std::io::stderr().is_terminal();
    let log =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colour);
    // Fails only if a log was started before.
    let _ = log.try_init();
}
