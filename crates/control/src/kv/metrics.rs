//! How full keyspaces are, and who watches, read at each scrape.

use selvedge_kv::KeyspaceInfo;
use selvedge_observe::collector::Collector;
use selvedge_observe::encoding::{DescriptorEncoder, EncodeMetric};
use selvedge_observe::{Gauge, Registry};
use selvedge_state::State;
use std::fmt;

/// The numbers of this node's copy of the keyspaces.
pub struct KeyspaceMetrics {
    state: State,
}

impl KeyspaceMetrics {
    /// Adds them to a registry: a label's value is a keyspace's name, so there are never more than keyspaces.
    pub fn register(registry: &Registry, state: State) {
        registry.register_collector(Box::new(KeyspaceMetrics { state }));
    }
}

impl fmt::Debug for KeyspaceMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyspaceMetrics")
    }
}

impl Collector for KeyspaceMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let group = self.state.group();
        let keyspaces = group.keyspaces();
        let help = "Bytes that a keyspace's keys, values and history take";
        write(&mut encoder, "keyspace_used_bytes", help, &keyspaces, |space| space.bytes)?;
        let help = "Bytes that they may take";
        write(&mut encoder, "keyspace_quota_bytes", help, &keyspaces, |space| space.quota_bytes)?;
        let watches = gauge(group.watches() as u64);
        let (name, help) = ("keyspace_watches", "Watches of keys at this node");
        watches.encode(encoder.encode_descriptor(name, help, None, watches.metric_type())?)
    }
}

fn write(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    keyspaces: &[KeyspaceInfo],
    value: impl Fn(&KeyspaceInfo) -> u64,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, gauge(0).metric_type())?;
    for keyspace in keyspaces {
        let labels = [("keyspace", keyspace.name.to_string())];
        gauge(value(keyspace)).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn gauge(value: u64) -> Gauge {
    let gauge = Gauge::default();
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
    gauge
}
