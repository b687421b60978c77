//! How far a request has gone out, over either protocol, and how long it may stay there.

use super::error::{FetchError, Stage};
use super::outgoing::{Outgoing, earlier};
use selvedge_cache::semantics::ProxyError;
use selvedge_exchange::BodyError;
use std::time::Duration;
use tokio::time::Instant;

/// How long content waits for 100 (Continue) from an origin that does not send it.
const CONSENT_TIME: Duration = Duration::from_secs(1);

/// How far sending has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SendState {
    /// All is sent.
    Over,
    /// The origin takes no more bytes for now.
    OnOrigin,
    /// The client has sent no more content yet.
    OnClient,
    /// Content waits for 100 (Continue, RFC 9110 section 10.1.1).
    OnHold,
}

impl SendState {
    /// Until when it may stay like this, from `now` on.
    pub(super) fn deadline(self, now: Instant, request: &Outgoing<'_>) -> Instant {
        let (times, due) = (request.times, request.due);
        match self {
            SendState::Over => earlier(now, times.first_byte, due),
            SendState::OnOrigin => earlier(now, times.idle, due),
            SendState::OnHold => earlier(now, CONSENT_TIME, due),
            // The client's own limits apply.
            SendState::OnClient => due,
        }
    }

    /// What it means that it did for too long.
    pub(super) fn timed_out(self) -> FetchError {
        let (kind, detail) = match self {
            SendState::OnOrigin => (ProxyError::ConnectionWriteTimeout, "took no more of the request"),
            SendState::OnClient => return FetchError::of_content(&BodyError::TimedOut, Stage::Answered),
            SendState::Over | SendState::OnHold => {
                (ProxyError::HttpResponseTimeout, "did not answer within the time allowed")
            }
        };
        FetchError::new(kind, Stage::Answered, detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_stalls_is_told_so_whatever_the_origin_speaks() {
        assert_eq!(SendState::OnClient.timed_out().status.code(), 408);
        assert_eq!(SendState::OnOrigin.timed_out().status.code(), 504);
        assert_eq!(SendState::Over.timed_out().status.code(), 504);
    }
}
