//! What the control state counts.

use selvedge_observe::{Counter, Gauge, Registry};

/// What the control state counts.
#[derive(Clone, Default)]
pub struct Metrics {
    pub(crate) revision: Gauge,
    pub(crate) commands: Counter,
    pub(crate) rejected: Counter,
    pub(crate) stamps: Gauge,
    pub(crate) unreadable: Counter,
    pub(crate) snapshot_failures: Counter,
}

impl Metrics {
    /// Registers the metrics of a node's control state.
    pub fn register(registry: &Registry) -> Self {
        let m = Metrics::default();
        registry.register("state_revision", "The control state's revision", m.revision.clone());
        registry.register("state_commands", "Changes asked for here that were made", m.commands.clone());
        registry.register("state_rejected", "Changes that broke a rule", m.rejected.clone());
        registry.register("state_purges", "Purges in force", m.stamps.clone());
        registry.register(
            "state_unreadable",
            "Objects that this version cannot read, and leaves out",
            m.unreadable.clone(),
        );
        registry.register(
            "state_snapshot_failures",
            "Snapshots that could not be kept",
            m.snapshot_failures.clone(),
        );
        m
    }
}
