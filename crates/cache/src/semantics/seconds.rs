//! Delta-seconds (RFC 9111 section 1.2.2).

use std::time::Duration;

/// A whole, non-negative number of seconds, at most [`Seconds::MAX`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Seconds(u32);

impl Seconds {
    /// None at all.
    pub const ZERO: Seconds = Seconds(0);
    /// What every larger number counts as: 2^31 (RFC 9111 section 1.2.2).
    pub const MAX: Seconds = Seconds(1 << 31);

    /// `secs`, or [`Seconds::MAX`] if it is larger.
    pub const fn new(secs: u64) -> Self {
        if secs > Self::MAX.0 as u64 { Self::MAX } else { Seconds(secs as u32) }
    }

    /// The seconds of `duration`, a part of one counting as a whole one.
    pub const fn of(duration: Duration) -> Self {
        Self::new(duration.as_secs().saturating_add((duration.subsec_nanos() > 0) as u64))
    }

    /// Reads `1*DIGIT`; nothing else, not even a sign or space around it, is accepted.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let add = |n: u64, digit: &u8| n.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
        Some(Self::new(text.iter().fold(0, add)))
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The number in milliseconds.
    pub const fn millis(self) -> u64 {
        self.0 as u64 * 1000
    }

    /// Whether it is zero.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_digits_count_and_large_numbers_are_capped() {
        for (text, expected) in [
            ("0", Some(0)),
            ("003600", Some(3600)),
            ("2147483647", Some(2_147_483_647)),
            ("2147483648", Some(1 << 31)),
            ("2147483649", Some(1 << 31)),
            ("99999999999999999999999999", Some(1 << 31)),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("1.0", None),
            (" 1", None),
            ("1a", None),
        ] {
            assert_eq!(Seconds::parse(text.as_bytes()).map(Seconds::get), expected, "{text:?}");
        }
    }
}
