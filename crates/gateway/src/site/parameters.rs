//! A request's query parameters, as rules look at them.

use super::path::decode;
use std::borrow::Cow;

/// Each query parameter's name and value, percent-encoding undone.
pub(super) fn parameters(query: &str) -> impl Iterator<Item = (Cow<'_, [u8]>, Cow<'_, [u8]>)> {
    let pairs = query.as_bytes().split(|b| *b == b'&').filter(|pair| !pair.is_empty());
    pairs.map(split_pair).map(|(name, value)| (decode(name), decode(value)))
}

fn split_pair(pair: &[u8]) -> (&[u8], &[u8]) {
    let equals = pair.iter().position(|b| *b == b'=');
    equals.map_or((pair, &b""[..]), |at| (&pair[..at], &pair[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let found: Vec<_> = parameters("a=1&&b%3d=%41&c")
            .map(|(n, v)| {
                (String::from_utf8_lossy(&n).into_owned(), String::from_utf8_lossy(&v).into_owned())
            })
            .collect();
        let expected = [("a", "1"), ("b=", "A"), ("c", "")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(found, expected);
    }
}
