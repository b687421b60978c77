//! The runs: who is loaded with what, in which order.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use super::cases::{CONNECTIONS, OPEN, OPEN_LOAD, RATE_CASES, RateCase};
use super::contender::{self, Capacity, Contender, Endpoints, Protocol, Running};
use super::place::{Place, free_address};
use super::report::{Entry, Report, Table};
use super::round::{self, FROM_ORIGIN_MAX, Round};
use crate::load::external::{External, STREAMS, h2load};
use crate::load::{self, Load, Pace, Targets};
use crate::origin::Origin;

/// What ends a race: any error, with its own words.
pub type RaceResult<T> = Result<T, Box<dyn Error>>;

/// A void or disturbed round is repeated, but there are at most this many turns for each round asked for.
const TURNS_FOR_A_ROUND_MAX: usize = 2;

/// Numbers of unique targets that one round may use at most.
const UNIQUE_PER_ROUND: u64 = 100_000_000;

/// Everything that the runs share.
pub struct Race {
    /// Cores, certificate, directory.
    pub place: Place,
    /// What everyone caches.
    pub origin: Origin,
    /// Who races.
    pub contenders: Vec<Box<dyn Contender>>,
    /// Turns for each server in a case.
    pub rounds: usize,
    /// How long one turn measures.
    pub measured: Duration,
    /// Time before each measurement.
    pub warm_up: Duration,
    /// What came of it so far.
    pub report: Report,
}

impl Race {
    /// Starts one contender on free ports.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn start(&self, contender: &dyn Contender, capacity: Capacity) -> RaceResult<Running> {
        let endpoints = endpoints_for(contender.name())?;
        Ok(contender::start(contender, &self.place, self.origin.address(), endpoints, capacity)?)
    }

    /// Races every rate case that `wanted` names, then the open loop; all servers stay up, taking turns.
    ///
    /// # Errors
    /// When a server or a load fails.
    pub fn rates(&mut self, wanted: &dyn Fn(&str) -> bool, capacity: Capacity) -> RaceResult<()> {
        let cases: Vec<&RateCase> = RATE_CASES.iter().filter(|case| wanted(case.name)).collect();
        if cases.is_empty() && !wanted(OPEN) {
            return Ok(());
        }
        let running: Vec<(&'static str, Running)> = self
            .contenders
            .iter()
            .map(|contender| Ok((contender.name(), self.start(contender.as_ref(), capacity)?)))
            .collect::<RaceResult<_>>()?;
        for case in cases {
            let table = self.rate_table(case, &running)?;
            self.judge_rates(case, &table);
        }
        if wanted(OPEN) { self.open_loop(&running) } else { Ok(()) }
    }

    fn rate_table(&mut self, case: &RateCase, running: &[(&'static str, Running)]) -> RaceResult<Table> {
        let speakers: Vec<_> =
            running.iter().filter_map(|(n, r)| Some((*n, r, r.endpoints.get(case.protocol)?))).collect();
        let names: Vec<&'static str> = speakers.iter().map(|(name, ..)| *name).collect();
        let mut turn = 0;
        let rounds = self.in_turns(case.name, &names, |index| {
            let Some((_, running, address)) = speakers.get(index) else {
                return Err("no such server".into());
            };
            turn += 1;
            self.rate_round(case, running, *address, turn)
        })?;
        let entries = names.iter().zip(&rounds).filter_map(|(name, rounds)| Entry::of(name, rounds));
        let table = Table {
            case: case.name.to_owned(),
            about: format!("{}, {}", case.about, self.how(case.protocol)),
            entries: entries.collect(),
        };
        self.report.table(table.clone());
        Ok(table)
    }

    /// Lets servers take turns until each has its number of sound rounds, or had so many more turns in vain.
    fn in_turns(
        &self,
        case: &str,
        names: &[&'static str],
        mut turn: impl FnMut(usize) -> RaceResult<Round>,
    ) -> RaceResult<Vec<Vec<Round>>> {
        let mut rounds: Vec<Vec<Round>> = vec![Vec::new(); names.len()];
        for number in 1..=self.rounds * TURNS_FOR_A_ROUND_MAX {
            for (index, (name, rounds)) in names.iter().zip(&mut rounds).enumerate() {
                let sound = rounds.iter().filter(|round| round.is_sound()).count();
                if sound < self.rounds {
                    eprintln!("edge: {case} turn {number}, {sound} of {} sound: {name}", self.rounds);
                    rounds.push(turn(index)?);
                }
            }
        }
        Ok(rounds)
    }

    fn rate_round(
        &self,
        case: &RateCase,
        running: &Running,
        address: SocketAddr,
        turn: usize,
    ) -> RaceResult<Round> {
        let h2 = matches!(case.protocol, Protocol::H2c | Protocol::Tls2);
        let tls = matches!(case.protocol, Protocol::Tls1 | Protocol::Tls2);
        let round = if h2 {
            let load = self.external(address, tls, case.size);
            round::measure(&running.server, &self.origin, |at| h2load(&load, at))?
        } else {
            let targets = case.targets_of_round(1 + turn as u64 * UNIQUE_PER_ROUND);
            let load = self.load(address, tls, Pace::Closed, targets)?;
            round::measure(&running.server, &self.origin, |at| load::run(load, at))?
        };
        let from_origin = round.from_origin();
        if !case.miss && from_origin > FROM_ORIGIN_MAX {
            return Err(format!("{address}: {from_origin:.2} of `{}` came from the origin", case.name).into());
        }
        Ok(round)
    }

    fn judge_rates(&mut self, case: &RateCase, table: &Table) {
        let entry = |name: &str| table.entries.iter().find(|entry| entry.name == name);
        for (peer, least) in case.targets {
            if let (Some(ours), Some(theirs)) = (entry("selvedge"), entry(peer)) {
                let what = format!("{peer}'s CPU time for each request over ours");
                self.report.figure(case.name, "selvedge", &what, theirs.median.cpu_us / ours.median.cpu_us);
                let is_sound = !ours.is_faulty() && !theirs.is_faulty();
                let doubt = if is_sound { "" } else { " (no sound rounds: see the CPU times)" };
                let ratio = ours.median.per_second / theirs.median.per_second;
                self.report.verdict(case.name, &format!("rate over {peer}'s{doubt}"), ratio, *least, true);
            }
        }
    }

    /// The same rate for everyone, below everyone's maximum; latency counts from when a request was due.
    fn open_loop(&mut self, running: &[(&'static str, Running)]) -> RaceResult<()> {
        let Some(hits) = RATE_CASES.first() else { return Ok(()) };
        let known = self.report.tables.iter().find(|table| table.case == hits.name).cloned();
        let table = known.map_or_else(|| self.rate_table(hits, running), Ok)?;
        let slowest = table.entries.iter().map(|entry| entry.median.per_second).fold(f64::INFINITY, f64::min);
        let per_second = slowest * OPEN_LOAD;
        let names: Vec<&'static str> = running.iter().map(|(name, _)| *name).collect();
        let rounds = self.in_turns(OPEN, &names, |index| {
            let Some((_, running)) = running.get(index) else { return Err("no such server".into()) };
            let targets = Targets::One { size: hits.size };
            let load = self.load(running.endpoints.http1, false, Pace::Open { per_second }, targets)?;
            Ok(round::measure(&running.server, &self.origin, |at| load::run(load, at))?)
        })?;
        let entries = names.iter().zip(&rounds).filter_map(|(name, rounds)| Entry::of(name, rounds));
        let about = format!("{}, open loop at {per_second:.0} requests a second", hits.about);
        let table = Table { case: OPEN.to_owned(), about, entries: entries.collect() };
        self.report.table(table.clone());
        self.judge_latency(&table);
        Ok(())
    }

    fn judge_latency(&mut self, table: &Table) {
        let of = |name: &str| table.entries.iter().find(|e| e.name == name).and_then(|e| e.median.p99_us);
        for peer in ["nginx", "varnish"] {
            if let (Some(ours), Some(theirs)) = (of("selvedge"), of(peer)) {
                self.report.verdict(OPEN, &format!("p99 over {peer}'s"), ours / theirs, 1.0, false);
            }
        }
    }

    /// A load of our own generator.
    ///
    /// # Errors
    /// When the certificate cannot be trusted.
    pub fn load(&self, address: SocketAddr, tls: bool, pace: Pace, targets: Targets) -> RaceResult<Load> {
        let tls = if tls { Some(self.place.tls_client()?) } else { None };
        let (warm_up, measured) = (self.warm_up, self.measured);
        Ok(Load { address, tls, connections: CONNECTIONS, pace, targets, warm_up, measured })
    }

    /// The same load of an external generator.
    #[must_use]
    pub fn external(&self, address: SocketAddr, tls: bool, size: usize) -> External {
        External {
            address,
            tls,
            size,
            connections: CONNECTIONS,
            warm_up: self.warm_up,
            measured: self.measured,
            core: self.place.load_core,
        }
    }

    fn how(&self, protocol: Protocol) -> String {
        let generator = match protocol {
            Protocol::Http1 | Protocol::Tls1 => "keep-alive".to_owned(),
            Protocol::H2c | Protocol::Tls2 => format!("h2load, {STREAMS} streams each"),
        };
        let seconds = self.measured.as_secs_f64();
        format!("{CONNECTIONS} connections ({generator}), median of {} rounds of {seconds} s", self.rounds)
    }
}

/// Free ports for what a server speaks. Ours and Varnish tell the version of HTTP by looking; nginx by port.
///
/// # Errors
/// When no port is free.
pub fn endpoints_for(name: &str) -> RaceResult<Endpoints> {
    let http1 = free_address()?;
    let one_https = free_address()?;
    Ok(match name {
        "nginx" => Endpoints {
            http1,
            h2c: Some(free_address()?),
            tls1: Some(one_https),
            tls2: Some(free_address()?),
        },
        "varnish" => Endpoints { http1, h2c: Some(http1), tls1: None, tls2: None },
        _ => Endpoints { http1, h2c: Some(http1), tls1: Some(one_https), tls2: Some(one_https) },
    })
}
