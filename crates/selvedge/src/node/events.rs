//! The node's events: what is told where nothing else tells it, and how they are kept over restarts.

mod changes;
mod standing;

pub(super) use changes::Recorder;
pub(super) use standing::Watcher;

use super::chain;
use selvedge_mesh::Hybrid;
use selvedge_mesh::rpc::ClockAhead;
use selvedge_observe::{Events, Registry};
use selvedge_rt::{Clock, Disk, OnEnd, Tasks};
use selvedge_store::events::EventFile;
use selvedge_types::{Event, Hlc, NodeKey, Record};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Where they are kept.
const DIRECTORY: &str = "events";
/// How long events are gathered before they are written.
const GATHER: Duration = Duration::from_millis(200);
/// How long a disk that failed is left alone.
const RETRY: Duration = Duration::from_secs(10);
/// Least time between two events about the clock of one node.
const CLOCK_PERIOD: Duration = Duration::from_secs(60);

/// Begins with what is kept in `disk`, and keeps what follows. What cannot be kept is in memory alone.
pub(super) async fn begin(disk: &Disk, hybrid: &Hybrid, registry: &Registry, tasks: &Tasks) -> Events {
    let time = hybrid.clone();
    let events = Events::new(move || time.now(), registry);
    let at = disk.clone();
    let open = move || at.subdir(DIRECTORY).and_then(EventFile::open);
    match tasks.blocking("events", open).await.and_then(|opened| opened) {
        Ok((file, records)) => {
            let last = records.last().map_or(Hlc::ZERO, |record| record.at);
            hybrid.resume(last);
            events.restore(records);
            tasks.spawn("event file", OnEnd::Forget, keep(events.clone(), file, last, tasks.clone()));
        }
        Err(error) => tracing::warn!(error = chain(&error), "events are not kept over a restart"),
    }
    events
}

/// Writes events as they come, the last ones when the tasks are told to stop.
async fn keep(events: Events, mut file: EventFile, mut kept: Hlc, tasks: Tasks) {
    let mut failing = false;
    loop {
        let stops = tokio::select! {
            () = events.wait(kept) => false,
            () = tasks.stopped() => true,
        };
        if !stops {
            let pause = if failing { RETRY } else { GATHER };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = tasks.stopped() => {}
            }
        }
        let records = events.after(kept);
        let last = records.last().map_or(kept, |record| record.at);
        let written;
        (file, written) = match write(file, records, &tasks).await {
            Ok(done) => done,
            Err(error) => return tracing::warn!(%error, "events are kept no more"),
        };
        match written {
            Ok(()) => (kept, failing) = (last, false),
            Err(_) if failing => {}
            Err(error) => {
                failing = true;
                tracing::warn!(%error, "events are not kept for now");
            }
        }
        if stops {
            return;
        }
    }
}

type Written = (EventFile, io::Result<()>);

async fn write(mut file: EventFile, records: Vec<Record>, tasks: &Tasks) -> io::Result<Written> {
    let write = move || {
        let written = file.append(&records);
        (file, written)
    };
    tasks.blocking("event file", write).await
}

/// Tells of a clock that is too far ahead, once in a while: each of its messages says so.
pub(super) fn clock_ahead(events: Events, clock: Clock) -> ClockAhead {
    let told = Mutex::new(BTreeMap::<NodeKey, Duration>::new());
    Arc::new(move |node, error| {
        let now = clock.monotonic();
        {
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.get(&node).is_some_and(|at| now < *at + CLOCK_PERIOD) {
                return;
            }
            told.insert(node, now);
        }
        events.tell(Event::ClockRefused { node, error });
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use selvedge_types::{HlcClock, HlcError};

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_too_far_ahead_is_told_once_a_minute() {
        let clock = Clock::real();
        let hybrid = Hybrid::new(clock.clone(), HlcClock::default());
        let events = Events::new(move || hybrid.now(), &Registry::default());
        let told = clock_ahead(events.clone(), clock);
        let error = HlcError { ahead_ms: 90_000, limit_ms: HlcClock::MAX_AHEAD_MS };
        let (one, other) = (NodeKey::from_bytes([1; 32]), NodeKey::from_bytes([2; 32]));
        for node in [one, one, other, one] {
            told(node, error);
        }
        tokio::time::advance(CLOCK_PERIOD).await;
        told(one, error);
        let records = events.last(9);
        assert_eq!(records.iter().map(|record| record.node).collect::<Vec<_>>(), [one, other, one].map(Some));
        assert!(
            records.iter().all(|record| record.kind == "clock-refused" && record.text.contains("90000 ms"))
        );
    }

    #[tokio::test]
    async fn what_was_told_is_there_after_a_restart_and_the_clock_goes_on_from_it() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::real(dir.path()).unwrap();
        let (registry, day_ms) = (Registry::default(), 86_400_000);
        let ahead = Hlc::from_bits((Clock::real().wall().0 + day_ms) << 16);
        let before = Hybrid::new(Clock::real(), HlcClock::resume(ahead));
        let tasks = Tasks::real();
        let events = begin(&disk, &before, &registry, &tasks).await;
        events.tell(Event::Stopping);
        tasks.stop();
        assert!(tasks.shut_down(Duration::from_secs(60)).await);
        let after = Hybrid::new(Clock::real(), HlcClock::default());
        let again = begin(&disk, &after, &Registry::default(), &Tasks::real()).await;
        assert_eq!(again.last(9), events.last(9));
        assert!(after.now() > events.last(1)[0].at);
    }
}
