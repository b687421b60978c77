//! Times as logs write them.

use selvedge_types::UnixMillis;
use selvedge_types::calendar::{Date, month_of};

use super::decimal;

/// `17/May/2015:10:05:03 +0000`.
pub(super) fn common(text: &[u8]) -> Option<UnixMillis> {
    let (date, rest) = text.split_at_checked(11)?;
    if (date[2], date[6], rest.first()?) != (b'/', b'/', &b':') {
        return None;
    }
    let month = u64::from(month_of(&date[3..6])?);
    let (clock, zone) = rest.get(1..)?.split_at_checked(8)?;
    let date = days(decimal(&date[7..])?, month, decimal(&date[..2])?)?;
    at(date, seconds(clock)?, 0, zone.trim_ascii_start())
}

/// `2026-01-02T03:04:05.678Z`, with any fraction or none, and any zone (RFC 3339).
pub(super) fn rfc3339(text: &[u8]) -> Option<UnixMillis> {
    let (date, rest) = text.split_at_checked(10)?;
    if (date[4], date[7]) != (b'-', b'-') || !matches!(rest.first()?, b'T' | b't' | b' ') {
        return None;
    }
    let (clock, rest) = rest.get(1..)?.split_at_checked(8)?;
    let date = days(decimal(&date[..4])?, decimal(&date[5..7])?, decimal(&date[8..])?)?;
    let (millis, zone) = match rest.strip_prefix(b".") {
        Some(fraction) => split_fraction(fraction)?,
        None => (0, rest),
    };
    at(date, seconds(clock)?, millis, zone)
}

/// Seconds since the epoch with or without a fraction; what is too large for that, in milli-, micro- or
/// nanoseconds.
pub(super) fn number(text: &[u8]) -> Option<UnixMillis> {
    let dot = text.iter().position(|b| *b == b'.').unwrap_or(text.len());
    let whole = decimal_up_to_20(&text[..dot])?;
    let fraction = match text.get(dot + 1..) {
        Some(fraction) => split_fraction(fraction).filter(|(_, rest)| rest.is_empty())?.0,
        None => 0,
    };
    Some(UnixMillis(match whole {
        0..100_000_000_000 => whole * 1000 + fraction,
        100_000_000_000..100_000_000_000_000 => whole,
        100_000_000_000_000..100_000_000_000_000_000 => whole / 1000,
        _ => whole / 1_000_000,
    }))
}

fn decimal_up_to_20(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()
}

/// The milliseconds of a fraction, and what follows its digits.
fn split_fraction(text: &[u8]) -> Option<(u64, &[u8])> {
    let end = text.iter().position(|b| !b.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    let millis = (0..3).fold(0, |millis, at| millis * 10 + digits.get(at).map_or(0, |d| u64::from(d - b'0')));
    (!digits.is_empty()).then_some((millis, rest))
}

/// `10:05:03`.
fn seconds(clock: &[u8]) -> Option<u64> {
    if clock.len() != 8 || (clock[2], clock[5]) != (b':', b':') {
        return None;
    }
    let [hours, minutes, seconds] = [decimal(&clock[..2])?, decimal(&clock[3..5])?, decimal(&clock[6..])?];
    (hours < 24 && minutes < 60 && seconds <= 60).then_some(hours * 3600 + minutes * 60 + seconds)
}

/// Days since 1970-01-01 of a date from then to 9999.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let (month, day) = (u8::try_from(month).ok()?, u8::try_from(day).ok()?);
    let year = i64::try_from(year).ok().filter(|year| (1970..=9999).contains(year))?;
    u64::try_from(Date::new(year, month, day)?.days()).ok()
}

fn at(days: u64, seconds: u64, millis: u64, zone: &[u8]) -> Option<UnixMillis> {
    let local = i64::try_from(days * 86_400 + seconds).ok()?;
    let utc = u64::try_from(local - offset_seconds(zone)?).ok()?;
    Some(UnixMillis(utc * 1000 + millis))
}

/// `Z`, nothing, `+0200` or `+02:00`.
fn offset_seconds(zone: &[u8]) -> Option<i64> {
    let (sign, digits) = match zone {
        [] | b"Z" | b"z" => return Some(0),
        [b'+', digits @ ..] => (1, digits),
        [b'-', digits @ ..] => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = match digits {
        [h1, h2, b':', m1, m2] | [h1, h2, m1, m2] => ([*h1, *h2], [*m1, *m2]),
        _ => return None,
    };
    let seconds = i64::try_from(decimal(&hours)? * 3600 + decimal(&minutes)? * 60).ok()?;
    Some(sign * seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        let cases: [(&[u8], Option<u64>); 16] = [
            (b"17/May/2015:10:05:03 +0000", Some(1_431_857_103_000)),
            (b"17/May/2015:12:05:03 +0200", Some(1_431_857_103_000)),
            (b"29/Feb/2024:23:59:60 -0100", Some(1_709_254_800_000)),
            (b"17/Mai/2015:10:05:03 +0000", None),
            (b"17/May/2015:25:05:03 +0000", None),
            (b"01/Jan/1970:00:00:00 +0100", None),
            (b"1970-01-01T00:00:01Z", Some(1000)),
            (b"2026-01-02T03:04:05.678Z", Some(1_767_323_045_678)),
            (b"2026-01-02 03:04:05.6+01:00", Some(1_767_319_445_600)),
            (b"2026-13-02T03:04:05Z", None),
            (b"2026-01-02T03:04:05.Z", None),
            (b"1431857103", Some(1_431_857_103_000)),
            (b"1431857103.25", Some(1_431_857_103_250)),
            (b"1431857103250", Some(1_431_857_103_250)),
            (b"1431857103250999", Some(1_431_857_103_250)),
            (b"soon", None),
        ];
        for (text, expected) in cases {
            let read = common(text).or_else(|| rfc3339(text)).or_else(|| number(text));
            assert_eq!(read.map(|t| t.0), expected, "{}", String::from_utf8_lossy(text));
        }
    }
}
