//! What goes wrong while a group is played.

use super::World;
use super::network::Weather;
use crate::disk::Faults;
use std::time::Duration;

/// What the disk of a machine does, usually.
const DISK_DELAY: Duration = Duration::from_millis(3);

impl World<'_> {
    /// Something goes wrong, or right again.
    pub(super) fn upset(&mut self) {
        let machine = self.choose();
        match self.rng.below(20) {
            0 | 1 => self.crash(machine),
            2 => self.kill(machine),
            3 => self.crash_amid(machine),
            4 => self.damage(machine),
            5 => self.fail_syncs(machine),
            6 => self.slow_disk(machine),
            7 => self.fill_disk(machine),
            8 => self.jump_clock(machine),
            9 => self.stall(machine),
            10 => self.isolate(machine),
            11 => self.isolate_leader(),
            12 => self.split(),
            13 => self.cut_one_way(),
            14 | 15 => self.change_weather(),
            16 => self.crash_all(),
            _ => self.calm(),
        }
    }

    fn crash(&mut self, machine: usize) {
        self.run.exercised("group: crashes", 1);
        let loss = self.machines[machine].disk.crash();
        self.run.exercised("group: crashes that lost writes", u64::from(loss.bytes > 0));
        self.end(machine);
    }

    /// The whole group loses its power.
    fn crash_all(&mut self) {
        self.run.exercised("group: power cuts of all", 1);
        for machine in 0..self.machines.len() {
            self.crash(machine);
        }
    }

    fn kill(&mut self, machine: usize) {
        self.run.exercised("group: kills", 1);
        self.end(machine);
    }

    /// The power goes in the midst of a write.
    fn crash_amid(&mut self, machine: usize) {
        let operations = 1 + self.rng.below(60);
        self.machines[machine].disk.crash_after(operations);
    }

    /// A bit of the log or the tables flips for good, and the next life finds it. Only where no other member
    /// is missing: what a majority forgets is gone.
    fn damage(&mut self, machine: usize) {
        if !self.is_whole() {
            return;
        }
        let disk = &self.machines[machine].disk;
        let paths: Vec<String> = disk.paths().into_iter().filter(|path| !path.ends_with(".part")).collect();
        let at = self.rng.below(paths.len() as u64);
        let Some(path) = paths.get(usize::try_from(at).unwrap_or(0)) else { return };
        if disk.flip_bit(path).is_some() {
            self.run.exercised("group: bits flipped", 1);
            self.end(machine);
        }
    }

    fn fail_syncs(&mut self, machine: usize) {
        self.run.exercised("group: disks that fail", 1);
        let faults = Faults { sync_fails: 0.3, delay_max: DISK_DELAY, ..Faults::default() };
        self.machines[machine].disk.set_faults(faults);
    }

    fn slow_disk(&mut self, machine: usize) {
        self.run.exercised("group: slow disks", 1);
        let delay_max = Duration::from_millis(20 + self.rng.below(200));
        self.machines[machine].disk.set_faults(Faults { delay_max, ..Faults::default() });
    }

    fn fill_disk(&mut self, machine: usize) {
        self.run.exercised("group: full disks", 1);
        let disk = &self.machines[machine].disk;
        disk.set_capacity(disk.used() + self.rng.below(20_000));
    }

    fn jump_clock(&mut self, machine: usize) {
        self.run.exercised("group: clock jumps", 1);
        let offset = i64::try_from(self.rng.below(240_000)).unwrap_or(0) - 120_000;
        self.machines[machine].clock.set_error(offset, 200);
    }

    fn stall(&mut self, machine: usize) {
        self.run.exercised("group: stalls", 1);
        let time = Duration::from_millis(100 + self.rng.below(3000));
        self.network.mesh.stall_for(self.machines[machine].key, time);
    }

    fn isolate(&mut self, machine: usize) {
        self.run.exercised("group: partitions", 1);
        for other in (0..self.machines.len()).filter(|other| *other != machine) {
            self.cut(machine, other);
            self.cut(other, machine);
        }
    }

    fn isolate_leader(&mut self) {
        if let Some(leader) = self.leader() {
            self.isolate(leader);
        }
    }

    fn split(&mut self) {
        self.run.exercised("group: partitions", 1);
        let sides: Vec<bool> = self.machines.iter().map(|_| self.rng.below(2) == 0).collect();
        for (one, side) in sides.iter().enumerate() {
            for (other, _) in sides.iter().enumerate().filter(|(_, other)| *other != side) {
                self.cut(one, other);
            }
        }
    }

    fn cut_one_way(&mut self) {
        self.run.exercised("group: one-way cuts", 1);
        let (from, to) = (self.choose(), self.choose());
        if self.rng.below(2) == 0 {
            (0..self.machines.len()).filter(|to| *to != from).for_each(|to| self.cut(from, to));
        } else if from != to {
            self.cut(from, to);
        }
    }

    fn change_weather(&mut self) {
        let mut chance = |most: f64| if self.rng.below(2) == 0 { self.rng.fraction() * most } else { 0.0 };
        let weather = Weather {
            loss: chance(0.2),
            doubling: chance(0.2),
            delay_max: Duration::from_millis(2 + self.rng.below(60)),
        };
        self.network.set_weather(weather);
    }

    /// What lasts is over.
    pub(super) fn calm(&mut self) {
        self.network.mesh.heal();
        self.network.set_weather(Weather::FAIR);
        for machine in &self.machines {
            machine.disk.set_faults(Faults { delay_max: DISK_DELAY, ..Faults::default() });
            machine.disk.set_capacity(1 << 40);
        }
    }

    fn cut(&self, from: usize, to: usize) {
        self.network.mesh.cut_one_way(self.machines[from].key, self.machines[to].key);
    }
}
