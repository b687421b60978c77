//! Pseudo-random numbers from a seed that the driver draws: xoshiro256++ (Blackman and Vigna, 2019).

use rand_core::TryRng;
use std::convert::Infallible;
use std::time::Duration;

/// A small generator. Not for secrets.
#[derive(Clone, Debug)]
pub(crate) struct Dice([u64; 4]);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        let mut state = seed;
        Dice([(); 4].map(|()| splitmix(&mut state)))
    }

    /// Another generator, drawn from this one.
    pub(crate) fn branch(&mut self) -> Self {
        Self::new(self.draw())
    }

    pub(crate) fn draw(&mut self) -> u64 {
        let [a, b, c, d] = self.0;
        let drawn = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let (c, d) = (c ^ a, d ^ b);
        self.0 = [a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)];
        drawn
    }

    /// A number below `bound`; 0 if that is 0. Its bias is below `bound` / 2^64.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let wide = u128::from(self.draw()) * bound as u128;
        (wide >> 64) as usize
    }

    /// One of them, each as likely as the others.
    pub(crate) fn pick<T>(&mut self, from: impl ExactSizeIterator<Item = T>) -> Option<T> {
        let mut from = from;
        let at = self.below(from.len());
        from.nth(at)
    }

    /// Between half and one and a half times `mean`.
    pub(crate) fn around(&mut self, mean: Duration) -> Duration {
        mean / 2 + mean * (self.below(1 << 16) as u32) / (1 << 16)
    }
}

fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl TryRng for Dice {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((self.draw() >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.draw())
    }

    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), Infallible> {
        for chunk in to.chunks_mut(8) {
            chunk.copy_from_slice(&self.draw().to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_and_another_one_does_not() {
        let draws = |seed| {
            let mut dice = Dice::new(seed);
            [(); 4].map(|()| dice.draw())
        };
        assert_eq!(draws(7), draws(7));
        assert_ne!(draws(7), draws(8));
    }

    #[test]
    fn every_place_is_drawn_and_none_beyond() {
        let mut dice = Dice::new(1);
        let mut seen = [0; 5];
        (0..1_000).for_each(|_| seen[dice.below(5)] += 1);
        assert!(seen.iter().all(|times| (100..300).contains(times)), "{seen:?}");
        assert_eq!(dice.pick([0u8; 0].iter()), None);
        let d = dice.around(Duration::from_millis(100));
        assert!(d >= Duration::from_millis(50) && d < Duration::from_millis(150));
    }
}
