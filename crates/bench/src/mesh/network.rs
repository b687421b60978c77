//! Distances, loss and cuts between simulated nodes.

use std::time::Duration;

/// One way inside a PoP, at least.
const INSIDE: Duration = Duration::from_micros(250);
/// One way between two PoPs, at least and at most.
const ABROAD: (Duration, Duration) = (Duration::from_millis(3), Duration::from_millis(75));
/// By how much of itself a way may take longer.
const JITTER: f64 = 0.2;

/// A small generator (splitmix64): the same seed gives the same run.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Dice(seed)
    }

    /// A uniform number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In [0, 1).
    pub fn fraction(&mut self) -> f64 {
        (self.draw() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.draw() % bound as u64) as usize
    }
}

/// What lies between nodes.
pub struct Network {
    /// The share of datagrams that are lost, each way.
    pub loss: f64,
    /// Which pairs of nodes do not hear each other: from, to.
    pub cut: Box<dyn Fn(usize, usize) -> bool>,
    places: Vec<(f64, f64)>,
    dice: Dice,
}

impl Network {
    /// A network of that many PoPs, at random places.
    pub fn new(pops: usize, dice: &mut Dice) -> Self {
        let places = (0..pops).map(|_| (dice.fraction(), dice.fraction())).collect();
        Network { loss: 0.0, cut: Box::new(|_, _| false), places, dice: Dice::new(dice.draw()) }
    }

    /// How long a datagram between nodes of those PoPs takes; nothing if it is lost.
    pub fn carry(&mut self, from: (usize, usize), to: (usize, usize)) -> Option<Duration> {
        if self.dice.fraction() < self.loss || (self.cut)(from.0, to.0) {
            return None;
        }
        Some(self.one_way(from.1, to.1).mul_f64(1.0 + JITTER * self.dice.fraction()))
    }

    /// One way between two PoPs without jitter.
    pub fn one_way(&self, from: usize, to: usize) -> Duration {
        if from == to {
            return INSIDE;
        }
        let ((ax, ay), (bx, by)) = (self.places[from], self.places[to]);
        let share = ((ax - bx).powi(2) + (ay - by).powi(2)).sqrt() / std::f64::consts::SQRT_2;
        ABROAD.0 + (ABROAD.1 - ABROAD.0).mul_f64(share)
    }
}
