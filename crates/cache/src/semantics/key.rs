//! Primary cache keys (RFC 9111 section 2): the URI, and what the operator adds to or takes from it.
//!
//! A key is the URI that the client asked for, with scheme, host in lowercase without default port, path (in the
//! form of [`canonical_target`](super::path::canonical_target), if its caller saw to that) and the query as the
//! policy leaves it; then one line for each selected header and cookie: `\nh:name=value`, `\nc:name=value`,
//! without `=` if it is absent; then `\no:name` where another group of servers than the site's main one is asked,
//! and `\nt:target` where it is asked for another target. No part can hold a line feed, so keys are unambiguous.

use super::cookies::cookies;
use super::query::push_query;
use super::target::Target;
use selvedge_types::Fields;
use selvedge_types::resource::CacheKey;

/// How one site's keys are made.
#[derive(Clone, Copy, Debug)]
pub struct KeyRule<'a> {
    /// What belongs to the key.
    pub policy: &'a CacheKey,
    /// The site's name, which stands for the host where hosts do not count.
    pub site: &'a str,
    /// The group of servers that is asked; none for the site's main one.
    pub origin: Option<&'a str>,
}

impl KeyRule<'_> {
    /// Writes the key of a request into `out`, which is cleared first; `sent` is the path and query that the
    /// origin is asked for where they are others than the client's. Allocates nothing if `out` has room and
    /// the policy is the default one.
    pub fn write(&self, target: Target<'_>, request: &Fields, sent: Option<&[u8]>, out: &mut Vec<u8>) {
        out.clear();
        self.write_uri(target, out);
        for header in &self.policy.headers {
            push_label(out, b'h', header.as_str());
            push_header(out, request, header.as_str());
        }
        for cookie in &self.policy.cookies {
            push_label(out, b'c', cookie);
            push_cookie(out, request, cookie);
        }
        if let Some(origin) = self.origin {
            push_label(out, b'o', origin);
        }
        if let Some(sent) = sent {
            out.extend_from_slice(b"\nt:");
            out.extend_from_slice(without_same_query(sent, target.path_and_query));
        }
    }

    /// Appends the key's first line, the URI. Where the scheme does not count it is `any`; where the host does
    /// not, the site's name follows a `*`, which no host holds.
    pub fn write_uri(&self, target: Target<'_>, out: &mut Vec<u8>) {
        let scheme = if self.policy.scheme { target.scheme.as_str() } else { "any" };
        out.extend_from_slice(scheme.as_bytes());
        out.extend_from_slice(b"://");
        let host = out.len();
        if self.policy.host {
            out.extend_from_slice(target.significant_authority());
            out[host..].make_ascii_lowercase();
        } else {
            out.push(b'*');
            out.extend_from_slice(self.site.as_bytes());
        }
        let mut parts = target.path_and_query.splitn(2, |b| *b == b'?');
        match parts.next() {
            Some(path) if !path.is_empty() => out.extend_from_slice(path),
            _ => out.push(b'/'),
        }
        if let Some(query) = parts.next() {
            push_query(&self.policy.query, query, out);
        }
    }
}

/// `sent`, without its query if that is the client's: what of it counts is in the URI already.
fn without_same_query<'a>(sent: &'a [u8], asked: &[u8]) -> &'a [u8] {
    fn parts(text: &[u8]) -> (&[u8], &[u8]) {
        text.split_at(text.iter().position(|b| *b == b'?').unwrap_or(text.len()))
    }
    let (path, query) = parts(sent);
    if query == parts(asked).1 { path } else { sent }
}

/// The URI in a key, without the lines that follow it.
pub fn uri_of_key(key: &[u8]) -> &[u8] {
    key.split(|b| *b == b'\n').next().unwrap_or_default()
}

fn push_label(out: &mut Vec<u8>, kind: u8, text: &str) {
    out.extend([b'\n', kind, b':']);
    let at = out.len();
    out.extend_from_slice(text.as_bytes());
    if kind == b'h' {
        out[at..].make_ascii_lowercase();
    }
}

fn push_header(out: &mut Vec<u8>, request: &Fields, header: &str) {
    for (i, value) in request.get_all_named(header.as_bytes()).enumerate() {
        out.push(if i == 0 { b'=' } else { b',' });
        out.extend_from_slice(value);
    }
}

fn push_cookie(out: &mut Vec<u8>, request: &Fields, wanted: &str) {
    if let Some((_, value)) = cookies(request).find(|(name, _)| *name == wanted.as_bytes()) {
        out.push(b'=');
        out.extend_from_slice(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use selvedge_types::Scheme;
    use selvedge_types::resource::{FieldName, QueryKey, Text};

    fn target(authority: &'static str, path: &'static str) -> Target<'static> {
        Target { scheme: Scheme::Https, authority: authority.as_bytes(), path_and_query: path.as_bytes() }
    }

    fn key(policy: &CacheKey, target: Target<'_>, wire: &str) -> String {
        let mut out = b"old".to_vec();
        let request = Fields::from_wire(wire.replace('|', "\r\n").as_bytes()).unwrap();
        KeyRule { policy, site: "docs", origin: None }.write(target, &request, None, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_uri_is_normalized_where_that_is_safe() {
        let policy = CacheKey::default();
        for (authority, path, expected) in [
            ("A.Example", "/B?c=D", "https://a.example/B?c=D"),
            ("a.example:443", "/", "https://a.example/"),
            ("a.example:8443", "/", "https://a.example:8443/"),
            ("a.example", "", "https://a.example/"),
            ("a.example", "?x", "https://a.example/?x"),
            ("a.example", "/%7Euser/../x?", "https://a.example/%7Euser/../x?"),
            ("[::1]:443", "/?a?b", "https://[::1]/?a?b"),
        ] {
            assert_eq!(key(&policy, target(authority, path), ""), expected);
        }
    }

    #[test]
    fn scheme_and_host_may_not_count() {
        let policy = CacheKey { host: false, scheme: false, ..Default::default() };
        assert_eq!(key(&policy, target("a.example", "/x?y"), ""), "any://*docs/x?y");
    }

    #[test]
    fn what_is_sent_elsewhere_or_as_another_target_is_kept_apart() {
        let policy = CacheKey {
            query: QueryKey { keep: Some(Vec::new()), ..Default::default() },
            ..Default::default()
        };
        for (origin, sent, expected) in [
            (None, None, ""),
            (Some("b"), None, "\no:b"),
            (None, Some("/v1/x?q"), "\nt:/v1/x"),
            (None, Some("/v1/x?id=1"), "\nt:/v1/x?id=1"),
            (Some("b"), Some("/"), "\no:b\nt:/"),
        ] {
            let mut out = Vec::new();
            let rule = KeyRule { policy: &policy, site: "docs", origin };
            let sent = sent.map(str::as_bytes);
            rule.write(target("a.example", "/x?q"), &Fields::new(), sent, &mut out);
            let key = String::from_utf8(out).unwrap();
            assert_eq!(key.strip_prefix("https://a.example/x"), Some(expected));
        }
    }

    #[test]
    fn headers_and_cookies_follow_on_lines_of_their_own() {
        let policy = CacheKey {
            query: QueryKey { keep: Some(Vec::new()), ..Default::default() },
            headers: ["X-Country", "x-none"].map(|n| FieldName::parse_text(n).unwrap()).to_vec(),
            cookies: vec!["theme".into(), "gone".into()],
            ..Default::default()
        };
        let found = key(
            &policy,
            target("a.example", "/?q"),
            "x-country: NZ|X-Country: AU|Cookie: a=b; theme=dark=1 ;theme=light|",
        );
        let bare = key(&policy, target("a.example", "/"), "Cookie: gone|");
        assert!(
            bare.ends_with("\nc:theme\nc:gone="),
            "a cookie without a value is not an absent one: {bare}"
        );
        assert_eq!(found, "https://a.example/\nh:x-country=NZ,AU\nh:x-none\nc:theme=dark=1\nc:gone");
        assert_eq!(uri_of_key(found.as_bytes()), b"https://a.example/");
    }
}
