//! Bytes by a value that wraps, and the value above which bytes fill a budget.

/// How many values are told apart; lower ones than these are all cold.
const BINS: u32 = 1024;

/// Bytes in bins of equal width, on an axis of which the window of bins moves up with the highest value.
#[derive(Debug)]
pub(super) struct Histogram {
    /// A value's bin is the value without this many bits.
    shift: u32,
    /// By bin, modulo their number.
    bytes: Vec<u64>,
    /// The lowest bin of the window.
    base: u32,
    /// The bin from which on `above` is counted.
    cut: u32,
    /// Bytes at and above the cut; at most the budget.
    above: u64,
    budget: u64,
}

impl Histogram {
    /// Bins of `2^shift` values.
    pub(super) fn new(shift: u32) -> Self {
        Histogram { shift, bytes: vec![0; BINS as usize], base: 0, cut: 0, above: 0, budget: 0 }
    }

    /// As many bytes are to be above the cut.
    pub(super) fn set_budget(&mut self, budget: u64) {
        self.budget = budget;
        self.balance();
    }

    /// The lowest value that is within the budget.
    pub(super) fn cut(&self) -> u32 {
        self.cut << self.shift
    }

    /// Whether a value is among the highest, which fill the budget.
    pub(super) fn is_within(&self, value: u32) -> bool {
        let offset = self.offset(value >> self.shift);
        if self.is_below(offset) { self.cut == self.base } else { offset >= self.offset(self.cut) }
    }

    /// Bytes of this value come.
    pub(super) fn add(&mut self, value: u32, bytes: u64) {
        let bin = value >> self.shift;
        self.reach(bin);
        if self.place(bin).is_some() {
            self.bytes[index(bin)] += bytes;
        }
        if self.counts(bin) {
            self.above += bytes;
        }
        self.balance();
    }

    /// Bytes of this value go.
    pub(super) fn remove(&mut self, value: u32, bytes: u64) {
        let bin = value >> self.shift;
        if self.place(bin).is_some() {
            let held = &mut self.bytes[index(bin)];
            let bytes = bytes.min(*held);
            *held -= bytes;
            if self.counts(bin) {
                self.above -= bytes.min(self.above);
            }
        }
        self.balance();
    }

    fn counts(&self, bin: u32) -> bool {
        self.place(bin).is_some_and(|place| place >= self.offset(self.cut))
    }

    /// How far above the window's start, if in the window.
    fn place(&self, bin: u32) -> Option<u32> {
        let offset = self.offset(bin);
        (offset < BINS).then_some(offset)
    }

    fn offset(&self, bin: u32) -> u32 {
        bin.wrapping_sub(self.base) & self.mask()
    }

    /// Whether what is so far from the window's start is rather before it.
    fn is_below(&self, offset: u32) -> bool {
        offset > self.mask() / 2
    }

    fn mask(&self) -> u32 {
        u32::MAX >> self.shift
    }

    /// Moves the window up if this bin is above it.
    fn reach(&mut self, bin: u32) {
        let offset = self.offset(bin);
        if offset < BINS || self.is_below(offset) {
            return;
        }
        for _ in 0..(offset - BINS + 1).min(BINS) {
            self.raise_base();
        }
        let jump = bin.wrapping_sub(BINS - 1) & self.mask();
        if self.offset(bin) >= BINS {
            self.base = jump;
            self.cut = jump;
        }
    }

    /// The lowest bin becomes cold.
    fn raise_base(&mut self) {
        if self.cut == self.base {
            self.raise_cut();
        }
        self.bytes[index(self.base)] = 0;
        self.base = self.base.wrapping_add(1) & self.mask();
    }

    fn raise_cut(&mut self) {
        self.above -= self.bytes[index(self.cut)].min(self.above);
        self.cut = self.cut.wrapping_add(1) & self.mask();
    }

    /// Moves the cut so that what is above is as much as the budget allows.
    fn balance(&mut self) {
        while self.above > self.budget && self.offset(self.cut) < BINS - 1 {
            self.raise_cut();
        }
        while self.cut != self.base {
            let below = self.cut.wrapping_sub(1) & self.mask();
            let more = self.bytes[index(below)];
            if self.above + more > self.budget {
                break;
            }
            self.above += more;
            self.cut = below;
        }
    }
}

fn index(bin: u32) -> usize {
    (bin % BINS) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cut_lets_the_highest_fill_the_budget() {
        let mut histogram = Histogram::new(0);
        histogram.set_budget(100);
        for value in 1..=20 {
            histogram.add(value, 10);
        }
        assert_eq!(histogram.cut(), 11);
        assert!(histogram.is_within(11) && !histogram.is_within(10));
        histogram.remove(20, 10);
        assert_eq!(histogram.cut(), 10);
        histogram.set_budget(1000);
        assert!(histogram.is_within(1), "there is room for all");
    }

    #[test]
    fn what_falls_out_of_the_window_is_cold() {
        let mut histogram = Histogram::new(4);
        histogram.set_budget(100);
        histogram.add(16, 60);
        histogram.add(16 * 5000, 60);
        assert!(histogram.is_within(16 * 5000));
        histogram.add(16 * 5000, 30);
        histogram.add(16 * 5001, 30);
        assert!(!histogram.is_within(16) && histogram.is_within(16 * 5001));
        histogram.remove(16, 60);
        assert_eq!(histogram.above, 30);
    }

    #[test]
    fn values_may_wrap() {
        let mut histogram = Histogram::new(4);
        histogram.set_budget(100);
        for step in 0..3000u32 {
            let value = (step * 16).wrapping_sub(16 * 1500);
            assert!(histogram.is_within(value), "above all others: {step}");
            histogram.add(value, 10);
            assert!(histogram.is_within(value), "{step}");
            assert!(histogram.above <= 100);
        }
    }
}
