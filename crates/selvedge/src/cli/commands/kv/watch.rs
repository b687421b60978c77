//! `selvedge kv watch`

use super::{SpaceArgs, bytes, show};
use crate::cli::client::End;
use crate::cli::lines::Lines;
use crate::cli::print::Format;
use crate::cli::{Exit, Failure, Output};
use clap::Args;
use selvedge_control::wire::{KvEnd, KvEvent, KvKeys, KvWatch, KvWatched};
use std::ffi::OsString;

/// The longest line that is understood, in bytes: a batch of the largest values, in base64.
const LINE_BYTES_MAX: usize = 64 << 20;

/// What `watch` takes.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Where.
    #[command(flatten)]
    pub space: SpaceArgs,
    /// The key [default: all keys]
    #[arg(conflicts_with = "prefix")]
    pub key: Option<OsString>,
    /// Every key that begins so
    #[arg(long, value_name = "PREFIX")]
    pub prefix: Option<OsString>,
    /// The first revision wanted [default: what comes now]
    #[arg(long, value_name = "REVISION")]
    pub from: Option<u64>,
    /// Show what was there before
    #[arg(long)]
    pub previous: bool,
    /// Stop after that many events
    #[arg(short = 'n', long, value_name = "COUNT")]
    pub count: Option<u64>,
}

/// Prints events until interrupted.
pub(super) fn run(output: Output, args: WatchArgs) -> Result<Exit, Failure> {
    let keys = KvKeys { key: args.key.map(bytes), end: None, prefix: args.prefix.map(bytes) };
    let asked = KvWatch { keys, from: args.from, previous: args.previous };
    let (mut lines, mut left) = (Lines::new(LINE_BYTES_MAX), args.count.unwrap_or(u64::MAX));
    let mut through = None;
    let followed = args.space.client()?.stream_of(&args.space.path("watch")?, &asked, |piece| {
        for line in lines.push(piece)? {
            let watched: KvWatched = serde_json::from_str(&line).map_err(|error| {
                Failure::failed("the API sent a line that is none of a watch").because(error)
            })?;
            for event in watched.events.iter().take(usize::try_from(left).unwrap_or(usize::MAX)) {
                print(output, event)?;
            }
            left = left.saturating_sub(watched.events.len() as u64);
            through = Some(watched.revision);
            if let Some(end) = &watched.end {
                return Err(ended(end));
            }
        }
        Ok(left > 0)
    });
    let go_on =
        |through: u64| format!("all up to revision {through} was shown; go on with --from {}", through + 1);
    match (followed, through) {
        (Err(failure), Some(through)) if failure.exit() == Exit::Unreachable => {
            Err(failure.next(go_on(through)))
        }
        (Err(failure), _) => Err(failure),
        (Ok(End::Stopped), _) => Ok(Exit::Done),
        (Ok(End::Answer), through) => {
            let failure = Failure::new(Exit::Unreachable, "the node ended the watch: it stops");
            Err(through.map_or_else(
                || failure,
                |through| Failure::new(Exit::Unreachable, "the node stops").next(go_on(through)),
            ))
        }
    }
}

fn ended(end: &KvEnd) -> Failure {
    match end {
        KvEnd::Compacted(revision) => Failure::failed(format!(
            "changes up to revision {revision} are no longer kept: some were not shown"
        ))
        .next("read the keys with `selvedge kv range`, then watch from the revision after the one it is of"),
        KvEnd::Removed => {
            Failure::failed("the keyspace was removed").next("look with `selvedge get keyspaces`")
        }
    }
}

fn print(output: Output, event: &KvEvent) -> Result<(), Failure> {
    match output.format {
        Format::Table | Format::Wide => {
            let what = match &event.value {
                Some(value) => format!("put  {}  {}", show::text(&event.key), show::text(value)),
                None => format!("del  {}", show::text(&event.key)),
            };
            let before = event.previous.as_ref().map(|pair| format!("  (was {})", show::text(&pair.value)));
            output.text(&format!("{}  {what}{}\n", event.revision, before.unwrap_or_default()))?;
        }
        Format::Json => {
            let line = serde_json::to_string(event)
                .map_err(|e| Failure::failed("cannot print an event").because(e))?;
            output.text(&format!("{line}\n"))?;
        }
        Format::Yaml => {
            output.print(&[event], |_| Default::default())?;
        }
    }
    Ok(())
}
