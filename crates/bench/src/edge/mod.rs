//! The race `edge`: caching gateways on one core, loaded from another, in turns.
//!
//! nginx with `proxy_cache` and Varnish, as Debian packages them, beside ours with its defaults.
//! Printed: versions, configurations, rates, CPU time for each request, latencies, memory, and how our figures
//! stand to theirs. The ratio is the result, never an absolute time. `docs/benchmark.md` has the method.

pub mod cases;
pub mod contender;
pub mod memory;
mod nginx;
pub mod place;
pub mod process;
pub mod race;
pub mod report;
pub mod round;
mod selvedge;
mod validate;
mod varnish;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use self::cases::{DISK, IDLE, OBJECTS};
use self::contender::{Capacity, Contender, Start};
use self::place::Place;
use self::race::{Race, RaceResult};
use self::report::Report;
use crate::origin::Origin;

/// How to race.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Only these cases: hit-1k, hit-64k, hit-1m, h2c-1k, tls1-1k, tls2-1k, miss-1k, p99, objects, disk, idle
    #[arg(long = "case", value_delimiter = ',')]
    pub cases: Vec<String>,
    /// Only these servers: selvedge, nginx, varnish
    #[arg(long = "server", value_delimiter = ',')]
    pub servers: Vec<String>,
    /// Turns for each server in a case
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Seconds that one turn measures
    #[arg(long, default_value_t = 4.0)]
    pub seconds: f64,
    /// Short rounds and small numbers: to see that everything runs, not to compare
    #[arg(long)]
    pub quick: bool,
    /// Objects in the cases `objects` and `disk`
    #[arg(long, default_value_t = 1_000_000)]
    pub objects: u64,
    /// Connections in the case `idle`
    #[arg(long, default_value_t = 10_000)]
    pub connections: usize,
    /// The core that servers are pinned to
    #[arg(long, default_value_t = 0)]
    pub server_core: usize,
    /// The core that load and origin are pinned to
    #[arg(long, default_value_t = 1)]
    pub load_core: usize,
    /// Our program
    #[arg(long, default_value = "target/release/selvedge")]
    pub selvedge: PathBuf,
    /// Where the servers' directories are made; the system's place for temporary files when not given
    #[arg(long)]
    pub directory: Option<PathBuf>,
    /// Also write everything to this file as JSON
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Only compare our load generator with wrk, on nginx
    #[arg(long)]
    pub validate: bool,
}

impl Options {
    fn wants(&self, case: &str) -> bool {
        self.cases.is_empty() || self.cases.iter().any(|name| name == case)
    }

    fn shortened(mut self) -> Self {
        if self.quick {
            (self.rounds, self.seconds) = (1, 1.0);
            (self.objects, self.connections) = (20_000, 500);
        }
        self
    }

    fn check(&self) -> RaceResult<()> {
        let known: Vec<&str> = cases::names().collect();
        match self.cases.iter().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(format!("no case `{name}`; there are {}", known.join(", ")).into()),
            None => Ok(()),
        }
    }
}

/// Runs the race and prints it.
///
/// # Errors
/// When a server does not start, a load fails, or hits did not come from the cache. A missed target is a result.
pub fn run(options: Options) -> RaceResult<()> {
    options.check()?;
    let options = options.shortened();
    let mut race = prepare(&options)?;
    if options.validate {
        return race.validate();
    }
    introduce(&mut race)?;
    race.rates(&|case| options.wants(case), EVERYDAY)?;
    if options.wants(OBJECTS) {
        race.objects(options.objects)?;
    }
    if options.wants(DISK) {
        race.disk(options.objects)?;
    }
    if options.wants(IDLE) {
        race.idle(options.connections)?;
    }
    race.report.summary();
    match &options.json {
        Some(file) => Ok(race.report.write_json(file)?),
        None => Ok(()),
    }
}

/// What a cache may hold in the rate cases.
const EVERYDAY: Capacity = Capacity { ram_bytes: 1 << 30, disk_bytes: 8 << 30 };

fn prepare(options: &Options) -> RaceResult<Race> {
    let place = Place::prepare(options.directory.as_deref(), options.server_core, options.load_core)?;
    let origin = Origin::start(Some(options.load_core))?;
    Ok(Race {
        place,
        origin,
        contenders: if options.validate { Vec::new() } else { contenders(options)? },
        rounds: options.rounds.max(1),
        measured: Duration::from_secs_f64(options.seconds.max(0.1)),
        warm_up: Duration::from_secs(1),
        report: Report::default(),
    })
}

fn contenders(options: &Options) -> RaceResult<Vec<Box<dyn Contender>>> {
    let ours = selvedge::Selvedge { program: options.selvedge.clone() };
    let all: [Box<dyn Contender>; 3] = [Box::new(ours), Box::new(nginx::Nginx), Box::new(varnish::Varnish)];
    let wanted = |name: &str| options.servers.is_empty() || options.servers.iter().any(|s| s == name);
    let mut chosen = Vec::new();
    for contender in all.into_iter().filter(|contender| wanted(contender.name())) {
        contender.version()?;
        chosen.push(contender);
    }
    if chosen.is_empty() {
        return Err("no such server; there are selvedge, nginx, varnish".into());
    }
    Ok(chosen)
}

fn introduce(race: &mut Race) -> RaceResult<()> {
    for contender in &race.contenders {
        let directory = race.place.new_directory("example")?;
        let endpoints = race::endpoints_for(contender.name())?;
        let (origin, capacity) = (race.origin.address(), EVERYDAY);
        let start = Start { place: &race.place, directory: directory.path(), origin, endpoints, capacity };
        race.report.server(contender.name(), contender.version()?, contender.configuration(&start));
    }
    Ok(())
}
