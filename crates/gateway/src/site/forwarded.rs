//! The way a request took: who the client is, and what the origin is told about it.
//!
//! Forwarded (RFC 7239), X-Forwarded-*, Via (RFC 9110 section 7.6.3), CDN-Loop (RFC 8586), X-Request-Id,
//! Surrogate-Capability.

use super::hops::hops;
use super::request_id::RequestId;
use selvedge_cache::semantics::surrogate;
use selvedge_exchange::Request;
use selvedge_types::fields::trim;
use selvedge_types::resource::{Network, ProxyField};
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

/// The proxies that are believed, and the field in which they write for whom they ask.
#[derive(Debug, Clone, Default)]
pub(super) struct Trusted {
    pub(super) networks: Vec<Network>,
    pub(super) field: ProxyField,
}

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
        self.networks.iter().any(|network| network.contains(address))
    }

    /// Who sent `request`.
    pub(super) fn origination(&self, request: &Request) -> Origination {
        let peer = request.client.addr.ip().to_canonical();
        let direct = Origination { client: peer, scheme: request.scheme, by_trusted: false };
        if self.networks.is_empty() || !self.has(peer) {
            return direct;
        }
        let mut found = Origination { by_trusted: true, ..direct };
        // Each was written by the one that `found` names until then.
        for hop in hops(&request.fields, self.field).iter().rev().take(HOPS_MAX) {
            found.scheme = hop.scheme.unwrap_or(request.scheme);
            let Some(address) = hop.address else { break };
            found.client = address;
            if !self.has(address) {
                break;
            }
        }
        found
    }

    /// Takes off what the sender may not say about the request's way: all of it if it is not trusted, else what
    /// it does not write itself and therefore passed on from whoever asked it.
    pub(super) fn drop_claims(&self, fields: &mut Fields, by_trusted: bool) {
        if !fields.contains_any(&CLAIMS) {
            return;
        }
        let claims: &[Name] = match self.field {
            _ if !by_trusted => &CLAIMS,
            ProxyField::XForwardedFor => &[name::FORWARDED],
            ProxyField::Forwarded => {
                &[name::X_FORWARDED_FOR, name::X_FORWARDED_HOST, name::X_FORWARDED_PROTO, name::X_REAL_IP]
            }
        };
        claims.iter().for_each(|claim| {
            fields.remove(*claim);
        });
    }
}

/// What is told to the origin about a request's way. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Way {
    pub(super) identity: Arc<Identity>,
    pub(super) origination: Origination,
    pub(super) id: RequestId,
    /// The field that trusted proxies write.
    pub(super) field: ProxyField,
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
        let peer = request.client.addr.ip().to_canonical();
        fields.add(name::VIA, format!("{} {}", request.version.via(), self.identity.name))?;
        fields.add(name::CDN_LOOP, self.identity.loop_member())?;
        surrogate::announce(fields)?;
        if by_trusted {
            self.retell(fields)?;
        }
        let host = request.authority.as_str();
        let forwarded = format!("for={};host=\"{host}\";proto={}", node(peer), request.scheme.as_str());
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

    /// Says in the other field what trusted proxies wrote in theirs, as far as it tells of addresses, so that an
    /// origin learns the same from both.
    fn retell(&self, fields: &mut Fields) -> Result<(), FieldError> {
        let hops = hops(fields, self.field);
        let known = hops.iter().filter_map(|hop| hop.address);
        let (other, told): (Name, Vec<String>) = match self.field {
            ProxyField::XForwardedFor => {
                (name::FORWARDED, known.map(|hop| format!("for={}", node(hop))).collect())
            }
            ProxyField::Forwarded => (name::X_FORWARDED_FOR, known.map(|hop| hop.to_string()).collect()),
        };
        if told.is_empty() { Ok(()) } else { fields.set(other, told.join(", ")) }
    }
}

/// An address as Forwarded names it (RFC 7239 section 6).
fn node(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("\"[{v6}]\""),
    }
}
