//! Quality values (RFC 9110 section 12.4.2).

use super::list::Directive;
use selvedge_types::fields::trim;

/// A weight from 0 to 1, in thousandths.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Quality(u16);

impl Quality {
    /// Not acceptable.
    pub const ZERO: Quality = Quality(0);
    /// The least that is acceptable.
    pub const LEAST: Quality = Quality(1);
    /// What is meant when nothing is said.
    pub const ONE: Quality = Quality(1000);

    /// Reads `0`, `1`, or either with up to three decimals.
    pub fn parse(text: &[u8]) -> Option<Quality> {
        let (whole, decimals) = match text {
            [whole] => (*whole, &[][..]),
            [whole, b'.', decimals @ ..] => (*whole, decimals),
            _ => return None,
        };
        if !matches!(whole, b'0' | b'1') || decimals.len() > 3 || !decimals.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let digit = |i: usize| decimals.get(i).map_or(0, |d| u16::from(d - b'0'));
        let thousandths = u16::from(whole - b'0') * 1000 + digit(0) * 100 + digit(1) * 10 + digit(2);
        (thousandths <= 1000).then_some(Quality(thousandths))
    }

    /// In thousandths.
    pub const fn thousandths(self) -> u16 {
        self.0
    }
}

/// A member such as `gzip;q=0.5` as its value and weight; none if the weight cannot be read.
/// Other parameters stay with the value.
pub fn split_quality(member: &[u8]) -> Option<(&[u8], Quality)> {
    let Some(at) = member.iter().rposition(|b| *b == b';') else {
        return Some((member, Quality::ONE));
    };
    let parameter = Directive::parse(trim(&member[at + 1..]));
    if !parameter.is("q") {
        return Some((member, Quality::ONE));
    }
    Some((trim(&member[..at]), Quality::parse(parameter.argument?.text()?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_have_at_most_three_decimals() {
        for (text, expected) in [
            ("1", Some(1000)),
            ("1.000", Some(1000)),
            ("0", Some(0)),
            ("0.", Some(0)),
            ("0.5", Some(500)),
            ("0.123", Some(123)),
            ("0.1234", None),
            ("1.001", None),
            ("2", None),
            (".5", None),
            ("", None),
            ("-1", None),
        ] {
            assert_eq!(Quality::parse(text.as_bytes()).map(Quality::thousandths), expected, "{text}");
        }
    }
}
