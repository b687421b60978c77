//! Progress on standard error, for what takes over a second; one line, and only on a terminal.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// How long something may take in silence.
const SILENT: Duration = Duration::from_secs(1);
/// How often the line is drawn again.
const EVERY: Duration = Duration::from_millis(200);

/// A line that tells how far something is.
#[derive(Debug)]
pub(super) struct Progress {
    started: Duration,
    drawn: Option<Duration>,
    terminal: bool,
}

impl Progress {
    /// Progress of something that starts at `now`.
    pub(super) fn start(now: Duration) -> Self {
        Progress { started: now, drawn: None, terminal: io::stderr().is_terminal() }
    }

    /// Draws the line if it is time to.
    pub(super) fn update(&mut self, now: Duration, line: impl FnOnce() -> String) {
        if !self.terminal || !self.is_due(now) {
            return;
        }
        self.drawn = Some(now);
        // A progress line that cannot be drawn is no loss.
        let _ = write!(io::stderr().lock(), "\r\x1b[2K{}", line());
    }

    /// Removes the line.
    pub(super) fn finish(self) {
        if self.drawn.is_some() {
            let _ = write!(io::stderr().lock(), "\r\x1b[2K");
        }
    }

    fn is_due(&self, now: Duration) -> bool {
        match self.drawn {
            None => now.saturating_sub(self.started) >= SILENT,
            Some(last) => now.saturating_sub(last) >= EVERY,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_second_is_silent() {
        let mut progress = Progress { started: Duration::from_secs(5), drawn: None, terminal: true };
        assert!(!progress.is_due(Duration::from_millis(5_900)));
        assert!(progress.is_due(Duration::from_secs(6)));
        progress.drawn = Some(Duration::from_secs(6));
        assert!(!progress.is_due(Duration::from_millis(6_100)));
        assert!(progress.is_due(Duration::from_millis(6_200)));
    }
}
