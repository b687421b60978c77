//! `selvedge plan FILE` and `selvedge apply FILE`

use crate::cli::client::{ApiArgs, Client};
use crate::cli::print::Format;
use crate::cli::{Exit, Failure, Output};
use clap::Args;
use selvedge_control::wire;
use selvedge_rt::Clock;
use selvedge_types::manifest::{MAX_MANIFEST_BYTES, Manifest, ManifestError};
use selvedge_types::plan;
use selvedge_types::resource::Period;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::time::Duration;

/// What `plan` takes.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// The manifest; `-` for standard input
    pub file: String,
    /// Exit with 0 if nothing would change, 2 if something would, 1 on errors
    #[arg(long)]
    pub detailed_exitcode: bool,
    /// Which API to ask.
    #[command(flatten)]
    pub api: ApiArgs,
}

/// What `apply` takes.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// The manifest; `-` for standard input
    pub file: String,
    /// Apply only if this is the present revision, as `plan` told it
    #[arg(long, value_name = "REVISION")]
    pub expected: Option<u64>,
    /// Apply a manifest without sites, which deletes all sites of its namespace
    #[arg(long)]
    pub delete_all: bool,
    /// Delete keyspaces that the manifest leaves out, with all that they hold
    #[arg(long)]
    pub delete_keyspaces: bool,
    /// Wait until every node goes by it, and say when each does; longer than this, and it fails
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "30s", value_parser = super::estimate::period)]
    pub wait: Option<Period>,
    /// Which API to ask.
    #[command(flatten)]
    pub api: ApiArgs,
}

/// Shows what applying a manifest would change.
pub(super) fn plan(output: Output, args: &PlanArgs) -> Result<Exit, Failure> {
    let text = read(&args.file)?;
    let declares_none = check(&args.file, &text)?.sites.is_empty();
    let plan: wire::Plan = Client::find(&args.api)?.plan(text)?;
    print(output, &plan, &plan.changes)?;
    if declares_none && plan.changes.iter().any(|change| change.kind == "site") {
        eprintln!("the manifest declares no site: `apply` takes it with --delete-all alone");
    }
    let deletes = |change: &wire::Change| change.kind == "keyspace" && change.action == wire::Action::Delete;
    if plan.changes.iter().any(deletes) {
        eprintln!("keyspaces go with all that they hold: `apply` takes it with --delete-keyspaces alone");
    }
    let changes = args.detailed_exitcode && !plan.changes.is_empty();
    Ok(if changes { Exit::Usage } else { Exit::Done })
}

/// Makes it so.
pub(super) fn apply(output: Output, args: &ApplyArgs) -> Result<Exit, Failure> {
    let text = read(&args.file)?;
    check(&args.file, &text)?;
    let mut target =
        format!("/v1/apply?delete_all={}&delete_keyspaces={}", args.delete_all, args.delete_keyspaces);
    if let Some(revision) = args.expected {
        target.push_str(&format!("&expected={revision}"));
    }
    let client = Client::find(&args.api)?;
    let applied: wire::Applied = client.apply(&target, text)?;
    print(output, &applied, &applied.changes)?;
    eprintln!("revision {}", applied.revision);
    applied.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
    match args.wait {
        Some(patience) => wait(&client, applied.revision, patience.get()),
        None => Ok(Exit::Done),
    }
}

/// Waits until every node goes by a revision.
fn wait(client: &Client, revision: u64, patience: Duration) -> Result<Exit, Failure> {
    let clock = Clock::real();
    let started = clock.monotonic();
    let elapsed = || clock.monotonic().saturating_sub(started);
    let mut done = BTreeSet::new();
    loop {
        let left = patience.saturating_sub(elapsed()).min(WAIT_STEP);
        let target = format!("/v1/rollout?revision={revision}&wait_ms={}", left.as_millis());
        let nodes: Vec<wire::RolloutNode> = client.get(&target)?;
        for node in nodes.iter().filter(|node| node.done) {
            if done.insert(node.name.clone()) {
                eprintln!("{} goes by it after {:.1} s", node.name, elapsed().as_secs_f64());
                node.problems.iter().for_each(|problem| eprintln!("warning: {}: {problem}", node.name));
            }
        }
        let missing: Vec<String> = nodes
            .iter()
            .filter(|node| !node.done)
            .map(|node| format!("{} ({})", node.name, node.problems.first().map_or("behind", String::as_str)))
            .collect();
        if missing.is_empty() {
            return Ok(Exit::Done);
        }
        if elapsed() >= patience {
            let what = format!("it is applied, but not in force everywhere: {}", missing.join(", "));
            return Err(
                Failure::failed(what).next("a node that is cut off follows by itself when it is back")
            );
        }
    }
}

/// For how long the nodes are asked at once.
const WAIT_STEP: Duration = Duration::from_secs(1);

/// Reads a manifest and what is wrong with it, as far as can be told without a node.
pub(crate) fn check(file: &str, text: &str) -> Result<Manifest, Failure> {
    Manifest::parse(file, text).map_err(|errors| {
        let mut each: Vec<Failure> = errors.0.iter().map(|e| describe(e, text)).collect();
        match each.len() {
            1 => each.remove(0),
            n => Failure::failed(format!("{file} has {n} errors")).with(each),
        }
    })
}

/// Reads a manifest's text.
pub(crate) fn read(file: &str) -> Result<String, Failure> {
    let failure = |e: io::Error| Failure::failed(format!("cannot read the manifest {file}")).because(e);
    let reader: Box<dyn Read> = match file {
        "-" => Box::new(io::stdin().lock()),
        path => Box::new(File::open(path).map_err(failure)?),
    };
    let mut text = String::new();
    // One byte more than is allowed, so that too long a file is told from one that just fits.
    reader.take(MAX_MANIFEST_BYTES as u64 + 1).read_to_string(&mut text).map_err(failure)?;
    Ok(text)
}

fn describe(error: &ManifestError, text: &str) -> Failure {
    let label = if error.label.is_empty() { "here" } else { &error.label };
    Failure::failed(error.message.clone())
        .at(&error.file, text, error.span.clone(), label)
        .next(error.help.clone())
}

fn print<T: serde::Serialize>(output: Output, data: &T, changes: &[wire::Change]) -> Result<Exit, Failure> {
    match output.format {
        Format::Json | Format::Yaml => output.print(data, |_| Default::default()),
        Format::Table | Format::Wide => {
            let changes: Vec<plan::ResourceChange> = changes.iter().cloned().map(Into::into).collect();
            output.text(&plan::Plan { changes }.to_string())
        }
    }
}
