//! The loop that drives all connections of a load.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::event::epoll;
use rustix::fd::OwnedFd;
use rustix::time::{ClockId, Timespec, clock_gettime};

use super::connection::{Connection, Reading, is_close};
use super::targets::{path, write_request};
use super::{Load, LoadError, Moment, Outcome, Pace};

/// Bytes read at a time.
const READ_BYTES: usize = 256 * 1024;
/// Events taken at a time.
const EVENTS: usize = 256;
/// The longest latency that is told apart: a minute, in nanoseconds.
const LATENCY_NS_MAX: u64 = 60_000_000_000;
/// When the next request is due sooner than this, the loop does not sleep: timers wake late by about as much.
const SPIN: Duration = Duration::from_micros(100);
/// Share of requests after which the server may close a connection, one in so many; more is an error.
const REQUESTS_PER_RECONNECT_MIN: u64 = 10;

/// Runs a load to its end and calls `at` when measuring begins and ends.
///
/// # Errors
/// When a connection fails or an answer is not a complete 200.
pub fn run(load: Load, at: &mut dyn FnMut(Moment)) -> Result<Outcome, LoadError> {
    let address = load.address;
    let mut engine = Engine::open(load).map_err(|source| LoadError::Io { address, source })?;
    engine.run(at)
}

struct Slot {
    connection: Connection,
    /// When the request in flight was due.
    due: Instant,
    /// What the request in flight asks for.
    target: (usize, u64),
}

struct Engine {
    load: Load,
    epoll: OwnedFd,
    slots: Vec<Slot>,
    /// Connections without a request in flight.
    free: Vec<usize>,
    /// Due times that no connection was free for: bounded by rate times duration.
    waiting: VecDeque<Instant>,
    request: Vec<u8>,
    buffer: Vec<u8>,
    latency: Histogram<u64>,
    late: Histogram<u64>,
    answers: u64,
    reconnects: u64,
    exhausted: bool,
}

impl Engine {
    fn open(load: Load) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut slots = Vec::with_capacity(load.connections);
        for index in 0..load.connections {
            let connection = open(&load, &epoll, index)?;
            slots.push(Slot { connection, due: Instant::now(), target: (0, 0) });
        }
        Ok(Self {
            epoll,
            free: (0..slots.len()).collect(),
            slots,
            waiting: VecDeque::new(),
            request: Vec::new(),
            buffer: vec![0; READ_BYTES],
            latency: histogram()?,
            late: histogram()?,
            answers: 0,
            reconnects: 0,
            exhausted: false,
            load,
        })
    }

    fn run(&mut self, at: &mut dyn FnMut(Moment)) -> Result<Outcome, LoadError> {
        let start = Instant::now();
        self.drive(start, start + self.load.warm_up)?;
        self.latency.reset();
        self.late.reset();
        self.answers = 0;
        at(Moment::Begin);
        let (begun, cpu_begun) = (Instant::now(), process_cpu());
        self.drive(start, begun + self.load.measured)?;
        let (elapsed, own_cpu) = (begun.elapsed(), process_cpu().saturating_sub(cpu_begun));
        at(Moment::End);
        let (latency, late) = (self.latency.clone(), self.late.clone());
        Ok(Outcome { requests: self.answers, elapsed, latency, late, own_cpu, reconnects: self.reconnects })
    }

    /// Drives until `end`, or until the targets are exhausted and everything is answered.
    fn drive(&mut self, start: Instant, end: Instant) -> Result<(), LoadError> {
        let mut events: Vec<epoll::Event> = Vec::with_capacity(EVENTS);
        let mut pacer = Pacer::new(self.load.pace, start);
        loop {
            let now = Instant::now();
            if now >= end || (self.exhausted && self.free.len() == self.slots.len()) {
                return Ok(());
            }
            self.send_due(&mut pacer, now)?;
            let timeout = timespec(pacer.sleep(now, end));
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout)) {
                Err(rustix::io::Errno::INTR) => {}
                other => drop(other.map_err(|e| self.io_error(e.into()))?),
            }
            for event in events.drain(..) {
                self.receive(event.data.u64() as usize)?;
                if let Pacer::Open { .. } = pacer {
                    // What is due meanwhile does not wait for the other answers.
                    self.send_due(&mut pacer, Instant::now())?;
                }
            }
        }
    }

    fn send_due(&mut self, pacer: &mut Pacer, now: Instant) -> Result<(), LoadError> {
        if let Pacer::Closed = pacer {
            while !self.exhausted {
                let Some(index) = self.free.pop() else { break };
                self.send(index, now)?;
            }
            return Ok(());
        }
        while let Some(due) = pacer.next_due(now) {
            self.waiting.push_back(due);
        }
        while !self.waiting.is_empty() && !self.free.is_empty() {
            if let (Some(due), Some(index)) = (self.waiting.pop_front(), self.free.pop()) {
                self.late.saturating_record(nanoseconds(due, now));
                self.send(index, due)?;
            }
        }
        Ok(())
    }

    fn send(&mut self, index: usize, due: Instant) -> Result<(), LoadError> {
        let Some(target) = self.load.targets.next_target() else {
            self.exhausted = true;
            self.free.push(index);
            return Ok(());
        };
        write_request(&mut self.request, target);
        let slot = &mut self.slots[index];
        (slot.due, slot.target) = (due, target);
        match slot.connection.send(&self.request) {
            Err(e) if is_close(&e) => self.reconnect(index),
            other => other.map_err(|e| self.io_error(e)),
        }
    }

    fn receive(&mut self, index: usize) -> Result<(), LoadError> {
        let slot = &mut self.slots[index];
        match slot.connection.receive(&mut self.buffer) {
            Ok(Reading::Waiting) => Ok(()),
            Ok(Reading::Complete) => self.complete(index),
            Ok(Reading::Closed) => self.reconnect(index),
            Err(e) => Err(self.answer_error(index, &e)),
        }
    }

    fn complete(&mut self, index: usize) -> Result<(), LoadError> {
        let now = Instant::now();
        self.latency.saturating_record(nanoseconds(self.slots[index].due, now));
        self.answers += 1;
        let next_due = match self.load.pace {
            Pace::Closed => Some(now),
            Pace::Open { .. } => self.waiting.pop_front(),
        };
        match next_due {
            Some(due) => self.send(index, due),
            None => {
                self.free.push(index);
                Ok(())
            }
        }
    }

    /// Opens a connection again that the server closed between answers, and repeats what it did not answer.
    fn reconnect(&mut self, index: usize) -> Result<(), LoadError> {
        self.reconnects += 1;
        if self.reconnects * REQUESTS_PER_RECONNECT_MIN > self.answers + self.slots.len() as u64 * 2 {
            return Err(self.answer_error(index, &io::Error::other("a close, again and again")));
        }
        let connection = open(&self.load, &self.epoll, index).map_err(|e| self.io_error(e))?;
        self.slots[index].connection = connection;
        if self.free.contains(&index) {
            return Ok(());
        }
        write_request(&mut self.request, self.slots[index].target);
        self.slots[index].connection.send(&self.request).map_err(|e| self.io_error(e))
    }

    fn io_error(&self, source: io::Error) -> LoadError {
        LoadError::Io { address: self.load.address, source }
    }

    fn answer_error(&self, index: usize, error: &io::Error) -> LoadError {
        let (size, number) = self.slots[index].target;
        LoadError::Answer { address: self.load.address, path: path(size, number), what: error.to_string() }
    }
}

fn histogram() -> io::Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).map_err(io::Error::other)
}

fn nanoseconds(from: Instant, to: Instant) -> u64 {
    u64::try_from(to.duration_since(from).as_nanos()).unwrap_or(u64::MAX).max(1)
}

fn open(load: &Load, epoll: &OwnedFd, index: usize) -> io::Result<Connection> {
    let connection = Connection::open(load.address, load.tls.as_ref())?;
    connection.set_nonblocking()?;
    epoll::add(epoll, &connection, epoll::EventData::new_u64(index as u64), epoll::EventFlags::IN)?;
    Ok(connection)
}

/// When requests are due.
enum Pacer {
    Closed,
    Open { next: Instant, spacing: Duration },
}

impl Pacer {
    fn new(pace: Pace, start: Instant) -> Self {
        match pace {
            Pace::Closed => Self::Closed,
            Pace::Open { per_second } => {
                // Continues where an earlier phase stopped, on the same grid.
                let spacing = Duration::from_secs_f64(1.0 / per_second.max(1.0));
                let passed = start.elapsed().as_nanos() / spacing.as_nanos().max(1);
                let steps = u32::try_from(passed).unwrap_or(u32::MAX);
                Self::Open { next: start + spacing * steps, spacing }
            }
        }
    }

    fn next_due(&mut self, now: Instant) -> Option<Instant> {
        match self {
            Self::Closed => None,
            Self::Open { next, spacing } => {
                let due = *next;
                (due <= now).then(|| {
                    *next = due + *spacing;
                    due
                })
            }
        }
    }

    fn sleep(&self, now: Instant, end: Instant) -> Duration {
        let until_end = end.saturating_duration_since(now);
        match self {
            Self::Closed => until_end,
            Self::Open { next, .. } => {
                let until_due = next.saturating_duration_since(now);
                if until_due < SPIN { Duration::ZERO } else { until_due.min(until_end) - SPIN.min(until_end) }
            }
        }
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs().cast_signed(), tv_nsec: duration.subsec_nanos().into() }
}

fn process_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener};
    use std::thread;

    use super::*;
    use crate::load::Targets;
    use crate::origin::Origin;

    fn load(origin: &Origin, pace: Pace, targets: Targets, measured: Duration) -> Load {
        let address = origin.address();
        Load { address, tls: None, connections: 4, pace, targets, warm_up: Duration::ZERO, measured }
    }

    #[test]
    fn each_target_is_asked_for_once() {
        let origin = Origin::start(None).expect("starts");
        let targets = Targets::Each { size: 100_000, next: 0, end: 100 };
        let mut moments = Vec::new();
        let outcome =
            run(load(&origin, Pace::Closed, targets, Duration::from_secs(60)), &mut |at| moments.push(at))
                .expect("runs");
        assert_eq!((outcome.requests, origin.requests()), (100, 100));
        assert_eq!(outcome.latency.len(), 100);
        assert_eq!(moments, [Moment::Begin, Moment::End]);
    }

    #[test]
    fn an_open_loop_keeps_its_rate() {
        let origin = Origin::start(None).expect("starts");
        let pace = Pace::Open { per_second: 500.0 };
        let targets = Targets::One { size: 10 };
        let outcome =
            run(load(&origin, pace, targets, Duration::from_millis(400)), &mut |_| {}).expect("runs");
        assert!((150..=250).contains(&outcome.requests), "{}", outcome.requests);
    }

    /// A server that answers `answers` requests on each connection, then closes it.
    fn closing_server(answers: usize) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let address = listener.local_addr().expect("has an address");
        thread::spawn(move || {
            for mut socket in listener.incoming().flatten() {
                thread::spawn(move || {
                    let mut buffer = [0; 1024];
                    for _ in 0..answers {
                        if !matches!(socket.read(&mut buffer), Ok(1..)) {
                            return;
                        }
                        let sent = socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                        sent.expect("the client reads");
                    }
                });
            }
        });
        address
    }

    fn closed_by(answers: usize) -> Result<Outcome, LoadError> {
        let targets = Targets::Each { size: 0, next: 0, end: 400 };
        let load = Load {
            address: closing_server(answers),
            tls: None,
            connections: 2,
            pace: Pace::Closed,
            targets,
            warm_up: Duration::ZERO,
            measured: Duration::from_secs(60),
        };
        run(load, &mut |_| {})
    }

    #[test]
    fn a_connection_that_is_closed_now_and_then_is_opened_again() {
        let outcome = closed_by(50).expect("runs");
        assert_eq!(outcome.requests, 400);
        assert!((6..=9).contains(&outcome.reconnects), "{}", outcome.reconnects);
    }

    #[test]
    fn a_server_that_closes_every_time_is_an_error() {
        assert!(matches!(closed_by(1), Err(LoadError::Answer { .. })));
    }

    #[test]
    fn a_wrong_answer_ends_the_run() {
        let origin = Origin::start(None).expect("starts");
        let targets = Targets::One { size: crate::origin::BODY_BYTES_MAX + 1 };
        let outcome = run(load(&origin, Pace::Closed, targets, Duration::from_secs(60)), &mut |_| {});
        assert!(matches!(outcome, Err(LoadError::Answer { .. })));
    }
}
