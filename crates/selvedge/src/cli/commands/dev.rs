//! `selvedge dev`: a small world on this machine, to try things.

use super::up;
use crate::cli::client::runtime;
use crate::cli::commands::manifest;
use crate::cli::http::Endpoint;
use crate::cli::{Exit, Failure, Output};
use crate::files::write_documentation;
use crate::node::Config;
use clap::Args;
use http_body_util::BodyExt;
use selvedge_rt::Tasks;
use selvedge_state::Command as StateCommand;
use selvedge_types::Manifest;
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// What `dev` takes.
#[derive(Debug, Args)]
#[command(after_help = "Without FILE it serves this program's own documentation through the cache, from an \
    origin that it starts, and shows a hit and what happens when the origin is gone. All its data is in a \
    directory of its own that is removed at the end.")]
pub struct DevArgs {
    /// A manifest to serve by
    pub file: Option<PathBuf>,
    /// Where to answer http; port 0 picks a free one
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDR")]
    pub http: SocketAddr,
    /// Where to answer https, with a self-signed certificate
    #[arg(long, default_value = "127.0.0.1:8443", value_name = "ADDR")]
    pub https: SocketAddr,
    /// Where the admin API and the dashboard are
    #[arg(long, default_value = "127.0.0.1:7070", value_name = "ADDR")]
    pub api: SocketAddr,
}

/// Runs until interrupted.
pub(super) fn run(output: Output, args: &DevArgs) -> Result<Exit, Failure> {
    up::start_logging();
    let directory = Directory::make()?;
    runtime()?.block_on(world(output, args, directory))
}

/// A directory that is gone when this is dropped.
struct Directory(PathBuf);

impl Directory {
    fn make() -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("selvedge-dev-{}", std::process::id()));
        let failed = |e| Failure::failed(format!("cannot make {}", path.display())).because(e);
        std::fs::create_dir(&path).map_err(failed)?;
        Ok(Directory(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What is left in the temporary directory is the system's to clean.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn world(output: Output, args: &DevArgs, directory: Directory) -> Result<Exit, Failure> {
    let (manifest, origin) = match &args.file {
        Some(file) => {
            let file = file.to_string_lossy();
            (manifest::check(&file, &manifest::read(&file)?)?, None)
        }
        None => {
            let origin = Origin::start(&directory.0).await?;
            (documentation_site(origin.addr)?, Some(origin))
        }
    };
    let data = directory.0.join("data");
    let config = Config {
        name: "dev".into(),
        pop: "local".into(),
        region: "local".into(),
        http: vec![args.http],
        https: vec![args.https],
        api: args.api,
        workers: up::processors(),
        cache_ram: None,
        cache_disk: None,
        data: Some(data.clone()),
        sockets: Arc::new(Mutex::new(BTreeMap::new())),
    };
    let node = up::build(config, &data).await?;
    let command = StateCommand::ApplyManifest { manifest: Box::new(manifest), expected: None };
    node.declare(command).await.map_err(|e| Failure::failed("the manifest was not applied").because(e))?;
    up::announce(output, &node, &data)?;
    if let (Some(origin), Some(http)) = (origin, node.http.first()) {
        let show = Show { output, http: up::reachable(*http), origin, tasks: Tasks::real() };
        show.run(&node).await?;
    }
    up::wait(node).await
}

/// The origin of the documentation: another process of this program.
struct Origin {
    child: Child,
    addr: SocketAddr,
}

impl Origin {
    async fn start(directory: &Path) -> Result<Self, Failure> {
        let failed = |what: &str| Failure::failed(format!("the origin did not start: {what}"));
        let docs = directory.join("docs");
        write_documentation(&docs).map_err(|e| failed("its files").because(e))?;
        let program = std::env::current_exe().map_err(|e| failed("this program's file").because(e))?;
        let mut child = Command::new(program)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .arg(&docs)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .process_group(0)
            .spawn()
            .map_err(|e| failed("its process").because(e))?;
        let stdout = child.stdout.take().ok_or_else(|| failed("its output"))?;
        let line = BufReader::new(stdout).lines().next_line().await.ok().flatten().unwrap_or_default();
        let addr =
            line.trim().trim_end_matches('/').strip_prefix("http://").and_then(|addr| addr.parse().ok());
        Ok(Origin { child, addr: addr.ok_or_else(|| failed("it did not say where it listens"))? })
    }
}

fn documentation_site(origin: SocketAddr) -> Result<Manifest, Failure> {
    let text = format!(
        "[site.docs]\n\
         hosts = [\"localhost\", \"127.0.0.1\"]\n\
         origin = \"http://{origin}\"\n\
         cache = {{ default_ttl = \"10s\", ttl = \"10s\", stale_while_revalidate = \"10s\", stale_if_error = \"1d\" }}\n"
    );
    let parsed = Manifest::parse("dev.toml", &text);
    parsed.map_err(|e| Failure::failed("the manifest of the documentation is wrong").because(e.to_string()))
}

/// Shows what the cache is for.
struct Show {
    output: Output,
    http: SocketAddr,
    origin: Origin,
    tasks: Tasks,
}

impl Show {
    async fn run(mut self, node: &crate::node::Node) -> Result<(), Failure> {
        let pid = self.origin.child.id().unwrap_or_default();
        self.say(&format!("origin http://{} (process {pid})\n\n", self.origin.addr))?;
        self.ask("the first request").await?;
        self.ask("the same again").await?;
        let terminal = std::io::stdin().is_terminal();
        let how = if terminal { "press Enter to kill the origin, or run" } else { "to kill the origin, run" };
        self.say(&format!("\nThe page stays when its origin is gone: {how}\n  kill {pid}\n"))?;
        tokio::select! {
            () = up::interrupted() => return Ok(()),
            _ = node.failed() => return Ok(()),
            _ = self.origin.child.wait() => {}
            () = key(terminal) => {
                // It may have ended by itself.
                let _ = self.origin.child.kill().await;
            }
        }
        self.say("\nthe origin is gone\n")?;
        self.ask("the same again").await?;
        self.say(&format!("Open http://{}/ and see for yourself; Ctrl-C ends.\n", self.http))
    }

    async fn ask(&self, what: &str) -> Result<(), Failure> {
        let url = format!("http://{}", self.http);
        let failed = || Failure::failed(format!("no answer from {url}"));
        let endpoint = Endpoint::parse(&url).ok_or_else(failed)?;
        let mut connection = endpoint.connect(&self.tasks).await.map_err(|e| failed().because(e))?;
        let sent = connection.send("GET", "/", &[], Default::default()).await;
        let answer = sent.map_err(|e| failed().because(e))?;
        let cache =
            answer.headers().get("cache-status").and_then(|v| v.to_str().ok()).unwrap_or("-").to_owned();
        let status = answer.status();
        // The whole answer is taken, so that the cache has all of it.
        answer.into_body().collect().await.map_err(|e| failed().because(e))?;
        self.say(&format!("GET {url}/  {what}: {status}\n    Cache-Status: {cache}\n"))
    }

    fn say(&self, text: &str) -> Result<(), Failure> {
        self.output.text(text).map(drop)
    }
}

/// A line on standard input; never, if that is no terminal.
async fn key(terminal: bool) {
    if terminal {
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        if let Ok(Some(_)) = lines.next_line().await {
            return;
        }
    }
    std::future::pending().await
}
