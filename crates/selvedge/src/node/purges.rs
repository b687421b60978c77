//! Purges: from the control state into the cache, and out of both when there is nothing left that they could cover.

use super::error::chain;
use super::following::InForce;
use selvedge_cache::stamps::PurgeKind;
use selvedge_control::cluster::Cluster;
use selvedge_gateway::cache::Cache;
use selvedge_rt::{OnEnd, Tasks};
use selvedge_state::{Change, Command, Stamp, Value};
use selvedge_types::Hlc;
use std::time::Duration;

/// How long the other nodes may take to say since when they cache.
const EXPIRE_ASKING: Duration = Duration::from_secs(10);

/// How often purges are looked through for those that nothing can be covered by any more.
const EXPIRE_PURGES: Duration = Duration::from_secs(600);

/// Drops purges with the last object that they could cover, in the cache and then, when that holds of every node, in
/// the control state.
pub(super) fn expire(cluster: &Cluster, is_edge: bool, cache: &Cache, in_force: &InForce, tasks: &Tasks) {
    let (cluster, cache, in_force) = (cluster.clone(), cache.clone(), in_force.clone());
    let stopping = tasks.clone();
    tasks.spawn("purge expiry", OnEnd::Forget, async move {
        loop {
            tokio::select! {
                () = tokio::time::sleep(EXPIRE_PURGES) => {}
                () = stopping.stopped() => return,
            }
            match cache.expire_purges().await {
                Ok(Some(oldest)) => in_force.set_oldest(oldest),
                Ok(None) => continue,
                Err(error) => {
                    tracing::warn!(error = chain(&error), "purges stay in the control state");
                    continue;
                }
            }
            if is_edge {
                // Others ask it, and it hears from them what goes.
                continue;
            }
            let Some(oldest) = cluster.oldest(EXPIRE_ASKING).await else { continue };
            if let Err(error) = cluster.state.apply(Command::ExpireStamps { oldest }).await {
                tracing::debug!(%error, "purges not expired");
            }
        }
    });
}

/// Brings purges into force in the cache. What was fetched here until now is covered, also if this node's clock is ahead
/// of the one that the purge was stamped with.
pub(super) fn stamp(cache: &Cache, changes: &[Change], now: Hlc) {
    for change in changes {
        if let Some((_, Value::Stamp(stamp))) = &change.value {
            purge_both(cache, &raised(stamp, now));
        }
    }
}

/// A purge that was just made, as of now: the later of its times is the one that is new.
fn raised(stamp: &Stamp, now: Hlc) -> Stamp {
    let (mut hard, mut soft) = (stamp.hard, stamp.soft);
    let new = if hard >= soft { &mut hard } else { &mut soft };
    *new = (*new).max(now);
    Stamp { scope: stamp.scope.clone(), hard, soft }
}

pub(super) fn purge_both(cache: &Cache, stamp: &Stamp) {
    cache.purge(&stamp.scope, PurgeKind::Hard, stamp.hard);
    cache.purge(&stamp.scope, PurgeKind::Soft, stamp.soft);
}

#[cfg(test)]
mod tests {
    use super::*;
    use selvedge_cache::stamps::PurgeScope;

    #[test]
    fn a_purge_from_a_slower_clock_covers_what_was_fetched_until_it_came() {
        let scope = PurgeScope::Site { site: "default/a".into() };
        let stamp = |hard, soft| {
            let (hard, soft) = (Hlc::from_bits(hard), Hlc::from_bits(soft));
            Stamp { scope: scope.clone(), hard, soft }
        };
        assert_eq!(raised(&stamp(5, 0), Hlc::from_bits(9)), stamp(9, 0));
        assert_eq!(raised(&stamp(5, 6), Hlc::from_bits(9)), stamp(5, 9), "a soft one does not become hard");
        assert_eq!(raised(&stamp(12, 6), Hlc::from_bits(9)), stamp(12, 6));
    }
}
