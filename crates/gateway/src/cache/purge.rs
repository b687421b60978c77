//! A purge as one process tells it to the next.

use super::Cache;
use super::record::disk_purge;
use selvedge_cache::stamps::{PurgeKind, ScopeHash};
use selvedge_types::Hlc;
use std::sync::PoisonError;

/// What was fetched up to a moment and is in a scope is gone or stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purge {
    /// What it covers; a hash that means the same to every process with the node's secret.
    pub scope: ScopeHash,
    /// What becomes of it.
    pub kind: PurgeKind,
    /// When it was purged.
    pub at: Hlc,
}

impl Purge {
    /// How many bytes one takes.
    pub const BYTES: usize = 16 + 8 + 1;

    /// As bytes.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [disk_purge(self.kind); Self::BYTES];
        bytes[..16].copy_from_slice(&self.scope.0.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.at.to_bits().to_le_bytes());
        bytes
    }

    /// From bytes. A kind that is not known is taken for the strictest.
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let (mut scope, mut at) = ([0; 16], [0; 8]);
        scope.copy_from_slice(&bytes[..16]);
        at.copy_from_slice(&bytes[16..24]);
        let is_soft = bytes[24] == disk_purge(PurgeKind::Soft);
        Purge {
            scope: ScopeHash(u128::from_le_bytes(scope)),
            kind: if is_soft { PurgeKind::Soft } else { PurgeKind::Hard },
            at: Hlc::from_bits(u64::from_le_bytes(at)),
        }
    }
}

impl Cache {
    /// A moment between what was purged before and what is purged later.
    pub fn moment(&self) -> Hlc {
        self.0.tick()
    }

    /// What was purged at `moment` or later and is remembered.
    pub fn purges_since(&self, moment: Hlc) -> Vec<Purge> {
        self.0.memory.stamps.since(moment)
    }

    /// Purges what another process purged, with a note on disk.
    pub fn take_over(&self, purge: Purge) {
        let inner = &self.0;
        let now = inner.clock.wall();
        // One that is too far ahead to be observed still counts.
        let _ = inner.hlc.lock().unwrap_or_else(PoisonError::into_inner).observe(purge.at, now);
        inner.purge_here(purge.scope, purge.kind, purge.at);
    }
}
