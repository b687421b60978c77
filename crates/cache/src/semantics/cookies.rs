//! The cookies of a request.

use selvedge_types::fields::trim;
use selvedge_types::{Fields, name};

/// Each cookie's name and value, in order (RFC 6265 section 4.2.1). One without `=` is a name whose value is empty.
pub fn cookies(request: &Fields) -> impl Iterator<Item = (&[u8], &[u8])> {
    pairs(request).map(split_pair)
}

/// Each cookie as it stands, `name=value`, without the blanks around it.
pub fn pairs(request: &Fields) -> impl Iterator<Item = &[u8]> {
    let pairs = request.get_all(name::COOKIE).flat_map(|line| line.split(|b| *b == b';'));
    pairs.map(trim).filter(|pair| !pair.is_empty())
}

/// The name and value of a cookie as it stands.
pub fn split_pair(pair: &[u8]) -> (&[u8], &[u8]) {
    let equals = pair.iter().position(|b| *b == b'=');
    equals.map_or((pair, &b""[..]), |at| (&pair[..at], &pair[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_have_names_and_values() {
        for (wire, expected) in [
            ("Cookie: a=1; b=2|", "a>1 b>2"),
            ("Cookie: a=1;b = 2 ;; c|Cookie: a==x|", "a>1 b > 2 c> a>=x"),
            ("Cookie:|A: b=1|", ""),
        ] {
            let fields = Fields::from_wire(wire.replace('|', "\r\n").as_bytes()).unwrap();
            let text = |part: &[u8]| String::from_utf8_lossy(part).into_owned();
            let found: Vec<_> = cookies(&fields).map(|(n, v)| format!("{}>{}", text(n), text(v))).collect();
            assert_eq!(found.join(" "), expected);
        }
    }
}
