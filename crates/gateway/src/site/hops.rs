//! What proxies on a request's way say of whom they were asked by, and how: Forwarded (RFC 7239), or X-Forwarded-For
//! beside X-Forwarded-Proto.

use selvedge_types::fields::trim;
use selvedge_types::resource::ProxyField;
use selvedge_types::{Fields, Scheme, name};
use std::iter::Peekable;
use std::net::IpAddr;
use std::slice::Iter;

/// What one proxy says of the request as it got it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Hop {
    /// Who asked it; none if it does not say, or in a word of its own.
    pub(super) address: Option<IpAddr>,
    /// By which scheme, if it says.
    pub(super) scheme: Option<Scheme>,
}

/// What the proxies on the way wrote into `field`, the first one first.
pub(super) fn hops(fields: &Fields, field: ProxyField) -> Vec<Hop> {
    match field {
        ProxyField::Forwarded => forwarded(fields),
        ProxyField::XForwardedFor => x_forwarded(fields),
    }
}

/// Of the two lists the last members belong together. A proxy that writes no list but its own scheme alone speaks
/// for all before it.
fn x_forwarded(fields: &Fields) -> Vec<Hop> {
    let schemes: Vec<Option<Scheme>> = fields.members(name::X_FORWARDED_PROTO).map(scheme).collect();
    let addresses: Vec<Option<IpAddr>> = fields.members(name::X_FORWARDED_FOR).map(address).collect();
    if addresses.is_empty() {
        return schemes.last().map(|scheme| Hop { address: None, scheme: *scheme }).into_iter().collect();
    }
    let of_hop = |from_end: usize| {
        let place = schemes.len().saturating_sub(1 + from_end);
        schemes.get(place).copied().flatten()
    };
    let count = addresses.len();
    let hops = addresses.into_iter().enumerate();
    hops.map(|(i, address)| Hop { address, scheme: of_hop(count - 1 - i) }).collect()
}

/// A line that cannot be read tells nothing, and what stands before it may be anybody's.
fn forwarded(fields: &Fields) -> Vec<Hop> {
    let mut lines: Vec<&[u8]> = fields.get_all(name::FORWARDED).collect();
    lines.reverse();
    let mut readable: Vec<Vec<Hop>> = lines.into_iter().map_while(elements).collect();
    readable.reverse();
    readable.concat()
}

/// The elements of a line of Forwarded (RFC 7239 section 4); none if it is malformed.
fn elements(line: &[u8]) -> Option<Vec<Hop>> {
    let mut rest = line.iter().peekable();
    let mut found = Vec::new();
    loop {
        found.extend(element(&mut rest)?);
        match rest.next() {
            Some(b',') => {}
            Some(_) => return None,
            None => return Some(found),
        }
    }
}

type Rest<'a> = Peekable<Iter<'a, u8>>;

/// One element, up to a comma or the end; `Some(None)` if there is nothing in it, none if it is malformed.
fn element(rest: &mut Rest<'_>) -> Option<Option<Hop>> {
    let (mut by, mut proto, mut is_empty) = (None, None, true);
    loop {
        skip_blanks(rest);
        match rest.peek() {
            Some(b';') => drop(rest.next()),
            Some(b',') | None => break,
            Some(_) => {
                let (name, value) = pair(rest)?;
                is_empty = false;
                let place = match name.as_slice() {
                    b"for" => &mut by,
                    b"proto" => &mut proto,
                    _ => continue,
                };
                // Each may stand once.
                if place.replace(value).is_some() {
                    return None;
                }
            }
        }
    }
    let hop = Hop { address: by.and_then(|by| address(&by)), scheme: proto.and_then(|proto| scheme(&proto)) };
    Some((!is_empty).then_some(hop))
}

/// A parameter's name in lowercase, and its value without quotes, up to the next delimiter.
fn pair(rest: &mut Rest<'_>) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut name = take_while(rest, |b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
    name.make_ascii_lowercase();
    rest.next_if(|b| **b == b'=').filter(|_| !name.is_empty())?;
    let value = match rest.next_if(|b| **b == b'"') {
        Some(_) => quoted(rest)?,
        // Some proxies write addresses with ports or brackets without quotes, which can be read in one way only.
        None => take_while(rest, |b| b.is_ascii_graphic() && !b"\",;\\".contains(&b)),
    };
    skip_blanks(rest);
    matches!(rest.peek(), Some(b';' | b',') | None).then_some((name, value))
}

/// The rest of a quoted-string, up to its end (RFC 9110 section 5.6.4).
fn quoted(rest: &mut Rest<'_>) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    loop {
        match rest.next()? {
            b'"' => return Some(text),
            b'\\' => text.push(*rest.next()?),
            b => text.push(*b),
        }
    }
}

fn take_while(rest: &mut Rest<'_>, fits: impl Fn(u8) -> bool) -> Vec<u8> {
    std::iter::from_fn(|| rest.next_if(|b| fits(**b)).copied()).collect()
}

fn skip_blanks(rest: &mut Rest<'_>) {
    while rest.next_if(|b| matches!(b, b' ' | b'\t')).is_some() {}
}

fn scheme(text: &[u8]) -> Option<Scheme> {
    [Scheme::Http, Scheme::Https].into_iter().find(|s| s.as_str().as_bytes().eq_ignore_ascii_case(text))
}

/// An address, with or without port, an IPv6 one with or without brackets.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(trim(text)).ok()?;
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    if let Some(rest) = text.strip_prefix('[') {
        return rest.split_once(']')?.0.parse::<IpAddr>().ok().map(|a| a.to_canonical());
    }
    text.rsplit_once(':')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn told(wire: &str, field: ProxyField) -> String {
        let fields = Fields::from_wire(wire.replace('|', "\r\n").as_bytes()).unwrap();
        let one = |hop: Hop| {
            let address = hop.address.map_or("?".into(), |a| a.to_string());
            hop.scheme.map_or(address.clone(), |scheme| format!("{address} {}", scheme.as_str()))
        };
        hops(&fields, field).into_iter().map(one).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn elements_of_forwarded_end_at_commas_outside_of_quotes() {
        for (line, expected) in [
            ("for=192.0.2.1", "192.0.2.1"),
            ("For=192.0.2.1 ; PROTO=HTTPS;by=203.0.113.43", "192.0.2.1 https"),
            ("for=192.0.2.1, for=198.51.100.2;proto=http", "192.0.2.1, 198.51.100.2 http"),
            ("for=\"[2001:db8::1]:4711\";proto=\"https\"", "2001:db8::1 https"),
            ("for=[2001:db8::1]:4711, for=192.0.2.1:80", "2001:db8::1, 192.0.2.1"),
            ("for=203.0.113.9;host=\"x,for=10.0.0.1\"", "203.0.113.9"),
            ("for=203.0.113.9;host=\"x\\\",for=10.0.0.1;x=\\\"\"", "203.0.113.9"),
            ("host=\"a;for=10.0.0.1\";for=203.0.113.9", "203.0.113.9"),
            ("for=\"19\\2.0.2.1\"", "192.0.2.1"),
            ("for=unknown, for=_hidden, proto=https", "?, ?, ? https"),
            (" ,, for=192.0.2.1 ;; , ;", "192.0.2.1"),
        ] {
            assert_eq!(told(&format!("Forwarded: {line}|"), ProxyField::Forwarded), expected, "{line}");
        }
    }

    #[test]
    fn a_malformed_line_hides_itself_and_all_before_it() {
        for line in [
            "for=192.0.2.1;host=\"x",
            "for=192.0.2.1;host=\"x\\",
            "for=192.0.2.1;host=\"x\"y",
            "for=192.0.2.1 for=192.0.2.2",
            "for=192.0.2.1;for=192.0.2.2",
            "for =192.0.2.1",
            "192.0.2.1",
            "=192.0.2.1",
            "for=192.0.2.1;host=x\"",
        ] {
            let wire = format!("Forwarded: for=10.0.0.1|Forwarded: {line}|Forwarded: for=192.0.2.9|");
            assert_eq!(told(&wire, ProxyField::Forwarded), "192.0.2.9", "{line}");
            assert_eq!(told(&format!("Forwarded: {line}|"), ProxyField::Forwarded), "", "{line}");
        }
    }

    #[test]
    fn schemes_belong_to_addresses_from_the_last_one_on() {
        for (addresses, schemes, expected) in [
            ("192.0.2.1, 192.0.2.2", "https, http", "192.0.2.1 https, 192.0.2.2 http"),
            ("192.0.2.1, 192.0.2.2", "https", "192.0.2.1 https, 192.0.2.2 https"),
            ("192.0.2.2", "https, http", "192.0.2.2 http"),
            ("x, 192.0.2.2", "", "?, 192.0.2.2"),
            ("", "http, https", "? https"),
            ("192.0.2.2", "nonsense", "192.0.2.2"),
        ] {
            let wire = format!("X-Forwarded-For: {addresses}|X-Forwarded-Proto: {schemes}|");
            assert_eq!(told(&wire, ProxyField::XForwardedFor), expected, "{addresses} {schemes}");
        }
    }

    proptest! {
        #[test]
        fn what_a_proxy_appends_is_read_whatever_it_quotes(host in "[ -~]{0,12}") {
            let quoted = host.replace('\\', "\\\\").replace('"', "\\\"");
            let line = format!("for=203.0.113.9;host=\"{quoted}\"");
            prop_assert_eq!(elements(line.as_bytes()).map(|hops| hops.len()), Some(1));
        }

        #[test]
        fn any_line_is_read_or_refused(line in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = elements(&line);
        }
    }
}
