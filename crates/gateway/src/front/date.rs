//! The Date of responses, rendered once a second on each thread.

use selvedge_cache::semantics::http_date::{self, LEN};
use selvedge_types::UnixMillis;
use std::cell::RefCell;

thread_local! {
    static RENDERED: RefCell<(u64, [u8; LEN])> = const { RefCell::new((u64::MAX, [b' '; LEN])) };
}

/// Calls `use_date` with `now` as an IMF-fixdate (RFC 9110 section 5.6.7).
pub(crate) fn with_date<R>(now: UnixMillis, use_date: impl FnOnce(Option<&str>) -> R) -> R {
    let seconds = now.0 / 1000;
    let text = RENDERED.with_borrow_mut(|(at, text)| {
        if *at != seconds {
            *text = http_date::write(now);
            *at = seconds;
        }
        *text
    });
    use_date(std::str::from_utf8(&text).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_imf_fixdates() {
        for (seconds, expected) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT"),
        ] {
            with_date(UnixMillis(seconds * 1000 + 999), |date| assert_eq!(date, Some(expected)));
        }
    }
}
