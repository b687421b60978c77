//! Requests and bytes, counted in all and over time.

use std::collections::BTreeMap;
use std::time::Duration;

use selvedge_types::UnixMillis;

/// How many buckets a report has at most; when there are more, each is made to cover twice the time.
pub const BUCKETS_MAX: usize = 1024;

/// Requests, and the bytes of their answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// How many requests.
    pub requests: u64,
    /// How many bytes were sent to clients for them.
    pub bytes: u64,
}

impl Traffic {
    pub(super) fn add(&mut self, bytes: u64) {
        self.requests += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn merge(&mut self, other: Traffic) {
        self.requests += other.requests;
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// Traffic of a stretch of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// When it begins.
    pub start: UnixMillis,
    /// What clients asked for.
    pub clients: Traffic,
    /// What went to the origin, by size of the cache.
    pub origin: Vec<Traffic>,
}

/// Buckets by time, made wider as the need arises.
#[derive(Debug)]
pub(super) struct Timeline {
    width_ms: u64,
    sizes: usize,
    /// By their start divided by the width; without the current one.
    done: BTreeMap<u64, Bucket>,
    /// The bucket of the request before, which most often is also that of the next.
    current: Option<(u64, Bucket)>,
    span: Option<(UnixMillis, UnixMillis)>,
}

impl Timeline {
    pub(super) fn new(width: Duration, sizes: usize) -> Self {
        let width_ms = u64::try_from(width.as_millis()).unwrap_or(u64::MAX).max(1);
        Timeline { width_ms, sizes, done: BTreeMap::new(), current: None, span: None }
    }

    /// A client's request; what follows about the origin belongs to it.
    pub(super) fn request(&mut self, time: UnixMillis, bytes: u64) {
        let (first, last) = self.span.unwrap_or((time, time));
        self.span = Some((first.min(time), last.max(time)));
        let number = time.0 / self.width_ms;
        if self.current.as_ref().is_none_or(|(current, _)| *current != number) {
            self.turn_to(time);
        }
        if let Some((_, bucket)) = &mut self.current {
            bucket.clients.add(bytes);
        }
    }

    /// The origin was asked, with a cache of this size.
    pub(super) fn origin(&mut self, size: usize, bytes: u64) {
        if let Some((_, bucket)) = &mut self.current
            && let Some(traffic) = bucket.origin.get_mut(size)
        {
            traffic.add(bytes);
        }
    }

    /// The earliest and the latest time.
    pub(super) fn span(&self) -> Option<(UnixMillis, UnixMillis)> {
        self.span
    }

    /// How wide buckets are, and all of them in order.
    pub(super) fn buckets(&self) -> (Duration, Vec<Bucket>) {
        let mut all = self.done.clone();
        if let Some((number, bucket)) = &self.current {
            merge(&mut all, *number, bucket.clone());
        }
        (Duration::from_millis(self.width_ms), all.into_values().collect())
    }

    fn turn_to(&mut self, time: UnixMillis) {
        if let Some((number, bucket)) = self.current.take() {
            merge(&mut self.done, number, bucket);
        }
        while self.done.len() >= BUCKETS_MAX {
            self.widen();
        }
        let number = time.0 / self.width_ms;
        let fresh = Bucket {
            start: UnixMillis(number * self.width_ms),
            clients: Traffic::default(),
            origin: vec![Traffic::default(); self.sizes],
        };
        self.current = Some((number, self.done.remove(&number).unwrap_or(fresh)));
    }

    fn widen(&mut self) {
        self.width_ms = self.width_ms.saturating_mul(2);
        for (_, mut bucket) in std::mem::take(&mut self.done) {
            let number = bucket.start.0 / self.width_ms;
            bucket.start = UnixMillis(number * self.width_ms);
            merge(&mut self.done, number, bucket);
        }
    }
}

fn merge(buckets: &mut BTreeMap<u64, Bucket>, number: u64, bucket: Bucket) {
    let Some(there) = buckets.get_mut(&number) else {
        buckets.insert(number, bucket);
        return;
    };
    there.clients.merge(bucket.clients);
    for (to, from) in there.origin.iter_mut().zip(bucket.origin) {
        to.merge(from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_fall_into_buckets_also_out_of_order() {
        let mut timeline = Timeline::new(Duration::from_secs(60), 1);
        for (secs, bytes) in [(10, 1), (70, 2), (20, 4), (130, 8)] {
            timeline.request(UnixMillis::from_secs(secs), bytes);
            timeline.origin(0, bytes);
        }
        let (_, buckets) = timeline.buckets();
        let seen: Vec<_> =
            buckets.iter().map(|b| (b.start.secs(), b.clients.bytes, b.origin[0].requests)).collect();
        assert_eq!(seen, [(0, 5, 2), (60, 2, 1), (120, 8, 1)]);
        assert_eq!(timeline.span(), Some((UnixMillis::from_secs(10), UnixMillis::from_secs(130))));
    }

    #[test]
    fn buckets_widen_instead_of_becoming_too_many() {
        let mut timeline = Timeline::new(Duration::from_secs(1), 1);
        (0..10_000).for_each(|secs| timeline.request(UnixMillis::from_secs(secs), 1));
        timeline.request(UnixMillis(u64::MAX), 1);
        let (width, buckets) = timeline.buckets();
        assert!(buckets.len() <= BUCKETS_MAX && width > Duration::from_secs(1));
        assert_eq!(buckets.iter().map(|b| b.clients.requests).sum::<u64>(), 10_001);
        assert!(buckets.is_sorted_by_key(|b| b.start));
    }
}
