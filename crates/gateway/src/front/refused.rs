//! Requests that the front refuses before its handler could answer them, as far as they can be understood: for the
//! handler's log and counters.

use super::connection::Link;
use selvedge_exchange::{Body, Request};
use selvedge_types::{Fields, Method, Version};

/// How much of a target that cannot be used is told, in bytes.
const TARGET_SHOWN_MAX: usize = 1024;

/// What is known of a request that was refused.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) method: Option<Method>,
    pub(crate) authority: String,
    pub(crate) target: String,
    pub(crate) version: Version,
}

impl Refused {
    /// What the first line of an HTTP/1 head seems to say.
    pub(crate) fn of_head(bytes: &[u8]) -> Refused {
        let line = bytes.split(|b| matches!(b, b'\r' | b'\n')).find(|line| !line.is_empty());
        let mut words = line.unwrap_or_default().splitn(3, |b| *b == b' ');
        Refused {
            method: words.next().and_then(Method::parse),
            target: shown(words.next().unwrap_or_default()),
            authority: String::new(),
            version: Version::Http11,
        }
    }

    /// What an HTTP/2 header section says.
    pub(crate) fn of_parts(parts: &http::request::Parts) -> Refused {
        let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
        Refused {
            method: Method::parse(parts.method.as_str().as_bytes()),
            authority: parts
                .uri
                .authority()
                .map(|named| shown(named.as_str().as_bytes()))
                .unwrap_or_default(),
            target: shown(target.as_bytes()),
            version: Version::Http2,
        }
    }

    /// As the handler takes it; `-` stands for a method that is none.
    pub(crate) fn into_request(self, link: &Link) -> Request {
        let method = self.method.or_else(|| Method::parse(b"-")).unwrap_or(Method::Get);
        Request {
            method,
            scheme: link.scheme,
            authority: self.authority,
            target: self.target,
            version: self.version,
            fields: Fields::new(),
            body: Body::Empty,
            client: link.client,
            received: link.front.clock.wall(),
        }
    }
}

/// The beginning of what was sent, with `?` for each byte that is not visible ASCII.
fn shown(bytes: &[u8]) -> String {
    let beginning = bytes.iter().take(TARGET_SHOWN_MAX);
    beginning.map(|b| if b.is_ascii_graphic() { char::from(*b) } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_read_of_a_head_is_told() {
        for (head, method, target) in [
            ("GET /a HTTP/1.1\r\nbroken", Some("GET"), "/a"),
            ("\r\nPOST /a\tb HTTP/9", Some("POST"), "/a?b"),
            ("G(T /a", None, "/a"),
            ("", None, ""),
            ("\u{1}\u{2}", None, ""),
        ] {
            let refused = Refused::of_head(head.as_bytes());
            assert_eq!(refused.method.as_ref().map(Method::as_str), method, "{head}");
            assert_eq!(refused.target, target, "{head}");
        }
        assert_eq!(Refused::of_head(&[b'x'; 9000]).target, "");
        let long = [b"GET /", &[b'x'; 9000][..]].concat();
        assert_eq!(Refused::of_head(&long).target.len(), TARGET_SHOWN_MAX);
    }
}
