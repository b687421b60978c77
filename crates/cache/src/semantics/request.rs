//! What a request says that matters to a cache, read in one pass over its fields.

use super::cache_control::RequestDirectives;
use super::list::members;
use super::policy::ClientDirectives;
use selvedge_types::{Fields, Method, Name, name};

/// How a request's method concerns the cache.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MethodClass {
    /// GET: may be answered from the cache and its response stored.
    Get,
    /// HEAD: may be answered from a stored GET (RFC 9110 section 9.3.2).
    Head,
    /// POST: goes to the origin; its response may be stored for GET (RFC 9110 section 9.3.3).
    Post,
    /// OPTIONS and TRACE: go to the origin and change nothing.
    Safe,
    /// Every other, unknown ones included: goes to the origin and may invalidate (RFC 9111 section 4.4).
    Unsafe,
}

impl MethodClass {
    /// The class of `method`.
    pub fn of(method: &Method) -> Self {
        match method {
            Method::Get => MethodClass::Get,
            Method::Head => MethodClass::Head,
            Method::Post => MethodClass::Post,
            m if m.is_safe() => MethodClass::Safe,
            _ => MethodClass::Unsafe,
        }
    }

    /// GET or HEAD: a stored response may answer it.
    pub fn may_use_stored(self) -> bool {
        matches!(self, MethodClass::Get | MethodClass::Head)
    }

    /// POST and all that are not known to be safe.
    pub fn may_invalidate(self) -> bool {
        matches!(self, MethodClass::Post | MethodClass::Unsafe)
    }
}

/// The facts of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestFacts {
    /// Its method's class.
    pub method: MethodClass,
    /// Its Cache-Control, or what Pragma stands for.
    pub directives: RequestDirectives,
    /// It has Authorization (RFC 9111 section 3.5).
    pub authorization: bool,
    /// It has Range.
    pub range: bool,
    /// It has If-None-Match or If-Modified-Since, which a cache evaluates (RFC 9111 section 4.3.2).
    pub conditional: bool,
    /// It has If-Match or If-Unmodified-Since, which only the origin evaluates: forward it.
    pub origin_conditional: bool,
}

/// What facts are read from.
const OF_INTEREST: [Name; 8] = [
    name::CACHE_CONTROL,
    name::PRAGMA,
    name::AUTHORIZATION,
    name::RANGE,
    name::IF_NONE_MATCH,
    name::IF_MODIFIED_SINCE,
    name::IF_MATCH,
    name::IF_UNMODIFIED_SINCE,
];

impl RequestFacts {
    /// Reads a request's fields.
    pub fn parse(method: &Method, fields: &Fields, clients: ClientDirectives) -> Self {
        let mut facts = RequestFacts::plain(MethodClass::of(method));
        if !fields.contains_any(&OF_INTEREST) {
            return facts;
        }
        let (mut cache_control, mut pragma) = (false, false);
        for (known, _, value) in fields.iter_known() {
            match known {
                Some(name::CACHE_CONTROL) => {
                    cache_control = true;
                    facts.directives.extend(value);
                }
                Some(name::PRAGMA) => pragma |= members(value).any(|m| m.eq_ignore_ascii_case(b"no-cache")),
                Some(name::AUTHORIZATION) => facts.authorization = true,
                Some(name::RANGE) => facts.range = true,
                Some(name::IF_NONE_MATCH | name::IF_MODIFIED_SINCE) => facts.conditional = true,
                Some(name::IF_MATCH | name::IF_UNMODIFIED_SINCE) => facts.origin_conditional = true,
                _ => {}
            }
        }
        // Pragma counts only without Cache-Control (RFC 9111 section 5.4).
        facts.directives.no_cache |= pragma && !cache_control;
        if clients == ClientDirectives::Ignore {
            facts.directives = RequestDirectives::default();
        }
        facts
    }

    /// Whether what the origin answers may be owed to this request alone: its credentials, or its wish that nothing
    /// is stored (RFC 9111 sections 3.5 and 5.2.1.5). That it may not be stored then tells nothing of what others
    /// get, nor of what is stored.
    pub const fn is_personal(&self) -> bool {
        self.authorization || self.directives.no_store
    }

    /// A request with that method and no field of interest.
    pub const fn plain(method: MethodClass) -> Self {
        RequestFacts {
            method,
            directives: RequestDirectives {
                max_age: None,
                max_stale: None,
                min_fresh: None,
                stale_if_error: None,
                no_cache: false,
                no_store: false,
                only_if_cached: false,
                no_transform: false,
            },
            authorization: false,
            range: false,
            conditional: false,
            origin_conditional: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::semantics::seconds::Seconds;

    fn facts(wire: &str) -> RequestFacts {
        let fields = Fields::from_wire(wire.replace('|', "\r\n").as_bytes()).unwrap();
        RequestFacts::parse(&Method::Get, &fields, ClientDirectives::Honor)
    }

    #[test]
    fn pragma_counts_only_without_cache_control() {
        for (wire, no_cache) in [
            ("Pragma: no-cache|", true),
            ("Pragma: foo, No-Cache|", true),
            ("Pragma: foo|", false),
            ("Pragma: no-cache|Cache-Control: max-stale|", false),
            ("Cache-Control: no-cache|", true),
        ] {
            assert_eq!(facts(wire).directives.no_cache, no_cache, "{wire}");
        }
    }

    #[test]
    fn fields_of_interest_are_noticed() {
        let all =
            facts("Authorization: x|Range: bytes=0-|If-None-Match: *|If-Match: *|Cache-Control: max-age=1|");
        assert!(all.authorization && all.range && all.conditional && all.origin_conditional);
        assert_eq!(all.directives.max_age, Some(Seconds::new(1)));
        assert_eq!(facts("Accept: */*|"), RequestFacts::plain(MethodClass::Get));
    }

    #[test]
    fn an_operator_may_ignore_what_clients_ask_for() {
        let fields = Fields::from_wire(b"Cache-Control: no-cache, no-store\r\nAuthorization: x\r\n").unwrap();
        let facts = RequestFacts::parse(&Method::Get, &fields, ClientDirectives::Ignore);
        assert_eq!(facts.directives, RequestDirectives::default());
        assert!(facts.authorization);
    }

    #[test]
    fn methods_have_classes() {
        for (method, class, invalidates) in [
            ("GET", MethodClass::Get, false),
            ("HEAD", MethodClass::Head, false),
            ("OPTIONS", MethodClass::Safe, false),
            ("POST", MethodClass::Post, true),
            ("DELETE", MethodClass::Unsafe, true),
            ("M-SEARCH", MethodClass::Unsafe, true),
            ("get", MethodClass::Unsafe, true),
        ] {
            let found = MethodClass::of(&Method::parse(method.as_bytes()).unwrap());
            assert_eq!((found, found.may_invalidate()), (class, invalidates), "{method}");
        }
    }
}
