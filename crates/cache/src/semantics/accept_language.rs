//! Accept-Language in a form in which equal wishes look equal (RFC 9110 section 12.5.4).

use super::decimal::push_decimal;
use super::list::members;
use super::quality::{Quality, split_quality};
use selvedge_types::fields::is_token_byte;

/// How many languages are sorted; a longer list is taken as it came.
pub const LANGUAGES_MAX: usize = 32;

/// Appends the wishes in lowercase, the most wanted first, equals by name. False, and nothing appended, if
/// they cannot be read.
pub fn push_normalized<'a>(out: &mut Vec<u8>, values: impl Iterator<Item = &'a [u8]>) -> bool {
    let Some(mut wishes) = wishes(values) else { return false };
    wishes.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    wishes.dedup();
    for (i, (quality, range)) in wishes.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        out.extend_from_slice(range);
        if *quality < Quality::ONE {
            out.extend_from_slice(b";q=");
            push_decimal(out, u64::from(quality.thousandths()));
        }
    }
    true
}

/// The languages wanted most, in lowercase; none if nothing is wanted or it cannot be read.
pub fn favourites<'a>(values: impl Iterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
    let mut wishes = wishes(values).unwrap_or_default();
    let most = wishes.iter().map(|(quality, _)| *quality).max().unwrap_or(Quality::ZERO);
    wishes.retain(|(quality, _)| *quality == most && most > Quality::ZERO);
    wishes.into_iter().map(|(_, language)| language).collect()
}

fn wishes<'a>(values: impl Iterator<Item = &'a [u8]>) -> Option<Vec<(Quality, Vec<u8>)>> {
    let mut wishes = Vec::new();
    for member in values.flat_map(members) {
        let (range, quality) = split_quality(member)?;
        if wishes.len() == LANGUAGES_MAX || !range.iter().all(|b| is_token_byte(*b)) {
            return None;
        }
        wishes.push((quality, range.to_ascii_lowercase()));
    }
    Some(wishes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_case_and_space_among_equals_do_not_matter() {
        let normal = |value: &str| {
            let mut out = Vec::new();
            push_normalized(&mut out, [value.as_bytes()].into_iter()).then_some(out)
        };
        for (a, b) in [
            ("en, de", "de, en"),
            ("en,de", "EN ,  De"),
            ("en;q=0.50, de", "de;q=1.0, en;q=0.5"),
            ("en, en", "en"),
        ] {
            assert_eq!(normal(a), normal(b), "{a} {b}");
        }
        for (a, b) in [("en, de;q=0.5", "de, en;q=0.5"), ("en", "en-gb"), ("en", ""), ("en;q=0", "")] {
            assert_ne!(normal(a), normal(b), "{a} {b}");
        }
        for bad in ["en;q=x", "e n", "\"en\""] {
            assert_eq!(normal(bad), None, "{bad}");
        }
        assert_eq!(normal(&vec!["en"; LANGUAGES_MAX + 1].join(",")), None);
    }

    #[test]
    fn the_languages_wanted_most_are_found() {
        for (value, expected) in [
            ("en, de", &["en", "de"][..]),
            ("fr;q=0.5, DE;q=1.0", &["de"]),
            ("fr;q=0.5, en;q=0.5, *;q=0.1", &["fr", "en"]),
            ("*", &["*"]),
            ("en;q=0", &[]),
            ("en;q=x", &[]),
            ("", &[]),
        ] {
            let expected: Vec<Vec<u8>> = expected.iter().map(|l| l.as_bytes().to_vec()).collect();
            assert_eq!(favourites([value.as_bytes()].into_iter()), expected, "{value}");
        }
    }
}
