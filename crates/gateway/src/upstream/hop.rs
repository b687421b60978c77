//! Fields that belong to one connection and are not passed on (RFC 9110 section 7.6.1).

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

/// Fields for all recipients: an origin that lists one in Connection does not take it back (RFC 9110
/// section 7.6.1).
const FOR_ALL: [Name; 3] = [name::CACHE_CONTROL, name::CONTENT_LENGTH, name::VIA];

/// What a request wanted of the connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wishes {
    /// The protocols of Upgrade.
    pub(super) upgrade: Option<Vec<u8>>,
    /// Whether trailers are welcome (RFC 9110 section 10.1.4).
    pub(super) trailers: bool,
    /// Transfer codings that the content is in already, below `chunked` (RFC 9112 section 6.1).
    pub(super) codings: Option<String>,
}

/// Removes the connection's fields from a request, Host, and Content-Length, which is written anew. What the
/// client's Connection listed went when the request was taken in, before anything was decided about it; that
/// Upgrade is still there means that it is wanted and allowed.
pub(super) fn strip_request(fields: &mut Fields) -> Wishes {
    let wishes = Wishes {
        upgrade: fields.joined(name::UPGRADE).filter(|protocols| !protocols.is_empty()),
        trailers: fields.contains(name::TE) && fields.has_member(name::TE, "trailers"),
        codings: fields.get_str(name::TRANSFER_ENCODING).map(str::to_owned),
    };
    OF_THE_CONNECTION.into_iter().chain([name::HOST, name::CONTENT_LENGTH]).for_each(|known| {
        fields.remove(known);
    });
    wishes
}

/// Removes the connection's fields from a response or an interim one, with those that it lists.
pub(super) fn strip_response(fields: &mut Fields) {
    let is_dropped = |known: Name| OF_THE_CONNECTION.contains(&known);
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
    fn fields_of_the_connection_and_those_a_response_lists_are_dropped() {
        let left = |strip: &dyn Fn(&mut Fields), before: &str| {
            let mut fields = Fields::from_wire(before.as_bytes()).unwrap();
            strip(&mut fields);
            let mut out = Vec::new();
            fields.write_wire(&mut out);
            String::from_utf8(out).unwrap()
        };
        let request = |fields: &mut Fields| drop(strip_request(fields));
        for (before, after) in [
            ("a: 1\r\n", "a: 1\r\n"),
            ("host: x\r\ncontent-length: 3\r\na: 1\r\n", "a: 1\r\n"),
            ("Keep-Alive: 5\r\nProxy-Connection: x\r\nTE: gzip\r\na: 1\r\n", "a: 1\r\n"),
            ("Connection: X-Internal\r\nX-Internal: 1\r\n", "X-Internal: 1\r\n"),
        ] {
            assert_eq!(left(&request, before), after);
        }
        for (before, after) in [
            ("Connection: close, X-Secret\r\nx-secret: 1\r\na: 1\r\n", "a: 1\r\n"),
            ("Connection: cache-control\r\nCache-Control: private\r\n", "Cache-Control: private\r\n"),
        ] {
            assert_eq!(left(&strip_response, before), after);
        }
    }

    #[test]
    fn wishes_are_read_before_they_go() {
        let wire = b"Upgrade: websocket\r\nTE: trailers\r\n";
        let mut fields = Fields::from_wire(wire).unwrap();
        let wishes = strip_request(&mut fields);
        assert_eq!(wishes, Wishes { upgrade: Some(b"websocket".to_vec()), trailers: true, codings: None });
        assert!(fields.is_empty());
    }

    #[test]
    fn codings_below_chunked_are_noted() {
        let mut fields = Fields::from_wire(b"Transfer-Encoding: gzip\r\na: 1\r\n").unwrap();
        assert_eq!(strip_request(&mut fields).codings.as_deref(), Some("gzip"));
        assert_eq!(fields, Fields::from_wire(b"a: 1\r\n").unwrap());
    }
}
