//! Memory: for each object in RAM, for each on disk only, for each idle connection; and the rate over many objects.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use super::cases::{
    DISK, DISK_OVERHEAD_BYTES_MAX, IDLE, IDLE_BYTES_MAX, OBJECTS, OBJECTS_RATIO_MIN, RAM_OVERHEAD_BYTES_MAX,
};
use super::contender::{Capacity, Running};
use super::race::{Race, RaceResult};
use super::report::{Entry, Table};
use super::round::{self, FROM_ORIGIN_MAX, Round};
use crate::load::{self, Connection, HOST, Pace, Targets};
use crate::origin;

/// Body size of every object, in bytes.
const SIZE: usize = 1024;
/// The few objects that the many are compared with.
const FEW: u64 = 1000;
/// RAM for the objects case: enough for all of them.
const RAM_BYTES: u64 = 4 << 30;
/// RAM for the disk case: so little that nearly all objects are on disk only.
const LITTLE_RAM_BYTES: u64 = 16 << 20;
const DISK_BYTES: u64 = 16 << 30;
/// The longest that filling a cache may take.
const FILL_TIME_MAX: Duration = Duration::from_secs(1800);
/// Rest before memory is read, for what servers do a moment later.
const SETTLE: Duration = Duration::from_secs(2);

impl Race {
    /// Rates over few and over `many` objects, uniformly at random, and memory for each object in RAM.
    ///
    /// # Errors
    /// When a server or a load fails.
    pub fn objects(&mut self, many: u64) -> RaceResult<()> {
        println!("\n{OBJECTS}: {SIZE}-byte bodies, {FEW} and {many} objects, uniformly at random");
        for index in 0..self.contenders.len() {
            let name = self.contenders[index].name();
            eprintln!("edge: {OBJECTS}: {name}");
            let capacity = Capacity { ram_bytes: RAM_BYTES, disk_bytes: DISK_BYTES };
            let running = self.start(self.contenders[index].as_ref(), capacity)?;
            let bytes_each = self.fill(&running, many)?;
            let overhead = bytes_each - stored_bytes();
            self.report.figure(
                OBJECTS,
                name,
                "bytes of memory beside headers and body for an object",
                overhead,
            );
            let [few, all] = self.rates_over(&running, [FEW, many])?;
            let ratio = all.per_second / few.per_second;
            self.report.table(objects_table(name, few, all));
            if name == "selvedge" {
                self.report.verdict(
                    OBJECTS,
                    "rate over many by rate over few",
                    ratio,
                    OBJECTS_RATIO_MIN,
                    true,
                );
                let what = "bytes for an object in RAM";
                self.report.verdict(OBJECTS, what, overhead, RAM_OVERHEAD_BYTES_MAX, false);
            }
        }
        Ok(())
    }

    /// Our memory for each object that is on disk only.
    ///
    /// # Errors
    /// When the server or a load fails.
    pub fn disk(&mut self, many: u64) -> RaceResult<()> {
        let ours = self.contenders.iter().position(|contender| contender.name() == "selvedge");
        let Some(index) = ours else { return Ok(()) };
        println!("\n{DISK}: {many} objects, {LITTLE_RAM_BYTES} bytes of RAM for them");
        let capacity = Capacity { ram_bytes: LITTLE_RAM_BYTES, disk_bytes: DISK_BYTES };
        let running = self.start(self.contenders[index].as_ref(), capacity)?;
        // RAM is full before a tenth is stored: what grows from there on is for disk alone.
        let bytes_each = self.fill(&running, many)?;
        self.report.figure(DISK, "selvedge", "bytes of memory for an object on disk only", bytes_each);
        self.report.verdict(DISK, "bytes for an object on disk", bytes_each, DISK_OVERHEAD_BYTES_MAX, false);
        Ok(())
    }

    /// Memory for each of `count` idle connections after one request on each.
    ///
    /// # Errors
    /// When a server fails or refuses connections.
    pub fn idle(&mut self, count: usize) -> RaceResult<()> {
        println!("\n{IDLE}: {count} idle keep-alive connections after one request each");
        for index in 0..self.contenders.len() {
            let name = self.contenders[index].name();
            for tls in [false, true] {
                eprintln!("edge: {IDLE}: {name}{}", if tls { " over TLS" } else { "" });
                let capacity = Capacity { ram_bytes: 256 << 20, disk_bytes: 1 << 30 };
                let running = self.start(self.contenders[index].as_ref(), capacity)?;
                let address = if tls { running.endpoints.tls1 } else { Some(running.endpoints.http1) };
                let Some(address) = address else { continue };
                let bytes_each = self.idle_bytes(&running, address, tls, count)?;
                let what = if tls {
                    "bytes for an idle connection over TLS"
                } else {
                    "bytes for an idle connection"
                };
                self.report.figure(IDLE, name, what, bytes_each);
                if name == "selvedge" && !tls {
                    self.report.verdict(IDLE, what, bytes_each, IDLE_BYTES_MAX, false);
                }
            }
        }
        Ok(())
    }

    /// Asks once for each of `many` objects and returns by how many bytes of memory each one after the first
    /// tenth made the server grow. By then, buffers that are allocated once are there.
    fn fill(&self, running: &Running, many: u64) -> RaceResult<f64> {
        let tenth = many / 10;
        self.ask_each(running, 0, tenth)?;
        let before = settled_memory(running);
        self.ask_each(running, tenth, many)?;
        Ok((settled_memory(running) - before) / (many - tenth) as f64)
    }

    fn ask_each(&self, running: &Running, next: u64, end: u64) -> RaceResult<()> {
        let targets = Targets::Each { size: SIZE, next, end };
        let mut load = self.load(running.endpoints.http1, false, Pace::Closed, targets)?;
        (load.warm_up, load.measured) = (Duration::ZERO, FILL_TIME_MAX);
        let outcome = load::run(load, &mut |_| {})?;
        if outcome.requests < end - next {
            return Err(format!("filling took more than {FILL_TIME_MAX:?}").into());
        }
        Ok(())
    }

    /// Rates over two numbers of objects, in turns, on the same server.
    fn rates_over(&self, running: &Running, counts: [u64; 2]) -> RaceResult<[Round; 2]> {
        let mut rounds = [Vec::new(), Vec::new()];
        for turn in 0..self.rounds {
            for (count, rounds) in counts.iter().zip(&mut rounds) {
                let targets = Targets::Random { size: SIZE, count: *count, state: turn as u64 };
                let load = self.load(running.endpoints.http1, false, Pace::Closed, targets)?;
                let round = round::measure(&running.server, &self.origin, |at| load::run(load, at))?;
                let from_origin = round.from_origin();
                if from_origin > FROM_ORIGIN_MAX {
                    return Err(format!("{from_origin:.2} of {count} objects came from the origin").into());
                }
                rounds.push(round);
            }
        }
        let median = |rounds: &[Round]| round::median(rounds).ok_or("no rounds");
        Ok([median(&rounds[0])?, median(&rounds[1])?])
    }

    fn idle_bytes(&self, running: &Running, address: SocketAddr, tls: bool, count: usize) -> RaceResult<f64> {
        // A first load, so that what is allocated once does not count.
        let mut load = self.load(address, tls, Pace::Closed, Targets::One { size: SIZE })?;
        load.measured = Duration::from_secs(1);
        load::run(load, &mut |_| {})?;
        let client = if tls { Some(self.place.tls_client()?) } else { None };
        let request = format!("GET {} HTTP/1.1\r\nHost: {HOST}\r\n\r\n", load::path(SIZE, 0));
        let before = settled_memory(running);
        let mut held = Vec::with_capacity(count);
        for _ in 0..count {
            let mut connection = Connection::open(address, client.as_ref())?;
            connection.ask(request.as_bytes())?;
            held.push(connection);
        }
        Ok((settled_memory(running) - before) / count as f64)
    }
}

fn objects_table(name: &'static str, few: Round, many: Round) -> Table {
    let about = "few objects above, many below".to_owned();
    let entries = [few, many].into_iter().filter_map(|median| Entry::of(name, &[median]));
    Table { case: OBJECTS.to_owned(), about, entries: entries.collect() }
}

fn settled_memory(running: &Running) -> f64 {
    thread::sleep(SETTLE);
    running.server.memory_bytes() as f64
}

/// Header and body bytes of an object as the origin sends it, without the status line.
fn stored_bytes() -> f64 {
    let head = origin::head(Some(SIZE));
    let status_line = head.find('\n').map_or(0, |end| end + 1);
    (head.len() - status_line + SIZE) as f64
}
