//! HTTP dates (RFC 9110 section 5.6.7): three forms are read, one is written.
//!
//! Names are matched without case, as RFC 9111 section 4.2 asks of caches; everything else is strict,
//! and no zone but GMT counts.

use selvedge_types::UnixMillis;
use selvedge_types::calendar::{Date, month_of};

/// How many bytes a written date takes.
pub const LEN: usize = 29;

const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

/// Reads an IMF-fixdate, RFC 850 or asctime date. `now` decides the century of a two-digit year.
/// A date before 1970 counts as 1970.
pub fn parse(text: &[u8], now: UnixMillis) -> Option<UnixMillis> {
    let comma = text.iter().position(|b| *b == b',');
    let secs = match comma {
        Some(3) => imf_fixdate(text),
        Some(at) => rfc850(text, at, now),
        None => asctime(text),
    }?;
    Some(UnixMillis::from_secs(u64::try_from(secs).unwrap_or(0)))
}

/// Writes `time`, whole seconds, as an IMF-fixdate; years after 9999 count as 9999.
pub fn write(time: UnixMillis) -> [u8; LEN] {
    const LAST: u64 = 253_402_300_799;
    let secs = time.secs().min(LAST);
    let (days, rest) = (secs / 86_400, secs % 86_400);
    let date = Date::from_days(days);
    let (year, day) = (date.year.unsigned_abs(), u64::from(date.day));
    let mut out = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    out[..3].copy_from_slice(&DAYS[(days % 7) as usize].as_bytes()[..3]);
    two(&mut out, 5, day);
    out[8..11].copy_from_slice(date.month_name().as_bytes());
    two(&mut out, 12, year / 100);
    two(&mut out, 14, year % 100);
    two(&mut out, 17, rest / 3600);
    two(&mut out, 20, rest / 60 % 60);
    two(&mut out, 23, rest % 60);
    out
}

fn imf_fixdate(t: &[u8]) -> Option<i64> {
    let t: &[u8; LEN] = t.try_into().ok()?;
    day_name(&t[..3], 3)?;
    shape(&[(t[4], b' '), (t[7], b' '), (t[11], b' '), (t[16], b' ')])?;
    let year = number(&t[12..16])?;
    zone(&t[25..])?;
    seconds(year, month_of(&t[8..11])?, number(&t[5..7])?, time_of_day(&t[17..25])?)
}

fn rfc850(text: &[u8], comma: usize, now: UnixMillis) -> Option<i64> {
    day_name(&text[..comma], usize::MAX)?;
    let t: &[u8; 23] = text[comma + 1..].try_into().ok()?;
    shape(&[(t[0], b' '), (t[3], b'-'), (t[7], b'-'), (t[10], b' ')])?;
    zone(&t[19..])?;
    let this_year = Date::from_days(now.secs() / 86_400).year;
    let mut year = this_year - this_year % 100 + number(&t[8..10])?;
    // More than 50 years ahead means the most recent year in the past (RFC 9110 section 5.6.7).
    if year > this_year + 50 {
        year -= 100;
    }
    seconds(year, month_of(&t[4..7])?, number(&t[1..3])?, time_of_day(&t[11..19])?)
}

fn asctime(t: &[u8]) -> Option<i64> {
    let t: &[u8; 24] = t.try_into().ok()?;
    day_name(&t[..3], 3)?;
    shape(&[(t[3], b' '), (t[7], b' '), (t[10], b' '), (t[19], b' ')])?;
    let day = if t[8] == b' ' { number(&t[9..10])? } else { number(&t[8..10])? };
    seconds(number(&t[20..])?, month_of(&t[4..7])?, day, time_of_day(&t[11..19])?)
}

fn shape(pairs: &[(u8, u8)]) -> Option<()> {
    pairs.iter().all(|(found, wanted)| found == wanted).then_some(())
}

fn day_name(text: &[u8], len: usize) -> Option<()> {
    let mut names = DAYS.iter().map(|day| &day.as_bytes()[..day.len().min(len)]);
    names.any(|name| name.eq_ignore_ascii_case(text)).then_some(())
}

fn zone(text: &[u8]) -> Option<()> {
    text.eq_ignore_ascii_case(b" GMT").then_some(())
}

fn number(text: &[u8]) -> Option<i64> {
    let digits = text.iter().all(u8::is_ascii_digit) && !text.is_empty();
    digits.then(|| text.iter().fold(0, |n, d| n * 10 + i64::from(d - b'0')))
}

fn time_of_day(t: &[u8]) -> Option<i64> {
    shape(&[(*t.get(2)?, b':'), (*t.get(5)?, b':')])?;
    let (hour, minute, second) = (number(&t[..2])?, number(&t[3..5])?, number(t.get(6..8)?)?);
    // A leap second is written as 60.
    (hour < 24 && minute < 60 && second <= 60).then_some(hour * 3600 + minute * 60 + second)
}

fn seconds(year: i64, month: u8, day: i64, time: i64) -> Option<i64> {
    let date = Date::new(year, month, u8::try_from(day).ok()?)?;
    Some(date.days() * 86_400 + time)
}

fn two(out: &mut [u8; LEN], at: usize, n: u64) {
    out[at] = b'0' + (n / 10 % 10) as u8;
    out[at + 1] = b'0' + (n % 10) as u8;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: UnixMillis = UnixMillis::from_secs(1_790_000_000); // September 2026

    fn secs(text: &str) -> Option<u64> {
        parse(text.as_bytes(), NOW).map(UnixMillis::secs)
    }

    #[test]
    fn three_forms_are_read() {
        for (text, expected) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),
            ("Sunday, 06-Nov-94 08:49:37 GMT", 784_111_777),
            ("Sun Nov  6 08:49:37 1994", 784_111_777),
            ("SUN, 06 nov 1994 08:49:37 gmt", 784_111_777),
            ("Tue, 19 Jan 2038 14:14:08 GMT", 2_147_523_248),
            ("Sun, 21 Nov 2286 04:46:39 GMT", 10_000_039_599),
            ("Thursday, 18-Aug-50 02:01:18 GMT", 2_544_400_878),
            ("Thu Aug  8 02:01:18 2050", 2_543_536_878),
            ("Thu Aug 18 02:01:18 2050", 2_544_400_878),
            ("Thursday, 01-Jan-70 00:00:00 GMT", 3_155_760_000), // 2070: within 50 years
            ("Sunday, 01-Jan-95 00:00:00 GMT", 788_918_400),
            ("Mon, 29 Feb 2016 00:00:00 GMT", 1_456_704_000),
            ("Thu, 01 Jan 1900 00:00:00 GMT", 0),
        ] {
            assert_eq!(secs(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn everything_else_is_invalid() {
        for text in [
            "",
            "0",
            "-1",
            "Thu, 18 Aug 2050 02:01:18 UTC",
            "Thu, 18 Aug 2050 02:01:18 AEST",
            "Thu, 18 Aug 2050 02:01:18",
            "Thu 18 Aug 2050 02:01:18 GMT",
            "Thu, 18-Aug-2050 02:01:18 GMT",
            "Thu, 18 Aug 50 02:01:18 GMT",
            "Thu, 18 Aug 2050 2:01:18 GMT",
            "Thu,  18 Aug  2050 02:01:18 GMT",
            "Thu, 18 Aug 2050 02.01.18 GMT",
            "Foo, 18 Aug 2050 02:01:18 GMT",
            "Thu, 31 Feb 2050 02:01:18 GMT",
            "Thu, 00 Aug 2050 02:01:18 GMT",
            "Thu, 18 Aug 2050 24:01:18 GMT",
            "Sun, 29 Feb 2015 00:00:00 GMT",
            "Thu, 18 Aug 2050 02:01:18 GMT, Thu, 18 Aug 2050 02:01:19 GMT",
        ] {
            assert_eq!(secs(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(s in 0u64..253_402_300_799) {
            let text = write(UnixMillis::from_secs(s));
            prop_assert_eq!(parse(&text, NOW), Some(UnixMillis::from_secs(s)));
        }

        #[test]
        fn no_input_panics(text in prop::collection::vec(any::<u8>(), 0..40)) {
            parse(&text, NOW);
        }

        #[test]
        fn no_nearly_valid_input_panics(at in 0usize..29, byte: u8) {
            let mut text = *b"Sun, 06 Nov 1994 08:49:37 GMT";
            text[at] = byte;
            parse(&text, NOW);
            let mut text = *b"Sunday, 06-Nov-94 08:49:37 GMT";
            text[at] = byte;
            parse(&text, NOW);
        }
    }
}
