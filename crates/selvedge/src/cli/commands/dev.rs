//! `selvedge dev [FILE]`: a small world to try things in.
//!
//! ```text
//!   dev --starts--> origin (`serve`)     nodes (`up`), each with a pipe from here: they end when that does
//!    |                                     ^ distances: a file in each node's directory
//!    +--visitors, API, keys and files that switch things off
//! ```

mod api;
mod board;
mod demo;
mod forming;
mod keys;
mod origin;
mod plan;
mod process;
mod visitors;
mod world;

use super::manifest;
use super::node::{self, Addresses, MachineArgs, Signals};
use crate::cli::client::runtime;
use crate::cli::context::Context;
use crate::cli::{Exit, Failure, Output};
use api::Api;
use clap::Args;
use demo::{Demo, Say};
use forming::{Node, free_or};
use origin::Origin;
use selvedge_rt::{OnEnd, Tasks};
use selvedge_types::Manifest;
use serde::Serialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use world::World;

/// How often the manifest is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How much of the disk the caches of all nodes take unless told otherwise, in bytes.
const CACHE_DISK: u64 = 256 << 20;
/// How much memory the cache of each of several nodes takes unless told otherwise, in bytes.
const CACHE_RAM: u64 = 64 << 20;

/// What `dev` takes.
#[derive(Debug, Args)]
#[command(
    after_help = "Without FILE, a small origin serves this program's documentation, and the nodes serve it through \
    their caches.\nPoPs are as if 5 to 120 ms apart. Visitors near each node ask for its first page, once a second where FILE says\nwhat it is, and are counted. Nodes and their origin are processes that end with this one.\n\
    SELVEDGE_LOG sets what is logged, by nodes to the file `log` in their directory: error, warn, info, debug \
    [default: warn]."
)]
pub struct DevArgs {
    /// A manifest to serve by; applied again whenever it changes
    pub file: Option<String>,
    /// How many points of presence; with one of one node there is no cluster
    #[arg(long, default_value_t = 3, value_name = "COUNT", value_parser = clap::value_parser!(u8).range(1..=i64::from(plan::POPS_MAX)))]
    pub pops: u8,
    /// How many nodes each point of presence has
    #[arg(long, default_value_t = 1, value_name = "COUNT", value_parser = clap::value_parser!(u8).range(1..=i64::from(plan::NODES_PER_POP_MAX)))]
    pub nodes_per_pop: u8,
    /// Where to keep data, of each node in a directory of its own [default: a directory that is removed at the end]
    #[arg(long, env = "SELVEDGE_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Where the first node answers http [default: 127.0.0.1:8080, or a free port]; the others do on free ports
    #[arg(long, value_name = "ADDR")]
    pub http: Option<SocketAddr>,
    /// Where it answers https, with a certificate that nobody knows [default: 127.0.0.1:8443, or a free port]
    #[arg(long, value_name = "ADDR")]
    pub https: Option<SocketAddr>,
    /// Where its admin API is [default: 127.0.0.1:7070, or a free port]
    #[arg(long, value_name = "ADDR")]
    pub api: Option<SocketAddr>,
    /// How much of the machine each node uses.
    #[command(flatten)]
    pub machine: MachineArgs,
}

impl DevArgs {
    /// Where the first node is to answer.
    fn addresses(&self) -> Addresses {
        let given = |addr: Option<SocketAddr>, port: u16| addr.unwrap_or_else(|| free_or(port));
        Addresses::at(given(self.http, 8080), given(self.https, 8443), given(self.api, 7070))
    }
}

/// What is printed once all answer.
#[derive(Debug, Serialize)]
struct Printed<'a> {
    #[serde(flatten)]
    first: &'a Addresses,
    nodes: Vec<PrintedNode<'a>>,
}

#[derive(Debug, Serialize)]
struct PrintedNode<'a> {
    name: &'a str,
    pop: &'a str,
    region: &'a str,
    data: &'a Path,
    /// Its process.
    pid: Option<u32>,
    #[serde(flatten)]
    addresses: &'a Addresses,
}

/// Runs the world until it is told to stop.
pub(super) fn run(output: Output, args: &DevArgs) -> Result<Exit, Failure> {
    node::start_log("warn");
    node::raise_file_limit();
    // What is wrong with the manifest is told before anything starts.
    let manifest = match &args.file {
        Some(file) => {
            let text = manifest::read(file)?;
            manifest::check(file, &text)?;
            Some((file.as_str(), text))
        }
        None => None,
    };
    let temporary = match args.data {
        Some(_) => None,
        None => Some(tempfile::Builder::new().prefix("selvedge-dev-").tempdir().map_err(|e| {
            Failure::failed("cannot make a directory for the nodes' data")
                .because(e)
                .next("name one with --data")
        })?),
    };
    let data = args.data.as_deref().or(temporary.as_ref().map(|dir| dir.path()));
    let data = data.ok_or_else(|| Failure::usage("no data directory"))?;
    let runtime = runtime()?;
    let done = runtime.block_on(serve(output, args, data, manifest));
    // Someone may still wait for a key.
    runtime.shutdown_background();
    done
}

async fn serve(
    output: Output,
    args: &DevArgs,
    data: &Path,
    manifest: Option<(&str, String)>,
) -> Result<Exit, Failure> {
    let mut signals = Signals::listen()?;
    let tasks = Tasks::real();
    let mut tell = |text: String| eprintln!("{text}");
    let formed = tokio::select! {
        formed = forming::form(args, data, &tasks, &mut tell) => formed,
        // What was started ends with what waits for it.
        () = signals.stop() => return Ok(Exit::Done),
    };
    let (nodes, api) = formed?;
    let first = nodes.first().ok_or_else(|| Failure::failed("there is no node"))?;
    let token = Some(api.token().to_owned());
    let context = Context { api: first.addresses.api().to_owned(), token };
    let left = node::leave(context, data);
    let lived = live(output, data, nodes, api, manifest, &tasks, &mut signals).await;
    tasks.stop();
    left.take_back();
    lived.map(|()| Exit::Done)
}

async fn live(
    output: Output,
    data: &Path,
    nodes: Vec<Node>,
    api: Api,
    manifest: Option<(&str, String)>,
    tasks: &Tasks,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let declared = tokio::select! {
        declared = declare(&nodes, &api, manifest.as_ref(), tasks) => declared,
        () = signals.stop() => {
            world::end(nodes, signals).await;
            return Ok(());
        }
    };
    let (demo, origin) = match declared {
        Ok(declared) => declared,
        Err(failure) => {
            world::end(nodes, signals).await;
            return Err(failure);
        }
    };
    print(output, data, &nodes, &api)?;
    eprintln!("{}", demo.begin().await);
    let mut world = World::new(data, nodes, origin, api.clone(), demo, tasks).await;
    if let Some((file, text)) = manifest {
        tasks.spawn(
            "manifest",
            OnEnd::Forget,
            follow(api, file.to_owned(), text, world.say(), tasks.clone()),
        );
    }
    let ran = world.run(signals).await;
    world.end(signals).await;
    ran
}

/// Has the nodes serve what the manifest says, or the documentation from an origin that is started for that.
async fn declare(
    nodes: &[Node],
    api: &Api,
    manifest: Option<&(&str, String)>,
    tasks: &Tasks,
) -> Result<(Demo, Option<Origin>), Failure> {
    let front = nodes.first().and_then(|node| node.addresses.front());
    let front = front.ok_or_else(|| Failure::failed("the first node listens nowhere"))?;
    let (text, host, origin) = match manifest {
        Some((file, text)) => (text.clone(), example_host(&manifest::check(file, text)?), None),
        None => {
            let origin = Origin::start(None).await?;
            (documentation_site(origin.url()), front.to_string(), Some(origin))
        }
    };
    let (_, revision) = api.apply(&text).await?;
    for node in api.rollout(revision).await? {
        node.problems.iter().for_each(|problem| eprintln!("warning: {}: {problem}", node.name));
    }
    Ok((Demo::new(front, &host, tasks), origin))
}

fn print(output: Output, data: &Path, nodes: &[Node], api: &Api) -> Result<(), Failure> {
    let Some(first) = nodes.first() else { return Ok(()) };
    let shown = first.addresses.with_token(api.token()).without_secret(data);
    let each = nodes.iter().map(|node| PrintedNode {
        name: &node.place.name,
        pop: node.place.pop,
        region: node.place.region,
        data: &node.data,
        pid: node.process.as_ref().map(process::Process::pid),
        addresses: &node.addresses,
    });
    let printed = Printed { first: &shown, nodes: each.collect() };
    output.print(&printed, |printed| printed.first.table()).map(drop)
}

/// The site that `dev` serves when nothing else is said.
fn documentation_site(origin: &str) -> String {
    format!(
        "[site.docs]\nhosts = [\"*\"]\norigin = \"{origin}\"\n\
         cache = {{ default_ttl = \"10s\", stale_while_revalidate = \"30s\", stale_if_error = \"1d\" }}\n"
    )
}

/// A host that a site of the manifest answers to.
fn example_host(manifest: &Manifest) -> String {
    use selvedge_types::resource::HostPattern;
    let hosts = manifest.sites.values().flat_map(|site| site.hosts.iter());
    let concrete = hosts.map(|host| match host {
        HostPattern::Exact(name) => name.to_string(),
        HostPattern::Below(domain) => format!("www.{domain}"),
        HostPattern::Any => "localhost".to_owned(),
    });
    concrete.into_iter().next().unwrap_or_else(|| "localhost".to_owned())
}

/// Applies the manifest whenever its file changes.
async fn follow(api: Api, file: String, mut applied: String, say: Say, tasks: Tasks) {
    let changed = |file: &str| std::fs::metadata(file).and_then(|m| m.modified()).ok();
    let mut seen: Option<SystemTime> = changed(&file);
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = tasks.stopped() => return,
        }
        let now = changed(&file);
        if now == seen || now.is_none() {
            continue;
        }
        seen = now;
        let text = match manifest::read(&file).and_then(|text| manifest::check(&file, &text).map(|_| text)) {
            Ok(text) if text == applied => continue,
            Ok(text) => text,
            Err(failure) => {
                // Fails when the world ends.
                drop(say.send(failure.text()));
                continue;
            }
        };
        let news = match api.apply(&text).await {
            Ok((changes, _)) => {
                applied = text;
                format!("{file} changed:\n{changes}")
            }
            Err(failure) => failure.text(),
        };
        drop(say.send(news));
    }
}
