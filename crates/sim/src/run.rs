//! One run: a seed, what it may draw, what it exercised, and how it failed.

use crate::trace::Trace;
use selvedge_rt::Rng;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(String);

impl Failure {
    /// A failure with that description.
    pub fn new(what: impl Into<String>) -> Self {
        Failure(what.into())
    }
}

/// What a scenario gets.
#[derive(Clone)]
pub struct Run {
    /// The seed, for messages.
    pub seed: u64,
    /// The scenario's branch of the seed's randomness.
    pub rng: Rng,
    /// Where everything of note goes.
    pub trace: Trace,
    exercised: Arc<Mutex<BTreeMap<&'static str, Exercised>>>,
}

#[derive(Clone, Copy, Default)]
struct Exercised {
    count: u64,
    least: u64,
}

impl Run {
    /// A run of `seed`.
    pub fn new(seed: u64) -> Self {
        Run { seed, rng: Rng::from_seed(seed), trace: Trace::default(), exercised: Arc::default() }
    }

    /// The same run as the scenario `name` sees it.
    pub fn branch(&self, name: &str) -> Self {
        Run { rng: self.rng.branch(name), ..self.clone() }
    }

    /// Notes that something was exercised `count` more times.
    pub fn exercised(&self, what: &'static str, count: u64) {
        self.note(what, |e| e.count += count);
    }

    /// Demands that something is exercised at least so often, lest the run proves nothing.
    pub fn require(&self, what: &'static str, least: u64) {
        self.note(what, |e| e.least = e.least.max(least));
    }

    /// What was exercised, one thing a line; fails if anything was too seldom.
    pub fn summary(&self) -> Result<String, Failure> {
        let exercised = self.exercised.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        for (what, Exercised { count, least }) in exercised.iter() {
            text.push_str(&format!("{what:<40} {count:>8}\n"));
            if count < least {
                return Err(Failure(format!(
                    "the run proves too little: {what} is {count}, less than {least}"
                )));
            }
        }
        Ok(text)
    }

    fn note(&self, what: &'static str, change: impl FnOnce(&mut Exercised)) {
        let mut exercised = self.exercised.lock().unwrap_or_else(PoisonError::into_inner);
        change(exercised.entry(what).or_default());
    }
}

/// Fails the scenario with a message unless a condition holds.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::run::Failure::new(format!($($message)+)));
        }
    };
}
