//! What is done with every request before anything is decided about it, so that rules, cache and origin all see
//! the same request: its path gets its one form, and what belongs to the client's connection, or what the client
//! may not say about itself, is taken off.

use super::answer::Refusal;
use super::forwarded::{Origination, Trusted};
use super::request_id::RequestId;
use selvedge_cache::semantics::canonical_target;
use selvedge_exchange::Request;
use selvedge_types::{FieldError, Fields, Name, Version, name};
use std::borrow::Cow;

/// Who asks, and whether the request can be read in one way only.
#[derive(Debug)]
pub struct Entrance {
    pub(super) origination: Origination,
    pub(super) id: RequestId,
    pub(super) refusal: Option<Refusal>,
}

impl Entrance {
    pub(super) fn new(request: &mut Request, trusted: &Trusted, id: RequestId) -> Self {
        let origination = trusted.origination(request);
        let refusal = enter(request, trusted, &origination).err();
        Entrance { origination, id, refusal }
    }

    /// Has the request refused, whatever it asks for.
    pub fn refuse(&mut self, why: Refusal) {
        self.refusal = Some(why);
    }
}

fn enter(request: &mut Request, trusted: &Trusted, origination: &Origination) -> Result<(), Refusal> {
    leave_connection(request).map_err(|_| Refusal::HeaderTooLarge)?;
    trusted.drop_claims(&mut request.fields, origination.by_trusted);
    let canonical = match canonical_target(&request.target) {
        Ok(Cow::Borrowed(_)) => return Ok(()),
        Ok(Cow::Owned(target)) => target,
        Err(_) => return Err(Refusal::Path),
    };
    request.target = canonical;
    Ok(())
}

/// Always of the connection, whether Connection lists them or not (RFC 9110 section 7.6.1).
const OF_THE_CONNECTION: [Name; 5] =
    [name::CONNECTION, name::KEEP_ALIVE, name::PROXY_CONNECTION, name::TE, name::UPGRADE];

/// Fields that tell of a message's way. They are for all recipients; a client that lists one in Connection is
/// trying to hide where it comes from, or a loop.
const OF_THE_WAY: [Name; 8] = [
    name::CDN_LOOP,
    name::FORWARDED,
    name::VIA,
    name::X_FORWARDED_FOR,
    name::X_FORWARDED_HOST,
    name::X_FORWARDED_PROTO,
    name::X_REAL_IP,
    name::X_REQUEST_ID,
];

/// Takes off what belongs to the client's connection. Upgrade stays where it may be meant: HTTP/1.1, and listed
/// in Connection (RFC 9110 section 7.8). Of TE stays whether trailers are welcome. Transfer-Encoding, which the
/// front left only for codings below `chunked`, is of the content.
fn leave_connection(request: &mut Request) -> Result<(), FieldError> {
    let fields = &mut request.fields;
    if !fields.contains_any(&OF_THE_CONNECTION) {
        return Ok(());
    }
    let takes_trailers = fields.has_member(name::TE, "trailers");
    let may_upgrade = request.version == Version::Http11 && fields.has_member(name::CONNECTION, "upgrade");
    drop_listed(fields);
    for known in OF_THE_CONNECTION {
        if !(known == name::UPGRADE && may_upgrade) {
            fields.remove(known);
        }
    }
    if takes_trailers { fields.add(name::TE, "trailers") } else { Ok(()) }
}

fn drop_listed(fields: &mut Fields) {
    let speaks_of_fields = |option: &&[u8]| {
        !["close", "keep-alive", "te", "upgrade"]
            .iter()
            .any(|own| option.eq_ignore_ascii_case(own.as_bytes()))
    };
    let listed: Vec<Vec<u8>> =
        fields.members(name::CONNECTION).filter(speaks_of_fields).map(<[u8]>::to_vec).collect();
    if listed.is_empty() {
        return;
    }
    fields.retain(|text, _| {
        let stays = |known: Name| known == name::TRANSFER_ENCODING || OF_THE_WAY.contains(&known);
        Name::find(text).is_some_and(stays) || !listed.iter().any(|l| l.eq_ignore_ascii_case(text))
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use selvedge_exchange::{Body, Client};
    use selvedge_types::{Method, Scheme, UnixMillis};

    fn left(wire: &str, version: Version) -> String {
        let addr = "192.0.2.1:1".parse().unwrap();
        let mut request = Request {
            method: Method::Get,
            scheme: Scheme::Http,
            authority: "a".into(),
            target: "/".into(),
            version,
            fields: Fields::from_wire(wire.replace('|', "\r\n").as_bytes()).unwrap(),
            body: Body::Empty,
            client: Client { addr, local: addr },
            received: UnixMillis(0),
        };
        leave_connection(&mut request).unwrap();
        let mut out = Vec::new();
        request.fields.write_wire(&mut out);
        String::from_utf8(out).unwrap().replace("\r\n", "|")
    }

    #[test]
    fn what_belongs_to_the_connection_is_left_at_the_door() {
        for (before, after) in [
            ("a: 1|", "a: 1|"),
            ("Connection: keep-alive|a: 1|Keep-Alive: 5|", "a: 1|"),
            ("Proxy-Connection: x|TE: gzip|a: 1|", "a: 1|"),
            ("Connection: close, X-Secret|x-secret: 1|a: 1|", "a: 1|"),
            ("Connection: Cookie|Cookie: a=1|", ""),
            (
                "Connection: X-Forwarded-For, cdn-loop|X-Forwarded-For: 1|CDN-Loop: x|",
                "X-Forwarded-For: 1|CDN-Loop: x|",
            ),
            ("Connection: transfer-encoding|Transfer-Encoding: gzip|", "Transfer-Encoding: gzip|"),
            ("Connection: TE|TE: trailers, deflate|", "te: trailers|"),
            ("TE: trailers|", "te: trailers|"),
            ("Connection: Upgrade|Upgrade: websocket|", "Upgrade: websocket|"),
            ("Upgrade: websocket|", ""),
            ("Connection: close|Upgrade: h2c|HTTP2-Settings: x|", "HTTP2-Settings: x|"),
        ] {
            assert_eq!(left(before, Version::Http11), after, "{before}");
        }
        assert_eq!(left("Connection: Upgrade|Upgrade: websocket|", Version::Http10), "");
    }
}
