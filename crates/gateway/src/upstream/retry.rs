//! Whether a failed request is sent again (RFC 9110 section 9.2.2).

use super::error::{FetchError, Side, Stage};
use selvedge_cache::semantics::ProxyError;

/// What is known about the request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    /// Its method may be repeated.
    pub(super) is_idempotent: bool,
    /// None of its content is lost.
    pub(super) is_repeatable: bool,
    /// An endpoint that was not tried can serve.
    pub(super) has_other: bool,
    /// It was sent again for free already.
    pub(super) had_free: bool,
}

/// What to do with a request that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    GiveUp,
    /// Send it again over a new connection: the origin is not to blame, so it costs nothing.
    Free,
    /// Send it again if number and budget of retries allow.
    Charged,
}

/// Decides.
pub(super) fn decide(error: &FetchError, case: Case) -> Verdict {
    let is_full = error.kind == ProxyError::ConnectionLimitReached;
    if !case.is_repeatable || (error.side() != Side::Origin && !is_full) {
        return Verdict::GiveUp;
    }
    let was_cut = error.kind == ProxyError::ConnectionTerminated && !case.had_free;
    match error.stage {
        Stage::Unsent if was_cut => Verdict::Free,
        Stage::Unsent if case.has_other => Verdict::Charged,
        Stage::Stale if case.is_idempotent && was_cut => Verdict::Free,
        Stage::Stale | Stage::Unanswered if case.is_idempotent => Verdict::Charged,
        Stage::Answered if case.is_idempotent && case.has_other => Verdict::Charged,
        Stage::Unsent | Stage::Stale | Stage::Unanswered | Stage::Answered => Verdict::GiveUp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_repeated_only_where_that_is_safe() {
        use ProxyError::*;
        use Stage::*;
        use Verdict::*;
        const SAFE: Case =
            Case { is_idempotent: true, is_repeatable: true, has_other: true, had_free: false };
        const ALONE: Case = Case { has_other: false, ..SAFE };
        const POST: Case = Case { is_idempotent: false, ..SAFE };
        const LOST: Case = Case { is_repeatable: false, ..SAFE };
        const AGAIN: Case = Case { had_free: true, ..SAFE };
        for (kind, stage, case, verdict) in [
            (ConnectionRefused, Unsent, SAFE, Charged),
            (ConnectionRefused, Unsent, POST, Charged),
            (ConnectionRefused, Unsent, ALONE, GiveUp),
            (ConnectionRefused, Unsent, LOST, GiveUp),
            (ConnectionTerminated, Unsent, POST, Free),
            (ConnectionTerminated, Unsent, AGAIN, Charged),
            (ConnectionTerminated, Stale, SAFE, Free),
            (ConnectionTerminated, Stale, ALONE, Free),
            (ConnectionTerminated, Stale, AGAIN, Charged),
            (ConnectionTerminated, Stale, POST, GiveUp),
            (ConnectionTerminated, Unanswered, ALONE, Charged),
            (ConnectionTerminated, Unanswered, POST, GiveUp),
            (HttpResponseTimeout, Answered, SAFE, Charged),
            (HttpResponseTimeout, Answered, ALONE, GiveUp),
            (HttpResponseTimeout, Answered, POST, GiveUp),
            (HttpProtocolError, Answered, SAFE, Charged),
            (ConnectionLimitReached, Unsent, SAFE, Charged),
            (ConnectionLimitReached, Unsent, ALONE, GiveUp),
            (HttpRequestError, Answered, SAFE, GiveUp),
            (ProxyInternalError, Unsent, SAFE, GiveUp),
        ] {
            let error = FetchError::new(kind, stage, "");
            assert_eq!(decide(&error, case), verdict, "{kind:?} {stage:?} {case:?}");
        }
    }
}
