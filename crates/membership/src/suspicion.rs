//! One member under suspicion, and how long until the verdict: Lifeguard's dynamic timeout (2017, 3.2).
//!
//! ```text
//!   accused --own probe failed--> first-hand: a verdict is due --no sign of life--> gone
//!      |  by others only                | each other accuser brings it nearer
//!      '--> waits for their verdict     '-- a higher incarnation of the member ends it at any time
//! ```
//! The timeout starts at its maximum and falls with the logarithm of the number of independent accusers. A dead
//! member is accused by everybody who probes it; a live one behind a lossy link hardly ever by two.

use crate::identity::Identity;
use crate::limits::Timing;
use selvedge_types::NodeKey;
use std::time::Duration;

/// Other accusers that bring the timeout to its minimum, if there are so many members.
pub(crate) const CONFIRMATIONS: usize = 3;

/// What is known of an accused member.
#[derive(Clone, Debug)]
pub(crate) struct Suspicion {
    /// Who is accused.
    pub(crate) accused: Identity,
    /// The incarnation that is; a higher one refutes it.
    pub(crate) incarnation: u16,
    /// Since when, if this node accuses it by its own probe.
    pub(crate) first_hand: Option<Duration>,
    /// Other accusers, at most [`CONFIRMATIONS`].
    others: Vec<NodeKey>,
    /// What makes the verdict final, if this node accuses.
    pub(crate) verdict: Option<foca::Timer<Identity>>,
}

impl Suspicion {
    pub(crate) fn new(accused: Identity, incarnation: u16) -> Self {
        Suspicion { accused, incarnation, first_hand: None, others: Vec::new(), verdict: None }
    }

    /// Counts an accuser. Whether it is a new one that others should hear of.
    pub(crate) fn confirm(&mut self, accuser: NodeKey) -> bool {
        if self.others.len() >= CONFIRMATIONS || self.others.contains(&accuser) {
            return false;
        }
        self.others.push(accuser);
        true
    }

    /// When the member counts as gone, in a pool of `members` others; nothing if others decide.
    pub(crate) fn due(&self, timing: &Timing, members: usize) -> Option<Duration> {
        let possible = CONFIRMATIONS.min(members.saturating_sub(1));
        Some(self.first_hand? + timeout(timing, self.others.len(), possible))
    }
}

/// The timeout with `confirmed` of `possible` other accusers.
fn timeout(timing: &Timing, confirmed: usize, possible: usize) -> Duration {
    if confirmed >= possible {
        return timing.suspicion_min;
    }
    let share = ((confirmed + 1) as f64).ln() / ((possible + 1) as f64).ln();
    timing.suspicion_max - (timing.suspicion_max - timing.suspicion_min).mul_f64(share)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::POP_TIMING;

    #[test]
    fn each_accuser_brings_the_verdict_nearer() {
        let timeouts: Vec<_> = (0..=3).map(|n| timeout(&POP_TIMING, n, 3)).collect();
        assert_eq!(timeouts.first(), Some(&POP_TIMING.suspicion_max));
        assert_eq!(timeouts.last(), Some(&POP_TIMING.suspicion_min));
        assert!(timeouts.is_sorted_by(|a, b| a > b), "{timeouts:?}");
    }

    #[test]
    fn two_members_alone_need_nobodys_confirmation() {
        assert_eq!(timeout(&POP_TIMING, 0, 0), POP_TIMING.suspicion_min);
    }

    #[test]
    fn an_accuser_counts_once() {
        let accused = Identity::new(NodeKey::from_bytes([1; 32]), 1);
        let mut suspicion = Suspicion::new(accused, 0);
        let accuser = NodeKey::from_bytes([2; 32]);
        assert!(suspicion.confirm(accuser));
        assert!(!suspicion.confirm(accuser));
        assert_eq!(suspicion.due(&POP_TIMING, 9), None, "others decide");
        suspicion.first_hand = Some(Duration::from_secs(1));
        assert!(
            suspicion
                .due(&POP_TIMING, 9)
                .is_some_and(|due| due < Duration::from_secs(1) + POP_TIMING.suspicion_max)
        );
    }
}
