//! What is counted.

use super::view::View;
use selvedge_membership::{FrameError, Phase, Probes, State};
use selvedge_observe::{Counter, Family, Gauge, Registry};

type Labelled<M> = Family<[(&'static str, &'static str); 1], M>;

/// States of members, as the label has them.
const STATES: [&str; 4] = ["alive", "draining", "suspect", "gone"];

pub(super) struct Metrics {
    members: Labelled<Gauge>,
    pops: Labelled<Gauge>,
    health: Gauge,
    probes: Counter,
    unanswered: Counter,
    refused: Labelled<Counter>,
    counted: Probes,
}

impl Metrics {
    pub(super) fn new(registry: &Registry) -> Self {
        let gauges = |name, help| registry.register(name, help, Labelled::<Gauge>::default());
        let counter = |name, help| registry.register(name, help, Counter::default());
        Metrics {
            members: gauges("mesh_members", "Other nodes of this PoP, by how they stand"),
            pops: gauges("mesh_pops", "PoPs that are known, by whether they can be reached"),
            health: registry.register(
                "mesh_health",
                "How far this node's own trouble stretches its probes: 0 is well, 8 the worst",
                Gauge::default(),
            ),
            probes: counter("mesh_probes", "Probes of other nodes that were begun"),
            unanswered: counter("mesh_probes_unanswered", "Probes that nobody answered in time"),
            refused: registry.register(
                "mesh_membership_refused",
                "Frames of membership that were refused, by what was wrong with them",
                Labelled::<Counter>::default(),
            ),
            counted: Probes::default(),
        }
    }

    pub(super) fn refused(&self, error: &FrameError) {
        self.refused.get_or_create(&[("cause", cause(error))]).inc();
    }

    pub(super) fn show(&mut self, view: &View, probes: Probes) {
        let mut counts = [0; STATES.len()];
        for member in view.members.values() {
            let at = match (member.state, member.phase) {
                (State::Gone(_), _) => 3,
                (State::Suspect, _) => 2,
                (State::Alive, Phase::Draining) => 1,
                (State::Alive, _) => 0,
            };
            counts[at] += 1;
        }
        for (state, count) in STATES.into_iter().zip(counts) {
            self.members.get_or_create(&[("state", state)]).set(count);
        }
        let reached = view.pops.values().filter(|pop| pop.reachable).count();
        for (state, count) in [("reachable", reached), ("unreachable", view.pops.len() - reached)] {
            self.pops.get_or_create(&[("state", state)]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.health.set(i64::from(view.health));
        self.probes.inc_by(probes.begun - self.counted.begun);
        self.unanswered.inc_by(probes.unanswered - self.counted.unanswered);
        self.counted = probes;
    }
}

fn cause(error: &FrameError) -> &'static str {
    match error {
        FrameError::Format(_) => "format",
        FrameError::Cluster { .. } => "cluster",
        FrameError::Form(_) => "form",
        FrameError::Pop(_) => "pop",
        FrameError::Size(_) => "size",
        FrameError::Removed => "removed",
        FrameError::OwnKey => "own_key",
    }
}
