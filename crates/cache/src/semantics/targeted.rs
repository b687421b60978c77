//! Targeted cache control (RFC 9213): fields that speak to some caches only.
//!
//! Our target list is `Selvedge-Cache-Control`, then `CDN-Cache-Control`. The first of them that is present,
//! not empty and a valid structured dictionary replaces Cache-Control and Expires (section 2.1); one that
//! is empty or invalid is as good as absent (section 2.2). After them, [`surrogate`] may speak.

use super::cache_control::{ResponseDirectives, shorten};
use super::seconds::Seconds;
use super::structured::{Value, dictionary};
use super::surrogate;
use selvedge_types::{Fields, Name, name};

/// Where a response's directives were read from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DirectiveSource {
    /// `Selvedge-Cache-Control`
    Selvedge,
    /// `CDN-Cache-Control`
    Cdn,
    /// `Surrogate-Control`
    Surrogate,
    /// `Cache-Control`, with Expires beside it.
    CacheControl,
}

impl DirectiveSource {
    /// Whether a targeted field was read.
    pub fn is_targeted(self) -> bool {
        self != DirectiveSource::CacheControl
    }
}

const TARGETS: [(Name, DirectiveSource); 2] = [
    (name::SELVEDGE_CACHE_CONTROL, DirectiveSource::Selvedge),
    (name::CDN_CACHE_CONTROL, DirectiveSource::Cdn),
];

/// The directives that hold for this cache, and the field that stated them.
pub fn directives(response: &Fields) -> (ResponseDirectives, DirectiveSource) {
    for (field, source) in TARGETS {
        if let Some(members) = dictionary(response.get_all(field)) {
            return (interpret(&members), source);
        }
    }
    if let Some(said) = surrogate::directives(response) {
        return (said, DirectiveSource::Surrogate);
    }
    (ResponseDirectives::parse(response.get_all(name::CACHE_CONTROL)), DirectiveSource::CacheControl)
}

fn interpret(members: &[(String, Value)]) -> ResponseDirectives {
    let mut found = ResponseDirectives::default();
    for (key, value) in members {
        match key.as_str() {
            "max-age" => shorten(&mut found.max_age, lifetime(value)),
            "s-maxage" => shorten(&mut found.s_maxage, lifetime(value)),
            "stale-while-revalidate" => shorten(&mut found.stale_while_revalidate, lifetime(value)),
            "stale-if-error" => shorten(&mut found.stale_if_error, lifetime(value)),
            "no-cache" if *value != Value::Boolean(false) => found.no_cache.widen(text(value)),
            "private" if *value != Value::Boolean(false) => found.private.widen(text(value)),
            "no-store" => found.no_store = is_set(value),
            "public" => found.public = *value == Value::Boolean(true),
            "must-revalidate" => found.must_revalidate = is_set(value),
            "proxy-revalidate" => found.proxy_revalidate = is_set(value),
            "must-understand" => found.must_understand = is_set(value),
            "no-transform" => found.no_transform = is_set(value),
            "immutable" => found.immutable = *value == Value::Boolean(true),
            _ => {}
        }
    }
    found
}

/// A lifetime of another type, or below zero, is no lifetime: the response is stale.
fn lifetime(value: &Value) -> Seconds {
    match value {
        Value::Integer(n) => u64::try_from(*n).map_or(Seconds::ZERO, Seconds::new),
        _ => Seconds::ZERO,
    }
}

/// A restriction counts unless it is plainly false.
fn is_set(value: &Value) -> bool {
    *value != Value::Boolean(false)
}

fn text(value: &Value) -> Option<&[u8]> {
    if let Value::Text(text) = value { Some(text.as_bytes()) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(wire: &str) -> (ResponseDirectives, DirectiveSource) {
        directives(&Fields::from_wire(wire.replace('|', "\r\n").as_bytes()).unwrap())
    }

    #[test]
    fn the_first_valid_target_wins() {
        use DirectiveSource::*;
        for (wire, max_age, source) in [
            ("Cache-Control: max-age=1|", Some(1), CacheControl),
            ("CDN-Cache-Control: max-age=2|Cache-Control: max-age=1|", Some(2), Cdn),
            ("CDN-Cache-Control: max-age=2|Selvedge-Cache-Control: max-age=3|", Some(3), Selvedge),
            ("Selvedge-Cache-Control: |CDN-Cache-Control: max-age=2|", Some(2), Cdn),
            ("CDN-Cache-Control: max-age=10000, &&&&&|Cache-Control: max-age=1|", Some(1), CacheControl),
            ("CDN-Cache-Control: MaX-aGe=3600|Cache-Control: max-age=1|", Some(1), CacheControl),
            ("CDN-Cache-Control: max-age =3600|Cache-Control: max-age=1|", Some(1), CacheControl),
            ("CDN-Cache-Control: max-age=\"10000\"|Cache-Control: max-age=1|", Some(0), Cdn),
            ("CDN-Cache-Control: max-age=-5|Cache-Control: max-age=1|", Some(0), Cdn),
            ("CDN-Cache-Control: max-age=003600|", Some(3600), Cdn),
            ("CDN-Cache-Control: max-age=3600;foo=bar|", Some(3600), Cdn),
            ("CDN-Cache-Control: foo=bar|Cache-Control: max-age=1|", None, Cdn),
            ("CDN-Cache-Control: a=1|CDN-Cache-Control: max-age=7|", Some(7), Cdn),
            ("Surrogate-Control: max-age=2|Cache-Control: max-age=1|", Some(2), Surrogate),
            ("Surrogate-Control: max-age=2|CDN-Cache-Control: max-age=3|", Some(3), Cdn),
            ("Surrogate-Control: max-age=2|CDN-Cache-Control: A|", Some(2), Surrogate),
        ] {
            let (found, from) = read(wire);
            assert_eq!((found.max_age.map(Seconds::get), from), (max_age, source), "{wire}");
        }
    }

    #[test]
    fn targeted_directives_replace_all_others() {
        let (found, _) = read("CDN-Cache-Control: max-age=60|Cache-Control: no-store, private|");
        assert!(!found.no_store && !found.private.is_response());
        let (found, _) =
            read("CDN-Cache-Control: no-store, private, no-cache=\"a, b\"|Cache-Control: max-age=9|");
        assert!(found.no_store && found.private.is_response());
        assert_eq!(found.no_cache.fields().len(), 2);
        let (found, _) = read("CDN-Cache-Control: no-store=?0, private=?0, public=?0|");
        assert_eq!(found, ResponseDirectives::default());
    }
}
