//! Patterns over paths and other texts, status codes, and networks.

use super::text::{Text, TextError, text_value};
use std::fmt;

/// `text` matched by `pattern`, in which `*` is any run of bytes, none too. Linear in `text` for each `*`.
pub fn glob_matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        match (pattern.get(p), text.get(t)) {
            (Some(b'*'), _) => {
                p += 1;
                retry = Some((p, t));
            }
            (Some(a), Some(b)) if a == b => {
                p += 1;
                t += 1;
            }
            (None, None) => return true,
            _ => match retry {
                Some((after_star, from)) if from < text.len() => {
                    retry = Some((after_star, from + 1));
                    p = after_star;
                    t = from + 1;
                }
                _ => return false,
            },
        }
    }
}

const MAX_PATTERN: usize = 512;
const MAX_STARS: usize = 8;

fn check_glob(what: &str, text: &str) -> Result<(), TextError> {
    let wrong = |why: String, help: &str| Err(TextError::new(why, help));
    if text.len() > MAX_PATTERN {
        return wrong(format!("this {what} is longer than {MAX_PATTERN} bytes"), "shorten it");
    }
    if text.bytes().filter(|b| *b == b'*').count() > MAX_STARS {
        return wrong(format!("`{text}` has more than {MAX_STARS} `*`"), "use several simpler patterns");
    }
    if text.bytes().any(|b| b <= b' ' || b == 0x7f) {
        return wrong(format!("`{text}` holds white space or control characters"), "percent-encode them");
    }
    Ok(())
}

/// A pattern over a request's path: exact, or with `*` for any run of characters, `/` too.
///
/// The path is compared without its query, with percent-encoding undone and dot segments and double
/// slashes resolved, so that another spelling of a path does not escape a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathPattern(Box<str>);

impl PathPattern {
    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// Whether the normalised `path` is one of those meant.
    pub fn matches(&self, path: &[u8]) -> bool {
        glob_matches(self.0.as_bytes(), path)
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Text for PathPattern {
    const FORMAT: &'static str = "path-pattern";
    const ABOUT: &'static str =
        "a path such as `/about`, with `*` for any run of characters: `/api/*`, `*.jpg`";
    fn parse_text(text: &str) -> Result<Self, TextError> {
        check_glob("path pattern", text)?;
        let wrong = |help: &str| Err(TextError::new(format!("`{text}` is not a path pattern"), help));
        if !text.starts_with(['/', '*']) {
            return wrong("begin it with `/`, or with `*` for any path that ends so: `/api/*`, `*.jpg`");
        }
        if text.contains(['?', '#']) {
            return wrong("leave out the query: patterns are compared with the path alone");
        }
        Ok(PathPattern(text.into()))
    }
}
text_value!(PathPattern);

/// A pattern over names or values, with `*` for any run of characters; compared with case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Glob {
    text: Box<str>,
    /// How many bytes stand before the first `*`: all of them without one.
    head: u16,
    /// How many stand after the last one.
    tail: u16,
}

impl Glob {
    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
    /// Whether `text` is one of those meant.
    pub fn matches(&self, text: &[u8]) -> bool {
        let pattern = self.text.as_bytes();
        let (head, rest) = pattern.split_at(usize::from(self.head).min(pattern.len()));
        if rest.is_empty() {
            return head == text;
        }
        let tail = rest.get(rest.len() - usize::from(self.tail)..).unwrap_or_default();
        // Most that do not fit are known by their ends.
        let Some(inner) = text.strip_prefix(head).filter(|inner| inner.ends_with(tail)) else { return false };
        rest.len() == tail.len() + 1 || glob_matches(rest, inner)
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Text for Glob {
    const FORMAT: &'static str = "glob";
    const ABOUT: &'static str = "a text with `*` for any run of characters, as in `utm_*`";
    fn parse_text(text: &str) -> Result<Self, TextError> {
        if text.is_empty() {
            return Err(TextError::new("a pattern may not be empty", "write `*` to match everything"));
        }
        if text.len() > MAX_PATTERN || text.bytes().filter(|b| *b == b'*').count() > MAX_STARS {
            let help = format!("at most {MAX_PATTERN} bytes and {MAX_STARS} `*`");
            return Err(TextError::new("this pattern is too large", help));
        }
        // No longer than a pattern may be.
        let len = text.len() as u16;
        let head = text.find('*').map_or(len, |at| at as u16);
        let tail = text.rfind('*').map_or(0, |at| len - at as u16 - 1);
        Ok(Glob { text: text.into(), head, tail })
    }
}
text_value!(Glob);

/// A status code or a class of them: `404`, `5xx`, `200-299`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StatusRange {
    first: u16,
    last: u16,
}

impl StatusRange {
    /// The codes from `first` to `last`, if these are codes (100 to 599).
    pub const fn new(first: u16, last: u16) -> Option<Self> {
        if first >= 100 && first <= last && last <= 599 { Some(StatusRange { first, last }) } else { None }
    }
    /// Whether the range holds `code`.
    pub const fn contains(self, code: u16) -> bool {
        self.first <= code && code <= self.last
    }
    /// The first code.
    pub const fn first(self) -> u16 {
        self.first
    }
    /// The last code.
    pub const fn last(self) -> u16 {
        self.last
    }
    /// How many codes it holds.
    pub const fn width(self) -> u16 {
        self.last - self.first + 1
    }
}

impl fmt::Display for StatusRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.first, self.last) {
            (a, b) if a == b => write!(f, "{a}"),
            (a, b) if a % 100 == 0 && b == a + 99 => write!(f, "{}xx", a / 100),
            (a, b) => write!(f, "{a}-{b}"),
        }
    }
}

impl Text for StatusRange {
    const FORMAT: &'static str = "status";
    const ABOUT: &'static str = "a status code, a class of them or a range: `404`, `\"5xx\"`, `\"200-299\"`";
    fn parse_text(text: &str) -> Result<Self, TextError> {
        let number = |t: &str| t.trim().parse::<u16>().ok();
        let range = match (text.strip_suffix("xx").and_then(number), text.split_once('-')) {
            (Some(class @ 1..=5), _) => StatusRange::new(class * 100, class * 100 + 99),
            (_, Some((a, b))) => number(a).zip(number(b)).and_then(|(a, b)| StatusRange::new(a, b)),
            _ => number(text).and_then(|n| StatusRange::new(n, n)),
        };
        range.ok_or_else(|| {
            let help = "write a code from 100 to 599, a class or a range: `404`, `\"5xx\"`, `\"200-299\"`";
            TextError::new(format!("`{text}` is not a status"), help)
        })
    }
}

impl std::str::FromStr for StatusRange {
    type Err = TextError;
    fn from_str(text: &str) -> Result<Self, TextError> {
        StatusRange::parse_text(text)
    }
}

impl serde::Serialize for StatusRange {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for StatusRange {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = StatusRange;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(StatusRange::ABOUT)
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<StatusRange, E> {
                StatusRange::parse_text(text).map_err(E::custom)
            }
            fn visit_i64<E: serde::de::Error>(self, code: i64) -> Result<StatusRange, E> {
                StatusRange::parse_text(&code.to_string()).map_err(E::custom)
            }
            fn visit_u64<E: serde::de::Error>(self, code: u64) -> Result<StatusRange, E> {
                StatusRange::parse_text(&code.to_string()).map_err(E::custom)
            }
        }
        from.deserialize_any(Visitor)
    }
}

impl schemars::JsonSchema for StatusRange {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        StatusRange::FORMAT.into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": ["string", "integer"], "format": StatusRange::FORMAT })
    }
}

/// A network in CIDR form, or one address: `10.0.0.0/8`, `2001:db8::/32`, `192.0.2.7`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network(ipnet::IpNet);

impl Network {
    /// Whether the address is in it. An IPv4 address mapped into IPv6 counts as the IPv4 address.
    pub fn contains(self, address: std::net::IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
    /// The network as `ipnet`'s type.
    pub const fn get(self) -> ipnet::IpNet {
        self.0
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Text for Network {
    const FORMAT: &'static str = "network";
    const ABOUT: &'static str = "an address or a network in CIDR form: `192.0.2.7`, `10.0.0.0/8`";
    fn parse_text(text: &str) -> Result<Self, TextError> {
        let net = text
            .parse::<ipnet::IpNet>()
            .or_else(|e| text.parse::<std::net::IpAddr>().map(ipnet::IpNet::from).map_err(|_| e));
        let help = "write an address or a network: `192.0.2.7`, `10.0.0.0/8`, `2001:db8::/32`";
        let net = net.map_err(|_| TextError::new(format!("`{text}` is not a network"), help))?;
        if net.trunc() != net {
            let help = format!("write the network itself: `{}`", net.trunc());
            return Err(TextError::new(format!("`{text}` has bits set beyond its prefix"), help));
        }
        Ok(Network(net))
    }
}
text_value!(Network);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("*", "", true),
            ("*", "anything", true),
            ("/api/*", "/api/", true),
            ("/api/*", "/api/a/b", true),
            ("/api/*", "/api", false),
            ("*.jpg", "/a/b.jpg", true),
            ("*.jpg", "/a/b.jpgx", false),
            ("/a/*/z", "/a/b/c/z", true),
            ("/a/*/z", "/a/z", false),
            ("/a", "/a", true),
            ("/a", "/ab", false),
            ("a*b*c", "aXbXbXc", true),
            ("a*b*c", "aXcXb", false),
        ] {
            assert_eq!(glob_matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_glob_fits_what_its_pattern_does(pattern in "[ab*]{1,8}", text in "[ab]{0,8}") {
            let glob = Glob::parse_text(&pattern).unwrap();
            let fits = glob_matches(pattern.as_bytes(), text.as_bytes());
            proptest::prop_assert_eq!(glob.matches(text.as_bytes()), fits);
        }
    }

    #[test]
    fn statuses() {
        for (text, out) in [
            ("404", "404"),
            ("5xx", "5xx"),
            ("200-299", "2xx"),
            ("200-204", "200-204"),
            ("100-599", "100-599"),
        ] {
            assert_eq!(StatusRange::parse_text(text).unwrap().to_string(), out);
        }
        for bad in ["", "99", "600", "6xx", "0xx", "300-200", "x", "4x"] {
            assert!(StatusRange::parse_text(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn networks() {
        let net = Network::parse_text("10.0.0.0/8").unwrap();
        assert!(net.contains("10.1.2.3".parse().unwrap()));
        assert!(net.contains("::ffff:10.1.2.3".parse().unwrap()));
        assert!(!net.contains("11.1.2.3".parse().unwrap()));
        assert_eq!(Network::parse_text("::1").unwrap().to_string(), "::1/128");
        assert!(Network::parse_text("10.0.0.1/8").unwrap_err().help.contains("10.0.0.0/8"));
        assert!(Network::parse_text("10.0.0").is_err());
    }

    #[test]
    fn path_patterns_begin_with_a_slash_or_a_star() {
        for good in ["/", "/a/*", "*.jpg", "*"] {
            assert!(PathPattern::parse_text(good).is_ok(), "{good}");
        }
        for bad in ["", "a", "/a?b", "/a#b", "/a b", "/*/*/*/*/*/*/*/*/*"] {
            assert!(PathPattern::parse_text(bad).is_err(), "{bad}");
        }
    }
}
