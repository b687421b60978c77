//! TinyLFU's frequency sketch, as Caffeine has it: four rows of 4-bit counters, halved by and by.

/// Counts requests of a recent sample, to at most 15.
#[derive(Debug)]
pub(super) struct Sketch {
    counters: Vec<[u8; 4]>,
    mask: u64,
    sample: u64,
    added: u64,
}

impl Sketch {
    /// A sketch for a cache of about `entries`: four counters for each in each row, a sample of ten times as
    /// many requests.
    pub(super) fn new(entries: u64) -> Self {
        let width = entries.max(16).next_power_of_two() * 4;
        Sketch {
            counters: vec![[0; 4]; width as usize],
            mask: width - 1,
            sample: 10 * entries.max(16),
            added: 0,
        }
    }

    /// The estimate, never too low within the sample.
    pub(super) fn frequency(&self, object: usize) -> u8 {
        let at = |row| self.counters[self.index(object, row)][row];
        (0..4).map(at).min().unwrap_or(0)
    }

    /// Counts one request.
    pub(super) fn increment(&mut self, object: usize) {
        let mut added = false;
        for row in 0..4 {
            let index = self.index(object, row);
            let counter = &mut self.counters[index][row];
            added |= *counter < 15;
            *counter = (*counter + 1).min(15);
        }
        self.added += u64::from(added);
        if self.added >= self.sample {
            self.counters.iter_mut().flatten().for_each(|c| *c /= 2);
            self.added /= 2;
        }
    }

    fn index(&self, object: usize, row: usize) -> usize {
        let seed =
            [0x9E37_79B9_7F4A_7C15, 0xC2B2_AE3D_27D4_EB4F, 0x1656_67B1_9E37_79F9, 0xBF58_476D_1CE4_E5B9][row];
        let mixed = (object as u64 + 1).wrapping_mul(seed);
        ((mixed ^ (mixed >> 31)).wrapping_mul(seed) >> 20 & self.mask) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_to_fifteen_and_halves_after_a_sample() {
        let mut sketch = Sketch::new(16);
        (0..20).for_each(|_| sketch.increment(7));
        assert_eq!(sketch.frequency(7), 15);
        assert_eq!(sketch.frequency(8), 0);
        (0..145).for_each(|i| sketch.increment(1000 + i));
        assert_eq!(sketch.frequency(7), 7);
    }
}
