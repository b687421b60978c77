//! The whole node, built as the real one is, on a simulated machine: visitors, an operator who uses the API, and
//! an origin are other hosts of a simulated network. First chaos, then calm, then proof that the service is back.
//!
//! What must hold at every time, whatever fails, is in `history`.

mod client;
mod content;
mod history;
mod machine;
mod origin;
mod proof;
mod visitors;
mod workload;

use crate::clock::SimClock;
use crate::disk::{Faults, SimDisk};
use crate::links::SimMesh;
use crate::run::{Failure, Run};
use history::History;
use machine::Machine;
use origin::{Mood, Origin};
use selvedge_rt::Rng;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use visitors::Visitors;

const NODE: &str = "node";
const ORIGIN: &str = "origin";
const VISITORS: &str = "visitors";
const OPERATOR: &str = "operator";
const HTTP_PORT: u16 = 80;
const API_PORT: u16 = 7070;
/// Visitors at once.
const CROWD: u64 = 4;
/// Lives of the node under chaos.
const LIVES: u64 = 8;
/// How long the first life may take until the site is declared.
const SETUP_MAX: Duration = Duration::from_secs(20);
/// How long the proof may take.
const PROOF_MAX: Duration = Duration::from_secs(120);

pub(super) fn play(run: &Run) -> Result<(), Failure> {
    // Half of what a seed with much trouble still does.
    for (what, least) in [
        ("node: answers checked", 100),
        ("node: hits", 50),
        ("node: lives", 3),
        ("node: purges acknowledged", 5),
        ("node: applies acknowledged", 2),
        ("node: partial answers", 5),
    ] {
        run.require(what, least);
    }
    World::new(run).play()
}

struct World<'a> {
    run: Run,
    rng: Rng,
    sim: turmoil::Sim<'a>,
    machine: Machine,
    origin: Origin,
    visitors: Visitors,
    /// When cut links and a dead origin come back, if something is cut or dead.
    repair_at: Option<Duration>,
}

impl<'a> World<'a> {
    fn new(run: &Run) -> Self {
        let mut rng = run.rng.branch("chaos");
        let mut sim = turmoil::Builder::new()
            .rng_seed(rng.next_u64())
            .simulation_duration(Duration::from_secs(3600))
            .tick_duration(Duration::from_millis(1))
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(Duration::from_millis(30))
            .tcp_capacity(1024)
            .build();
        let (clock, history, token) = (SimClock::new(), History::default(), Arc::default());
        let machine = Machine {
            run: run.clone(),
            disk: SimDisk::new("node disk", run.rng.branch("disk"), run.trace.clone()),
            clock: clock.clone(),
            history: history.clone(),
            token: Arc::clone(&token),
            lives: Arc::default(),
            mesh: SimMesh::new(run.rng.branch("mesh"), run.trace.clone()),
        };
        let origin = Origin {
            history: history.clone(),
            mood: Arc::default(),
            rng: Arc::new(Mutex::new(run.rng.branch("origin"))),
            node_clock: clock.clone(),
            run: run.clone(),
        };
        let visitors = Visitors { run: run.clone(), history, node_clock: clock, token };
        let (m, o) = (machine.clone(), origin.clone());
        sim.host(NODE, move || m.clone().live());
        sim.host(ORIGIN, move || o.clone().live());
        World { run: run.clone(), rng, sim, machine, origin, visitors, repair_at: None }
    }

    fn play(mut self) -> Result<(), Failure> {
        self.set_up()?;
        self.begin_traffic();
        for life in 0..LIVES {
            self.chaos(life)?;
        }
        self.heal()?;
        self.prove()
    }

    fn step(&mut self) -> Result<(), Failure> {
        self.sim.step().map_err(|e| Failure::new(e.to_string()))?;
        self.machine.history.failure().map_or(Ok(()), |what| Err(Failure::new(what)))
    }

    /// Steps until `done`, `limit` at most.
    fn step_until(
        &mut self,
        limit: Duration,
        what: &str,
        done: impl Fn(&mut Self) -> bool,
    ) -> Result<(), Failure> {
        let end = self.sim.elapsed() + limit;
        while !done(self) {
            if self.sim.elapsed() >= end {
                return Err(Failure::new(format!("{what} within {limit:?}")));
            }
            self.step()?;
        }
        Ok(())
    }

    /// The first life, in calm: until there is a token and a site.
    fn set_up(&mut self) -> Result<(), Failure> {
        let declared = Arc::new(Mutex::new(false));
        let (visitors, done) = (self.visitors.clone(), declared.clone());
        self.sim.client("founder", async move {
            while visitors.token.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            visitors.apply(&mut visitors.api()).await;
            *done.lock().unwrap_or_else(PoisonError::into_inner) = true;
            Ok(())
        });
        self.step_until(SETUP_MAX, "the first site was not declared", |_| {
            *declared.lock().unwrap_or_else(PoisonError::into_inner)
        })
    }

    fn begin_traffic(&mut self) {
        let (visitors, rng) = (self.visitors.clone(), self.run.rng.branch("visitors"));
        self.sim.host(VISITORS, move || {
            let (visitors, rng) = (visitors.clone(), rng.clone());
            async move {
                let mut crowd = tokio::task::JoinSet::new();
                for number in 0..CROWD {
                    crowd.spawn_local(visitors.clone().visit(number, rng.branch(&number.to_string())));
                }
                crowd.join_all().await;
                Ok(())
            }
        });
        let (visitors, rng) = (self.visitors.clone(), self.run.rng.branch("operator"));
        self.sim.host(OPERATOR, move || visitors.clone().operate(rng.clone()));
    }

    /// One life of the node, and how it ends.
    fn chaos(&mut self, life: u64) -> Result<(), Failure> {
        self.choose_trouble();
        let end = self.sim.elapsed() + Duration::from_millis(1000 + self.rng.below(5000));
        while self.sim.elapsed() < end && !self.machine.disk.is_dark() {
            if self.repair_at.is_some_and(|at| at <= self.sim.elapsed()) {
                self.repair_links();
            }
            if self.rng.below(500) == 0 {
                self.upset();
            }
            self.step()?;
        }
        self.repair_links();
        self.note(format_args!("life {life} ends"));
        self.restart();
        Ok(())
    }

    /// The troubles that last for this life.
    fn choose_trouble(&mut self) {
        let rng = &mut self.rng;
        let mut chance = |most: f64| if rng.below(3) == 0 { rng.fraction() * most } else { 0.0 };
        let mood = Mood {
            slow: chance(0.5),
            error: chance(0.6),
            malformed: chance(0.4),
            cut: chance(0.3),
            silent: chance(0.2),
            changes: 0.2,
        };
        self.origin.set_mood(mood);
        let delay_max = Duration::from_millis(1 + self.rng.below(8));
        let mut faults = Faults { delay_max, ..Faults::default() };
        if self.rng.below(4) == 0 {
            faults = Faults { sync_fails: 0.02, write_fails: 0.01, read_fails: 0.02, ..faults };
        }
        let disk = &self.machine.disk;
        disk.set_faults(faults);
        if self.rng.below(5) == 0 {
            disk.set_capacity(disk.used() + self.rng.below(300_000));
        }
        if self.rng.below(3) == 0 {
            disk.crash_after(200 + self.rng.below(3000));
        }
        self.set_clock();
        self.note(format_args!("{mood:?} {faults:?}"));
    }

    fn set_clock(&mut self) {
        let offset = i64::try_from(self.rng.below(240_000)).unwrap_or(0) - 120_000;
        self.note(format_args!("the node's clock is off by {offset} ms"));
        self.machine.clock.set_error(offset, 100);
        self.machine.history.clock_jumps(self.sim.elapsed());
    }

    /// A line of the trace, from outside of all hosts.
    fn note(&self, what: std::fmt::Arguments<'_>) {
        self.run.trace.line("chaos", format_args!("at {:?}: {what}", self.sim.elapsed()));
    }

    /// One sudden event.
    fn upset(&mut self) {
        match self.rng.below(6) {
            0 => self.cut("node: links to the origin cut", ORIGIN),
            1 => self.cut("node: links to visitors cut", VISITORS),
            2 => {
                self.note(format_args!("the origin dies"));
                self.run.exercised("node: origin deaths", 1);
                self.sim.crash(ORIGIN);
                self.plan_repair();
            }
            3 => {
                self.run.exercised("node: clock jumps", 1);
                self.set_clock();
            }
            _ => self.flip_bit(),
        }
    }

    fn cut(&mut self, what: &'static str, other: &str) {
        self.note(format_args!("cut {NODE} {other}"));
        self.run.exercised(what, 1);
        self.sim.partition(NODE, other);
        self.plan_repair();
    }

    fn plan_repair(&mut self) {
        let after = Duration::from_millis(50 + self.rng.below(1200));
        self.repair_at = Some(self.sim.elapsed() + after);
    }

    fn repair_links(&mut self) {
        self.note(format_args!("repair"));
        self.repair_at = None;
        self.sim.repair(NODE, ORIGIN);
        self.sim.repair(NODE, VISITORS);
        self.revive_origin();
    }

    fn revive_origin(&mut self) {
        if !self.sim.is_host_running(ORIGIN) {
            self.sim.bounce(ORIGIN);
        }
    }

    /// Damages what the cache has on disk.
    fn flip_bit(&mut self) {
        let disk = &self.machine.disk;
        let files: Vec<String> = disk.paths().into_iter().filter(|p| p.starts_with("cache/")).collect();
        let at = usize::try_from(self.rng.below(files.len() as u64)).unwrap_or(0);
        if files.get(at).and_then(|path| disk.flip_bit(path)).is_some() {
            self.run.exercised("node: bits flipped", 1);
        }
    }

    /// Ends the node's process, or its machine, and starts it again.
    fn restart(&mut self) {
        let disk = &self.machine.disk;
        self.sim.crash(NODE);
        disk.set_faults(Faults { delay_max: Duration::from_millis(2), ..Faults::default() });
        disk.set_capacity(1 << 40);
        if disk.is_dark() || self.rng.below(2) == 0 {
            disk.crash();
            disk.power_on();
            self.run.exercised("node: power lost", 1);
        } else {
            disk.kill();
            self.run.exercised("node: killed", 1);
        }
        self.sim.bounce(NODE);
    }

    /// Ends all trouble.
    fn heal(&mut self) -> Result<(), Failure> {
        self.origin.set_mood(Mood::default());
        self.repair_links();
        self.machine.disk.heal();
        self.sim.crash(VISITORS);
        self.sim.crash(OPERATOR);
        if self.rng.below(2) == 0 {
            self.restart();
            self.machine.disk.heal();
        }
        self.step_until(SETUP_MAX, "on a healed machine the node does not start", |world| {
            world.machine.history.has_state()
        })
    }

    fn prove(&mut self) -> Result<(), Failure> {
        let proven = Arc::new(Mutex::new(None));
        let (visitors, result) = (self.visitors.clone(), proven.clone());
        self.sim.client("prover", async move {
            let found = proof::prove(&visitors).await;
            *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
            Ok(())
        });
        self.step_until(PROOF_MAX, "the proof that the service is back did not end", |_| {
            proven.lock().unwrap_or_else(PoisonError::into_inner).is_some()
        })?;
        let found = proven.lock().unwrap_or_else(PoisonError::into_inner).take();
        found.unwrap_or(Ok(())).map_err(Failure::new)
    }
}
