//! Server processes: starting, ending, and what `/proc` says of them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// One tick of `/proc/PID/stat`: Linux states user-visible times in hundredths of a second.
const TICK: Duration = Duration::from_millis(10);
/// How long a server may take to end by itself.
const END_TIME_MAX: Duration = Duration::from_secs(5);

/// A server and the processes it started. Dropping it ends them.
pub struct Server {
    child: Child,
}

impl Server {
    /// Starts a program on a core, with these variables in its environment; what it prints goes to a file.
    ///
    /// # Errors
    /// When `taskset`, the program or the file cannot be had.
    pub fn start(
        program: &Path,
        args: &[String],
        core: usize,
        log: &Path,
        environment: &[(&str, PathBuf)],
    ) -> io::Result<Self> {
        let log = fs::File::create(log)?;
        let child = Command::new("taskset")
            .args(["-c", &core.to_string()])
            .arg(program)
            .args(args)
            .envs(environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(Self { child })
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// CPU time used so far by all its processes.
    #[must_use]
    pub fn cpu_time(&self) -> Duration {
        self.processes().into_iter().map(cpu_time).sum()
    }

    /// Memory of all its processes in bytes; what they share counts once.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.processes().into_iter().map(memory_bytes).sum()
    }

    fn processes(&self) -> Vec<u32> {
        with_descendants(self.child.id(), &all_processes())
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It may have ended already.
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal(Signal::TERM);
        let deadline = Instant::now() + END_TIME_MAX;
        while !self.has_ended() {
            if Instant::now() > deadline {
                self.signal(Signal::KILL);
            }
            thread::sleep(TICK);
        }
    }
}

/// A process, its parent, and the CPU time it used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    pid: u32,
    parent: u32,
    cpu: Duration,
}

/// CPU time used so far by one process; zero when it is gone.
#[must_use]
pub fn cpu_time(pid: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    parse_stat(&text).map_or(Duration::ZERO, |stat| stat.cpu)
}

fn memory_bytes(pid: u32) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    proportional_bytes(&rollup).unwrap_or(0)
}

fn all_processes() -> Vec<Stat> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let texts = entries.flatten().filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    texts.filter_map(|text| parse_stat(&text)).collect()
}

fn with_descendants(root: u32, all: &[Stat]) -> Vec<u32> {
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(all.iter().filter(|stat| stat.parent == parent).map(|stat| stat.pid));
        next += 1;
    }
    found
}

/// `/proc/PID/stat`: the name in parentheses may hold anything, so fields count from its end.
fn parse_stat(text: &str) -> Option<Stat> {
    let (pid, rest) = text.split_once(" (")?;
    let fields: Vec<&str> = rest.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<u32>().ok();
    let cpu = TICK * (ticks(11)? + ticks(12)?);
    Some(Stat { pid: pid.parse().ok()?, parent: ticks(1)?, cpu })
}

/// The proportional set size of `/proc/PID/smaps_rollup`, in bytes.
fn proportional_bytes(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_from_behind_the_name() {
        let text = "42 (a ) (b) S 7 42 42 0 -1 4194560 100 0 0 0 30 12 0 0 20 0 1 0 5 1000 10 0\n";
        let expected = Stat { pid: 42, parent: 7, cpu: Duration::from_millis(420) };
        assert_eq!(parse_stat(text), Some(expected));
        assert_eq!(parse_stat("nonsense"), None);
    }

    #[test]
    fn descendants_are_found_at_any_depth() {
        let stat = |pid, parent| Stat { pid, parent, cpu: Duration::ZERO };
        let all = [stat(4, 3), stat(3, 2), stat(9, 1), stat(2, 1)];
        assert_eq!(with_descendants(2, &all), [2, 3, 4]);
    }

    #[test]
    fn memory_is_the_proportional_size() {
        let text = "0-1 ---p [rollup]\nRss:    2000 kB\nPss:    1500 kB\nPss_Anon: 7 kB\n";
        assert_eq!(proportional_bytes(text), Some(1500 * 1024));
    }

    #[test]
    fn this_process_uses_memory() {
        assert!(memory_bytes(std::process::id()) > 0);
    }
}
