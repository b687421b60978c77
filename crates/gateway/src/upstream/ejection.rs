//! Passive ejection: an endpoint that keeps failing rests for a while, longer each time.
//!
//! ```text
//! serving --N failures in a row--> ejected --time passes--> on probation --1 failure--> ejected (twice as long)
//!    ^                                                          |
//!    +-------------------------- success -----------------------+
//! ```

use selvedge_types::resource::Ejection as Rules;
use std::time::Duration;

/// At most this share of a group's endpoints is out at a time, in percent; one may always be, all never.
pub(super) const SHARE_MAX_PERCENT: usize = 50;

/// How long the ejection after `times` earlier ones lasts.
fn time_after(rules: &Rules, times: u32) -> Duration {
    rules.time.get().saturating_mul(1 << times.min(20)).min(rules.max_time.get())
}

/// One endpoint's record.
#[derive(Debug, Clone, Default)]
pub(super) struct Ejection {
    failures: u32,
    times: u32,
    until: Option<Duration>,
    eased: Duration,
}

impl Ejection {
    /// Whether the endpoint is out at `now`.
    pub(super) fn is_ejected(&self, now: Duration) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// Takes a success in. Each ejection time that passes in good health forgets one earlier ejection.
    pub(super) fn handle_success(&mut self, now: Duration, rules: &Rules) {
        self.failures = 0;
        if self.times > 0 && !self.is_ejected(now) && now.saturating_sub(self.eased) >= rules.time.get() {
            self.times -= 1;
            self.eased = now;
        }
    }

    /// Takes a failure in; says whether it ejects the endpoint. `may_eject` is the group's consent.
    pub(super) fn handle_failure(&mut self, now: Duration, rules: &Rules, may_eject: bool) -> bool {
        self.failures = self.failures.saturating_add(1);
        if rules.failures == 0 || self.is_ejected(now) || !may_eject {
            return false;
        }
        if self.failures < rules.failures {
            return false;
        }
        let until = now + time_after(rules, self.times);
        self.times = self.times.saturating_add(1);
        // On its return one more failure is enough.
        self.failures = rules.failures - 1;
        self.until = Some(until);
        self.eased = until;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use selvedge_types::resource::Period;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn rules() -> Rules {
        Rules { failures: 3, time: Period::from_secs(10), max_time: Period::from_secs(35) }
    }

    #[test]
    fn failures_in_a_row_eject_and_a_success_starts_over() {
        let (rules, mut record) = (rules(), Ejection::default());
        for (ok, ejects) in [(false, false), (false, false), (true, false), (false, false), (false, false)] {
            if ok {
                record.handle_success(secs(0), &rules);
            } else {
                assert_eq!(record.handle_failure(secs(0), &rules, true), ejects);
            }
        }
        assert!(record.handle_failure(secs(0), &rules, true));
        assert!(record.is_ejected(secs(9)));
        assert!(!record.is_ejected(secs(10)));
    }

    #[test]
    fn one_failure_after_the_return_ejects_for_twice_as_long_up_to_the_limit() {
        let (rules, mut record) = (rules(), Ejection::default());
        let mut now = secs(0);
        (0..2).for_each(|_| assert!(!record.handle_failure(now, &rules, true)));
        for time in [10, 20, 35, 35] {
            assert!(record.handle_failure(now, &rules, true));
            assert!(record.is_ejected(now + secs(time) - Duration::from_millis(1)), "{time}");
            now += secs(time);
            assert!(!record.is_ejected(now), "{time}");
        }
    }

    #[test]
    fn good_health_forgets_earlier_ejections_one_by_one() {
        let (rules, mut record) = (rules(), Ejection::default());
        (0..3).for_each(|_| {
            record.handle_failure(secs(0), &rules, true);
        });
        record.handle_failure(secs(10), &rules, true);
        assert_eq!(record.times, 2);
        record.handle_success(secs(31), &rules);
        assert_eq!(record.times, 2);
        record.handle_success(secs(40), &rules);
        record.handle_success(secs(50), &rules);
        assert_eq!(record.times, 0);
    }

    #[test]
    fn nothing_is_ejected_without_consent_or_when_switched_off() {
        let mut record = Ejection::default();
        (0..9).for_each(|_| assert!(!record.handle_failure(secs(0), &rules(), false)));
        let off = Rules { failures: 0, ..rules() };
        (0..9).for_each(|_| assert!(!record.handle_failure(secs(0), &off, true)));
    }
}
