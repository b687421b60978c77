//! What a node says of itself to its PoP.

use crate::identity::Identity;
use crate::limits::{ADDRESSES_MAX, VERSION_BYTES_MAX};
use minicbor::{Decode, Encode};
use std::net::SocketAddr;

/// How busy a node is, in percent of what it can do; 100 is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(transparent)]
pub struct Load(#[n(0)] pub u8);

/// What a node is up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Phase {
    /// It is getting to know its PoP, and takes no work yet.
    #[n(3)]
    #[default]
    Joining,
    /// It takes work.
    #[n(0)]
    Serving,
    /// It finishes what it has and takes nothing new.
    #[n(1)]
    Draining,
    /// It has left, of its own accord.
    #[n(2)]
    Left,
}

/// A node's description. Only the node itself changes it; the highest edition of the highest generation counts.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Record {
    /// Whom it describes.
    #[n(0)]
    pub identity: Identity,
    /// Counts the node's changes in this life.
    #[n(1)]
    pub edition: u64,
    /// What it is up to.
    #[n(2)]
    pub phase: Phase,
    /// Which version of the program it runs; at most [`VERSION_BYTES_MAX`] bytes.
    #[n(3)]
    pub version: String,
    /// Where it can be reached; at most [`ADDRESSES_MAX`].
    #[cbor(n(4), with = "addresses")]
    pub addresses: Vec<SocketAddr>,
}

impl Record {
    /// Whether it replaces the other one of the same node.
    pub(crate) fn is_newer_than(&self, other: &Record) -> bool {
        (self.identity.generation, self.edition) > (other.identity.generation, other.edition)
    }

    pub(crate) fn is_sound(&self) -> bool {
        self.version.len() <= VERSION_BYTES_MAX
    }
}

/// Addresses as their bytes: 4 or 16 of the address and 2 of the port, in network order.
pub(crate) mod addresses {
    use super::{ADDRESSES_MAX, SocketAddr};
    use minicbor::decode::{Decoder, Error as DecodeError};
    use minicbor::encode::{Encoder, Error as EncodeError, Write};
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    pub(crate) fn encode<C, W: Write>(
        addresses: &[SocketAddr],
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        e.array(addresses.len() as u64)?;
        addresses.iter().try_for_each(|address| e.bytes(&to_bytes(*address))?.ok())
    }

    pub(crate) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Vec<SocketAddr>, DecodeError> {
        let count = d.array()?.unwrap_or(u64::MAX);
        if count > ADDRESSES_MAX as u64 {
            return Err(DecodeError::message("too many addresses"));
        }
        (0..count).map(|_| from_bytes(d.bytes()?)).collect()
    }

    fn to_bytes(address: SocketAddr) -> Vec<u8> {
        let mut bytes = match address.ip() {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        bytes.extend(address.port().to_be_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Result<SocketAddr, DecodeError> {
        let port = |port: &[u8; 2]| u16::from_be_bytes(*port);
        if let (Some(ip), Some(end)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<2>())
            && bytes.len() == 6
        {
            return Ok(SocketAddr::new(Ipv4Addr::from(*ip).into(), port(end)));
        }
        match (bytes.first_chunk::<16>(), bytes.last_chunk::<2>()) {
            (Some(ip), Some(end)) if bytes.len() == 18 => {
                Ok(SocketAddr::new(Ipv6Addr::from(*ip).into(), port(end)))
            }
            _ => Err(DecodeError::message("not the bytes of an address")),
        }
    }
}
