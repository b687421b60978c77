//! The Cache-Status field (RFC 9211), on what was forwarded or stored; never on errors made here.

use super::decimal::{push_decimal, push_signed};
use super::node_name::push_node_name;
use selvedge_types::Status;

/// Why a request went to the origin (section 2.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Forwarded {
    /// The cache was told to stay out of it.
    Bypass,
    /// The method is not answered from cache.
    Method,
    /// Nothing was stored for the URI.
    UriMiss,
    /// Something was stored, but nothing for what Vary names.
    VaryMiss,
    /// Nothing usable was stored; why is not known more closely.
    Miss,
    /// Something fresh was stored, but the request asked for validation.
    Request,
    /// Something stale was stored.
    Stale,
    /// A part was stored, but not all that was asked for.
    Partial,
}

impl Forwarded {
    /// The token on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Forwarded::Bypass => "bypass",
            Forwarded::Method => "method",
            Forwarded::UriMiss => "uri-miss",
            Forwarded::VaryMiss => "vary-miss",
            Forwarded::Miss => "miss",
            Forwarded::Request => "request",
            Forwarded::Stale => "stale",
            Forwarded::Partial => "partial",
        }
    }
}

/// How a request was handled.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CacheStatus<'a> {
    /// Why it went to the origin; none means that it was answered from the cache.
    pub forwarded: Option<Forwarded>,
    /// The origin's status, if it differs from the one sent on.
    pub forward_status: Option<Status>,
    /// How many seconds the response stays fresh; negative if it is stale.
    pub ttl: Option<i64>,
    /// The response was stored.
    pub stored: bool,
    /// The request waited for another one's answer.
    pub collapsed: bool,
    /// The cache key, if the operator wants it shown.
    pub key: Option<&'a str>,
    /// More, as a token.
    pub detail: Option<&'a str>,
}

impl<'a> CacheStatus<'a> {
    /// Answered from the cache.
    pub const fn hit(ttl: i64) -> Self {
        CacheStatus {
            forwarded: None,
            forward_status: None,
            ttl: Some(ttl),
            stored: false,
            collapsed: false,
            key: None,
            detail: None,
        }
    }

    /// Sent to the origin.
    pub const fn forwarded(why: Forwarded) -> Self {
        CacheStatus {
            forwarded: Some(why),
            forward_status: None,
            ttl: None,
            stored: false,
            collapsed: false,
            key: None,
            detail: None,
        }
    }

    /// Appends the list member to put into the response, `node` naming this cache.
    pub fn write(&self, node: &str, out: &mut Vec<u8>) {
        push_node_name(out, node);
        match self.forwarded {
            None => out.extend_from_slice(b"; hit"),
            Some(why) => {
                out.extend_from_slice(b"; fwd=");
                out.extend_from_slice(why.as_str().as_bytes());
            }
        }
        if let Some(status) = self.forward_status {
            out.extend_from_slice(b"; fwd-status=");
            push_decimal(out, u64::from(status.code()));
        }
        if let Some(ttl) = self.ttl {
            out.extend_from_slice(b"; ttl=");
            push_signed(out, ttl);
        }
        for (set, text) in [(self.stored, "; stored"), (self.collapsed, "; collapsed")] {
            if set {
                out.extend_from_slice(text.as_bytes());
            }
        }
        if let Some(key) = self.key {
            out.extend_from_slice(b"; key=");
            super::node_name::push_string(out, key);
        }
        if let Some(detail) = self.detail {
            out.extend_from_slice(b"; detail=");
            push_node_name(out, detail);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_written() {
        let all = CacheStatus {
            forward_status: Status::new(304),
            ttl: Some(60),
            stored: true,
            collapsed: true,
            key: Some("a \"b\"\\"),
            detail: Some("x y"),
            ..CacheStatus::forwarded(Forwarded::Stale)
        };
        for (status, expected) in [
            (CacheStatus::hit(376), "selvedge; hit; ttl=376"),
            (CacheStatus::hit(-5), "selvedge; hit; ttl=-5"),
            (CacheStatus::forwarded(Forwarded::UriMiss), "selvedge; fwd=uri-miss"),
            (
                all,
                r#"selvedge; fwd=stale; fwd-status=304; ttl=60; stored; collapsed; key="a \"b\"\\"; detail="x y""#,
            ),
        ] {
            let mut out = Vec::new();
            status.write("selvedge", &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
