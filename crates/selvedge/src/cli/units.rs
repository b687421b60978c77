//! Numbers as people read them.

use jiff::Timestamp;

/// A number of bytes, in binary units.
pub(super) fn bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    let mut value = n as f64 / 1024.0;
    let mut unit = UNITS[0];
    for next in &UNITS[1..] {
        if value < 1023.95 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if value < 9.95 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

/// A length of time in its two largest units.
pub(super) fn seconds(s: f64) -> String {
    if s < 10.0 {
        return format!("{:.1}s", s.max(0.0));
    }
    let s = s as u64;
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m{}s", s / 60, s % 60),
        3600..86_400 => format!("{}h{}m", s / 3600, s % 3600 / 60),
        _ => format!("{}d{}h", s / 86_400, s % 86_400 / 3600),
    }
}

/// A part of a whole; a dash if the whole is nothing.
pub(super) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    format!("{:.1}%", 100.0 * part as f64 / whole as f64)
}

/// A time in milliseconds since 1970, as RFC 3339 in UTC.
pub(super) fn date(ms: u64) -> String {
    let time = i64::try_from(ms / 1000).ok().and_then(|s| Timestamp::from_second(s).ok());
    time.map_or_else(|| format!("{ms} ms"), |t| t.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        for (n, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_500_000, "1.4 MiB"),
            (268_435_456, "256 MiB"),
            (1_073_741_823, "1.0 GiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(bytes(n), text);
        }
        for (s, text) in [(0.04, "0.0s"), (9.9, "9.9s"), (61.0, "1m1s"), (3700.0, "1h1m"), (90_000.0, "1d1h")]
        {
            assert_eq!(seconds(s), text);
        }
        assert_eq!((percent(1, 3).as_str(), percent(0, 0).as_str()), ("33.3%", "-"));
        assert_eq!(date(784_111_777_000), "1994-11-06T08:49:37Z");
    }
}
