//! The node and its machine.

use super::CacheStats;
use selvedge_observe::machine::Machine;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A node's name, place and addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeInfo {
    /// Its name.
    pub name: String,
    /// What it may be: `voter` or `edge`.
    #[serde(default)]
    pub role: String,
    /// Its point of presence.
    pub pop: String,
    /// Its region.
    pub region: String,
    /// The version of the program.
    pub version: String,
    /// Where it answers http.
    pub http: Vec<String>,
    /// Where it answers https.
    pub https: Vec<String>,
    /// Where its admin API is.
    pub api: String,
    /// Seconds since it started.
    pub uptime: u64,
    /// The revision that its gateway serves by.
    pub snapshot: u64,
}

/// Something that a node needs to serve.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Check {
    /// What it is.
    pub name: String,
    /// Whether it is as it should be.
    pub ok: bool,
    /// What is wrong, or what there is to say.
    pub detail: String,
    /// Whether requests go elsewhere while it is not ok. A node that cannot change its control state serves on.
    #[serde(default)]
    pub readiness: bool,
}

/// Whether a node is ready to serve.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ready {
    /// Whether all checks hold that requests depend on.
    pub ready: bool,
    /// The checks.
    pub checks: Vec<Check>,
}

/// How a node is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// The node.
    pub node: NodeInfo,
    /// The control state's revision.
    pub revision: u64,
    /// Whether it is ready, by check.
    pub checks: Vec<Check>,
    /// What of the declared configuration does not work on this node. Only told to those who see the whole cluster.
    #[serde(default)]
    pub problems: Vec<String>,
    /// Cache and traffic.
    pub cache: CacheStats,
    /// Its machine.
    pub machine: MachineStatus,
    /// When this was measured, in milliseconds since 1970.
    pub now_ms: u64,
}

/// A machine at one moment. Counters count since boot; rates come from two readings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MachineStatus {
    /// CPUs.
    pub cpus: u32,
    /// Seconds of CPU time that were used, over all CPUs.
    pub cpu_busy: f64,
    /// Seconds of CPU time that were not.
    pub cpu_idle: f64,
    /// Seconds of CPU time that other guests of the host took.
    pub cpu_steal: f64,
    /// Mean runnable threads over one minute.
    pub load: f64,
    /// Memory in bytes.
    pub memory_total: u64,
    /// Memory that programs could still get, in bytes.
    pub memory_available: u64,
    /// The data directory's file system in bytes; 0 if not known.
    pub data_total: u64,
    /// What may still be written there, in bytes.
    pub data_available: u64,
    /// Block devices.
    pub disks: Vec<DiskStatus>,
    /// Network interfaces.
    pub networks: Vec<NetworkStatus>,
    /// Pressure stall information.
    pub pressure: Vec<PressureStatus>,
    /// Seconds of CPU time that this process used.
    pub process_cpu: f64,
    /// Memory of this process in RAM, in bytes.
    pub process_resident: u64,
    /// Open file descriptors of this process.
    pub process_open_files: u64,
}

/// A block device.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DiskStatus {
    /// Its name.
    pub device: String,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Seconds in which it had work.
    pub busy: f64,
}

/// A network interface.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NetworkStatus {
    /// Its name.
    pub device: String,
    /// Bytes received.
    pub received_bytes: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
}

/// Work that stood still for want of a resource.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PressureStatus {
    /// `cpu`, `memory` or `io`.
    pub resource: String,
    /// The part of the last ten seconds in which some thread waited, 0 to 1.
    pub some: f64,
}

impl From<Machine> for MachineStatus {
    fn from(m: Machine) -> Self {
        let filesystem = m.filesystem.unwrap_or_default();
        let disk = |d: selvedge_observe::machine::DiskIo| DiskStatus {
            device: d.device,
            read_bytes: d.read_bytes,
            written_bytes: d.written_bytes,
            busy: d.busy,
        };
        let network = |n: selvedge_observe::machine::NetworkIo| NetworkStatus {
            device: n.device,
            received_bytes: n.received_bytes,
            sent_bytes: n.sent_bytes,
        };
        MachineStatus {
            cpus: m.cpu.count,
            cpu_busy: m.cpu.user + m.cpu.system + m.cpu.interrupt,
            cpu_idle: m.cpu.idle + m.cpu.iowait,
            cpu_steal: m.cpu.steal,
            load: m.load_1m,
            memory_total: m.memory.total,
            memory_available: m.memory.available,
            data_total: filesystem.total,
            data_available: filesystem.available,
            disks: m.disks.into_iter().map(disk).collect(),
            networks: m.networks.into_iter().map(network).collect(),
            pressure: m
                .pressure
                .iter()
                .map(|p| PressureStatus { resource: p.resource.to_owned(), some: p.some_10s })
                .collect(),
            process_cpu: m.process.cpu,
            process_resident: m.process.resident,
            process_open_files: m.process.open_files,
        }
    }
}
