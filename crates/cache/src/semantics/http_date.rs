//! HTTP dates (RFC 9110 section 5.6.7): three forms are read, one is written.
//!
//! Names are matched without case, as RFC 9111 section 4.2 asks of caches; everything else is strict,
//! and no zone but GMT counts.

use selvedge_types::UnixMillis;

/// How many bytes a written date takes.
pub const LEN: usize = 29;

const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];
const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

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
    let (year, month, day) = civil(days);
    let mut out = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    out[..3].copy_from_slice(&DAYS[(days % 7) as usize].as_bytes()[..3]);
    two(&mut out, 5, day);
    out[8..11].copy_from_slice(MONTHS[(month - 1) as usize]);
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
    seconds(year, month(&t[8..11])?, number(&t[5..7])?, time_of_day(&t[17..25])?)
}

fn rfc850(text: &[u8], comma: usize, now: UnixMillis) -> Option<i64> {
    day_name(&text[..comma], usize::MAX)?;
    let t: &[u8; 23] = text[comma + 1..].try_into().ok()?;
    shape(&[(t[0], b' '), (t[3], b'-'), (t[7], b'-'), (t[10], b' ')])?;
    zone(&t[19..])?;
    let this_year = civil(now.secs() / 86_400).0 as i64;
    let mut year = this_year - this_year % 100 + number(&t[8..10])?;
    // More than 50 years ahead means the most recent year in the past (RFC 9110 section 5.6.7).
    if year > this_year + 50 {
        year -= 100;
    }
    seconds(year, month(&t[4..7])?, number(&t[1..3])?, time_of_day(&t[11..19])?)
}

fn asctime(t: &[u8]) -> Option<i64> {
    let t: &[u8; 24] = t.try_into().ok()?;
    day_name(&t[..3], 3)?;
    shape(&[(t[3], b' '), (t[7], b' '), (t[10], b' '), (t[19], b' ')])?;
    let day = if t[8] == b' ' { number(&t[9..10])? } else { number(&t[8..10])? };
    seconds(number(&t[20..])?, month(&t[4..7])?, day, time_of_day(&t[11..19])?)
}

fn shape(pairs: &[(u8, u8)]) -> Option<()> {
    pairs.iter().all(|(found, wanted)| found == wanted).then_some(())
}

fn day_name(text: &[u8], len: usize) -> Option<()> {
    let mut names = DAYS.iter().map(|day| &day.as_bytes()[..day.len().min(len)]);
    names.any(|name| name.eq_ignore_ascii_case(text)).then_some(())
}

fn month(text: &[u8]) -> Option<i64> {
    Some(MONTHS.iter().position(|m| m.eq_ignore_ascii_case(text))? as i64 + 1)
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

fn seconds(year: i64, month: i64, day: i64, time: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    (1..=last).contains(&day).then(|| days(year, month, day) * 86_400 + time)
}

/// Days since 1970-01-01 (Hinnant, "chrono-compatible low-level date algorithms").
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let (era, of_era) = (z / 146_097, z % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let m = (5 * of_year + 2) / 153;
    let month = if m < 10 { m + 3 } else { m - 9 };
    (year + era * 400 + u64::from(month <= 2), month, of_year - (153 * m + 2) / 5 + 1)
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
