//! Limits of the endpoint, beside those of every link (`rt::links`).

use std::time::Duration;

/// How many handshakes a node takes part in at once as the one who is called; who comes then is ignored and
/// tries again by itself. From half of it on, callers have to prove their address first (RFC 9000, 8.1.2).
pub const HANDSHAKES_MAX: usize = 64;
/// How many handshakes are begun in a second, in the long run; who comes then is ignored.
pub const HANDSHAKES_PER_SECOND_MAX: u32 = 200;
/// How many more may come at once.
pub const HANDSHAKE_BURST: u32 = 200;
/// How long a handshake may take.
pub const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// How many new links wait to be taken; more are closed as overloaded.
pub const ACCEPT_QUEUE: usize = 64;
/// How many bytes of all streams of a link may wait for their readers.
pub const LINK_WINDOW_BYTES: u32 = 16 << 20;
/// How many bytes of datagrams wait to be sent, and as many to be read; the oldest go first.
pub const DATAGRAM_BUFFER_BYTES: usize = 256 << 10;

/// Says how many may come, by the time: a bucket of tokens.
pub(super) struct Rate {
    tokens: f64,
    at: Duration,
}

impl Rate {
    pub(super) fn new() -> Self {
        Rate { tokens: f64::from(HANDSHAKE_BURST), at: Duration::ZERO }
    }

    /// Whether one more may come at `now`.
    pub(super) fn allows(&mut self, now: Duration) -> bool {
        let earned = now.saturating_sub(self.at).as_secs_f64() * f64::from(HANDSHAKES_PER_SECOND_MAX);
        self.at = now;
        self.tokens = (self.tokens + earned).min(f64::from(HANDSHAKE_BURST));
        let allowed = self.tokens >= 1.0;
        self.tokens -= if allowed { 1.0 } else { 0.0 };
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let mut rate = Rate::new();
        let allowed = |rate: &mut Rate, at| (0..1000).filter(|_| rate.allows(at)).count();
        assert_eq!(allowed(&mut rate, Duration::from_secs(1)), HANDSHAKE_BURST as usize);
        assert_eq!(allowed(&mut rate, Duration::from_millis(1500)), HANDSHAKES_PER_SECOND_MAX as usize / 2);
        assert_eq!(allowed(&mut rate, Duration::from_secs(900)), HANDSHAKE_BURST as usize);
    }
}
