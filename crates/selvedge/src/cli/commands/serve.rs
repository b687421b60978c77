//! `selvedge serve DIR`

use super::node::stdin_ends;
use crate::cli::client::runtime;
use crate::cli::{Exit, Failure, Output};
use crate::files::{FileHandler, FileOptions, Tree, documentation};
use clap::Args;
use selvedge_gateway::front::{Endpoint, Front, FrontOptions};
use selvedge_observe::Registry;
use selvedge_rt::{Clock, Net, Tasks};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long requests under way may take to end after Ctrl-C.
const DRAIN: Duration = Duration::from_secs(10);

/// What `serve` takes.
#[derive(Debug, Args)]
#[command(
    after_help = "Files are sent with ETag and Last-Modified; ranges and conditions are answered. A directory \
    is answered by its index.html, index.md or README.md. Markdown is shown as pages with navigation. \
    Names that begin with a dot are not served, nor what symbolic links reach outside DIR."
)]
pub struct ServeArgs {
    /// The directory [default: this program's documentation]
    pub directory: Option<PathBuf>,
    /// Where to listen; port 0 picks a free one
    #[arg(short, long, default_value = "127.0.0.1:8000", value_name = "ADDR")]
    pub listen: SocketAddr,
    /// Show what is in directories that have no index
    #[arg(long)]
    pub list: bool,
    /// Send Markdown files as they are
    #[arg(long)]
    pub raw_markdown: bool,
    /// End when standard input does
    #[arg(long, hide = true)]
    pub until_stdin_ends: bool,
}

/// Serves until interrupted.
pub(super) fn run(output: Output, args: &ServeArgs) -> Result<Exit, Failure> {
    let tree = match &args.directory {
        None => documentation(),
        Some(directory) => Tree::directory(directory).map_err(|e| {
            Failure::failed(format!("cannot serve {}", directory.display()))
                .because(e)
                .next("name a directory that can be read")
        })?,
    };
    let options = FileOptions { list: args.list, raw_markdown: args.raw_markdown };
    let runtime = runtime()?;
    let done = runtime.block_on(serve(output, args, tree, options));
    // Standard input may still be read.
    runtime.shutdown_background();
    done
}

async fn serve(output: Output, args: &ServeArgs, tree: Tree, options: FileOptions) -> Result<Exit, Failure> {
    let listen = args.listen;
    let (clock, tasks) = (Clock::real(), Tasks::real());
    let handler = FileHandler::new(tree, options, clock.clone(), tasks.clone());
    let front = Front::new(Arc::new(handler), FrontOptions::default(), clock, &Registry::default());
    let failure = |e| {
        Failure::failed(format!("cannot listen on {listen}"))
            .because(e)
            .next("choose another address with --listen; port 0 picks a free one")
    };
    let listener = Net::Real.bind(listen).await.map_err(failure)?;
    let address = listener.local_addr().map_err(failure)?;
    output.text(&format!("http://{address}/\n"))?;
    tokio::select! {
        () = front.serve(listener, Endpoint::default(), tasks.clone()) => {}
        _ = tokio::signal::ctrl_c() => {}
        () = stdin_ends(&tasks), if args.until_stdin_ends => {}
    }
    // A second Ctrl-C ends the waiting.
    tokio::select! {
        _ = tasks.shut_down(DRAIN) => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    Ok(Exit::Done)
}
