//! Which endpoint takes a request: weighted choice of two by load and latency.
//!
//! Two endpoints are drawn by weight and the cheaper one is taken (Mitzenmacher, "The power of two choices").
//! Sans-IO: the driver says when requests start, answer, fail and end, and what probes found.

use super::ejection::{Ejection, SHARE_MAX_PERCENT};
use super::health::{Health, HealthState};
use super::latency::PeakEwma;
use selvedge_rt::Rng;
use selvedge_types::resource;
use std::time::Duration;

/// An endpoint within its group, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct EndpointId(pub(super) u64);

/// The second endpoint drawn is taken only if its cost is below this share of the first one's: small
/// differences are noise, and then weights alone decide.
const CLEARLY_CHEAPER: f64 = 0.75;

/// An endpoint's place in its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seat {
    pub(super) id: EndpointId,
    /// Relative share of requests; 0 counts as 1.
    pub(super) weight: u32,
    /// Lower ones are taken while any of them can serve (SRV, RFC 2782).
    pub(super) priority: u16,
}

struct Member {
    seat: Seat,
    in_flight: u32,
    latency: PeakEwma,
    ejection: Ejection,
    health: Health,
}

/// What is known of one endpoint, for status pages.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct MemberView {
    pub(super) in_flight: u32,
    pub(super) latency_seconds: f64,
    pub(super) ejected: bool,
    pub(super) health: HealthState,
}

/// The endpoints of a group and what is known of them.
pub(super) struct Balancer {
    members: Vec<Member>,
    rules: resource::Ejection,
    rng: Rng,
}

impl Balancer {
    /// A group without endpoints.
    pub(super) fn new(rules: resource::Ejection, rng: Rng) -> Self {
        Balancer { members: Vec::new(), rules, rng }
    }

    /// Sets who is in the group. What is known of those that stay is kept.
    pub(super) fn set_seats(&mut self, seats: &[Seat]) {
        let mut before = std::mem::take(&mut self.members);
        self.members = seats
            .iter()
            .map(|seat| match before.iter().position(|m| m.seat.id == seat.id) {
                Some(at) => Member { seat: *seat, ..before.swap_remove(at) },
                None => Member {
                    seat: *seat,
                    in_flight: 0,
                    latency: PeakEwma::default(),
                    ejection: Ejection::default(),
                    health: Health::default(),
                },
            })
            .collect();
    }

    /// Chooses an endpoint, one that is not in `tried` if any of those can serve. An endpoint that is
    /// ejected or unhealthy is chosen only if there is no other. None: the group is empty.
    pub(super) fn pick(&mut self, now: Duration, tried: &[EndpointId]) -> Option<EndpointId> {
        let rank = |m: &Member| (m.tier(now, tried), m.seat.priority);
        let best = self.members.iter().map(rank).min()?;
        let first = draw(&mut self.rng, self.members.iter().filter(|m| rank(m) == best))?;
        let others = self.members.iter().filter(|m| rank(m) == best && m.seat.id != first.seat.id);
        let chosen = match draw(&mut self.rng, others) {
            Some(second) if second.cost(now) < first.cost(now) * CLEARLY_CHEAPER => second,
            _ => first,
        };
        Some(chosen.seat.id)
    }

    /// Whether an endpoint outside `tried` can serve.
    pub(super) fn has_other(&self, now: Duration, tried: &[EndpointId]) -> bool {
        self.members.iter().any(|m| m.is_usable(now) && !tried.contains(&m.seat.id))
    }

    /// A request went to `id`.
    pub(super) fn handle_start(&mut self, id: EndpointId) {
        if let Some(m) = self.find(id) {
            m.in_flight += 1;
        }
    }

    /// The head of an answer came after `latency`. `failed`: its status counts against the endpoint, and the
    /// result says whether that ejects it.
    pub(super) fn handle_answer(
        &mut self,
        id: EndpointId,
        now: Duration,
        latency: Duration,
        failed: bool,
    ) -> bool {
        if failed {
            return self.handle_failure(id, now);
        }
        let Some(at) = self.members.iter().position(|m| m.seat.id == id) else { return false };
        let rules = &self.rules;
        if let Some(m) = self.members.get_mut(at) {
            m.latency.record(now, latency);
            m.ejection.handle_success(now, rules);
        }
        false
    }

    /// No proper answer came. Says whether that ejects the endpoint.
    pub(super) fn handle_failure(&mut self, id: EndpointId, now: Duration) -> bool {
        let may_eject = self.may_eject(now, id);
        let Some(at) = self.members.iter().position(|m| m.seat.id == id) else { return false };
        let rules = &self.rules;
        self.members.get_mut(at).is_some_and(|m| m.ejection.handle_failure(now, rules, may_eject))
    }

    /// The request that [`Balancer::handle_start`] counted is over.
    pub(super) fn handle_end(&mut self, id: EndpointId) {
        if let Some(m) = self.find(id) {
            m.in_flight = m.in_flight.saturating_sub(1);
        }
    }

    /// A probe's result. Says whether the endpoint's health changed.
    pub(super) fn handle_probe(&mut self, id: EndpointId, good: bool, rules: &resource::Health) -> bool {
        self.find(id).is_some_and(|m| m.health.handle_probe(good, rules))
    }

    /// What is known of `id`.
    pub(super) fn view(&self, id: EndpointId, now: Duration) -> Option<MemberView> {
        self.members.iter().find(|m| m.seat.id == id).map(|m| MemberView {
            in_flight: m.in_flight,
            latency_seconds: m.latency.seconds(now),
            ejected: m.ejection.is_ejected(now),
            health: m.health.state(),
        })
    }

    /// One may be out, more up to the share that the rules allow, all never.
    fn may_eject(&self, now: Duration, id: EndpointId) -> bool {
        let out = self.members.iter().filter(|m| m.seat.id != id && m.ejection.is_ejected(now)).count() + 1;
        let share = self.members.len() * SHARE_MAX_PERCENT / 100;
        out <= share.max(1) && out < self.members.len()
    }

    fn find(&mut self, id: EndpointId) -> Option<&mut Member> {
        self.members.iter_mut().find(|m| m.seat.id == id)
    }
}

impl Member {
    fn is_usable(&self, now: Duration) -> bool {
        !self.ejection.is_ejected(now) && self.health.state() != HealthState::Unhealthy
    }

    /// Lower tiers are taken first.
    fn tier(&self, now: Duration, tried: &[EndpointId]) -> u8 {
        match (self.is_usable(now), tried.contains(&self.seat.id)) {
            (true, false) => 0,
            (true, true) => 1,
            (false, false) => 2,
            (false, true) => 3,
        }
    }

    fn weight(&self) -> u64 {
        u64::from(self.seat.weight.max(1))
    }

    fn cost(&self, now: Duration) -> f64 {
        self.latency.seconds(now) * (1.0 + f64::from(self.in_flight) / self.weight() as f64)
    }
}

/// One of `members`, with a probability in proportion to its weight.
fn draw<'a>(rng: &mut Rng, members: impl Iterator<Item = &'a Member> + Clone) -> Option<&'a Member> {
    let total = members.clone().map(Member::weight).sum();
    let mut left = rng.below(total);
    let mut members = members;
    members.find(|m| match left.checked_sub(m.weight()) {
        Some(rest) => {
            left = rest;
            false
        }
        None => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Duration = Duration::ZERO;

    fn group(weights: &[u32]) -> Balancer {
        let rules = resource::Ejection { failures: 2, ..resource::Ejection::default() };
        let mut group = Balancer::new(rules, Rng::from_seed(1));
        let seats: Vec<_> = weights
            .iter()
            .enumerate()
            .map(|(i, weight)| Seat { id: EndpointId(i as u64), weight: *weight, priority: 0 })
            .collect();
        group.set_seats(&seats);
        group
    }

    fn shares(group: &mut Balancer, now: Duration, tried: &[EndpointId]) -> Vec<usize> {
        let mut counts = vec![0; group.members.len()];
        for _ in 0..1_000 {
            counts[group.pick(now, tried).unwrap().0 as usize] += 1;
        }
        counts
    }

    #[test]
    fn an_empty_group_has_no_choice() {
        assert_eq!(group(&[]).pick(T0, &[]), None);
    }

    #[test]
    fn equal_endpoints_share_by_weight() {
        let shares = shares(&mut group(&[3, 1]), T0, &[]);
        assert!((700..800).contains(&shares[0]), "{shares:?}");
    }

    #[test]
    fn the_busier_of_two_is_left_alone() {
        let mut group = group(&[1, 1]);
        (0..3).for_each(|_| group.handle_start(EndpointId(0)));
        assert_eq!(shares(&mut group, T0, &[]), [0, 1_000]);
        (0..3).for_each(|_| group.handle_end(EndpointId(0)));
        assert!(shares(&mut group, T0, &[])[0] > 400);
    }

    #[test]
    fn the_slower_of_two_is_left_alone_until_its_average_fades() {
        let mut group = group(&[1, 1]);
        group.handle_answer(EndpointId(0), T0, Duration::from_millis(50), false);
        assert_eq!(shares(&mut group, T0, &[]), [0, 1_000]);
        assert!(shares(&mut group, Duration::from_secs(60), &[])[0] > 400);
    }

    #[test]
    fn a_retry_goes_elsewhere_if_it_can() {
        let mut group = group(&[1, 1]);
        assert_eq!(shares(&mut group, T0, &[EndpointId(1)]), [1_000, 0]);
        assert!(group.has_other(T0, &[EndpointId(1)]));
        let both = [EndpointId(0), EndpointId(1)];
        assert!(!group.has_other(T0, &both));
        assert!(group.pick(T0, &both).is_some());
    }

    #[test]
    fn ejected_endpoints_rest_but_never_all_of_them() {
        let mut group = group(&[1, 1, 1]);
        for (id, ejects) in [(0, true), (1, false), (2, false)] {
            assert!(!group.handle_failure(EndpointId(id), T0));
            assert_eq!(group.handle_failure(EndpointId(id), T0), ejects, "{id}");
        }
        assert_eq!(shares(&mut group, T0, &[])[0], 0);
        assert!(shares(&mut group, Duration::from_secs(11), &[])[0] > 100);
        let mut alone = super::tests::group(&[1]);
        (0..9).for_each(|_| assert!(!alone.handle_failure(EndpointId(0), T0)));
        assert_eq!(alone.pick(T0, &[]), Some(EndpointId(0)));
    }

    #[test]
    fn unhealthy_endpoints_are_used_only_when_all_are() {
        let mut group = group(&[1, 1]);
        let rules = resource::Health::default();
        assert!(group.handle_probe(EndpointId(0), false, &rules));
        assert_eq!(shares(&mut group, T0, &[]), [0, 1_000]);
        assert!(group.handle_probe(EndpointId(1), false, &rules));
        assert!(shares(&mut group, T0, &[])[0] > 400);
    }

    #[test]
    fn lower_priorities_come_first() {
        let mut group = group(&[1, 1]);
        let seat = |id, priority| Seat { id: EndpointId(id), weight: 1, priority };
        group.set_seats(&[seat(0, 20), seat(1, 10)]);
        assert_eq!(shares(&mut group, T0, &[]), [0, 1_000]);
        group.handle_probe(EndpointId(1), false, &resource::Health::default());
        assert_eq!(shares(&mut group, T0, &[]), [1_000, 0]);
    }

    #[test]
    fn members_that_stay_keep_their_record() {
        let mut group = group(&[1, 1]);
        group.handle_start(EndpointId(1));
        group.set_seats(&[Seat { id: EndpointId(1), weight: 5, priority: 0 }]);
        assert_eq!(group.view(EndpointId(1), T0).unwrap().in_flight, 1);
        assert_eq!(group.view(EndpointId(0), T0), None);
    }
}
