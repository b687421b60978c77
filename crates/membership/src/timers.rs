//! What a node has to do later, in order of time.

use std::collections::BTreeMap;
use std::time::Duration;

/// A queue of wake-ups. Those of the same time come in the order they were set.
#[derive(Debug)]
pub(crate) struct Timers<T> {
    queue: BTreeMap<(Duration, u64), T>,
    count: u64,
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Timers { queue: BTreeMap::new(), count: 0 }
    }
}

impl<T> Timers<T> {
    pub(crate) fn set(&mut self, at: Duration, timer: T) {
        self.count += 1;
        self.queue.insert((at, self.count), timer);
    }

    /// When the next is due.
    pub(crate) fn next_at(&self) -> Option<Duration> {
        self.queue.keys().next().map(|(at, _)| *at)
    }

    /// The next one that is due at `now`.
    pub(crate) fn take_due(&mut self, now: Duration) -> Option<T> {
        if self.next_at()? > now {
            return None;
        }
        self.queue.pop_first().map(|(_, timer)| timer)
    }

    /// Moves all of them.
    pub(crate) fn delay_all(&mut self, by: Duration) {
        let queue = std::mem::take(&mut self.queue);
        self.queue = queue.into_iter().map(|((at, count), timer)| ((at + by, count), timer)).collect();
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_comes_in_order() {
        let ms = Duration::from_millis;
        let mut timers = Timers::default();
        for (at, name) in [(3, "c"), (1, "a"), (3, "d"), (2, "b")] {
            timers.set(ms(at), name);
        }
        timers.delay_all(ms(10));
        assert_eq!((timers.next_at(), timers.len()), (Some(ms(11)), 4));
        assert_eq!(timers.take_due(ms(10)), None);
        let mut due = Vec::new();
        while let Some(name) = timers.take_due(ms(13)) {
            due.push(name);
        }
        assert_eq!(due, ["a", "b", "c", "d"]);
    }
}
