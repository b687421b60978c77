//! `selvedge up`

use super::node::{self, Addresses, Asked, LeftContext, MachineArgs, Signals};
use super::place::Place;
use super::space::Space;
use super::takeover::{Outcome, Takeover};
use crate::cli::client::runtime;
use crate::cli::context::{Context, SYSTEM_DATA};
use crate::cli::{Exit, Failure, Output};
use crate::handover::{HANDOVER_VARIABLE, Received};
use crate::node::{Config, Identity, Node, PID, RESTORING, Storage};
use crate::service_manager::notify;
use clap::Args;
use selvedge_mesh::ticket::Ticket;
use selvedge_rt::{Disk, OnEnd, Secrets, Tasks};
use selvedge_state::State;
use selvedge_types::resource::{Period, PopName, RegionName, Text};
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex};

/// What `up` takes.
#[derive(Debug, Args)]
#[command(after_help = "SIGINT, SIGTERM: no new requests, those under way end; a second one ends at once.\n\
    SIGUSR2: hands the listening sockets to the binary that lies at this one's path now (see `selvedge upgrade`).\n\
    SELVEDGE_LOG sets what is logged to standard error: error, warn, info, debug [default: info].")]
pub struct UpArgs {
    /// Make a new cluster with this as its first node; ignored when the data directory has a node
    #[arg(long)]
    pub new: bool,
    /// Join the cluster that this ticket is of; ignored when the data directory has a node
    #[arg(
        long,
        env = "SELVEDGE_TICKET",
        hide_env_values = true,
        value_name = "TICKET",
        conflicts_with = "new"
    )]
    pub join: Option<Ticket>,
    /// Begin the new cluster with what this backup has; refused when the data directory has a node
    #[arg(long, value_name = "FILE", requires = "new")]
    pub restore: Option<PathBuf>,
    /// Where everything is kept that the node owns [default: /var/lib/selvedge, or below the home]
    #[arg(long, env = "SELVEDGE_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The node's name [default: as before, at first the machine's]
    #[arg(long, value_parser = node_name)]
    pub name: Option<String>,
    /// The point of presence that the node is in [default: as before, at first `default`]
    #[arg(long, value_name = "POP", value_parser = place::<PopName>)]
    pub pop: Option<PopName>,
    /// The part of the world that the point of presence is in [default: as before, at first `default`]
    #[arg(long, value_name = "REGION", value_parser = place::<RegionName>)]
    pub region: Option<RegionName>,
    /// Where to answer http; may be repeated [default: port 80 when allowed, else 8080]
    #[arg(long, value_name = "ADDR")]
    pub http: Vec<SocketAddr>,
    /// Where to answer https; may be repeated [default: port 443 when allowed, else 8443]
    #[arg(long, value_name = "ADDR")]
    pub https: Vec<SocketAddr>,
    /// Where the admin API is
    #[arg(long, default_value = "127.0.0.1:7070", value_name = "ADDR")]
    pub api: SocketAddr,
    /// Where the mesh of nodes is, over UDP; may be repeated
    #[arg(long, default_value = "0.0.0.0:7071", value_name = "ADDR")]
    pub mesh: Vec<SocketAddr>,
    /// How long a new program may take to be ready, and then to serve, when it takes over; longer, and this one goes on
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = super::estimate::period)]
    pub upgrade_timeout: Period,
    /// End when standard input does, and leave no context file for the user: for whoever starts several
    #[arg(long, hide = true)]
    pub until_stdin_ends: bool,
    /// How much of the machine it uses.
    #[command(flatten)]
    pub machine: MachineArgs,
}

fn place<T: Text>(text: &str) -> Result<T, String> {
    T::parse_text(text).map_err(|error| format!("{}: {}", error.message, error.help))
}

fn node_name(text: &str) -> Result<String, String> {
    selvedge_control::cluster::check_name(text).map(|()| text.to_owned())
}

/// Runs a node until it is told to stop.
pub(super) fn run(output: Output, args: UpArgs) -> Result<Exit, Failure> {
    // Asked before anything can be replaced: afterwards the system adds "(deleted)".
    let program =
        std::env::current_exe().map_err(|e| Failure::failed("cannot find this program").because(e))?;
    node::start_log("info");
    node::raise_file_limit();
    let data = args.data.clone().unwrap_or_else(default_data);
    let is_new = !has_node(&data);
    if args.restore.is_some() && !is_new && std::env::var_os(HANDOVER_VARIABLE).is_none() {
        return Err(Failure::usage(format!("there is a node in {}: it is not overwritten", data.display()))
            .next("restore into another directory, with --data; or leave --restore out to start that node"));
    }
    if is_new && !args.new && args.join.is_none() {
        return Err(Failure::usage(format!("there is no node in {}", data.display()))
            .next("make the first of a cluster with `selvedge up --new`, or join one with `selvedge up --join TICKET`"));
    }
    if !is_new && (args.join.is_some() || args.new) {
        let ignored = if args.new { "--new" } else { "--join" };
        tracing::info!(data = %data.display(), "there is a node already, which is started again: {ignored} is ignored");
    }
    let runtime = runtime()?;
    let joining = args.join.clone().filter(|_| is_new);
    let done = runtime.block_on(async {
        if let Some(ticket) = joining {
            node::join(&config(&args, &data, BTreeMap::new()), &data, &ticket).await?;
        }
        serve(output, args, &data, &program).await
    });
    // Something may still wait for another process.
    runtime.shutdown_background();
    done
}

async fn serve(output: Output, args: UpArgs, data: &Path, program: &Path) -> Result<Exit, Failure> {
    let mut signals = Signals::listen()?;
    let beside = Tasks::real();
    let before = beside.child();
    let mut running = begin(&args, data, &before).await?;
    place_of(&args, data).keep(data);
    let addresses = Addresses::of(&running);
    let context = node::context(&addresses, data);
    let is_known = context.token.is_some();
    let left = if args.until_stdin_ends || node::is_second(&context) {
        node::leave_in(&context, [Some(data.to_owned())]);
        None
    } else {
        Some(node::leave(context, data))
    };
    let is_there = is_known && Context::path(data).exists();
    let printed = if is_there { addresses.without_secret(data) } else { addresses };
    printed.print(output)?;
    write_pid(data, std::process::id());
    if let Err(e) = notify("READY=1") {
        tracing::warn!(error = %e, "the service manager was not told that the node is ready");
    }
    if let Some(problem) = &running.state_problem {
        tracing::error!(problem, "no changes can be made; serving by the last snapshot");
    }
    let mut space = Space::new(data, &beside);
    let mut alone = pin!(node::stdin_ends(&beside));
    loop {
        let asked = tokio::select! {
            asked = signals.next() => Ok(asked),
            () = &mut alone, if args.until_stdin_ends => Ok(Asked::Stop),
            part = running.failed() => Err(part),
            () = space.there(), if running.waits_for_space => Ok(Asked::Renew),
        };
        let takeover = Takeover { args: &args, data, program, beside: &beside, before: &before };
        let outcome = match asked {
            Err(part) => {
                node::shut_down(running, &mut signals).await;
                return Err(Failure::failed(format!("an essential part of the node ended: {part}")));
            }
            Ok(Asked::Stop) => return stop(running, left, data, &beside, &mut signals).await,
            Ok(Asked::Upgrade) => takeover.hand_over(running, &mut signals).await,
            Ok(Asked::Renew) => takeover.renew(running, &mut signals).await,
        };
        match outcome {
            Outcome::HandedOver => return Ok(Exit::Done),
            Outcome::Stop(node) => return stop(node, left, data, &beside, &mut signals).await,
            Outcome::Stays(node) => running = node,
        }
    }
}

/// Stops the node, after a signal.
async fn stop(
    running: Node,
    left: Option<LeftContext>,
    data: &Path,
    beside: &Tasks,
    signals: &mut Signals,
) -> Result<Exit, Failure> {
    let _ = notify("STOPPING=1");
    if let Some(left) = left {
        left.take_back();
    }
    // While it is this node's: another may begin as soon as this one has ended.
    let _ = std::fs::remove_file(data.join(PID));
    node::shut_down(running, signals).await;
    beside.stop();
    Ok(Exit::Done)
}

/// Starts the node: alone, or in the place of a predecessor once that has let go. What follows that until its last
/// request has ended is one of the tasks `before`.
async fn begin(args: &UpArgs, data: &Path, before: &Tasks) -> Result<Node, Failure> {
    let Some(path) = std::env::var_os(HANDOVER_VARIABLE).map(PathBuf::from) else {
        return node::build(config(args, data, BTreeMap::new()), data).await;
    };
    let failed = |e: io::Error| Failure::failed("the old process did not hand over").because(e);
    let asked = before.blocking("take over", move || Received::ask(&path)).await;
    let mut received = asked.and_then(|inner| inner).map_err(failed)?;
    let config = config(args, data, std::mem::take(&mut received.sockets));
    let received = Arc::new(received);
    check(data)?;
    let asking = received.clone();
    let free = before.blocking("wait for the data directory", move || asking.ready()).await;
    free.and_then(|inner| inner).map_err(failed)?;
    let mut running = node::begin(config, data).await?;
    let asking = received.clone();
    let alone = before.blocking("wait for the old process", move || asking.serving()).await;
    if let Err(error) = alone.and_then(|inner| inner) {
        tracing::warn!(%error, "the old process does not say that it stopped accepting");
    }
    running.open_api();
    let cache = running.plane().cache().clone();
    let following = before.clone();
    before.spawn("purges of the old process", OnEnd::Forget, async move {
        let told = following.blocking("purges of the old process", move || -> io::Result<()> {
            while let Some(purge) = received.next_purge()? {
                cache.take_over(purge);
            }
            Ok(())
        });
        if let Err(error) = told.await.and_then(|inner| inner) {
            tracing::warn!(%error, "the old process does not say what its last requests purge");
        }
    });
    Ok(running)
}

/// Whether what is in a data directory, which another process uses, can be read by this version.
fn check(data: &Path) -> Result<(), Failure> {
    let cannot = |why: Box<dyn std::error::Error + Send + Sync>| {
        Failure::failed(format!("what is in {} cannot be used", data.display())).because(why)
    };
    let disk = Disk::real(data).map_err(|e| cannot(e.into()))?;
    Identity::load(&disk, &Secrets::System).map_err(|e| cannot(e.into()))?;
    let state = disk.subdir("state").map_err(|e| cannot(e.into()))?;
    State::check_format(&state).map_err(|e| cannot(e.into()))
}

pub(super) fn config(args: &UpArgs, data: &Path, sockets: BTreeMap<String, Vec<TcpListener>>) -> Config {
    let Place { name, pop, region } = place_of(args, data);
    Config {
        name,
        pop,
        region,
        http: listen(&args.http, sockets.get("http"), 80, 8080),
        https: listen(&args.https, sockets.get("https"), 443, 8443),
        api: args.api,
        mesh: args.mesh.clone(),
        workers: args.machine.workers(),
        cache_ram: args.machine.cache_ram,
        cache_disk: args.machine.cache_disk,
        storage: Storage::default(),
        data: Some(data.to_owned()),
        restore: args.restore.clone().filter(|_| !has_node(data)),
        sockets: Arc::new(Mutex::new(sockets)),
    }
}

/// What the node is called and where it is: as is said now, else as it was, else what stands for nothing said.
fn place_of(args: &UpArgs, data: &Path) -> Place {
    let kept = Place::read(data).filter(|_| has_node(data));
    let (name, pop, region) =
        kept.map_or((None, None, None), |p| (Some(p.name), Some(p.pop), Some(p.region)));
    Place {
        name: args.name.clone().or(name).unwrap_or_else(machine_name),
        pop: args.pop.clone().or(pop).unwrap_or_default(),
        region: args.region.clone().or(region).unwrap_or_default(),
    }
}

/// Whether a node was made there. One that was to begin with a backup and was cut off is none.
pub(super) fn has_node(data: &Path) -> bool {
    data.join("identity").exists() && !data.join(RESTORING).exists()
}

/// Where to listen: as given, else as the predecessor did, else on the standard port if that is allowed.
fn listen(
    given: &[SocketAddr],
    inherited: Option<&Vec<TcpListener>>,
    standard: u16,
    other: u16,
) -> Vec<SocketAddr> {
    if !given.is_empty() {
        return given.to_vec();
    }
    let (standard, other) = (all(standard), all(other));
    let has = |socket: &TcpListener| socket.local_addr().is_ok_and(|addr| addr == standard);
    let is_standard = match inherited {
        Some(sockets) => sockets.iter().any(has),
        None => may_listen(standard),
    };
    vec![if is_standard { standard } else { other }]
}

/// Every address of the machine, IPv4 and IPv6.
fn all(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))
}

#[allow(clippy::disallowed_methods)] // only to see whether it is allowed, and closed at once
fn may_listen(addr: SocketAddr) -> bool {
    TcpListener::bind(addr).is_ok()
}

fn machine_name() -> String {
    let uname = rustix::system::uname();
    let name = uname.nodename().to_string_lossy().into_owned();
    if node_name(&name).is_ok() { name } else { "node".to_owned() }
}

/// Where a service's data is if this user may write there, else below the home.
pub(super) fn default_data() -> PathBuf {
    let system = PathBuf::from(SYSTEM_DATA);
    let parent = system.parent().unwrap_or(&system);
    let may_write = |path: &Path| rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok();
    let is_system = if system.exists() { may_write(&system) } else { may_write(parent) };
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
    match home {
        Some(home) if !is_system => PathBuf::from(home).join(".local/share/selvedge"),
        _ => system,
    }
}

/// Puts a file in place that the node's user alone can read: whoever reads it finds the former one or this, whole. Of
/// several processes that do so at once the last one's stays.
pub(super) fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut part = path.as_os_str().to_owned();
    part.push(format!(".{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    file.write_all(text.as_bytes())?;
    std::fs::rename(part, path)
}

/// For `selvedge upgrade`. Without the file the signal can still be sent by hand.
pub(super) fn write_pid(data: &Path, pid: u32) {
    if let Err(e) = write_private(&data.join(PID), &format!("{pid}\n")) {
        tracing::warn!(error = %e, "the process id was not written; `selvedge upgrade` will not find it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn who_looks_for_the_process_finds_one_while_it_is_written_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (data, over) = (dir.path(), AtomicBool::new(false));
        write_pid(data, 1);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for pid in 1..2_000 {
                    write_pid(data, pid);
                }
                over.store(true, Ordering::Relaxed);
            });
            while !over.load(Ordering::Relaxed) {
                let text = std::fs::read_to_string(data.join(PID)).unwrap();
                assert!(text.trim().parse::<u32>().is_ok(), "{text:?}");
            }
        });
    }
}
