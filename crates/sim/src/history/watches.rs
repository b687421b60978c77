//! Watches: every change that was wanted, once, in order.

use super::check::{Applied, Begun};
use super::{Seen, SeenBatch, Violation, Watching};
use selvedge_types::Revision;

/// Checks one watch; returns how many events it gave.
pub(super) fn check(watching: &Watching, applied: &Applied, begun: &Begun) -> Result<u64, Violation> {
    let mut next = watching.from;
    let mut count = 0;
    for batch in &watching.batches {
        check_batch(watching, batch, next, applied)?;
        for event in &batch.events {
            begun.check(event.revision, batch.at, || format!("a watch by {:?}", watching.client))?;
        }
        next = next.max(Revision(batch.through.0 + 1));
        count += batch.events.len() as u64;
    }
    if next <= watching.due {
        return Err(fault(
            watching,
            format!("it stopped before {next}, though it had to reach {}", watching.due),
        ));
    }
    Ok(count)
}

/// A batch must give just what there was from `next` on up to where it says it came.
fn check_batch(
    watching: &Watching,
    batch: &SeenBatch,
    next: Revision,
    applied: &Applied,
) -> Result<(), Violation> {
    if batch.through < next {
        return match batch.events.first() {
            Some(event) => Err(fault(watching, format!("again, or too early: {event:?}"))),
            None => Ok(()),
        };
    }
    let changes = applied.range(next..=batch.through).flat_map(|(_, changes)| changes);
    let wanted: Vec<&Seen> = changes.filter(|seen| watching.keys.contains(&seen.key)).collect();
    let given: Vec<&Seen> = batch.events.iter().collect();
    if wanted == given {
        return Ok(());
    }
    let at = wanted.iter().zip(&given).take_while(|(wanted, given)| wanted == given).count();
    let (wanted, given) = (wanted.get(at), given.get(at));
    Err(fault(watching, format!("it gave {given:?} where {wanted:?} was to come")))
}

fn fault(watching: &Watching, what: String) -> Violation {
    let keys = format!("{:?}", watching.keys);
    Violation::Watch { client: watching.client, keys, from: watching.from, what }
}
