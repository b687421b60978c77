//! Which protocols a connection may be handed over to (RFC 9110 section 7.8).
//!
//! WebSocket and the like pass. Other versions of HTTP do not, nor TLS: what came through such a tunnel would be
//! requests that no rule of the gateway saw. RFC 9113 took `h2c` back; clients that offer it go on without.

use selvedge_types::fields::trim;
use selvedge_types::{Fields, name};

/// The protocols that a request offers and that may be passed on, as Upgrade's value; none if there are none or
/// Connection does not list Upgrade.
pub(crate) fn offered(request: &Fields) -> Option<Vec<u8>> {
    if !request.contains(name::UPGRADE) || !request.has_member(name::CONNECTION, "upgrade") {
        return None;
    }
    let passable: Vec<&[u8]> = request.members(name::UPGRADE).map(trim).filter(|p| may_pass(p)).collect();
    (!passable.is_empty()).then(|| passable.join(&b", "[..]))
}

fn may_pass(protocol: &[u8]) -> bool {
    let name = protocol.split(|b| *b == b'/').next().unwrap_or_default();
    let is_http = [&b"http"[..], b"h2", b"h2c", b"h3", b"tls"].iter().any(|n| name.eq_ignore_ascii_case(n));
    !name.is_empty() && !is_http
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_versions_of_http_are_never_offered() {
        for (wire, expected) in [
            ("Connection: upgrade|Upgrade: websocket|", Some("websocket")),
            ("Connection: keep-alive, Upgrade|Upgrade: foo/2, WebSocket|", Some("foo/2, WebSocket")),
            ("Connection: Upgrade, HTTP2-Settings|Upgrade: h2c|HTTP2-Settings: AA|", None),
            ("Connection: upgrade|Upgrade: H2C, websocket|", Some("websocket")),
            ("Connection: upgrade|Upgrade: h2c|Upgrade: HTTP/2.0|Upgrade: TLS/1.2|", None),
            ("Connection: upgrade|Upgrade: |", None),
            ("Upgrade: websocket|", None),
            ("Connection: upgrade|", None),
        ] {
            let fields = Fields::from_wire(wire.replace('|', "\r\n").as_bytes()).unwrap();
            assert_eq!(offered(&fields).as_deref(), expected.map(str::as_bytes), "{wire}");
        }
    }
}
