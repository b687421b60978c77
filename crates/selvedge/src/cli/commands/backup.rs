//! `selvedge backup create|inspect`

use crate::cli::client::{ApiArgs, Client, escape};
use crate::cli::progress::Progress;
use crate::cli::units::{bytes, date};
use crate::cli::{Exit, Failure, Output, Table};
use clap::{Args, Subcommand};
use selvedge_rt::Clock;
use selvedge_state::Backup;
use serde::Serialize;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What can be done with backups.
#[derive(Debug, Subcommand)]
pub enum BackupCommand {
    /// Write all that the cluster keeps to a file: sites, settings, tokens and keyspaces
    Create(CreateArgs),
    /// Check a backup, and show what is in it
    Inspect(InspectArgs),
}

/// What `create` takes.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// The file to write; it must not be there yet
    pub file: PathBuf,
    /// How fresh: linearizable, session=REVISION, bounded=TIME, or local, which asks no other node: all that can be had
    /// when most voters are lost [default: linearizable]
    #[arg(long, value_name = "LEVEL")]
    pub read: Option<String>,
    /// Which API to ask.
    #[command(flatten)]
    pub api: ApiArgs,
}

/// What `inspect` takes.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The file
    pub file: PathBuf,
}

/// Runs one of them.
pub(super) fn run(output: Output, command: BackupCommand) -> Result<Exit, Failure> {
    match command {
        BackupCommand::Create(args) => {
            let about = create(&args)?;
            eprintln!("begin a new cluster with it: selvedge up --new --restore {}", args.file.display());
            output.print(&about, table)
        }
        BackupCommand::Inspect(args) => output.print(&About::of(&args.file)?, table),
    }
}

/// What a backup is of.
#[derive(Debug, Serialize)]
struct About {
    cluster: String,
    taken: u64,
    revision: u64,
    version: String,
    bytes: u64,
    nodes: usize,
    sites: Vec<String>,
    tokens: Vec<String>,
    keyspaces: Vec<Keyspace>,
}

#[derive(Debug, Serialize)]
struct Keyspace {
    name: String,
    bytes: u64,
}

impl About {
    /// Reads all of the file: what is said of it was checked.
    fn of(path: &Path) -> Result<Self, Failure> {
        let failed = |error| Failure::failed(format!("{} cannot be used", path.display())).because(error);
        let backup = Backup::open(path).map_err(failed)?;
        let length = fs::metadata(path).map_err(|error| failed(error.into()))?.len();
        let (head, contents) = (&backup.head, backup.contents());
        let keyspaces = contents.keyspaces.into_iter().map(|(name, bytes)| Keyspace { name, bytes });
        Ok(About {
            cluster: head.cluster.to_string(),
            taken: head.taken.0,
            revision: head.revision.0,
            version: head.version.clone(),
            bytes: length,
            nodes: contents.nodes,
            sites: contents.sites,
            tokens: contents.tokens,
            keyspaces: keyspaces.collect(),
        })
    }
}

fn table(about: &About) -> Table {
    let keyspaces: Vec<String> =
        about.keyspaces.iter().map(|space| format!("{} ({})", space.name, bytes(space.bytes))).collect();
    let list = |names: &[String]| if names.is_empty() { "-".to_owned() } else { names.join(", ") };
    let mut table = Table::new().column("BACKUP").column("");
    for (what, value) in [
        ("of cluster", about.cluster.clone()),
        ("taken", date(about.taken)),
        ("revision", about.revision.to_string()),
        ("by version", about.version.clone()),
        ("size", bytes(about.bytes)),
        ("nodes", about.nodes.to_string()),
        ("sites", list(&about.sites)),
        ("tokens", list(&about.tokens)),
        ("keyspaces", list(&keyspaces)),
    ] {
        table.row([what.to_owned(), value]);
    }
    table
}

/// Writes it beside its place, reads it again, and puts it there: what has the name is whole.
fn create(args: &CreateArgs) -> Result<About, Failure> {
    let path = &args.file;
    if path.exists() {
        return Err(Failure::usage(format!("{} is there already", path.display()))
            .next("name a file that is not, or move that one away"));
    }
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let client = Client::find(&args.api)?;
    let made =
        write(&client, args.read.as_deref(), &part).and_then(|()| About::of(&part)).and_then(|about| {
            let placed = fs::rename(&part, path).and_then(|()| sync_directory(path));
            placed.map(|()| about).map_err(|error| cannot_write(path, error))
        });
    if made.is_err() {
        // Nobody needs half of it; the cause is told.
        let _ = fs::remove_file(&part);
    }
    made
}

fn write(client: &Client, read: Option<&str>, part: &Path) -> Result<(), Failure> {
    let failed = |error| cannot_write(part, error);
    // It holds users' data: for its owner alone.
    let opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(part);
    let mut file = opened.map_err(failed)?;
    let (clock, mut written) = (Clock::real(), 0u64);
    let mut progress = Progress::start(clock.monotonic());
    let target = read.map_or("/v1/backup".to_owned(), |read| format!("/v1/backup?read={}", escape(read)));
    client.download(&target, |piece| {
        file.write_all(piece).map_err(failed)?;
        written += piece.len() as u64;
        progress.update(clock.monotonic(), || format!("{} written", bytes(written)));
        Ok(())
    })?;
    progress.finish();
    file.sync_all().map_err(failed)
}

fn cannot_write(path: &Path, error: io::Error) -> Failure {
    Failure::failed(format!("cannot write {}", path.display()))
        .because(error)
        .next("choose a place with room that you may write to")
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}
