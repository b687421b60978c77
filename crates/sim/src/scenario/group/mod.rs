//! A replicated group on machines that fail in every way that disks, links and clocks do, with clients whose
//! history has to be that of a store that keeps its word.
//!
//! First chaos, then calm, then proof: members come back, or others in their place; all agree; writes work
//! everywhere; watches saw everything; the history checks.

mod book;
mod chaos;
mod clients;
mod machine;
mod network;
mod operator;

use crate::run::{Failure, Run};
use book::Book;
use clients::Visitor;
use machine::Machine;
use network::Network;
use operator::Operator;
use selvedge_rt::Rng;
use selvedge_state::group::{Role, Status};
use std::collections::BTreeSet;
use std::time::Duration;

/// How long things go wrong.
const CHAOS: Duration = Duration::from_secs(14);

/// How long everything may take to be well again.
const CALM_MAX: Duration = Duration::from_secs(30);

/// How long the group may take to form.
const FORM_MAX: Duration = Duration::from_secs(10);

/// How long a step is.
const TICK: Duration = Duration::from_millis(3);

/// How often it is looked which stores have stopped.
const LOOK: Duration = Duration::from_millis(60);

/// Steps between two troubles, about.
const PEACE: u64 = 130;

const CLIENTS: u32 = 5;
const WATCHERS: u32 = 3;

struct World<'a> {
    run: Run,
    rng: Rng,
    sim: turmoil::Sim<'a>,
    network: Network,
    machines: Vec<Machine>,
    book: Book,
    /// Machines that are off, and when they go on again.
    off: Vec<(usize, Duration)>,
    looked: Duration,
}

pub(super) fn play(run: &Run) -> Result<(), Failure> {
    for (what, least) in [
        ("group: writes acknowledged", 5),
        ("group: reads answered", 5),
        ("group: events watched", 5),
        ("group: terms", 1),
        ("group: lives", 4),
    ] {
        run.require(what, least);
    }
    World::new(run).play()
}

impl World<'_> {
    fn new(run: &Run) -> Self {
        let mut rng = run.rng.branch("chaos");
        let mut sim = turmoil::Builder::new()
            .rng_seed(rng.next_u64())
            .simulation_duration(Duration::from_secs(3600))
            .tick_duration(TICK)
            .build();
        let network = Network::new(run);
        let book = Book::default();
        let voters = if rng.below(3) == 0 { 5 } else { 3 };
        let names = (0..=voters).map(|number| format!("m{number}"));
        let machines: Vec<Machine> = names.map(|name| Machine::new(name, run, &network, &book)).collect();
        for machine in &machines {
            let lives = machine.clone();
            sim.host(machine.name.as_str(), move || lives.clone().live());
        }
        let (crowd_run, crowd_book, crowd_machines) = (run.clone(), book.clone(), machines.clone());
        sim.host("people", move || {
            let (run, book, machines) = (crowd_run.clone(), crowd_book.clone(), crowd_machines.clone());
            async move {
                people(run, book, machines, voters).await;
                Ok(())
            }
        });
        World { run: run.clone(), rng, sim, network, machines, book, off: Vec::new(), looked: Duration::ZERO }
    }

    /// What was promised and not kept tells more than what does not work.
    fn play(mut self) -> Result<(), Failure> {
        let played = self.play_all();
        self.judge()?;
        played
    }

    fn play_all(&mut self) -> Result<(), Failure> {
        self.calm();
        self.step_until(FORM_MAX, "no keyspace was made", |world| world.book.keyspace().is_some())?;
        let end = self.sim.elapsed() + CHAOS;
        while self.sim.elapsed() < end {
            if self.rng.below(PEACE) == 0 {
                self.upset();
            }
            self.step()?;
        }
        self.heal()?;
        self.prove()
    }

    fn step(&mut self) -> Result<(), Failure> {
        self.sim.step().map_err(|e| Failure::new(e.to_string()))?;
        let now = self.sim.elapsed();
        self.network.mesh.set_time(now);
        let look = now >= self.looked + LOOK;
        if look {
            self.looked = now;
        }
        for machine in 0..self.machines.len() {
            let is_off = self.off.iter().any(|(off, _)| *off == machine);
            if !is_off && self.machines[machine].disk.is_dark() {
                self.run.exercised("group: crashes amid writes", 1);
                self.end(machine);
            } else if look && !is_off && self.has_stopped(machine) {
                self.run.exercised("group: stores stopped", 1);
                self.end(machine);
            }
        }
        while let Some(at) = self.off.iter().position(|(_, until)| *until <= now) {
            let (machine, _) = self.off.remove(at);
            self.machines[machine].disk.power_on();
            self.sim.bounce(self.machines[machine].name.as_str());
        }
        Ok(())
    }

    /// Whether nothing serves on a machine that is on.
    fn has_stopped(&mut self, machine: usize) -> bool {
        let machine = &self.machines[machine];
        let stopped = machine.group().is_some_and(|group| group.status().stopped.is_some());
        stopped || !self.sim.is_host_running(machine.name.as_str())
    }

    fn step_until(
        &mut self,
        limit: Duration,
        what: &str,
        done: impl Fn(&mut Self) -> bool,
    ) -> Result<(), Failure> {
        let end = self.sim.elapsed() + limit;
        while !done(self) {
            if self.sim.elapsed() >= end {
                let statuses = self.statuses();
                return Err(Failure::new(format!("{what} within {limit:?}: {statuses:?}")));
            }
            let next = self.sim.elapsed() + LOOK;
            while self.sim.elapsed() < next {
                self.step()?;
            }
        }
        Ok(())
    }

    /// Ends what runs on a machine, which goes on again a little later.
    fn end(&mut self, machine: usize) {
        if self.off.iter().any(|(off, _)| *off == machine) {
            return;
        }
        let Machine { name, key, disk, .. } = &self.machines[machine];
        self.network.mesh.crash(*key);
        self.sim.crash(name.as_str());
        disk.kill();
        self.machines[machine].ended();
        let pause = Duration::from_millis(50 + self.rng.below(2000));
        self.off.push((machine, self.sim.elapsed() + pause));
    }

    fn heal(&mut self) -> Result<(), Failure> {
        self.run.trace.line("run", format_args!("heals"));
        self.machines.iter().for_each(|machine| machine.disk.heal());
        self.calm();
        let healed = self.sim.elapsed();
        self.step_until(CALM_MAX, "the group is not whole again", |world| {
            world.off.is_empty() && world.is_whole() && world.sim.elapsed() > healed + Duration::from_secs(2)
        })
    }

    fn prove(&mut self) -> Result<(), Failure> {
        let acknowledged = self.book.revision();
        self.step_until(CALM_MAX, "nothing is written any more", |world| {
            world.book.revision().0 > acknowledged.0 + 5
        })?;
        self.book.close();
        self.step_until(CALM_MAX, "clients do not come to an end", |world| world.book.busy().0 == 0)?;
        self.step_until(CALM_MAX, "members do not agree", |world| {
            let revision = world.book.revision();
            let statuses = world.statuses();
            statuses.iter().all(|status| status.revision == revision || !status.voters.contains(&status.id))
        })?;
        self.step_until(CALM_MAX, "watches do not come to an end", |world| world.book.busy().1 == 0)?;
        Ok(())
    }

    /// Whether everything is there that clients were told, and could be so.
    fn judge(&self) -> Result<(), Failure> {
        let (told, kept) = (self.book.told(), self.statuses().iter().map(|s| s.revision).max());
        if kept.is_some_and(|kept| kept < told) {
            let kept = kept.unwrap_or_default();
            return Err(Failure::new(format!(
                "history: revision {told} was acknowledged, and no member has more than {kept}"
            )));
        }
        let checked = self.book.history(|history| history.check());
        let report = checked.map_err(|violation| Failure::new(format!("history: {violation}")))?;
        self.run.exercised("group: events watched", report.events);
        self.run.exercised("group: unknown outcomes that were done", report.unknown_done);
        self.run.exercised("group: terms", self.statuses().iter().map(|s| s.term).max().unwrap_or(0));
        let (links, doubled) = self.network.stats();
        self.run.exercised("group: packets carried", links.carried);
        self.run.exercised("group: packets lost", links.lost);
        self.run.exercised("group: packets cut off", links.cut);
        self.run.exercised("group: messages doubled", doubled);
        Ok(())
    }

    fn statuses(&self) -> Vec<Status> {
        self.machines.iter().filter_map(Machine::group).map(|group| group.status()).collect()
    }

    fn leader(&self) -> Option<usize> {
        let leads = |machine: &Machine| machine.group().is_some_and(|g| g.status().role == Role::Leader);
        self.machines.iter().position(leads)
    }

    /// Whether every voter runs, votes, follows one leader and lacks little: so that one may lose its memory.
    fn is_whole(&self) -> bool {
        let statuses = self.statuses();
        let Some(leader) = statuses.iter().filter(|s| s.role == Role::Leader).max_by_key(|s| s.term) else {
            return false;
        };
        let running: BTreeSet<_> = statuses.iter().map(|status| status.id).collect();
        let well = |status: &Status| {
            !status.catching_up
                && status.stopped.is_none()
                && status.leader == Some(leader.id)
                && status.applied_next + 20 > leader.applied_next
        };
        let voting = statuses.iter().filter(|status| leader.voters.contains(&status.id));
        !leader.changing
            && leader.voters.iter().all(|voter| running.contains(voter))
            && leader.members.keys().all(|id| !self.book.is_lost(*id))
            && voting.into_iter().all(well)
    }

    fn choose(&mut self) -> usize {
        usize::try_from(self.rng.below(self.machines.len() as u64)).unwrap_or(0)
    }
}

async fn people(run: Run, book: Book, machines: Vec<Machine>, voters: usize) {
    let mut all = tokio::task::JoinSet::new();
    let operator = Operator {
        run: run.clone(),
        rng: run.rng.branch("operator"),
        book: book.clone(),
        machines: machines.clone(),
        voters,
    };
    all.spawn_local(operator.work());
    for number in 0..CLIENTS + WATCHERS {
        let visitor = Visitor {
            number,
            run: run.clone(),
            rng: run.rng.branch(&format!("visitor {number}")),
            book: book.clone(),
            machines: machines.clone(),
        };
        let watches = number >= CLIENTS;
        let book = book.clone();
        book.begins(watches);
        all.spawn_local(async move {
            if watches {
                visitor.watch().await;
            } else {
                visitor.work().await;
            }
            book.ends(watches);
        });
    }
    all.join_all().await;
}
