//! Fields that belong to one connection and are not passed on (RFC 9110 section 7.6.1).

use crate::upgrade;
use selvedge_types::{Fields, Name, name};

/// Always of the connection, whether Connection lists them or not.
const OF_THE_CONNECTION: [Name; 6] = [
    name::CONNECTION,
    name::KEEP_ALIVE,
    name::PROXY_CONNECTION,
    name::TE,
    name::TRANSFER_ENCODING,
    name::UPGRADE,
];

/// Fields for all recipients. A client that lists one in Connection is trying to hide from the origin what
/// the gateway says about it.
const FOR_ALL: [Name; 12] = [
    name::AUTHORIZATION,
    name::CACHE_CONTROL,
    name::CDN_LOOP,
    name::CONTENT_LENGTH,
    name::COOKIE,
    name::FORWARDED,
    name::HOST,
    name::VIA,
    name::X_FORWARDED_FOR,
    name::X_FORWARDED_HOST,
    name::X_FORWARDED_PROTO,
    name::X_REAL_IP,
];

/// What a request wanted of the connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wishes {
    /// The protocols of Upgrade that may be passed on, if Connection listed it.
    pub(super) upgrade: Option<Vec<u8>>,
    /// Whether trailers are welcome (RFC 9110 section 10.1.4).
    pub(super) trailers: bool,
    /// Transfer codings that the content is in already, below `chunked` (RFC 9112 section 6.1).
    pub(super) codings: Option<String>,
}

/// Removes the connection's fields from a request, Host, and Content-Length, which is written anew.
pub(super) fn strip_request(fields: &mut Fields) -> Wishes {
    let mut wishes = Wishes { upgrade: upgrade::offered(fields), ..Wishes::default() };
    wishes.trailers = fields.contains(name::TE) && fields.has_member(name::TE, "trailers");
    wishes.codings = fields.get_str(name::TRANSFER_ENCODING).map(str::to_owned);
    strip(fields, |known| matches!(known, name::HOST | name::CONTENT_LENGTH));
    wishes
}

/// Removes the connection's fields from a response or an interim one.
pub(super) fn strip_response(fields: &mut Fields) {
    strip(fields, |_| false);
}

fn strip(fields: &mut Fields, also: impl Fn(Name) -> bool) {
    let is_dropped = |known: Name| OF_THE_CONNECTION.contains(&known) || also(known);
    if !fields.iter_known().any(|(known, ..)| known.is_some_and(is_dropped)) {
        return;
    }
    let listed: Vec<Vec<u8>> = fields.members(name::CONNECTION).map(<[u8]>::to_vec).collect();
    fields.retain(|text, _| {
        let known = Name::find(text);
        let is_listed = || listed.iter().any(|l| l.eq_ignore_ascii_case(text));
        !known.is_some_and(is_dropped) && (known.is_some_and(|k| FOR_ALL.contains(&k)) || !is_listed())
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_the_connection_and_those_it_lists_are_dropped() {
        for (before, after) in [
            ("a: 1\r\n", "a: 1\r\n"),
            ("host: x\r\ncontent-length: 3\r\na: 1\r\n", "a: 1\r\n"),
            ("Keep-Alive: 5\r\nProxy-Connection: x\r\nTE: gzip\r\na: 1\r\n", "a: 1\r\n"),
            ("Connection: close, X-Secret\r\nx-secret: 1\r\na: 1\r\n", "a: 1\r\n"),
            ("Connection: X-Forwarded-For\r\nX-Forwarded-For: 1.2.3.4\r\n", "X-Forwarded-For: 1.2.3.4\r\n"),
        ] {
            let mut fields = Fields::from_wire(before.as_bytes()).unwrap();
            strip_request(&mut fields);
            let mut out = Vec::new();
            fields.write_wire(&mut out);
            assert_eq!(String::from_utf8(out).unwrap(), after);
        }
    }

    #[test]
    fn wishes_are_read_before_they_go() {
        let wire = b"Connection: Upgrade, TE\r\nUpgrade: websocket\r\nTE: trailers\r\n";
        let mut fields = Fields::from_wire(wire).unwrap();
        let wishes = strip_request(&mut fields);
        assert_eq!(wishes, Wishes { upgrade: Some(b"websocket".to_vec()), trailers: true, codings: None });
        assert!(fields.is_empty());
        let mut unlisted = Fields::from_wire(b"Upgrade: h2c\r\n").unwrap();
        assert_eq!(strip_request(&mut unlisted), Wishes::default());
    }

    #[test]
    fn codings_below_chunked_are_noted() {
        let mut fields = Fields::from_wire(b"Transfer-Encoding: gzip\r\na: 1\r\n").unwrap();
        assert_eq!(strip_request(&mut fields).codings.as_deref(), Some("gzip"));
        assert_eq!(fields, Fields::from_wire(b"a: 1\r\n").unwrap());
    }
}
