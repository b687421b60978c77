//! Several nodes' events as one list.

use selvedge_types::event::SAME_WITHIN;
use selvedge_types::{Hlc, NodeKey, Record};
use std::collections::BTreeMap;

/// An event, and who told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// As the first of them told it.
    pub(super) record: Record,
    /// The names of the nodes: the first first.
    pub(super) tellers: Vec<String>,
}

/// Collects what nodes tell.
pub(super) struct Merged {
    told: BTreeMap<(Hlc, String), Record>,
    held_max: usize,
    /// Whether the first ones count when there are too many.
    first_count: bool,
}

impl Merged {
    pub(super) fn new(held_max: usize, first_count: bool) -> Self {
        Merged { told: BTreeMap::new(), held_max, first_count }
    }

    pub(super) fn add(&mut self, teller: &str, records: Vec<Record>) {
        for record in records {
            self.told.insert((record.at, teller.to_owned()), record);
            if self.told.len() > self.held_max {
                let surplus = if self.first_count { self.told.pop_last() } else { self.told.pop_first() };
                drop(surplus);
            }
        }
    }

    /// All, in causal order: by hybrid time, then by name. What several tell of is there once, at the first time.
    pub(super) fn finish(self) -> Vec<Told> {
        let (mut all, mut same) = (Vec::<Told>::new(), Same::default());
        for ((_, teller), record) in self.told {
            match same.find(&record, &teller, all.len()) {
                Some(at) => all.get_mut(at).into_iter().for_each(|told| told.tellers.push(teller.clone())),
                None => all.push(Told { record, tellers: vec![teller] }),
            }
        }
        all
    }
}

/// Finds what was told by others already.
#[derive(Default)]
pub(super) struct Same {
    seen: BTreeMap<Key, Vec<Seen>>,
}

type Key = (String, Option<NodeKey>, String, u64);

struct Seen {
    place: usize,
    record: Record,
    tellers: Vec<String>,
}

impl Same {
    /// The place of what this is the same as; if it is new, `place` is its.
    pub(super) fn find(&mut self, record: &Record, teller: &str, place: usize) -> Option<usize> {
        let number = record.number?;
        let subject = if record.node.is_some() { String::new() } else { record.subject.clone() };
        let seen = self.seen.entry((record.kind.clone(), record.node, subject, number)).or_default();
        let is_it = |seen: &&mut Seen| {
            record.is_same(&seen.record) && !seen.tellers.iter().any(|other| other == teller)
        };
        if let Some(same) = seen.iter_mut().find(is_it) {
            same.tellers.push(teller.to_owned());
            return Some(same.place);
        }
        seen.push(Seen { place, record: record.clone(), tellers: vec![teller.to_owned()] });
        None
    }

    /// Forgets what nothing can be the same as that comes from now on.
    pub(super) fn forget(&mut self, now: Hlc) {
        self.seen.retain(|_, seen| {
            seen.retain(|seen| now.millis().since(seen.record.at.millis()) <= SAME_WITHIN);
            !seen.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use selvedge_types::event::{Event, Life};
    use selvedge_types::{HlcClock, UnixMillis};

    fn failed(generation: u64, ms: u64) -> Record {
        let at = HlcClock::default().tick(UnixMillis(ms));
        Event::Failed(Life { node: NodeKey::from_bytes([9; 32]), generation }).record(at, None)
    }

    fn stopping(ms: u64) -> Record {
        Event::Stopping.record(HlcClock::default().tick(UnixMillis(ms)), None)
    }

    fn merged(held_max: usize, first_count: bool, told: &[(&str, &[Record])]) -> Vec<String> {
        let mut merged = Merged::new(held_max, first_count);
        told.iter().for_each(|(teller, records)| merged.add(teller, records.to_vec()));
        let line = |told: Told| {
            format!("{} {} {}", told.record.at.millis().0, told.record.kind, told.tellers.join(","))
        };
        merged.finish().into_iter().map(line).collect()
    }

    #[test]
    fn the_order_is_that_of_the_clocks_then_of_the_names() {
        let told: [(&str, &[Record]); 3] =
            [("b", &[stopping(1), stopping(4)]), ("a", &[stopping(1), stopping(3)]), ("c", &[stopping(2)])];
        assert_eq!(
            merged(9, true, &told),
            ["1 stopping a", "1 stopping b", "2 stopping c", "3 stopping a", "4 stopping b"]
        );
    }

    #[test]
    fn what_several_tell_is_there_once_and_what_one_tells_twice_is_there_twice() {
        let told: [(&str, &[Record]); 3] = [
            ("a", &[failed(1, 10), failed(1, 30)]),
            ("b", &[failed(1, 11), failed(2, 40)]),
            ("c", &[failed(1, 12), failed(1, 31)]),
        ];
        assert_eq!(merged(9, true, &told), ["10 failed a,b,c", "30 failed a,c", "40 failed b"]);
        let late: [(&str, &[Record]); 2] = [("a", &[failed(1, 10)]), ("b", &[failed(1, 100_000)])];
        assert_eq!(merged(9, true, &late), ["10 failed a", "100000 failed b"]);
    }

    #[test]
    fn of_too_many_the_first_are_kept_or_the_last() {
        let told: [(&str, &[Record]); 2] =
            [("a", &[stopping(1), stopping(3)]), ("b", &[stopping(2), stopping(4)])];
        assert_eq!(merged(2, true, &told), ["1 stopping a", "2 stopping b"]);
        assert_eq!(merged(2, false, &told), ["3 stopping a", "4 stopping b"]);
    }

    #[test]
    fn what_is_long_past_is_forgotten() {
        let mut same = Same::default();
        assert_eq!(same.find(&failed(1, 10), "a", 0), None);
        same.forget(failed(1, 60_010).at);
        assert_eq!(same.find(&failed(1, 12), "b", 1), Some(0));
        same.forget(failed(1, 60_011).at);
        assert!(same.seen.is_empty());
    }
}
