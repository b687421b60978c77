//! What happened in a run, in order: two runs of a seed must agree in every byte of it.

use std::fmt::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How many bytes of lines are kept to be shown; the digest covers all.
const KEPT_BYTES_MAX: usize = 256 << 20;

/// The lines of a run and their digest. Clones share them.
#[derive(Clone, Default)]
pub struct Trace(Arc<Mutex<Lines>>);

#[derive(Default)]
struct Lines {
    kept: String,
    count: u64,
    digest: blake3::Hasher,
}

impl Trace {
    /// Adds a line: the virtual time, who it concerns, what happened.
    pub fn line(&self, who: &str, what: fmt::Arguments<'_>) {
        let at = virtual_time();
        let mut lines = self.lines();
        let mut line = String::new();
        // Writing to a string cannot fail.
        let _ = writeln!(line, "{:>6}.{:03} {who} {what}", at.as_secs(), at.subsec_millis());
        lines.digest.update(line.as_bytes());
        lines.count += 1;
        if lines.kept.len() + line.len() <= KEPT_BYTES_MAX {
            lines.kept.push_str(&line);
        }
    }

    /// How many lines there are.
    pub fn count(&self) -> u64 {
        self.lines().count
    }

    /// A digest of all lines.
    pub fn digest(&self) -> String {
        self.lines().digest.finalize().to_hex().to_string()
    }

    /// The lines, up to the number kept.
    pub fn text(&self) -> String {
        self.lines().kept.clone()
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Time since the simulation began; zero outside of one.
fn virtual_time() -> Duration {
    turmoil::sim_elapsed().unwrap_or_default()
}
