//! Cache-Control directives (RFC 9111 section 5.2, RFC 5861, RFC 8246).
//!
//! Where a directive is repeated, the most restrictive one counts; a freshness lifetime that cannot be
//! read counts as zero (section 4.2.1 encourages both). Unknown directives are ignored.

use super::list::{Argument, Directive, members};
use super::seconds::Seconds;
use selvedge_types::fields::{is_token, trim};

/// How many field names `no-cache="..."` and `private="..."` may list; with more, the whole response is meant.
pub const QUALIFIED_FIELDS_MAX: usize = 32;

/// What a directive that may name fields applies to (RFC 9111 sections 5.2.2.4 and 5.2.2.7).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Scope {
    /// The directive is absent.
    #[default]
    Nothing,
    /// These response fields, names as they came.
    Fields(Vec<Box<[u8]>>),
    /// The whole response.
    Response,
}

impl Scope {
    /// Whether the whole response is meant.
    pub fn is_response(&self) -> bool {
        *self == Scope::Response
    }

    /// The field names, if only fields are meant.
    pub fn fields(&self) -> &[Box<[u8]>] {
        if let Scope::Fields(names) = self { names } else { &[] }
    }

    /// Extends the scope by one more occurrence with that argument.
    pub(super) fn widen(&mut self, argument: Option<&[u8]>) {
        let Some(text) = argument else {
            *self = Scope::Response;
            return;
        };
        let names: Vec<&[u8]> = text.split(|b| *b == b',').map(trim).filter(|n| !n.is_empty()).collect();
        let known = std::mem::take(self);
        let mut all = match known {
            Scope::Nothing => Vec::new(),
            Scope::Fields(names) => names,
            Scope::Response => {
                *self = Scope::Response;
                return;
            }
        };
        let fits = all.len() + names.len() <= QUALIFIED_FIELDS_MAX;
        *self = if fits && !names.is_empty() && names.iter().all(|n| is_token(n)) {
            all.extend(names.iter().map(|n| Box::from(*n)));
            Scope::Fields(all)
        } else {
            Scope::Response
        };
    }
}

/// A response's directives, from Cache-Control or a targeted field.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ResponseDirectives {
    /// `max-age`
    pub max_age: Option<Seconds>,
    /// `s-maxage`
    pub s_maxage: Option<Seconds>,
    /// `stale-while-revalidate` (RFC 5861 section 3)
    pub stale_while_revalidate: Option<Seconds>,
    /// `stale-if-error` (RFC 5861 section 4)
    pub stale_if_error: Option<Seconds>,
    /// `no-cache`, perhaps for some fields only
    pub no_cache: Scope,
    /// `private`, perhaps for some fields only
    pub private: Scope,
    /// `no-store`
    pub no_store: bool,
    /// `public`
    pub public: bool,
    /// `must-revalidate`
    pub must_revalidate: bool,
    /// `proxy-revalidate`
    pub proxy_revalidate: bool,
    /// `must-understand`
    pub must_understand: bool,
    /// `no-transform`
    pub no_transform: bool,
    /// `immutable` (RFC 8246)
    pub immutable: bool,
}

impl ResponseDirectives {
    /// Reads every Cache-Control value of a response, in order.
    pub fn parse<'a>(values: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut found = Self::default();
        values.flat_map(members).for_each(|member| found.add(Directive::parse(member)));
        found
    }

    fn add(&mut self, d: Directive<'_>) {
        match d.name.len() {
            6 if d.is("public") => self.public = true,
            7 if d.is("private") => self.private.widen(scope_argument(d)),
            7 if d.is("max-age") => shorten(&mut self.max_age, lifetime(d)),
            8 if d.is("s-maxage") => shorten(&mut self.s_maxage, lifetime(d)),
            8 if d.is("no-store") => self.no_store = true,
            8 if d.is("no-cache") => self.no_cache.widen(scope_argument(d)),
            9 if d.is("immutable") => self.immutable = true,
            12 if d.is("no-transform") => self.no_transform = true,
            14 if d.is("stale-if-error") => shorten(&mut self.stale_if_error, lifetime(d)),
            15 if d.is("must-revalidate") => self.must_revalidate = true,
            15 if d.is("must-understand") => self.must_understand = true,
            16 if d.is("proxy-revalidate") => self.proxy_revalidate = true,
            22 if d.is("stale-while-revalidate") => shorten(&mut self.stale_while_revalidate, lifetime(d)),
            _ => {}
        }
    }
}

/// A request's directives (RFC 9111 section 5.2.1, RFC 5861 section 4).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RequestDirectives {
    /// `max-age`
    pub max_age: Option<Seconds>,
    /// `max-stale`; [`Seconds::MAX`] without an argument
    pub max_stale: Option<Seconds>,
    /// `min-fresh`
    pub min_fresh: Option<Seconds>,
    /// `stale-if-error`
    pub stale_if_error: Option<Seconds>,
    /// `no-cache`
    pub no_cache: bool,
    /// `no-store`
    pub no_store: bool,
    /// `only-if-cached`
    pub only_if_cached: bool,
    /// `no-transform`
    pub no_transform: bool,
}

impl RequestDirectives {
    /// Takes in one more Cache-Control value of a request.
    pub fn extend(&mut self, value: &[u8]) {
        members(value).for_each(|member| self.add(Directive::parse(member)));
    }

    fn add(&mut self, d: Directive<'_>) {
        match d.name.len() {
            7 if d.is("max-age") => shorten(&mut self.max_age, lifetime(d)),
            8 if d.is("no-cache") => self.no_cache = true,
            8 if d.is("no-store") => self.no_store = true,
            9 if d.is("max-stale") && d.argument.is_none() => shorten(&mut self.max_stale, Seconds::MAX),
            9 if d.is("max-stale") => shorten(&mut self.max_stale, lifetime(d)),
            9 if d.is("min-fresh") => self.min_fresh = self.min_fresh.max(Some(lifetime(d))),
            12 if d.is("no-transform") => self.no_transform = true,
            14 if d.is("only-if-cached") => self.only_if_cached = true,
            14 if d.is("stale-if-error") => shorten(&mut self.stale_if_error, lifetime(d)),
            _ => {}
        }
    }
}

fn lifetime(d: Directive<'_>) -> Seconds {
    d.argument.and_then(Argument::text).and_then(Seconds::parse).unwrap_or(Seconds::ZERO)
}

fn scope_argument<'a>(d: Directive<'a>) -> Option<&'a [u8]> {
    d.argument.and_then(Argument::text)
}

pub(super) fn shorten(slot: &mut Option<Seconds>, value: Seconds) {
    *slot = Some(slot.map_or(value, |old| old.min(value)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn response(value: &str) -> ResponseDirectives {
        ResponseDirectives::parse(value.split('\n').map(str::as_bytes))
    }

    #[test]
    fn max_age_forms() {
        for (value, expected) in [
            ("max-age=3600", Some(3600)),
            ("MaX-aGe=3600", Some(3600)),
            ("max-age=003600", Some(3600)),
            ("max-age=\"3600\"", Some(3600)),
            ("max-age=99999999999", Some(1 << 31)),
            ("max-age=-3600", Some(0)),
            ("max-age=3600.5", Some(0)),
            ("max-age=a3600", Some(0)),
            ("max-age=3600a", Some(0)),
            ("max-age='3600'", Some(0)),
            ("max-age =3600", Some(0)),
            ("max-age= 3600", Some(0)),
            ("max-age", Some(0)),
            ("extension=\"max-age=3600\", max-age=1", Some(1)),
            ("max-age=1, extension=\"max-age=3600\"", Some(1)),
            ("foo=bar, max-age=5,baz", Some(5)),
            ("max-age=1800, max-age=1", Some(1)),
            ("max-age=1\nmax-age=1800", Some(1)),
            ("max-agee=1", None),
            ("", None),
        ] {
            assert_eq!(response(value).max_age.map(Seconds::get), expected, "{value}");
        }
    }

    #[test]
    fn fields_may_be_named() {
        let fields = |names: &[&str]| Scope::Fields(names.iter().map(|n| n.as_bytes().into()).collect());
        for (value, expected) in [
            ("no-cache", Scope::Response),
            ("No-Cache, max-age=1", Scope::Response),
            ("no-cache=\"a, B\"", fields(&["a", "B"])),
            ("no-cache=a", fields(&["a"])),
            ("no-cache=\"a\", no-cache=\"b\"", fields(&["a", "b"])),
            ("no-cache=\"a\", no-cache", Scope::Response),
            ("no-cache, no-cache=\"a\"", Scope::Response),
            ("no-cache=\"\"", Scope::Response),
            ("no-cache=\"a b\"", Scope::Response),
            ("no-cache=\"a", Scope::Response),
            ("max-age=1", Scope::Nothing),
        ] {
            assert_eq!(response(value).no_cache, expected, "{value}");
            assert_eq!(
                response(&value.to_lowercase().replace("no-cache", "private")).private.fields().len(),
                expected.fields().len(),
                "{value}"
            );
        }
        let many = vec!["x"; QUALIFIED_FIELDS_MAX + 1].join(",");
        assert_eq!(response(&format!("no-cache=\"{many}\"")).no_cache, Scope::Response);
    }

    #[test]
    fn all_response_directives_are_known() {
        let found = response(
            "public, private, no-store, must-revalidate, proxy-revalidate, must-understand, no-transform, \
             immutable, s-maxage=1, stale-while-revalidate=2, stale-if-error=3",
        );
        assert_eq!(
            found,
            ResponseDirectives {
                s_maxage: Some(Seconds::new(1)),
                stale_while_revalidate: Some(Seconds::new(2)),
                stale_if_error: Some(Seconds::new(3)),
                private: Scope::Response,
                no_store: true,
                public: true,
                must_revalidate: true,
                proxy_revalidate: true,
                must_understand: true,
                no_transform: true,
                immutable: true,
                ..Default::default()
            }
        );
    }

    #[test]
    fn request_directives() {
        let parse = |value: &str| {
            let mut found = RequestDirectives::default();
            found.extend(value.as_bytes());
            found
        };
        let found =
            parse("max-age=1, max-stale, min-fresh=3, no-cache, no-store, only-if-cached, no-transform");
        assert_eq!(found.max_age, Some(Seconds::new(1)));
        assert_eq!(found.max_stale, Some(Seconds::MAX));
        assert_eq!(found.min_fresh, Some(Seconds::new(3)));
        assert!(found.no_cache && found.no_store && found.only_if_cached && found.no_transform);
        assert_eq!(parse("max-stale=x").max_stale, Some(Seconds::ZERO));
        assert_eq!(parse("min-fresh=1, min-fresh=9").min_fresh, Some(Seconds::new(9)));
        assert_eq!(parse("stale-if-error=60").stale_if_error, Some(Seconds::new(60)));
    }

    proptest! {
        #[test]
        fn no_input_panics(value in prop::collection::vec(any::<u8>(), 0..200)) {
            ResponseDirectives::parse([value.as_slice()].into_iter());
            RequestDirectives::default().extend(&value);
        }

        #[test]
        fn restrictive_directives_survive_whatever_follows(tail in "[a-z=,\" -]{0,40}") {
            let value = format!("no-store, {tail}");
            prop_assert!(response(&value).no_store);
        }
    }
}
