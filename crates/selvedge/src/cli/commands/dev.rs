//! `selvedge dev [FILE]`: a small world to try things in.

use super::demo::{Demo, Origin};
use super::manifest;
use super::node::{self, Addresses, MachineArgs, Signals};
use crate::cli::client::runtime;
use crate::cli::context::Context;
use crate::cli::http::Endpoint;
use crate::cli::{Exit, Failure, Output};
use crate::node::{Config, Node, Storage};
use clap::Args;
use http_body_util::BodyExt;
use hyper::body::Bytes;
use selvedge_control::{Problem, wire};
use selvedge_rt::{OnEnd, Tasks};
use selvedge_state::Command as StateCommand;
use selvedge_types::resource::Text;
use selvedge_types::{Manifest, plan};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How often the manifest is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How much of the disk the cache takes unless told otherwise, in bytes.
const CACHE_DISK: u64 = 256 << 20;

/// What `dev` takes.
#[derive(Debug, Args)]
#[command(
    after_help = "Without FILE, a small origin serves this program's documentation, and the node serves it through \
    its cache.\nSELVEDGE_LOG sets what is logged to standard error: error, warn, info, debug [default: warn]."
)]
pub struct DevArgs {
    /// A manifest to serve by; applied again whenever it changes
    pub file: Option<String>,
    /// Where to keep data [default: a directory that is removed at the end]
    #[arg(long, env = "SELVEDGE_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Where to answer http [default: 127.0.0.1:8080, or a free port]
    #[arg(long, value_name = "ADDR")]
    pub http: Option<SocketAddr>,
    /// Where to answer https, with a certificate that nobody knows [default: 127.0.0.1:8443, or a free port]
    #[arg(long, value_name = "ADDR")]
    pub https: Option<SocketAddr>,
    /// Where the admin API is [default: 127.0.0.1:7070, or a free port]
    #[arg(long, value_name = "ADDR")]
    pub api: Option<SocketAddr>,
    /// How much of the machine it uses.
    #[command(flatten)]
    pub machine: MachineArgs,
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
            Failure::failed("cannot make a directory for the node's data")
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
    let running = node::build(config(args, data), data).await?;
    let addresses = Addresses::of(&running);
    let left = node::leave_context(&addresses, data).ok_or_else(|| {
        Failure::failed(format!("the node in {} has no token that this command knows", data.display()))
            .next("leave --data out, or set it to a directory that `dev` made")
    })?;
    let world = Arc::new(World { context: left.context.clone(), tasks: Tasks::real() });
    let addresses = addresses.without_secret(data);
    let lived = live(output, &world, &running, &addresses, manifest, &mut signals).await;
    world.tasks.stop();
    node::shut_down(running, &mut signals).await;
    left.take_back();
    lived.map(|()| Exit::Done)
}

async fn live(
    output: Output,
    world: &Arc<World>,
    running: &Node,
    addresses: &Addresses,
    manifest: Option<(&str, String)>,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let front = running.http.first().copied().map(node::reachable);
    let front = front.ok_or_else(|| Failure::failed("the node listens nowhere"))?;
    let demo = match manifest {
        None => {
            let origin = Origin::start().await?;
            let site = documentation_site(origin.url());
            declare(running, manifest::check("dev", &site)?).await?;
            Demo::new(front, &front.to_string(), Some(origin))
        }
        Some((file, text)) => {
            let manifest = manifest::check(file, &text)?;
            let host = example_host(&manifest);
            declare(running, manifest).await?;
            let again = follow(world.clone(), file.to_owned(), text);
            world.tasks.spawn("manifest", OnEnd::Forget, again);
            Demo::new(front, &host, None)
        }
    };
    addresses.print(output)?;
    let showing = demo.show(world.clone());
    tokio::select! {
        shown = showing => { shown?; signals.stop().await; }
        () = signals.stop() => {}
        part = running.failed() => {
            return Err(Failure::failed(format!("an essential part of the node ended: {part}")));
        }
    }
    Ok(())
}

/// Makes what the manifest declares, and waits until the gateway goes by it.
async fn declare(running: &Node, manifest: Manifest) -> Result<(), Failure> {
    let command = StateCommand::ApplyManifest {
        manifest: Box::new(manifest),
        expected: None,
        may_set: true,
        may_delete_keyspaces: false,
    };
    running.declare(command).await.map_err(|e| Failure::failed("the manifest was not applied").because(e))
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
async fn follow(world: Arc<World>, file: String, mut applied: String) {
    let changed = |file: &str| std::fs::metadata(file).and_then(|m| m.modified()).ok();
    let mut seen: Option<SystemTime> = changed(&file);
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = world.tasks.stopped() => return,
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
                failure.report();
                continue;
            }
        };
        match world.apply(&text).await {
            Ok(changes) => {
                eprint!("{file} changed:\n{changes}");
                applied = text;
            }
            Err(failure) => {
                failure.report();
            }
        }
    }
}

fn named<T: Text>(name: &str) -> T {
    T::parse_text(name).expect("a name that follows the rules")
}

fn config(args: &DevArgs, data: &Path) -> Config {
    let given = |addr: Option<SocketAddr>, port: u16| addr.unwrap_or_else(|| free_or(port));
    Config {
        name: "dev".to_owned(),
        pop: named("local"),
        region: named("local"),
        http: vec![given(args.http, 8080)],
        https: vec![given(args.https, 8443)],
        api: given(args.api, 7070),
        mesh: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
        workers: args.machine.workers(),
        cache_ram: args.machine.cache_ram,
        cache_disk: args.machine.cache_disk.or(Some(CACHE_DISK)),
        storage: Storage::default(),
        data: Some(data.to_owned()),
        restore: None,
        sockets: Arc::default(),
    }
}

/// The usual port if it is free, else any.
#[allow(clippy::disallowed_methods)] // only to see whether it is free, and closed at once
fn free_or(port: u16) -> SocketAddr {
    let usual = SocketAddr::from(([127, 0, 0, 1], port));
    if TcpListener::bind(usual).is_ok() { usual } else { SocketAddr::from(([127, 0, 0, 1], 0)) }
}

/// The node, as its API's client sees it.
pub(super) struct World {
    context: Context,
    /// The owner of what runs beside the node.
    pub(super) tasks: Tasks,
}

impl World {
    /// Applies a manifest; says what changed.
    async fn apply(&self, manifest: &str) -> Result<String, Failure> {
        let body = Bytes::from(manifest.to_owned());
        let answer = self.post("/v1/apply", "application/toml", body).await?;
        let applied: wire::Applied = serde_json::from_slice(&answer)
            .map_err(|e| Failure::failed("the node's answer was not understood").because(e))?;
        Ok(plan::Plan { changes: applied.changes.into_iter().map(Into::into).collect() }.to_string())
    }

    /// Marks all of the documentation stale.
    pub(super) async fn make_stale(&self) -> Result<(), Failure> {
        let purge =
            wire::PurgeRequest { all: true, site: Some("docs".into()), soft: true, ..Default::default() };
        let body =
            serde_json::to_vec(&purge).map_err(|e| Failure::failed("cannot ask for a purge").because(e))?;
        self.post("/v1/cache/purge", "application/json", body.into()).await.map(|_| ())
    }

    async fn post(&self, target: &str, kind: &str, body: Bytes) -> Result<Bytes, Failure> {
        let refused = |why: Box<dyn std::error::Error + Send + Sync>| {
            Failure::failed("the node does not answer its API").because(why)
        };
        let endpoint = Endpoint::parse(&self.context.api).ok_or_else(|| Failure::failed("no API"))?;
        let mut connection = endpoint.connect(&self.tasks).await.map_err(|e| refused(e.into()))?;
        let authorization = format!("Bearer {}", self.context.token);
        let fields = [("authorization", authorization.as_str()), ("content-type", kind)];
        let answer = connection.send("POST", target, &fields, body).await.map_err(|e| refused(e.into()))?;
        let status = answer.status();
        let bytes = answer.into_body().collect().await.map_err(|e| refused(e.into()))?.to_bytes();
        if status.is_success() {
            return Ok(bytes);
        }
        let problem: Option<Problem> = serde_json::from_slice(&bytes).ok();
        Err(Failure::failed(problem.map_or(format!("the node answered {status}"), |p| p.detail().to_owned())))
    }
}
