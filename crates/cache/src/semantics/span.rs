//! Stretches of bytes, and which of them are present (RFC 9111 sections 3.3 and 3.4).

/// How many separate stretches [`Spans`] keeps apart; a new one beyond them is not remembered.
pub const SPANS_MAX: usize = 64;

/// A non-empty stretch of bytes: `start` is in it, `end` is not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Span {
    start: u64,
    end: u64,
}

impl Span {
    /// From `start` to before `end`; none if that is empty.
    pub const fn new(start: u64, end: u64) -> Option<Span> {
        if start < end { Some(Span { start, end }) } else { None }
    }

    /// The first byte's position.
    pub const fn start(self) -> u64 {
        self.start
    }

    /// The position after the last byte.
    pub const fn end(self) -> u64 {
        self.end
    }

    /// How many bytes it has, never zero.
    #[allow(clippy::len_without_is_empty)]
    pub const fn len(self) -> u64 {
        self.end - self.start
    }

    /// Whether all of `other` is in it.
    pub const fn contains(self, other: Span) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    /// What both have.
    pub fn intersection(self, other: Span) -> Option<Span> {
        Span::new(self.start.max(other.start), self.end.min(other.end))
    }

    /// The smallest span that holds both.
    pub fn hull(self, other: Span) -> Span {
        Span { start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    /// How many bytes lie between the two; zero if they touch or overlap.
    pub fn gap_to(self, other: Span) -> u64 {
        self.start.max(other.start).saturating_sub(self.end.min(other.end))
    }
}

/// A set of bytes, as spans in order that neither overlap nor touch.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Spans {
    spans: Vec<Span>,
}

impl Spans {
    /// Nothing.
    pub const fn new() -> Self {
        Spans { spans: Vec::new() }
    }

    /// The spans, in order.
    pub fn iter(&self) -> impl Iterator<Item = Span> + '_ {
        self.spans.iter().copied()
    }

    /// How many bytes there are.
    pub fn bytes(&self) -> u64 {
        self.iter().map(Span::len).sum()
    }

    /// Adds `span`; says whether it was kept, which it is not if more than [`SPANS_MAX`] would result.
    pub fn insert(&mut self, span: Span) -> bool {
        let from = self.spans.partition_point(|s| s.end < span.start);
        let to = self.spans.partition_point(|s| s.start <= span.end);
        if from == to && self.spans.len() >= SPANS_MAX {
            return false;
        }
        let joined = self.spans[from..to].iter().fold(span, |all, s| all.hull(*s));
        self.spans.splice(from..to, [joined]);
        true
    }

    /// Whether all of `span` is there.
    pub fn contains(&self, span: Span) -> bool {
        self.iter().any(|s| s.contains(span))
    }

    /// Whether a representation of `length` bytes is there from end to end.
    pub fn is_complete(&self, length: u64) -> bool {
        Span::new(0, length).is_none_or(|all| self.contains(all))
    }

    /// What of `wanted` is absent, in order.
    pub fn missing(&self, wanted: Span) -> Vec<Span> {
        let mut out = Vec::new();
        let mut at = wanted.start;
        for present in self.iter().filter_map(|s| s.intersection(wanted)) {
            out.extend(Span::new(at, present.start));
            at = present.end;
        }
        out.extend(Span::new(at, wanted.end));
        out
    }

    /// The one span to ask for that fills all gaps in `wanted`; none if nothing is absent.
    pub fn to_request(&self, wanted: Span) -> Option<Span> {
        let missing = self.missing(wanted);
        missing.iter().copied().reduce(Span::hull)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn span(start: u64, end: u64) -> Span {
        Span::new(start, end).unwrap()
    }

    #[test]
    fn spans_that_touch_become_one() {
        let mut set = Spans::new();
        for (start, end) in [(10, 20), (30, 40), (0, 5), (20, 30)] {
            assert!(set.insert(span(start, end)));
        }
        assert_eq!(set.iter().collect::<Vec<_>>(), [span(0, 5), span(10, 40)]);
        assert_eq!(set.bytes(), 35);
        assert_eq!(set.missing(span(0, 50)), [span(5, 10), span(40, 50)]);
        assert_eq!(set.to_request(span(0, 50)), Some(span(5, 50)));
        assert_eq!(set.to_request(span(0, 20)), Some(span(5, 10)));
        assert_eq!(set.to_request(span(12, 40)), None);
        assert!(!set.is_complete(40));
        assert!(set.insert(span(5, 10)) && set.is_complete(40) && !set.is_complete(41));
        assert!(Spans::new().is_complete(0));
    }

    #[test]
    fn the_number_of_spans_is_bounded() {
        let mut set = Spans::new();
        for i in 0..SPANS_MAX as u64 {
            assert!(set.insert(span(10 * i, 10 * i + 1)));
        }
        assert!(!set.insert(span(1_000_000, 1_000_001)));
        assert!(set.insert(span(1, 5)));
        assert!(set.insert(span(0, 2_000_000)));
        assert_eq!(set.iter().count(), 1);
    }

    proptest! {
        #[test]
        fn the_set_is_what_a_bitmap_says(parts in prop::collection::vec((0u64..60, 1u64..20), 0..20)) {
            let (mut set, mut bits) = (Spans::new(), [false; 80]);
            for (start, len) in parts {
                prop_assert!(set.insert(span(start, start + len)));
                (start..start + len).for_each(|i| bits[i as usize] = true);
            }
            let present = |i: u64| set.iter().any(|s| s.contains(span(i, i + 1)));
            prop_assert!((0..80).all(|i| present(i) == bits[i as usize]));
            let missing: u64 = set.missing(span(0, 80)).iter().map(|s| s.len()).sum();
            prop_assert_eq!(missing + set.bytes(), 80);
            let spans: Vec<_> = set.iter().collect();
            prop_assert!(spans.windows(2).all(|w| w[0].end() < w[1].start()));
        }
    }
}
