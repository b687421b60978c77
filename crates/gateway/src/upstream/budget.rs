//! How many retries a group may make: a fraction of its requests, so that retries cannot multiply an outage.

use std::time::Duration;

/// Retries allowed each second beside the fraction, so that a group with few requests can retry at all.
const PER_SECOND: f64 = 1.0;
/// Retries that can be saved up; a new group starts with a tenth of it.
const BALANCE_MAX: f64 = 100.0;

/// A token bucket that requests fill (finagle's retry budget).
#[derive(Debug, Clone)]
pub(super) struct RetryBudget {
    ratio: f64,
    balance: f64,
    at: Duration,
}

impl RetryBudget {
    /// A budget of `percent` retries for 100 requests; none at all for 0.
    pub(super) fn new(percent: u8) -> Self {
        let balance = if percent == 0 { 0.0 } else { BALANCE_MAX / 10.0 };
        RetryBudget { ratio: f64::from(percent) / 100.0, balance, at: Duration::ZERO }
    }

    /// Counts a request (not a retry).
    pub(super) fn deposit(&mut self) {
        self.balance = (self.balance + self.ratio).min(BALANCE_MAX);
    }

    /// Takes a retry out; false if there is none left.
    pub(super) fn withdraw(&mut self, now: Duration) -> bool {
        if self.ratio > 0.0 {
            let idle = now.saturating_sub(self.at).as_secs_f64();
            self.balance = (self.balance + PER_SECOND * idle).min(BALANCE_MAX);
        }
        self.at = self.at.max(now);
        let enough = self.balance >= 1.0;
        if enough {
            self.balance -= 1.0;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn withdrawals(budget: &mut RetryBudget, now: Duration, tries: usize) -> usize {
        (0..tries).filter(|_| budget.withdraw(now)).count()
    }

    #[test]
    fn retries_are_a_fraction_of_requests() {
        let mut budget = RetryBudget::new(25);
        assert_eq!(withdrawals(&mut budget, Duration::ZERO, 100), 10);
        (0..40).for_each(|_| budget.deposit());
        assert_eq!(withdrawals(&mut budget, Duration::ZERO, 100), 10);
    }

    #[test]
    fn a_quiet_group_has_a_reserve_that_time_fills() {
        let mut budget = RetryBudget::new(20);
        withdrawals(&mut budget, Duration::ZERO, 100);
        assert_eq!(withdrawals(&mut budget, Duration::from_secs(3), 100), 3);
        assert_eq!(withdrawals(&mut budget, Duration::from_secs(100_000), 1_000), 100);
    }

    #[test]
    fn a_budget_of_zero_allows_none() {
        let mut budget = RetryBudget::new(0);
        budget.deposit();
        assert_eq!(withdrawals(&mut budget, Duration::from_secs(1_000), 10), 0);
    }
}
