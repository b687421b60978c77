//! The way a request took: who the client is, and what the origin is told about it.
//!
//! Forwarded (RFC 7239), X-Forwarded-*, Via (RFC 9110 section 7.6.3), CDN-Loop (RFC 8586), X-Request-Id,
//! Surrogate-Capability.

use super::request_id::RequestId;
use selvedge_cache::semantics::surrogate;
use selvedge_exchange::Request;
use selvedge_types::fields::trim;
use selvedge_types::resource::Network;
use selvedge_types::{FieldError, Fields, Name, Scheme, name};
use std::net::IpAddr;
use std::sync::Arc;

/// How this cluster is called in the fields that tell of a message's way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The name in Via and Proxy-Status: a token.
    pub name: Arc<str>,
    /// What tells this cluster from others of the same name: letters and digits.
    pub cluster: Arc<str>,
}

impl Identity {
    fn loop_member(&self) -> String {
        format!("{}; id={}", self.name, self.cluster)
    }

    /// Whether the request came through this cluster before.
    pub(super) fn is_in(&self, request: &Fields) -> bool {
        request.contains(name::CDN_LOOP)
            && request.members(name::CDN_LOOP).any(|member| {
                let mut parts = member.split(|b| *b == b';').map(trim);
                parts.next() == Some(self.name.as_bytes())
                    && parts.any(|p| p.strip_prefix(b"id=") == Some(self.cluster.as_bytes()))
            })
    }
}

/// The proxies that are believed.
#[derive(Debug, Clone, Default)]
pub(super) struct Trusted(pub(super) Vec<Network>);

/// The client's end as far as it is known, through proxies that are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origination {
    /// The client's address.
    pub(super) client: IpAddr,
    /// The scheme the client used.
    pub(super) scheme: Scheme,
    /// Whether the peer is a proxy that is believed.
    pub(super) by_trusted: bool,
}

/// How many proxies are looked through.
const HOPS_MAX: usize = 32;

impl Trusted {
    fn has(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// Who sent `request`.
    pub(super) fn origination(&self, request: &Request) -> Origination {
        let peer = request.client.addr.ip().to_canonical();
        let direct = Origination { client: peer, scheme: request.scheme, by_trusted: false };
        if self.0.is_empty() || !self.has(peer) {
            return direct;
        }
        let fields = &request.fields;
        let forwarded = fields.contains(name::FORWARDED);
        let (addresses, scheme) = if forwarded {
            let proto = forwarded_parameter(fields, "proto").into_iter().next_back();
            (forwarded_parameter(fields, "for"), proto.and_then(|p| scheme(&p)))
        } else {
            let proto = fields.members(name::X_FORWARDED_PROTO).last();
            let hops = fields.members(name::X_FORWARDED_FOR).map(|m| String::from_utf8_lossy(m).into_owned());
            (hops.collect(), proto.and_then(|p| std::str::from_utf8(p).ok()).and_then(scheme))
        };
        let mut client = peer;
        for hop in addresses.iter().rev().take(HOPS_MAX) {
            let Some(address) = address(hop) else { break };
            client = address;
            if !self.has(address) {
                break;
            }
        }
        Origination { client, scheme: scheme.unwrap_or(request.scheme), by_trusted: true }
    }
}

/// The values of a parameter in Forwarded's elements, in order (RFC 7239 section 4).
fn forwarded_parameter(fields: &Fields, wanted: &str) -> Vec<String> {
    let pairs = fields.members(name::FORWARDED).flat_map(|element| element.split(|b| *b == b';')).map(trim);
    pairs
        .filter_map(|pair| {
            let (name, value) = std::str::from_utf8(pair).ok()?.split_once('=')?;
            name.eq_ignore_ascii_case(wanted).then(|| value.trim_matches('"').to_owned())
        })
        .collect()
}

fn scheme(text: &str) -> Option<Scheme> {
    [Scheme::Http, Scheme::Https].into_iter().find(|s| s.as_str().eq_ignore_ascii_case(text))
}

/// An address, with or without port, an IPv6 one with or without brackets.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    if let Some(rest) = text.strip_prefix('[') {
        return rest.split_once(']')?.0.parse::<IpAddr>().ok().map(|a| a.to_canonical());
    }
    text.rsplit_once(':')?.0.parse().ok()
}

/// What is told to the origin about a request's way. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Way {
    pub(super) identity: Arc<Identity>,
    pub(super) origination: Origination,
    pub(super) id: RequestId,
}

/// What an untrusted client may not say about itself.
const CLAIMS: [Name; 6] = [
    name::FORWARDED,
    name::X_FORWARDED_FOR,
    name::X_FORWARDED_HOST,
    name::X_FORWARDED_PROTO,
    name::X_REAL_IP,
    name::X_REQUEST_ID,
];

impl Way {
    /// The client's address.
    pub fn client(&self) -> IpAddr {
        self.origination.client
    }

    /// Adds the fields that tell of the way to a request that goes to an origin: once, just before it is
    /// sent, so that the cache does not see them.
    ///
    /// # Errors
    /// When the header section becomes too large.
    pub fn describe(&self, request: &mut Request) -> Result<(), FieldError> {
        let Origination { client, scheme, by_trusted } = self.origination;
        let fields = &mut request.fields;
        if !by_trusted {
            CLAIMS.iter().filter(|n| fields.contains(**n)).copied().collect::<Vec<_>>().iter().for_each(
                |n| {
                    fields.remove(*n);
                },
            );
        }
        let peer = request.client.addr.ip().to_canonical();
        fields.add(name::VIA, format!("{} {}", request.version.via(), self.identity.name))?;
        fields.add(name::CDN_LOOP, self.identity.loop_member())?;
        surrogate::announce(fields)?;
        let node = match peer {
            IpAddr::V4(v4) => v4.to_string(),
            IpAddr::V6(v6) => format!("\"[{v6}]\""),
        };
        let host = request.authority.as_str();
        let forwarded = format!("for={node};host=\"{host}\";proto={}", request.scheme.as_str());
        fields.add(name::FORWARDED, forwarded)?;
        let mut hops = fields.joined(name::X_FORWARDED_FOR).unwrap_or_default();
        if !hops.is_empty() {
            hops.extend_from_slice(b", ");
        }
        hops.extend_from_slice(peer.to_string().as_bytes());
        fields.set(name::X_FORWARDED_FOR, hops)?;
        if !fields.contains(name::X_FORWARDED_HOST) {
            fields.add(name::X_FORWARDED_HOST, host)?;
        }
        if !fields.contains(name::X_FORWARDED_PROTO) {
            fields.add(name::X_FORWARDED_PROTO, scheme.as_str())?;
        }
        fields.set(name::X_REAL_IP, client.to_string())?;
        if !fields.contains(name::X_REQUEST_ID) {
            fields.add(name::X_REQUEST_ID, self.id.to_string())?;
        }
        Ok(())
    }
}
