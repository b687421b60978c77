//! How often something was asked for lately, as one number that needs no upkeep.
//!
//! A request at time `t` (in half-lives) adds `2^t` to a sum; the logarithm of that sum is the heat. Two heats
//! compare the same way at all later times, since all sums lose half their worth together: nothing has to be
//! aged, and a heat kept anywhere stays true. This is LRFU's combined recency and frequency (Lee et al., 2001).

/// The base 2 logarithm of a decayed count of requests, as of time zero; 16 bits of it are fraction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(super) struct Heat(u32);

const FRACTION_BITS: u32 = 16;
const ONE: u32 = 1 << FRACTION_BITS;

/// Steps of the table of `log2(1 + 2^-d)`: 16 for each unit, for `d` below 16.
const STEP_BITS: u32 = FRACTION_BITS - 4;

/// `log2(1 + 2^-(i / 16))`, in units of a heat.
const LOG_SUM: [u32; 257] = log_sum_table();

impl Heat {
    /// By how much a count's logarithm falls in a half-life.
    pub(super) const HALF_LIFE: u32 = ONE;

    /// The heat of one request at this time; also the measure of time itself.
    pub(super) const fn once(now: Heat) -> Heat {
        now
    }

    /// This heat after another request. Counts above some 90,000 within a half-life are not told apart.
    pub(super) fn touched(self, now: Heat) -> Heat {
        let (high, low) = if self.0 > now.0 { (self.0, now.0) } else { (now.0, self.0) };
        let apart = high - low;
        let index = (apart >> STEP_BITS) as usize;
        let (Some(&a), Some(&b)) = (LOG_SUM.get(index), LOG_SUM.get(index + 1)) else { return Heat(high) };
        let part = apart & ((1 << STEP_BITS) - 1);
        Heat(high + a - (((a - b) * part) >> STEP_BITS))
    }

    /// The decayed count as of `now`.
    pub(super) fn count(self, now: Heat) -> f32 {
        ((i64::from(self.0) - i64::from(now.0)) as f32 / ONE as f32).exp2()
    }

    /// The count for each byte: its logarithm, as of time zero, in units of a heat and never negative.
    pub(super) fn density(self, cost: u32) -> u32 {
        let log_cost = ((cost as f32).log2() * ONE as f32) as u32;
        (self.0 + 32 * ONE).saturating_sub(log_cost)
    }

    /// The count itself: its logarithm, as of time zero, in units of a heat.
    pub(super) const fn to_bits(self) -> u32 {
        self.0
    }

    /// The heat with these bits.
    pub(super) const fn from_bits(bits: u32) -> Heat {
        Heat(bits)
    }

    /// The same with a zero of time that is later.
    pub(super) fn rebased(self, by: Rebase) -> Heat {
        Heat(self.0.saturating_sub(by.0))
    }
}

/// A heat in half the space, to a 32nd of a half-life; zero for none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(super) struct Coarse(u16);

/// How many bits of a heat's fraction a [`Coarse`] leaves out.
const COARSE_SHIFT: u32 = FRACTION_BITS - 5;

impl Coarse {
    pub(super) const NONE: Coarse = Coarse(0);

    /// Of a heat, which may be [`NOW_MAX`] and the logarithm of any count above it.
    pub(super) fn of(heat: Heat) -> Coarse {
        Coarse((heat.0 >> COARSE_SHIFT).clamp(1, u32::from(u16::MAX)) as u16)
    }

    /// The heat that is in the middle of those that it may stand for.
    pub(super) fn heat(self) -> Option<Heat> {
        (self != Coarse::NONE).then_some(Heat(u32::from(self.0) << COARSE_SHIFT | 1 << (COARSE_SHIFT - 1)))
    }

    /// The same with a zero of time that is later; none if that is after it.
    pub(super) fn rebased(self, by: Rebase) -> Coarse {
        Coarse(self.0.saturating_sub(u16::try_from(by.0 >> COARSE_SHIFT).unwrap_or(u16::MAX)))
    }
}

/// By how much the zero of time moves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rebase(pub(super) u32);

/// Time, measured in requests for each entry.
#[derive(Debug)]
pub(super) struct Clock {
    /// Half-lives, with 32 bits of fraction.
    now: u64,
    step: u64,
}

/// How many requests for each entry make a half-life.
const HALF_LIFE: u64 = 16;

/// When time is later than this, its zero is moved to half of it: so that a [`Coarse`] can hold any heat.
const NOW_MAX: u64 = 1 << (32 + 10);

impl Default for Clock {
    fn default() -> Self {
        // A heat of zero is for what has been forgotten.
        Clock { now: 64 << 32, step: (1 << 32) / HALF_LIFE }
    }
}

impl Clock {
    /// The heat of one request now.
    pub(super) fn now(&self) -> Heat {
        Heat((self.now >> (32 - FRACTION_BITS)) as u32)
    }

    /// One more request; at times also by how much all heats have to be rebased.
    pub(super) fn tick(&mut self) -> Option<Rebase> {
        self.now += self.step;
        if self.now < NOW_MAX {
            return None;
        }
        self.now -= NOW_MAX / 2;
        Some(Rebase(((NOW_MAX / 2) >> (32 - FRACTION_BITS)) as u32))
    }

    /// There are so many entries now.
    pub(super) fn set_entries(&mut self, entries: usize) {
        self.step = ((1 << 32) / (HALF_LIFE * (entries as u64).max(1))).max(1);
    }
}

/// Computed without floats' logarithms, so that it is a constant: `log2(x)` for `x` in [1, 2] by squaring.
const fn log_sum_table() -> [u32; 257] {
    let mut table = [0; 257];
    let mut power = 1.0;
    let mut i = 0;
    while i < 257 {
        table[i] = log2_fixed(1.0 + power);
        power *= 0.957_603_280_698_573_7; // 2^(-1/16)
        i += 1;
    }
    table
}

const fn log2_fixed(mut x: f64) -> u32 {
    let mut log = 0;
    let mut bit = ONE;
    while bit > 0 {
        if x >= 2.0 {
            log += bit;
            x /= 2.0;
        }
        x *= x;
        bit >>= 1;
    }
    log
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(half_lives: f64) -> Heat {
        Heat((half_lives * f64::from(ONE)) as u32)
    }

    #[test]
    fn a_hundred_requests_at_once_count_a_hundred() {
        let now = at(100.0);
        let heat = (1..100).fold(Heat::once(now), |heat, _| heat.touched(now));
        assert!((heat.count(now) - 100.0).abs() < 0.5, "{}", heat.count(now));
    }

    #[test]
    fn a_request_counts_half_after_a_half_life() {
        let heat = Heat::once(at(70.0));
        assert_eq!(heat.count(at(71.0)), 0.5);
        let again = heat.touched(at(71.0));
        assert!((again.count(at(71.0)) - 1.5).abs() < 0.001);
        assert!((again.count(at(72.0)) - 0.75).abs() < 0.001);
    }

    #[test]
    fn what_is_long_forgotten_does_not_matter() {
        let heat = Heat::default().touched(at(100.0));
        assert!((heat.count(at(100.0)) - 1.0).abs() < 0.001);
    }

    #[test]
    fn a_coarse_heat_differs_by_a_64th_of_a_half_life_at_most_and_moves_with_the_zero_of_time() {
        for heat in [at(1.0), at(64.3), at(700.01), at(1041.0)] {
            let coarse = Coarse::of(heat);
            assert!(coarse.heat().unwrap().0.abs_diff(heat.0) <= ONE / 64);
            let later = coarse.rebased(Rebase(512 * ONE));
            assert_eq!(
                later.heat(),
                coarse.heat().filter(|_| heat > at(512.0)).map(|h| h.rebased(Rebase(512 * ONE)))
            );
        }
        assert_eq!(Coarse::NONE.heat(), None);
    }

    #[test]
    fn twice_the_size_is_worth_half_the_count() {
        let now = at(80.0);
        let twice = Heat::once(now).touched(now);
        assert!(twice.density(2000).abs_diff(Heat::once(now).density(1000)) <= 2);
        assert!(Heat::once(now).density(1) > Heat::once(now).density(2));
        assert!(Heat::default().density(u32::MAX) < ONE);
    }

    #[test]
    fn time_passes_with_requests_for_each_entry_and_starts_again_before_it_is_too_large() {
        let mut clock = Clock::default();
        clock.set_entries(10);
        let start = clock.now();
        (0..160).for_each(|_| assert!(clock.tick().is_none()));
        assert!(clock.now().0.abs_diff(start.0 + ONE) <= 1);
        clock.set_entries(1);
        let rebase = (0..1 << 20).find_map(|_| clock.tick()).unwrap();
        assert!(clock.now().0.abs_diff(rebase.0) <= ONE / HALF_LIFE as u32);
    }
}
