//! `Surrogate-Control` (W3C Edge Architecture Specification, 2001): directives for reverse proxies, some of
//! them for one alone.
//!
//! We understand `max-age=N`, `max-age=N+M` (stale for M seconds more while it is revalidated), `no-store` and
//! `no-store-remote`. A directive with parameters is for the surrogates that they name; a field that says
//! nothing to us is as good as absent. `content` asks for processing that we do not offer.

use super::cache_control::{ResponseDirectives, shorten};
use super::list::{Argument, Directive, members};
use super::seconds::Seconds;
use selvedge_types::fields::trim;
use selvedge_types::{FieldError, Fields, name};

/// The name by which origins address this surrogate.
pub const TOKEN: &str = "selvedge";

/// Tells an origin that its response may hold Surrogate-Control (section 2.1). What the client said it can
/// process is dropped: the response is for others too.
pub fn announce(request: &mut Fields) -> Result<(), FieldError> {
    request.set(name::SURROGATE_CAPABILITY, format!("{TOKEN}=\"Surrogate/1.0\""))
}

/// What a response's Surrogate-Control says to this surrogate; none if it says nothing.
pub(super) fn directives(response: &Fields) -> Option<ResponseDirectives> {
    let mut found = ResponseDirectives::default();
    let mut said_something = false;
    for member in response.get_all(name::SURROGATE_CONTROL).flat_map(members) {
        let mut parts = member.split(|b| *b == b';').map(trim);
        let directive = Directive::parse(parts.next().unwrap_or_default());
        let mut targets = parts.filter(|t| !t.is_empty()).peekable();
        let is_ours = targets.peek().is_none() || targets.any(|t| t.eq_ignore_ascii_case(TOKEN.as_bytes()));
        said_something |= is_ours && apply(&mut found, directive);
    }
    said_something.then_some(found)
}

/// Takes one directive over; false if it is not known.
fn apply(found: &mut ResponseDirectives, directive: Directive<'_>) -> bool {
    if directive.is("max-age") {
        let (fresh, stale) = periods(directive.argument);
        shorten(&mut found.max_age, fresh);
        stale.into_iter().for_each(|stale| shorten(&mut found.stale_while_revalidate, stale));
        return true;
    }
    let forbids = directive.is("no-store") || directive.is("no-store-remote");
    found.no_store |= forbids;
    forbids
}

/// `N` or `N+M`; anything else is no lifetime at all.
fn periods(argument: Option<Argument<'_>>) -> (Seconds, Option<Seconds>) {
    let text = argument.and_then(Argument::text).unwrap_or_default();
    let mut numbers = text.splitn(2, |b| *b == b'+').map(Seconds::parse);
    match (numbers.next().flatten(), numbers.next()) {
        (Some(fresh), None) => (fresh, None),
        (Some(fresh), Some(Some(stale))) => (fresh, Some(stale)),
        _ => (Seconds::ZERO, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(value: &str) -> Option<(Option<u32>, Option<u32>, bool)> {
        let fields = Fields::from_wire(format!("Surrogate-Control: {value}\r\n").as_bytes()).unwrap();
        directives(&fields)
            .map(|d| (d.max_age.map(Seconds::get), d.stale_while_revalidate.map(Seconds::get), d.no_store))
    }

    #[test]
    fn what_is_for_this_surrogate_counts() {
        for (value, expected) in [
            ("max-age=60", Some((Some(60), None, false))),
            ("MaX-aGe=60", Some((Some(60), None, false))),
            ("max-age=60+30", Some((Some(60), Some(30), false))),
            ("max-age=99999999999", Some((Some(1 << 31), None, false))),
            ("content=\"ESI/1.0\", max-age=60", Some((Some(60), None, false))),
            ("max-age=60;selvedge", Some((Some(60), None, false))),
            ("max-age=60;other;Selvedge", Some((Some(60), None, false))),
            ("max-age=60;other, max-age=5", Some((Some(5), None, false))),
            ("no-store, max-age=60", Some((Some(60), None, true))),
            ("no-store-remote", Some((None, None, true))),
            ("max-age=60;other", None),
            ("no-store;other", None),
            ("foo, content=\"ESI/1.0\"", None),
            ("", None),
            ("max-age =60", Some((Some(0), None, false))),
            ("max-age= 60", Some((Some(0), None, false))),
            ("max-age=60+", Some((Some(0), None, false))),
            ("max-age", Some((Some(0), None, false))),
        ] {
            assert_eq!(read(value), expected, "{value}");
        }
    }

    #[test]
    fn origins_hear_of_this_surrogate_alone() {
        let mut request = Fields::from_wire(b"Surrogate-Capability: a=\"ESI/1.0\"\r\n").unwrap();
        announce(&mut request).unwrap();
        let expected = "selvedge=\"Surrogate/1.0\"";
        assert_eq!(request.joined(name::SURROGATE_CAPABILITY).unwrap(), expected.as_bytes());
    }

    proptest! {
        #[test]
        fn no_value_panics(value in "[ -~]{0,60}") {
            let _ = read(&value);
        }
    }
}
