//! The text forms of `/proc`. Lines that are not understood are skipped.

use super::{Cpu, DiskIo, Memory, NetworkIo, Pressure, Process};

/// Ticks a second in what the kernel tells programs (`USER_HZ`): 100 on x86-64 and arm64.
const TICKS: f64 = 100.0;
/// The unit of sizes in `diskstats`, in bytes, whatever the device's own is.
const SECTOR: u64 = 512;
/// How many devices of a kind are reported.
const DEVICES_MAX: usize = 64;

pub(super) fn cpu(stat: &str) -> Cpu {
    let mut cpu = Cpu::default();
    for line in stat.lines().take_while(|l| l.starts_with("cpu")) {
        let mut words = line.split_ascii_whitespace();
        if words.next() != Some("cpu") {
            cpu.count += 1;
            continue;
        }
        let ticks: Vec<f64> = words.map(|w| w.parse().unwrap_or(0.0)).collect();
        let seconds = |i: usize| ticks.get(i).copied().unwrap_or(0.0) / TICKS;
        cpu.user = seconds(0) + seconds(1);
        cpu.system = seconds(2);
        cpu.idle = seconds(3);
        cpu.iowait = seconds(4);
        cpu.interrupt = seconds(5) + seconds(6);
        cpu.steal = seconds(7);
    }
    cpu
}

pub(super) fn load(loadavg: &str) -> f64 {
    loadavg.split(' ').next().and_then(|w| w.parse().ok()).unwrap_or(0.0)
}

pub(super) fn memory(meminfo: &str) -> Memory {
    let mut memory = Memory::default();
    for line in meminfo.lines() {
        let Some((name, rest)) = line.split_once(':') else { continue };
        let kib = number(rest.split_ascii_whitespace().next());
        let slot = match name {
            "MemTotal" => &mut memory.total,
            "MemAvailable" => &mut memory.available,
            "MemFree" => &mut memory.free,
            "Cached" => &mut memory.cached,
            "SwapTotal" => &mut memory.swap_total,
            "SwapFree" => &mut memory.swap_free,
            _ => continue,
        };
        *slot = kib.saturating_mul(1024);
    }
    memory
}

pub(super) fn disks(diskstats: &str) -> Vec<DiskIo> {
    let mut disks: Vec<DiskIo> = Vec::new();
    for line in diskstats.lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let (Some(device), at) = (words.get(2), |i: usize| number(words.get(i).copied())) else { continue };
        let is_part = disks.iter().any(|d| device.starts_with(d.device.as_str()));
        let is_memory = ["loop", "ram", "zram"].iter().any(|p| device.starts_with(p));
        if is_part || is_memory || disks.len() == DEVICES_MAX {
            continue;
        }
        disks.push(DiskIo {
            device: (*device).to_owned(),
            reads: at(3),
            read_bytes: at(5).saturating_mul(SECTOR),
            writes: at(7),
            written_bytes: at(9).saturating_mul(SECTOR),
            busy: at(12) as f64 / 1000.0,
        });
    }
    disks
}

pub(super) fn networks(dev: &str) -> Vec<NetworkIo> {
    let mut networks = Vec::new();
    for line in dev.lines() {
        let Some((device, rest)) = line.split_once(':') else { continue };
        let words: Vec<&str> = rest.split_ascii_whitespace().collect();
        let at = |i: usize| number(words.get(i).copied());
        if device.trim() == "lo" || words.len() < 16 || networks.len() == DEVICES_MAX {
            continue;
        }
        networks.push(NetworkIo {
            device: device.trim().to_owned(),
            received_bytes: at(0),
            receive_faults: at(2).saturating_add(at(3)),
            sent_bytes: at(8),
            send_faults: at(10).saturating_add(at(11)),
        });
    }
    networks
}

pub(super) fn pressure(resource: &'static str, text: &str) -> Option<Pressure> {
    let value = |kind: &str, key: &str| -> Option<f64> {
        let line = text.lines().find(|l| l.split(' ').next() == Some(kind))?;
        line.split(' ').find_map(|w| w.strip_prefix(key)?.strip_prefix('=')?.parse().ok())
    };
    Some(Pressure {
        resource,
        some: value("some", "total")? / 1e6,
        full: value("full", "total").unwrap_or(0.0) / 1e6,
        some_10s: value("some", "avg10")? / 100.0,
    })
}

/// From `/proc/self/stat`. The program's name may hold spaces and brackets: fields count from its last one.
pub(super) fn process(stat: &str, page_size: u64) -> Process {
    let Some((_, rest)) = stat.rsplit_once(')') else { return Process::default() };
    let words: Vec<&str> = rest.split_ascii_whitespace().collect();
    let at = |field: usize| number(words.get(field - 3).copied());
    Process {
        cpu: (at(14) + at(15)) as f64 / TICKS,
        threads: at(20),
        resident: at(24).saturating_mul(page_size),
        open_files: 0,
    }
}

fn number(word: Option<&str>) -> u64 {
    word.and_then(|w| w.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_summed_by_kind() {
        let text = "cpu  100 50 30 1000 20 5 5 7 0 0\ncpu0 50 25 15 500 10 1 1 3 0 0\ncpu1 0 0\nintr 5\n";
        let expected =
            Cpu { count: 2, user: 1.5, system: 0.3, interrupt: 0.1, idle: 10.0, iowait: 0.2, steal: 0.07 };
        assert_eq!(cpu(text), expected);
    }

    #[test]
    fn memory_is_in_bytes() {
        let text = "MemTotal:  10 kB\nMemAvailable: 4 kB\nMemFree: 2 kB\nCached: 1 kB\nHugePages_Total: 3\n";
        let expected =
            Memory { total: 10240, available: 4096, free: 2048, cached: 1024, swap_total: 0, swap_free: 0 };
        assert_eq!(memory(text), expected);
    }

    #[test]
    fn disks_are_listed_without_their_parts() {
        let text = " 7 0 loop0 1 0 1 0 0 0 0 0 0 0 0\n\
                    254 0 vda 10 1 8 5 20 2 16 7 0 1500 12 0\n\
                    254 1 vda1 9 1 8 5 20 2 16 7 0 1500 12\nnonsense\n";
        let expected = DiskIo {
            device: "vda".into(),
            reads: 10,
            read_bytes: 4096,
            writes: 20,
            written_bytes: 8192,
            busy: 1.5,
        };
        assert_eq!(disks(text), [expected]);
    }

    #[test]
    fn networks_are_listed_without_loopback() {
        let text = "face |bytes\n lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n\
                    eth0: 100 2 3 4 5 6 7 8 900 10 11 12 13 14 15 16\n";
        let expected = NetworkIo {
            device: "eth0".into(),
            received_bytes: 100,
            sent_bytes: 900,
            receive_faults: 7,
            send_faults: 23,
        };
        assert_eq!(networks(text), [expected]);
    }

    #[test]
    fn pressure_counts_seconds() {
        let text = "some avg10=5.00 avg60=7.02 avg300=8.22 total=94812628\n\
                    full avg10=0.00 avg60=0.00 avg300=0.00 total=500000\n";
        let expected = Pressure { resource: "cpu", some: 94.812628, full: 0.5, some_10s: 0.05 };
        assert_eq!(pressure("cpu", text), Some(expected));
        assert_eq!(pressure("cpu", ""), None);
    }

    #[test]
    fn a_program_name_cannot_shift_the_fields() {
        let text = "9 (a) b) R 1 1 1 0 -1 4 9 0 0 0 150 50 0 0 20 0 3 0 184266 3133440 381 18";
        let expected = Process { cpu: 2.0, threads: 3, resident: 381 * 4096, open_files: 0 };
        assert_eq!(process(text, 4096), expected);
    }
}
