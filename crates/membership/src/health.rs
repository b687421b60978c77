//! How well this node itself does: Lifeguard's local health multiplier (Dadgar, Phillips, Currey 2017, 3.1).
//!
//! A node that is slow to read its mail takes others for dead. What tells it so (nobody answers, it had to
//! refute, it woke late) raises a score; answers lower it. Its probes slow down with the score, so that it has
//! longer to hear the answers before it accuses anyone.

/// The score's largest value, as the paper has it.
pub(crate) const SCORE_MAX: u8 = 8;

/// Probes of this node, in all its pools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Probes {
    /// How many were begun.
    pub begun: u64,
    /// How many of them nobody answered in time.
    pub unanswered: u64,
}

/// A score from 0, healthy, to [`SCORE_MAX`], and what it comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Health {
    score: u8,
    pub(crate) probes: Probes,
}

impl Health {
    /// A probe was answered.
    pub(crate) fn better(&mut self) {
        self.score = self.score.saturating_sub(1);
    }

    /// Something that a healthy node would not have met.
    pub(crate) fn worse(&mut self) {
        self.score = (self.score + 1).min(SCORE_MAX);
    }

    /// The score.
    pub(crate) fn score(self) -> u8 {
        self.score
    }

    /// By how much delays of probes are stretched.
    pub(crate) fn multiplier(self) -> u32 {
        u32::from(self.score) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_score_stays_within_its_bounds() {
        let mut health = Health::default();
        health.better();
        assert_eq!(health.multiplier(), 1);
        (0..20).for_each(|_| health.worse());
        assert_eq!((health.score(), health.multiplier()), (8, 9));
        health.better();
        assert_eq!(health.score(), 7);
    }
}
