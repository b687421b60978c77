//! Quantities with their units: spans of time, numbers of bytes, rates.

use super::text::{Text, TextError, text_value};
use std::fmt;
use std::time::Duration;

/// A span of time: `500ms`, `30s`, `5m`, `1h30m`, `7d`. Millisecond resolution, at most 100 years.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Period(Duration);

const MAX_PERIOD_MS: u64 = 100 * 365 * 24 * 3600 * 1000;
const TIME_UNITS: [(&str, u64); 6] =
    [("w", 7 * 86_400_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

impl Period {
    /// That many milliseconds, at most 100 years.
    pub const fn from_millis(millis: u64) -> Self {
        Period(Duration::from_millis(if millis < MAX_PERIOD_MS { millis } else { MAX_PERIOD_MS }))
    }
    /// That many seconds, at most 100 years.
    pub const fn from_secs(secs: u64) -> Self {
        Period::from_millis(secs.saturating_mul(1000))
    }
    /// The span as the standard library's type.
    pub const fn get(self) -> Duration {
        self.0
    }
    /// Whole milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.0.as_millis() as u64
    }
    /// Whole seconds.
    pub const fn as_secs(self) -> u64 {
        self.0.as_secs()
    }
    /// Whether it is no time at all.
    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

impl From<Period> for Duration {
    fn from(period: Period) -> Duration {
        period.0
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.as_millis();
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, millis) in TIME_UNITS.iter().skip(1) {
            if rest >= *millis {
                write!(f, "{}{unit}", rest / millis)?;
                rest %= millis;
            }
        }
        Ok(())
    }
}

impl Text for Period {
    const FORMAT: &'static str = "period";
    const ABOUT: &'static str = "a span of time: numbers with `ms`, `s`, `m`, `h`, `d` or `w`, as in `1h30m`";
    fn parse_text(text: &str) -> Result<Self, TextError> {
        let help = "write a number and a unit: `500ms`, `30s`, `5m`, `1h30m`, `7d`";
        let wrong = || TextError::new(format!("`{text}` is not a span of time"), help);
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(wrong());
        }
        let mut total: u64 = 0;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, tail) = rest.split_at(digits);
            let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
            let (unit, tail) = tail.split_at(letters);
            let number: u64 = number.parse().map_err(|_| wrong())?;
            let millis = TIME_UNITS.iter().find(|u| u.0 == unit).ok_or_else(wrong)?.1;
            total = number.checked_mul(millis).and_then(|n| n.checked_add(total)).ok_or_else(wrong)?;
            rest = tail.trim_start();
        }
        if total > MAX_PERIOD_MS {
            return Err(TextError::new(format!("`{text}` is longer than 100 years"), help));
        }
        Ok(Period::from_millis(total))
    }
}
text_value!(Period);

/// A number of bytes: `512`, `8KiB`, `64MiB`, `2GB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(u64);

const SIZE_UNITS: [(&str, u64); 10] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1000),
    ("KB", 1000),
    ("B", 1),
];

impl ByteSize {
    /// That many bytes.
    pub const fn bytes(bytes: u64) -> Self {
        ByteSize(bytes)
    }
    /// That many times 1,024 bytes.
    pub const fn kib(n: u64) -> Self {
        ByteSize(n << 10)
    }
    /// That many times 1,048,576 bytes.
    pub const fn mib(n: u64) -> Self {
        ByteSize(n << 20)
    }
    /// That many times 1,073,741,824 bytes.
    pub const fn gib(n: u64) -> Self {
        ByteSize(n << 30)
    }
    /// The number of bytes.
    pub const fn get(self) -> u64 {
        self.0
    }
    /// The number of bytes, at most what memory can address.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SIZE_UNITS.iter().take(4).find(|(_, n)| self.0 >= *n && self.0.is_multiple_of(*n)) {
            Some((unit, n)) => write!(f, "{}{unit}", self.0 / n),
            None => write!(f, "{}B", self.0),
        }
    }
}

impl Text for ByteSize {
    const FORMAT: &'static str = "byte-size";
    const ABOUT: &'static str = "a number of bytes: a number with `B`, `KiB`, `MiB`, `GiB`, `TiB`, or `kB`, `MB`, `GB`, `TB` (powers of ten)";
    fn parse_text(text: &str) -> Result<Self, TextError> {
        let wrong = || {
            let help = "write a number and a unit: `512B`, `8KiB`, `64MiB`, `2GiB`";
            TextError::new(format!("`{text}` is not a number of bytes"), help)
        };
        let trimmed = text.trim();
        let digits = trimmed.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = trimmed.split_at(digits);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let unit = unit.trim_start();
        let factor =
            if unit.is_empty() { 1 } else { SIZE_UNITS.iter().find(|u| u.0 == unit).ok_or_else(wrong)?.1 };
        number.checked_mul(factor).filter(|n| *n <= i64::MAX as u64).map(ByteSize).ok_or_else(wrong)
    }
}
text_value!(ByteSize);

/// How often something may happen: `100/s`, `600/m`, `10/h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    count: u32,
    unit: RateUnit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum RateUnit {
    Second,
    Minute,
    Hour,
}

impl Rate {
    /// How many.
    pub const fn count(self) -> u32 {
        self.count
    }
    /// In which time.
    pub const fn per(self) -> Duration {
        Duration::from_secs(match self.unit {
            RateUnit::Second => 1,
            RateUnit::Minute => 60,
            RateUnit::Hour => 3600,
        })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.unit {
            RateUnit::Second => "s",
            RateUnit::Minute => "m",
            RateUnit::Hour => "h",
        };
        write!(f, "{}/{unit}", self.count)
    }
}

impl Text for Rate {
    const FORMAT: &'static str = "rate";
    const ABOUT: &'static str = "a count for each `s`, `m` or `h`, as in `100/s`";
    fn parse_text(text: &str) -> Result<Self, TextError> {
        let wrong =
            || TextError::new(format!("`{text}` is not a rate"), "write `100/s`, `600/m` or `1000/h`");
        let (count, unit) = text.split_once('/').ok_or_else(wrong)?;
        let count = count.trim().parse().ok().filter(|n| *n > 0).ok_or_else(wrong)?;
        let unit = match unit.trim() {
            "s" => RateUnit::Second,
            "m" => RateUnit::Minute,
            "h" => RateUnit::Hour,
            _ => return Err(wrong()),
        };
        Ok(Rate { count, unit })
    }
}
text_value!(Rate);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_read_and_write() {
        for (text, millis, out) in [
            ("30s", 30_000, "30s"),
            ("1m", 60_000, "1m"),
            ("90s", 90_000, "1m30s"),
            ("1h 30m", 5_400_000, "1h30m"),
            ("1d", 86_400_000, "1d"),
            ("1w", 604_800_000, "7d"),
            ("500ms", 500, "500ms"),
            ("0s", 0, "0s"),
        ] {
            let period = Period::parse_text(text).unwrap();
            assert_eq!((period.as_millis(), period.to_string().as_str()), (millis, out), "{text}");
        }
        for bad in ["", "30", "s", "1x", "-1s", "1.5s", "99999999999999999999s", "101w101d999999d", "1s,"] {
            assert!(Period::parse_text(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_read_and_write() {
        for (text, bytes, out) in [
            ("512", 512, "512B"),
            ("8KiB", 8192, "8KiB"),
            ("64 MiB", 64 << 20, "64MiB"),
            ("2GB", 2_000_000_000, "1953125KiB"),
            ("0", 0, "0B"),
        ] {
            let size = ByteSize::parse_text(text).unwrap();
            assert_eq!((size.get(), size.to_string().as_str()), (bytes, out), "{text}");
        }
        for bad in ["", "MiB", "1.5GiB", "-1", "1XB", "99999999TiB", "1mib"] {
            assert!(ByteSize::parse_text(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn rates_read_and_write() {
        for text in ["100/s", "1/m", "9/h"] {
            assert_eq!(Rate::parse_text(text).unwrap().to_string(), text);
        }
        for bad in ["", "100", "0/s", "1/d", "-1/s", "/s"] {
            assert!(Rate::parse_text(bad).is_err(), "{bad}");
        }
    }
}
