//! The PROXY protocol, versions 1 and 2: a load balancer before us says who its client is
//! (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The header is malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the PROXY protocol header is malformed")]
pub(crate) struct ProxyHeaderError;

/// Who connected to the load balancer, and to which address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Proxied {
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
}

const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The signature, version and command, family, and length.
const V2_FIXED_LEN: usize = 16;
/// Addresses take 36 bytes at most; the rest is for extensions, which are skipped.
const V2_REST_MAX: usize = 1024;
/// The longest version 1 line, CRLF included.
const V1_LINE_MAX: usize = 107;

/// The most bytes a header takes.
pub(crate) const HEADER_BYTES_MAX: usize = V2_FIXED_LEN + V2_REST_MAX;

/// Reads a header from the start of `buf`: who is proxied, nobody for a load balancer's own checks, and how
/// many bytes it took. None while it is incomplete.
pub(crate) fn parse(buf: &[u8]) -> Result<Option<(Option<Proxied>, usize)>, ProxyHeaderError> {
    if begins(buf, V2_SIGNATURE) {
        return if buf.len() < V2_FIXED_LEN { Ok(None) } else { parse_v2(buf) };
    }
    if begins(buf, b"PROXY ") {
        return parse_v1(buf);
    }
    Err(ProxyHeaderError)
}

/// Whether `buf` begins as `text` does, as far as it goes.
fn begins(buf: &[u8], text: &[u8]) -> bool {
    buf.iter().zip(text).all(|(a, b)| a == b)
}

fn parse_v1(buf: &[u8]) -> Result<Option<(Option<Proxied>, usize)>, ProxyHeaderError> {
    let Some(end) = buf.iter().take(V1_LINE_MAX).position(|b| *b == b'\n') else {
        return if buf.len() < V1_LINE_MAX { Ok(None) } else { Err(ProxyHeaderError) };
    };
    let line = buf.get(..end).and_then(|line| line.strip_suffix(b"\r")).ok_or(ProxyHeaderError)?;
    let line = std::str::from_utf8(line).map_err(|_| ProxyHeaderError)?;
    let mut words = line.split(' ').skip(1);
    let family = words.next();
    if family == Some("UNKNOWN") {
        return Ok(Some((None, end + 1)));
    }
    let words: Vec<&str> = words.collect();
    let [source, destination, source_port, destination_port] = words[..] else {
        return Err(ProxyHeaderError);
    };
    let address = |ip: &str, port: &str| {
        let ip: IpAddr = ip.parse().ok().filter(|ip: &IpAddr| (family == Some("TCP4")) == ip.is_ipv4())?;
        let is_plain = port.bytes().all(|b| b.is_ascii_digit());
        Some(SocketAddr::new(ip, port.parse().ok().filter(|_| is_plain)?))
    };
    if !matches!(family, Some("TCP4" | "TCP6")) {
        return Err(ProxyHeaderError);
    }
    let source = address(source, source_port).ok_or(ProxyHeaderError)?;
    let destination = address(destination, destination_port).ok_or(ProxyHeaderError)?;
    Ok(Some((Some(Proxied { source, destination }), end + 1)))
}

fn parse_v2(buf: &[u8]) -> Result<Option<(Option<Proxied>, usize)>, ProxyHeaderError> {
    let [.., command, family, len_high, len_low] =
        buf.first_chunk::<V2_FIXED_LEN>().ok_or(ProxyHeaderError)?;
    let len = usize::from(u16::from_be_bytes([*len_high, *len_low]));
    if len > V2_REST_MAX {
        return Err(ProxyHeaderError);
    }
    let Some(rest) = buf.get(V2_FIXED_LEN..V2_FIXED_LEN + len) else {
        return Ok(None);
    };
    let proxied = match (command, family) {
        // LOCAL: the load balancer itself.
        (0x20, _) => None,
        (0x21, 0x11) => Some(v4_addresses(rest).ok_or(ProxyHeaderError)?),
        (0x21, 0x21) => Some(v6_addresses(rest).ok_or(ProxyHeaderError)?),
        // Known, but of no use here: UDP, UNIX, unspecified.
        (0x21, 0x00 | 0x12 | 0x22 | 0x31 | 0x32) => None,
        _ => return Err(ProxyHeaderError),
    };
    Ok(Some((proxied, V2_FIXED_LEN + len)))
}

fn v4_addresses(rest: &[u8]) -> Option<Proxied> {
    let [a, b, c, d, e, f, g, h, p, q, r, s] = *rest.first_chunk::<12>()?;
    Some(Proxied {
        source: (Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([p, q])).into(),
        destination: (Ipv4Addr::new(e, f, g, h), u16::from_be_bytes([r, s])).into(),
    })
}

fn v6_addresses(rest: &[u8]) -> Option<Proxied> {
    let (source, rest) = rest.split_first_chunk::<16>()?;
    let (destination, rest) = rest.split_first_chunk::<16>()?;
    let [p, q, r, s] = *rest.first_chunk::<4>()?;
    Some(Proxied {
        source: (Ipv6Addr::from(*source), u16::from_be_bytes([p, q])).into(),
        destination: (Ipv6Addr::from(*destination), u16::from_be_bytes([r, s])).into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever comes after a header, and however much of one has come, it is read the same.
        #[test]
        fn a_header_ends_where_it_ends(
            start in prop::sample::select(vec![&b"PROXY TCP4 "[..], b"PROXY UNKNOWN", b"PROXY ", &V2_SIGNATURE[..], b""]),
            rest in prop::collection::vec(any::<u8>(), 0..60),
            text in "[0-9a-f:. \r\n]{0,60}",
        ) {
            for rest in [&rest[..], text.as_bytes()] {
                let bytes = [start, rest].concat();
                if let Ok(Some((proxied, used))) = parse(&bytes) {
                    prop_assert!(used <= bytes.len() && used <= HEADER_BYTES_MAX);
                    prop_assert_eq!(parse(&bytes[..used]), Ok(Some((proxied, used))));
                    for cut in 1..used {
                        prop_assert_eq!(parse(&bytes[..cut]), Ok(None), "{} of {}", cut, used);
                    }
                }
            }
        }
    }

    fn proxied(source: &str, destination: &str) -> Option<Proxied> {
        Some(Proxied { source: source.parse().unwrap(), destination: destination.parse().unwrap() })
    }

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut header = V2_SIGNATURE.to_vec();
        header.extend_from_slice(&[command, family]);
        header.extend_from_slice(&(rest.len() as u16).to_be_bytes());
        header.extend_from_slice(rest);
        header
    }

    #[test]
    fn headers_of_both_versions_name_the_client() {
        let four = proxied("192.0.2.1:56324", "192.0.2.2:443");
        let six = proxied("[2001:db8::1]:1", "[2001:db8::2]:2");
        let mut six_wire = vec![];
        for addr in ["2001:db8::1", "2001:db8::2"] {
            six_wire.extend_from_slice(&addr.parse::<Ipv6Addr>().unwrap().octets());
        }
        six_wire.extend_from_slice(&[0, 1, 0, 2, 99, 99]);
        for (header, expected) in [
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n".to_vec(), four),
            (b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n".to_vec(), six),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff:: ffff:: 1 2\r\n".to_vec(), None),
            (v2(0x21, 0x11, &[192, 0, 2, 1, 192, 0, 2, 2, 0xdc, 0x04, 0x01, 0xbb]), four),
            (v2(0x21, 0x21, &six_wire), six),
            (v2(0x20, 0x00, &[]), None),
        ] {
            let mut wire = header.clone();
            wire.extend_from_slice(b"GET /");
            assert_eq!(parse(&wire), Ok(Some((expected, header.len()))));
            for end in 1..header.len() {
                assert_eq!(parse(&header[..end]), Ok(None), "{end}");
            }
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for header in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 +2\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
            b"PROXY TCP4 ::1 ::2 1 2\r\n",
            b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
            b"PROXY UNKNOWN\n",
            &[b"PROXY ", &[b'x'; 120][..]].concat(),
            &v2(0x31, 0x11, &[0; 12]),
            &v2(0x21, 0x11, &[0; 11]),
            &v2(0x21, 0x11, &[0; 1025]),
        ] {
            assert_eq!(parse(header), Err(ProxyHeaderError), "{:?}", String::from_utf8_lossy(header));
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_read_does_not_depend_on_what_follows(
            start in proptest::sample::select(vec![&b"PROXY TCP4 "[..], b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n!\x11\0", b""]),
            rest in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..64),
            more in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..8),
        ) {
            let wire = [start, &rest].concat();
            if let Ok(Some((proxied, used))) = parse(&wire) {
                assert!(used <= wire.len());
                assert_eq!(parse(&[&wire[..used], &more].concat()), Ok(Some((proxied, used))));
            }
        }
    }
}
