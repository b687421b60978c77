//! Active health checks: what counts as healthy. The driver that sends the probes is `probe`.
//!
//! ```text
//! unknown --first probe--> healthy <--M good / N bad probes in a row--> unhealthy
//! ```

use selvedge_types::Status;
use selvedge_types::resource::Health as Rules;

/// Whether a probe answered with `status` is good.
pub(super) fn is_good(rules: &Rules, status: Status) -> bool {
    rules.status.0.iter().any(|range| range.contains(status.code()))
}

/// What probes say about an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HealthState {
    /// Not probed yet: gets requests.
    #[default]
    Unknown,
    /// Gets requests.
    Healthy,
    /// Gets none while another endpoint can take them.
    Unhealthy,
}

/// One endpoint's probes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Health {
    state: HealthState,
    against: u32,
}

impl Health {
    /// What is known now.
    pub(super) fn state(&self) -> HealthState {
        self.state
    }

    /// Takes a probe's result in; says whether the state changed. The first probe decides by itself.
    pub(super) fn handle_probe(&mut self, good: bool, rules: &Rules) -> bool {
        let (next, needed) = match (self.state, good) {
            (HealthState::Unknown, true) => (HealthState::Healthy, 1),
            (HealthState::Unknown, false) => (HealthState::Unhealthy, 1),
            (HealthState::Healthy, false) => (HealthState::Unhealthy, rules.unhealthy.max(1)),
            (HealthState::Unhealthy, true) => (HealthState::Healthy, rules.healthy.max(1)),
            (HealthState::Healthy, true) | (HealthState::Unhealthy, false) => {
                self.against = 0;
                return false;
            }
        };
        self.against += 1;
        if self.against < needed {
            return false;
        }
        *self = Health { state: next, against: 0 };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_count_probes_in_a_row() {
        use HealthState::*;
        let rules = Rules { healthy: 2, unhealthy: 3, ..Rules::default() };
        let mut health = Health::default();
        assert_eq!(health.state(), Unknown);
        for (step, (good, state)) in [
            (true, Healthy),
            (false, Healthy),
            (false, Healthy),
            (true, Healthy),
            (false, Healthy),
            (false, Healthy),
            (false, Unhealthy),
            (true, Unhealthy),
            (false, Unhealthy),
            (true, Unhealthy),
            (true, Healthy),
        ]
        .into_iter()
        .enumerate()
        {
            let before = health.state();
            assert_eq!(health.handle_probe(good, &rules), before != state, "step {step}");
            assert_eq!(health.state(), state, "step {step}");
        }
        let mut dead = Health::default();
        assert!(dead.handle_probe(false, &rules));
        assert_eq!(dead.state(), Unhealthy);
    }

    #[test]
    fn good_statuses_are_those_listed() {
        let any = Rules::default();
        for (code, good) in [(200, true), (302, true), (404, false), (503, false)] {
            assert_eq!(is_good(&any, Status::new(code).unwrap()), good, "{code}");
        }
    }
}
