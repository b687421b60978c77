//! What the machine is doing: CPU, memory, disk, network, pressure, and this process's part of it.
//!
//! Read from `/proc` when asked (Linux; proc(5), and Documentation/accounting/psi.rst for pressure). A part
//! that cannot be read is left empty: an old kernel or a tight sandbox only means fewer numbers.

mod collector;
mod parse;

pub use collector::MachineCollector;

use std::fs;
use std::path::{Path, PathBuf};

/// A machine at one moment. Counters count since boot, or since the process started.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Machine {
    /// Time of all CPUs.
    pub cpu: Cpu,
    /// Mean number of runnable threads over one minute.
    pub load_1m: f64,
    /// Memory.
    pub memory: Memory,
    /// Block devices, without partitions, loop and memory devices.
    pub disks: Vec<DiskIo>,
    /// Network interfaces, without loopback.
    pub networks: Vec<NetworkIo>,
    /// Pressure stall information, if the kernel keeps it.
    pub pressure: Vec<Pressure>,
    /// Space in the file system of the data directory, if one was named.
    pub filesystem: Option<Filesystem>,
    /// This process.
    pub process: Process,
}

/// CPU time by what it went to, in seconds, over all CPUs.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cpu {
    /// How many CPUs there are.
    pub count: u32,
    /// Programs, niced ones too.
    pub user: f64,
    /// The kernel.
    pub system: f64,
    /// Interrupts.
    pub interrupt: f64,
    /// Nothing.
    pub idle: f64,
    /// Nothing, while waiting for a disk.
    pub iowait: f64,
    /// Other guests of the host.
    pub steal: f64,
}

/// Memory, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// All there is.
    pub total: u64,
    /// What programs could still get.
    pub available: u64,
    /// Unused.
    pub free: u64,
    /// The page cache.
    pub cached: u64,
    /// Swap space.
    pub swap_total: u64,
    /// Unused swap space.
    pub swap_free: u64,
}

/// A block device's work.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DiskIo {
    /// Its name, such as `sda`.
    pub device: String,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Completed reads.
    pub reads: u64,
    /// Completed writes.
    pub writes: u64,
    /// Seconds in which it had something to do.
    pub busy: f64,
}

/// A network interface's work.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkIo {
    /// Its name, such as `eth0`.
    pub device: String,
    /// Bytes received.
    pub received_bytes: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Packets received in error, or dropped while receiving.
    pub receive_faults: u64,
    /// Packets that failed to be sent, or were dropped before.
    pub send_faults: u64,
}

/// How much work stood still for want of a resource.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pressure {
    /// `cpu`, `memory` or `io`.
    pub resource: &'static str,
    /// Seconds in which some thread waited.
    pub some: f64,
    /// Seconds in which all threads waited.
    pub full: f64,
    /// The part of the last ten seconds in which some thread waited, 0 to 1.
    pub some_10s: f64,
}

/// Space in a file system, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Filesystem {
    /// Its size.
    pub total: u64,
    /// What may still be written.
    pub available: u64,
}

/// This process.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Process {
    /// Seconds of CPU time used.
    pub cpu: f64,
    /// Memory in RAM, in bytes.
    pub resident: u64,
    /// Threads.
    pub threads: u64,
    /// Open file descriptors.
    pub open_files: u64,
}

impl Machine {
    /// Reads the machine's present state; `data` is a path in the file system to report. Blocks, shortly.
    pub fn read(data: Option<&Path>) -> Self {
        Self::read_from(Path::new("/proc"), data)
    }

    fn read_from(proc: &Path, data: Option<&Path>) -> Self {
        let text = |name: &str| fs::read_to_string(proc.join(name)).unwrap_or_default();
        Machine {
            cpu: parse::cpu(&text("stat")),
            load_1m: parse::load(&text("loadavg")),
            memory: parse::memory(&text("meminfo")),
            disks: parse::disks(&text("diskstats")),
            networks: parse::networks(&text("net/dev")),
            pressure: ["cpu", "memory", "io"]
                .into_iter()
                .filter_map(|r| parse::pressure(r, &text(&format!("pressure/{r}"))))
                .collect(),
            filesystem: data.and_then(filesystem),
            process: Process {
                open_files: fs::read_dir(proc.join("self/fd")).map_or(0, |names| names.count() as u64),
                ..parse::process(&text("self/stat"), rustix::param::page_size() as u64)
            },
        }
    }
}

fn filesystem(path: &Path) -> Option<Filesystem> {
    let stat = rustix::fs::statvfs(path).ok()?;
    Some(Filesystem {
        total: stat.f_blocks.saturating_mul(stat.f_frsize),
        available: stat.f_bavail.saturating_mul(stat.f_frsize),
    })
}

/// Where the node keeps its data; kept by whoever reads machines again and again.
pub type DataPath = Option<PathBuf>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_can_be_read() {
        let machine = Machine::read(Some(Path::new("/")));
        assert!(machine.cpu.count > 0 && machine.cpu.idle + machine.cpu.user > 0.0);
        assert!(machine.memory.total > machine.memory.available && machine.memory.available > 0);
        assert!(machine.process.resident > 0 && machine.process.open_files > 0);
        assert!(machine.filesystem.unwrap().total > 0);
    }

    #[test]
    fn what_cannot_be_read_is_empty() {
        let machine = Machine::read_from(Path::new("/nonexistent"), None);
        assert_eq!(machine, Machine::default());
    }
}
