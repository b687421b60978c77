//! Whether our load generator can be believed: it and `wrk` load the same nginx, in turns.

use super::contender::Capacity;
use super::nginx::Nginx;
use super::race::{Race, RaceResult};
use super::round::{self, Round};
use crate::load::external::wrk;
use crate::load::{self, Pace, Targets};

const SIZE: usize = 1024;

impl Race {
    /// Prints both generators' medians: rate, and what each request costs the generator's core.
    ///
    /// # Errors
    /// When nginx or a generator fails.
    pub(super) fn validate(&mut self) -> RaceResult<()> {
        let running = self.start(&Nginx, Capacity { ram_bytes: 1 << 30, disk_bytes: 1 << 30 })?;
        let address = running.endpoints.http1;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..self.rounds {
            let load = self.load(address, false, Pace::Closed, Targets::One { size: SIZE })?;
            ours.push(round::measure(&running.server, &self.origin, |at| load::run(load, at))?);
            let load = self.external(address, false, SIZE);
            theirs.push(round::measure(&running.server, &self.origin, |at| wrk(&load, at))?);
        }
        print("ours", &ours);
        print("wrk", &theirs);
        Ok(())
    }
}

fn print(name: &str, rounds: &[Round]) {
    if let Some(median) = round::median(rounds) {
        let own_us = median.load_share * 1e6 / median.per_second;
        let rate = median.per_second;
        println!("{name:<5} {rate:>9.0} requests/s, {own_us:.2} us of the generator's core for each");
    }
}
