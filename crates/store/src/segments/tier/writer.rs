//! The task that writes to the disk tier what was put, removed and stamped.

use super::super::Options;
use super::{Error, Key, NewRecord, Offer, Queued, Shared, Turn, lock};
use selvedge_types::Hlc;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc;

/// Objects written at once.
const BATCH_MAX: usize = 256;

pub(super) struct Writer {
    shared: Arc<Shared>,
    offers: mpsc::Receiver<Queued>,
    /// What was removed while something older of its name may be on its way.
    gone: BTreeMap<Key, Turn>,
    /// Since the last failure: how long to pause, and since when.
    pause: Option<(Duration, Duration)>,
    /// Whether stamps could not be written.
    owes: bool,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, offers: mpsc::Receiver<Queued>) -> Self {
        Writer { shared, offers, gone: BTreeMap::new(), pause: None, owes: false }
    }

    /// Writes until the tasks are told to stop: then what was removed and stamped, but no more objects.
    pub(super) async fn run(mut self) {
        let tasks = self.shared.tasks.clone();
        while !tasks.is_stopping() {
            let mut batch = Vec::with_capacity(BATCH_MAX);
            let pause = pause(self.pause_left());
            tokio::select! {
                biased;
                () = tasks.stopped() => break,
                count = self.offers.recv_many(&mut batch, BATCH_MAX) => if count == 0 { break },
                () = self.shared.stamped.notified() => {}
                () = pause => {
                    self.shared.available.store(true, Ordering::Relaxed);
                    self.shared.observe();
                }
            }
            self.write(batch).await;
        }
        self.end().await;
    }

    async fn end(mut self) {
        self.offers.close();
        while let Ok(queued) = self.offers.try_recv() {
            self.drop_all(&[queued]);
        }
        // Also after a failure: there is no later time to try again.
        self.shared.available.store(true, Ordering::Relaxed);
        self.write(Vec::new()).await;
        self.shared.segments.close();
    }

    /// How long it is until writing is to be tried again; none while it goes well.
    fn pause_left(&self) -> Option<Duration> {
        let paused = !self.shared.available.load(Ordering::Relaxed);
        let (length, since) = self.pause.filter(|_| paused)?;
        Some((since + length).saturating_sub(self.shared.clock.monotonic()))
    }

    fn drop_all(&self, queued: &[Queued]) {
        let shared = &self.shared;
        shared.drop_offers(shared.asked(queued).iter());
        shared.metrics.dropped.inc_by(queued.len() as u64);
        shared.queued_bytes.fetch_sub(bytes(queued), Ordering::SeqCst);
    }

    async fn write(&mut self, queued: Vec<Queued>) {
        let shared = self.shared.clone();
        if !shared.available.load(Ordering::Relaxed) {
            return self.drop_all(&queued);
        }
        let (bytes, asked) = (bytes(&queued), shared.asked(&queued));
        let removed = std::mem::take(&mut *lock(&shared.gone));
        self.gone.extend(removed.iter().map(|(key, gone)| (*key, gone.turn)));
        let is_newest = |(turn, offer): &Queued| self.gone.get(&offer.key).is_none_or(|gone| gone < turn);
        let batch: Vec<Offer> = queued.into_iter().filter(is_newest).map(|(_, offer)| offer).collect();
        if shared.queued_bytes.load(Ordering::SeqCst) == bytes {
            // Whatever has drawn its turn before is in this batch.
            self.gone.clear();
        }
        let stamps = std::mem::take(&mut *lock(&shared.stamps));
        let stamps = stamps.into_iter().map(|((scope, kind), at)| NewRecord::stamp(scope, at, kind));
        let notes: Vec<_> = removed.keys().map(|key| NewRecord::gone(*key)).chain(stamps).collect();
        let floor = Hlc::from_bits(shared.floor.swap(0, Ordering::SeqCst));
        if batch.is_empty() && notes.is_empty() && floor == Hlc::ZERO && !self.owes {
            shared.queued_bytes.fetch_sub(bytes, Ordering::SeqCst);
            return;
        }
        let of = shared.clone();
        let work = move || of.write(batch, notes, floor);
        let written = shared.tasks.blocking("cache disk write", work).await;
        // Before what is queued is none: what is removed from now on is seen to by who removes it.
        for key in lock(&shared.gone).keys() {
            shared.segments.remove(*key);
        }
        shared.queued_bytes.fetch_sub(bytes, Ordering::SeqCst);
        if !matches!(written, Ok(Ok(_))) {
            // To be noted again; a later removal of the same name stays.
            removed.into_iter().for_each(|(key, gone)| shared.note_gone(key, gone));
            shared.drop_offers(asked.iter());
        }
        match written {
            Ok(Ok(tally)) => {
                self.pause = None;
                self.owes = false;
                shared.metrics.count(&tally);
            }
            Ok(Err(error)) => self.fail(&error),
            Err(error) => tracing::error!(%error, "a write to the cache's disk was lost"),
        }
        shared.observe();
    }

    fn fail(&mut self, error: &Error) {
        let shared = &self.shared;
        let Options { retry_after, retry_after_max, .. } = shared.segments.options();
        let length = self.pause.map_or(retry_after, |(length, _)| (length * 2).min(retry_after_max));
        self.pause = Some((length, shared.clock.monotonic()));
        self.owes = true;
        let why = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
        *lock(&shared.problem) = format!("{error}{why}; tried again every {} s", length.as_secs().max(1));
        shared.available.store(false, Ordering::Relaxed);
        shared.metrics.failures.inc();
        tracing::warn!(%error, retry_s = length.as_secs(), "the cache goes on in RAM alone");
    }
}

fn bytes(queued: &[Queued]) -> usize {
    queued.iter().map(|(_, offer)| offer.bytes).sum()
}

async fn pause(left: Option<Duration>) {
    match left {
        Some(left) => tokio::time::sleep(left).await,
        None => std::future::pending().await,
    }
}
