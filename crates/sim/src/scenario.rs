//! What is played in every run, one after the other.

mod engine;
mod group;
mod network;
mod node;
mod segments;
mod state;
mod wal;

use crate::run::{Failure, Run};

/// A scenario: it draws from the run's randomness alone, and fails if what it checks does not hold.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// How it is called on the command line.
    pub name: &'static str,
    /// Plays it.
    pub play: fn(&Run) -> Result<(), Failure>,
}

/// All scenarios, in the order in which they are played.
pub const ALL: &[Scenario] = &[
    Scenario { name: "wal", play: wal::play },
    Scenario { name: "engine", play: engine::play },
    Scenario { name: "segments", play: segments::play },
    Scenario { name: "state", play: state::play },
    Scenario { name: "group", play: group::play },
    Scenario { name: "network", play: network::play },
    Scenario { name: "node", play: node::play },
];

/// Plays those scenarios whose name is `only`, or all.
pub fn play(run: &Run, only: Option<&str>) -> Result<(), Failure> {
    for scenario in ALL.iter().filter(|s| only.is_none_or(|o| o == s.name)) {
        run.trace.line("run", format_args!("scenario {}", scenario.name));
        (scenario.play)(&run.branch(scenario.name))
            .map_err(|failure| Failure::new(format!("{}: {failure}", scenario.name)))?;
    }
    Ok(())
}
