//! The machine's numbers as metrics, read at each scrape.

use super::{DataPath, Machine};
use crate::Registry;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use std::fmt;

/// Adds the machine's and the process's metrics to a registry.
#[derive(Debug)]
pub struct MachineCollector {
    data: DataPath,
}

impl MachineCollector {
    /// Registers it; `data` is a path in the file system whose space is reported.
    pub fn register(registry: &Registry, data: DataPath) {
        registry.register_collector(Box::new(MachineCollector { data }));
    }
}

type Label<'a> = [(&'static str, &'a str)];

/// One metric being written: each call adds a value under some labels.
struct Writer<'a> {
    encoder: DescriptorEncoder<'a>,
}

impl Writer<'_> {
    fn counters<'l, L: AsRef<Label<'l>>>(
        &mut self,
        (name, help, unit): (&str, &str, Option<Unit>),
        values: impl IntoIterator<Item = (L, f64)>,
    ) -> fmt::Result {
        let kind = ConstCounter::new(0.0).metric_type();
        let mut family = self.encoder.encode_descriptor(name, help, unit.as_ref(), kind)?;
        for (labels, value) in values {
            ConstCounter::new(value).encode(family.encode_family(&labels.as_ref().to_vec())?)?;
        }
        Ok(())
    }

    fn gauges<'l, L: AsRef<Label<'l>>>(
        &mut self,
        (name, help, unit): (&str, &str, Option<Unit>),
        values: impl IntoIterator<Item = (L, f64)>,
    ) -> fmt::Result {
        let kind = ConstGauge::new(0.0).metric_type();
        let mut family = self.encoder.encode_descriptor(name, help, unit.as_ref(), kind)?;
        for (labels, value) in values {
            ConstGauge::new(value).encode(family.encode_family(&labels.as_ref().to_vec())?)?;
        }
        Ok(())
    }
}

impl Collector for MachineCollector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let machine = Machine::read(self.data.as_deref());
        let mut out = Writer { encoder };
        write_cpu(&mut out, &machine)?;
        write_memory(&mut out, &machine)?;
        write_disks(&mut out, &machine)?;
        write_networks(&mut out, &machine)?;
        write_pressure(&mut out, &machine)?;
        write_process(&mut out, &machine)
    }
}

fn write_cpu(out: &mut Writer<'_>, machine: &Machine) -> fmt::Result {
    let cpu = machine.cpu;
    let modes = [
        ("user", cpu.user),
        ("system", cpu.system),
        ("interrupt", cpu.interrupt),
        ("idle", cpu.idle),
        ("iowait", cpu.iowait),
        ("steal", cpu.steal),
    ];
    let values = modes.map(|(mode, seconds)| ([("mode", mode)], seconds));
    out.counters(("machine_cpu", "CPU time of the machine, over all CPUs", Some(Unit::Seconds)), values)?;
    out.gauges(("machine_cpus", "CPUs of the machine", None), [([], f64::from(cpu.count))])?;
    out.gauges(("machine_load1", "Mean runnable threads over one minute", None), [([], machine.load_1m)])
}

fn write_memory(out: &mut Writer<'_>, machine: &Machine) -> fmt::Result {
    let memory = machine.memory;
    let kinds = [
        ("total", memory.total),
        ("available", memory.available),
        ("free", memory.free),
        ("cached", memory.cached),
        ("swap_total", memory.swap_total),
        ("swap_free", memory.swap_free),
    ];
    let values = kinds.map(|(kind, bytes)| ([("kind", kind)], bytes as f64));
    out.gauges(("machine_memory", "Memory of the machine", Some(Unit::Bytes)), values)
}

fn write_disks(out: &mut Writer<'_>, machine: &Machine) -> fmt::Result {
    let bytes = machine.disks.iter().flat_map(|d| {
        [("read", d.read_bytes), ("write", d.written_bytes)]
            .map(|(way, bytes)| ([("device", d.device.as_str()), ("way", way)], bytes as f64))
    });
    out.counters(("machine_disk", "Bytes moved by block devices", Some(Unit::Bytes)), bytes)?;
    let operations = machine.disks.iter().flat_map(|d| {
        [("read", d.reads), ("write", d.writes)]
            .map(|(way, count)| ([("device", d.device.as_str()), ("way", way)], count as f64))
    });
    out.counters(("machine_disk_operations", "Operations completed by block devices", None), operations)?;
    let busy = machine.disks.iter().map(|d| ([("device", d.device.as_str())], d.busy));
    out.counters(("machine_disk_busy", "Time in which a device had work", Some(Unit::Seconds)), busy)?;
    let space = machine.filesystem.iter().flat_map(|f| {
        [("total", f.total), ("available", f.available)].map(|(kind, bytes)| ([("kind", kind)], bytes as f64))
    });
    out.gauges(("machine_data", "Space in the data directory's file system", Some(Unit::Bytes)), space)
}

fn write_networks(out: &mut Writer<'_>, machine: &Machine) -> fmt::Result {
    let bytes = machine.networks.iter().flat_map(|n| {
        [("receive", n.received_bytes), ("send", n.sent_bytes)]
            .map(|(way, bytes)| ([("device", n.device.as_str()), ("way", way)], bytes as f64))
    });
    out.counters(("machine_network", "Bytes moved by network interfaces", Some(Unit::Bytes)), bytes)?;
    let faults = machine.networks.iter().flat_map(|n| {
        [("receive", n.receive_faults), ("send", n.send_faults)]
            .map(|(way, count)| ([("device", n.device.as_str()), ("way", way)], count as f64))
    });
    out.counters(("machine_network_faults", "Packets in error or dropped", None), faults)
}

fn write_pressure(out: &mut Writer<'_>, machine: &Machine) -> fmt::Result {
    let stalled = machine.pressure.iter().flat_map(|p| {
        [("some", p.some), ("full", p.full)]
            .map(|(share, seconds)| ([("resource", p.resource), ("share", share)], seconds))
    });
    out.counters(
        ("machine_pressure", "Time in which threads stood still for want of a resource", Some(Unit::Seconds)),
        stalled,
    )
}

fn write_process(out: &mut Writer<'_>, machine: &Machine) -> fmt::Result {
    let process = machine.process;
    out.counters(("process_cpu", "CPU time of the process", Some(Unit::Seconds)), [([], process.cpu)])?;
    let resident = process.resident as f64;
    out.gauges(("process_resident", "Memory of the process in RAM", Some(Unit::Bytes)), [([], resident)])?;
    out.gauges(("process_threads", "Threads of the process", None), [([], process.threads as f64)])?;
    let open = process.open_files as f64;
    out.gauges(("process_open_files", "Open file descriptors of the process", None), [([], open)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_in_the_metrics() {
        let registry = Registry::default();
        MachineCollector::register(&registry, Some("/".into()));
        let text = registry.encode();
        for part in [
            "selvedge_machine_cpu_seconds_total{mode=\"user\"} ",
            "selvedge_machine_memory_bytes{kind=\"total\"} ",
            "selvedge_machine_data_bytes{kind=\"available\"} ",
            "selvedge_process_resident_bytes ",
            "selvedge_process_open_files ",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
