//! The race of stores: linearizable writes, linearizable and local reads, and what happens when the leader goes.
//!
//! Each contender has three voters on this machine, with its defaults and its data on the same disk. Clients are tasks of this
//! process, each with a connection of its own to one of the three in turn; one client alone is at the leader. They use the public
//! interface: ours by HTTP/1.1 and JSON, etcd's by gRPC. Rounds take turns.

mod client;
mod etcd;
mod failover;
mod grpc;
mod ours;
mod report;
mod round;
mod world;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use client::Connect;
use report::Line;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Case {
    /// Linearizable writes by one client, at the leader.
    Put1,
    /// By 64 clients.
    Put64,
    /// By 256 clients.
    Put256,
    /// Linearizable reads by 64 clients.
    Read64,
    /// Local reads by 64 clients: etcd calls them serializable.
    Local64,
    /// The leader is killed while clients write: ours alone.
    Failover,
    /// The lead is handed over while clients write: ours alone.
    Transfer,
    /// Watchers of one node, and how soon all have each event: ours alone.
    Watch,
    /// A change is applied in a world of `dev`, until all its nodes answer by it: ours alone.
    Apply,
    /// A node joins that world, until it answers: ours alone.
    Join,
}

/// What to race.
#[derive(Clone, Debug, Parser)]
pub struct Args {
    /// The cases
    #[arg(long, value_enum, value_delimiter = ',', default_value = "put1,put64,put256,read64,local64")]
    pub case: Vec<Case>,
    /// Rounds of each contender in each case; the median counts
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// Seconds of a round
    #[arg(long, default_value_t = 5)]
    pub seconds: u64,
    /// Bytes of a value
    #[arg(long, default_value_t = 256)]
    pub value_bytes: usize,
    /// Trials of `failover`, `transfer`, `apply` and `join`
    #[arg(long, default_value_t = 50)]
    pub trials: usize,
    /// Watchers in `watch`
    #[arg(long, default_value_t = 1000)]
    pub watchers: usize,
    /// Where the data is: a disk, as flushes are part of the race
    #[arg(long)]
    pub directory: Option<PathBuf>,
    /// Our program
    #[arg(long, default_value = "target/release/selvedge")]
    pub selvedge: PathBuf,
}

/// Keys that are written and read.
pub(crate) const KEYS: u64 = 10_000;

/// Runs the cases and prints the figures.
///
/// # Errors
/// When a contender does not run, or answers something else than it should.
pub fn run(args: &Args) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(race(args))
}

async fn race(args: &Args) -> io::Result<()> {
    let place = match &args.directory {
        Some(directory) => tempfile::tempdir_in(directory)?,
        None => tempfile::tempdir()?,
    };
    let (small, cases): (Vec<Case>, Vec<Case>) = args.case.iter().copied().partition(|case| case.is_of_dev());
    if !small.is_empty() {
        let world = world::World::start(&args.selvedge, place.path())?;
        for case in small {
            match case {
                Case::Apply => world::apply(&world, args.trials).await?,
                _ => world::join(&world, args.trials).await?,
            }
        }
    }
    if cases.is_empty() {
        return Ok(());
    }
    let mut ours = ours::Ours::start(&args.selvedge, place.path()).await?;
    println!("selvedge  {}", ours.version()?);
    let races = args.case.iter().any(|case| case.plan().is_some());
    let etcd = if races { Some(etcd::Etcd::start(place.path()).await?) } else { None };
    if let Some(etcd) = &etcd {
        println!("etcd      {}", etcd.version()?);
    }
    for case in &cases {
        match (case.plan(), &etcd) {
            (Some(plan), Some(etcd)) => {
                let contenders: [&dyn Connect; 2] = [&ours, etcd];
                let mut rounds = [Vec::new(), Vec::new()];
                for _ in 0..args.rounds.max(1) {
                    for (contender, rounds) in contenders.iter().zip(&mut rounds) {
                        let round = round::play(*contender, plan, args).await?;
                        rounds.push(round);
                    }
                }
                let [ours, etcd] = rounds.map(Line::median);
                report::compare(plan, &ours, &etcd);
            }
            _ => match case {
                Case::Failover => failover::kill(&mut ours, args.trials).await?,
                Case::Transfer => failover::transfer(&ours, args.trials).await?,
                _ => failover::watch(&ours, args.watchers, args.trials).await?,
            },
        }
    }
    Ok(())
}

/// What clients do in a case that is raced.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) about: &'static str,
    pub(crate) clients: usize,
    pub(crate) action: Action,
    /// What is asked of the ratio of rates, ours to etcd's.
    pub(crate) asked: f64,
}

/// What a client does again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Put,
    Read,
    Local,
}

impl Case {
    /// Whether it is played in a world of `dev`, with distances.
    fn is_of_dev(self) -> bool {
        matches!(self, Case::Apply | Case::Join)
    }

    fn plan(self) -> Option<Plan> {
        let plan = |about, clients, action, asked| Some(Plan { about, clients, action, asked });
        match self {
            Case::Put1 => plan("linearizable writes, 1 client", 1, Action::Put, 1.2),
            Case::Put64 => plan("linearizable writes, 64 clients", 64, Action::Put, 2.0),
            Case::Put256 => plan("linearizable writes, 256 clients", 256, Action::Put, 3.0),
            Case::Read64 => plan("linearizable reads, 64 clients", 64, Action::Read, 2.0),
            Case::Local64 => plan("local reads, 64 clients", 64, Action::Local, 5.0),
            Case::Failover | Case::Transfer | Case::Watch | Case::Apply | Case::Join => None,
        }
    }
}

/// How long something that should come soon is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The key of that number, of 16 bytes.
pub(crate) fn key(number: u64) -> String {
    format!("key/{:012}", number % KEYS)
}
