//! Handing over to a new program, and taking everything back if that does not serve.
//!
//! ```text
//!   serves --SIGUSR2--> waits until all requests from before it took over itself have ended
//!     starts the new program, waits until it is ready                         fails: serves on, as nothing was
//!     lends the data directory, serves on from memory, waits until it serves  fails: takes the directory back
//!     accepts no more, tells it what is purged by requests under way, ends
//! ```

use super::node::{self, Signals};
use super::up::{self, UpArgs};
use crate::handover::{HANDOVER_VARIABLE, Offer, Taken};
use crate::node::{Node, chain};
use crate::service_manager::notify;
use selvedge_gateway::cache::Purge;
use selvedge_rt::{OnEnd, Tasks};
use selvedge_types::Hlc;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// In the data directory: why the last upgrade failed.
pub(super) const FAILED_FILE: &str = "upgrade-failed";
/// How often a node that could not take its data directory back tries again.
const TRY_EVERY: Duration = Duration::from_secs(10);
/// How often the new process is told what requests under way in the old one purge.
const TELL_EVERY: Duration = Duration::from_millis(200);

/// What a node needs to know to hand over.
pub(super) struct Takeover<'a> {
    /// Its arguments; the new process gets the same.
    pub(super) args: &'a UpArgs,
    /// Its data directory.
    pub(super) data: &'a Path,
    /// Where the new program lies.
    pub(super) program: &'a Path,
    /// The owner of what goes on beside the node.
    pub(super) beside: &'a Tasks,
    /// Those that run while requests end which came before the node took over.
    pub(super) before: &'a Tasks,
}

/// A listening socket and its name.
type Socket = (&'static str, TcpListener);

/// What became of it.
pub(super) enum Outcome {
    /// The new process serves, and all requests in this one have ended.
    HandedOver,
    /// This node goes on.
    Stays(Node),
    /// It was told to stop meanwhile.
    Stop(Node),
}

impl Takeover<'_> {
    /// Hands over if the new program serves; else the node goes on, and why is left in [`FAILED_FILE`].
    pub(super) async fn hand_over(&self, mut node: Node, signals: &mut Signals) -> Outcome {
        // What they purge has to be told to whoever serves next, through this process.
        if self.before.running() > 0 {
            tracing::info!("requests from before the last upgrade still end; this one waits for them");
        }
        tokio::select! {
            () = self.before.idle() => {}
            () = signals.stop() => return Outcome::Stop(node),
        }
        let since = node.plane().cache().moment();
        // Kept until there is a successor: a node that has closed has none.
        let sockets = match node.sockets() {
            Ok(sockets) => sockets,
            Err(error) => {
                tracing::error!(%error, "the sockets cannot be handed over; this process goes on");
                self.note_failure(&error);
                return Outcome::Stays(node);
            }
        };
        let tried = tokio::select! {
            tried = self.try_successor(&mut node, &sockets) => tried,
            () = signals.stop() => return Outcome::Stop(node),
        };
        let error = match tried {
            Ok(successor) => {
                node.close();
                match successor.yours(self.data) {
                    Ok(told) => {
                        tracing::info!("handed over; requests under way end here");
                        let tell = |purges: &[Purge]| told.tell(purges);
                        tokio::select! {
                            () = drain(node, since, tell) => {}
                            () = signals.stop() => tracing::warn!("stopped at once"),
                        }
                        return Outcome::HandedOver;
                    }
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        tracing::error!(%error, "no new process took over; this one goes on");
        self.note_failure(&error);
        if !node.is_lent() {
            return Outcome::Stays(node);
        }
        tokio::select! {
            taken = self.take_back(&mut node, &sockets) => {
                tracing::info!("took the data directory back");
                up::write_pid(self.data, std::process::id());
                self.replace(node, taken, since)
            }
            () = signals.stop() => Outcome::Stop(node),
        }
    }

    /// Puts a node of this program in the place of one that could not open its control state.
    pub(super) async fn renew(&self, mut node: Node, signals: &mut Signals) -> Outcome {
        let since = node.plane().cache().moment();
        tracing::info!("there is space on the disk again: the node begins anew, on the same sockets");
        let sockets = match node.sockets() {
            Ok(sockets) => sockets,
            Err(error) => {
                tracing::error!(%error, "it cannot: there are no copies of its sockets");
                return Outcome::Stays(node);
            }
        };
        tokio::select! {
            new = self.take_back(&mut node, &sockets) => {
                // There was no space for it before.
                up::write_pid(self.data, std::process::id());
                self.replace(node, new, since)
            }
            () = signals.stop() => Outcome::Stop(node),
        }
    }

    /// Starts the new program and waits until it serves. It is ended when this fails or is dropped.
    async fn try_successor(&self, node: &mut Node, sockets: &[Socket]) -> io::Result<Successor> {
        let successor = Successor::start(sockets, self).await?;
        if !node.lend().await {
            return Err(io::Error::other("what uses the data directory did not end in time"));
        }
        successor.go(self.beside).await?;
        Ok(successor)
    }

    /// A node on the data directory that was lent, with the same sockets. Tries until that works.
    async fn take_back(&self, node: &mut Node, sockets: &[Socket]) -> Node {
        loop {
            match self.begin_again(node, sockets).await {
                Ok(node) => return node,
                Err(problem) => tracing::error!(
                    problem,
                    "cannot take the data directory back: serving from memory, and trying again"
                ),
            }
            tokio::time::sleep(TRY_EVERY).await;
        }
    }

    async fn begin_again(&self, node: &mut Node, kept: &[Socket]) -> Result<Node, String> {
        if !node.lend().await {
            return Err("what uses the data directory has not ended".to_owned());
        }
        let mut sockets: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for (name, socket) in kept {
            let socket = socket.try_clone().map_err(|e| e.to_string())?;
            sockets.entry((*name).to_owned()).or_default().push(socket);
        }
        let config = up::config(self.args, self.data, sockets);
        node::begin(config, self.data).await.map_err(|failure| chain(&failure))
    }

    /// Puts `new` in the place of `old`, whose requests under way end beside it.
    fn replace(&self, mut old: Node, mut new: Node, since: Hlc) -> Outcome {
        old.close();
        let cache = new.plane().cache().clone();
        new.open_api();
        let tell = move |purges: &[Purge]| {
            purges.iter().for_each(|purge| cache.take_over(*purge));
            Ok(())
        };
        self.before.spawn("requests of before", OnEnd::Forget, drain(old, since, tell));
        Outcome::Stays(new)
    }

    fn note_failure(&self, error: &io::Error) {
        let written = up::write_private(&self.data.join(FAILED_FILE), &format!("{error}\n"));
        if let Err(e) = written {
            tracing::warn!(error = %e, "`selvedge upgrade` is not told why it failed");
        }
    }
}

/// Lets requests under way end, and tells what they purge.
async fn drain(node: Node, mut since: Hlc, mut tell: impl FnMut(&[Purge]) -> io::Result<()>) {
    let cache = node.plane().cache().clone();
    let mut tell_new = move || {
        let next = cache.moment();
        let purges = cache.purges_since(since);
        since = next;
        if let Err(error) = tell(&purges) {
            tracing::warn!(%error, "what requests under way purge holds in the old process alone");
        }
    };
    let mut ended = std::pin::pin!(node.shut_down());
    let drained = loop {
        tell_new();
        tokio::select! {
            drained = ended.as_mut() => break drained,
            () = tokio::time::sleep(TELL_EVERY) => {}
        }
    };
    tell_new();
    if !drained {
        tracing::warn!("not all requests ended in time");
    }
}

/// The new process.
struct Successor {
    process: Process,
    taken: Arc<Taken>,
}

impl Successor {
    /// Starts the program that lies there now with the same arguments, gives it the sockets, and waits until it is
    /// ready.
    async fn start(kept: &[Socket], takeover: &Takeover<'_>) -> io::Result<Self> {
        let Takeover { data, program, beside, args, .. } = takeover;
        let mut sockets = Vec::new();
        for (name, socket) in kept {
            sockets.push((*name, OwnedFd::from(socket.try_clone()?)));
        }
        let offer = Offer::open(data)?;
        let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
        let mut command = Command::new(program);
        command.args(arguments).env(HANDOVER_VARIABLE, offer.path());
        let spawned = beside.blocking("start the new program", move || command.spawn()).await??;
        let process = Process { child: Arc::new(Mutex::new(spawned)), is_free: false };
        let (child, within) = (process.child.clone(), args.upgrade_timeout.get());
        let give = move || offer.give(&sockets, within, || ended(&child).is_none());
        let taken = beside.blocking("hand over sockets", give).await?;
        let taken = taken.map_err(|error| process.explain(error))?;
        Ok(Successor { process, taken: Arc::new(taken) })
    }

    /// Tells it that the data directory is free, and waits until it serves.
    async fn go(&self, beside: &Tasks) -> io::Result<()> {
        let taken = self.taken.clone();
        let serves = beside.blocking("wait for the new process", move || taken.go()).await?;
        serves.map_err(|error| self.process.explain(error))
    }

    /// Tells it that it is alone now, and others that it is the node's process.
    fn yours(mut self, data: &Path) -> io::Result<Arc<Taken>> {
        let pid = lock(&self.process.child).id();
        self.taken.yours().map_err(|error| self.process.explain(error))?;
        if let Err(error) = notify(&format!("MAINPID={pid}")) {
            tracing::warn!(%error, "the service manager was not told of the new process");
        }
        up::write_pid(data, pid);
        self.process.is_free = true;
        Ok(self.taken)
    }
}

/// A process that is ended with this, unless it is free.
struct Process {
    child: Arc<Mutex<Child>>,
    is_free: bool,
}

impl Process {
    /// The error, and how the process ended if it has.
    fn explain(&self, error: io::Error) -> io::Error {
        match ended(&self.child) {
            Some(status) => io::Error::new(error.kind(), format!("{error} ({status})")),
            None => error,
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.is_free {
            let mut child = lock(&self.child);
            // It may have ended already. What it holds is free when it has been waited for.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn ended(child: &Mutex<Child>) -> Option<ExitStatus> {
    lock(child).try_wait().ok().flatten()
}

fn lock(child: &Mutex<Child>) -> MutexGuard<'_, Child> {
    // Nothing is half done when another holder panics.
    child.lock().unwrap_or_else(PoisonError::into_inner)
}
