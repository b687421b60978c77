//! The Date of responses, rendered once a second on each thread.

use selvedge_types::UnixMillis;
use std::cell::RefCell;

/// `Sun, 06 Nov 1994 08:49:37 GMT`
const LEN: usize = 29;

thread_local! {
    static RENDERED: RefCell<(u64, [u8; LEN])> = const { RefCell::new((u64::MAX, [b' '; LEN])) };
}

/// Calls `use_date` with `now` as an IMF-fixdate (RFC 9110 section 5.6.7).
pub(crate) fn with_date<R>(now: UnixMillis, use_date: impl FnOnce(Option<&str>) -> R) -> R {
    let seconds = now.0 / 1000;
    let text = RENDERED.with_borrow_mut(|(at, text)| {
        if *at != seconds {
            *text = render(seconds);
            *at = seconds;
        }
        *text
    });
    use_date(std::str::from_utf8(&text).ok())
}

fn render(unix_seconds: u64) -> [u8; LEN] {
    const DAYS: &[u8] = b"ThuFriSatSunMonTueWed";
    const MONTHS: &[u8] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    let (days, seconds) = (unix_seconds / 86_400, unix_seconds % 86_400);
    let (year, month, day) = civil(days);
    let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    let mut put = |at: usize, part: &[u8]| {
        if let Some(place) = text.get_mut(at..at + part.len()) {
            place.copy_from_slice(part);
        }
    };
    let two = |n: u64| [b'0' + (n / 10 % 10) as u8, b'0' + (n % 10) as u8];
    let three = |names: &'static [u8], n: usize| names.get(n * 3..n * 3 + 3).unwrap_or(b"???");
    put(0, three(DAYS, (days % 7) as usize));
    put(5, &two(day));
    put(8, three(MONTHS, month as usize - 1));
    put(12, &two(year / 100));
    put(14, &two(year));
    put(17, &two(seconds / 3600));
    put(20, &two(seconds / 60 % 60));
    put(23, &two(seconds % 60));
    text
}

/// Year, month and day of the Gregorian calendar, from days since 1970-01-01 (Hinnant, `civil_from_days`).
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let doe = z % 146_097;
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + u64::from(month <= 2);
    (year, month, doy - (153 * mp + 2) / 5 + 1)
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
