//! The text of a ticket: `slvt`, the format, `_`, and the rest in base64 for URLs (RFC 4648, section 5), the
//! last four bytes of which are a checksum of all before them.

use super::{
    ADDRESSES_MAX, CONTACTS_MAX, Contact, FORMAT, Grant, TEXT_BYTES_MAX, Ticket, TicketError, USES_MAX,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use iroh::{SecretKey, Signature};
use minicbor::{Decode, Encode};
use selvedge_types::NodeKey;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

const KIND: &str = "slvt";
const CHECKSUM_BYTES: usize = 4;

#[derive(Encode, Decode)]
struct TicketForm {
    #[n(0)]
    grant: Grant,
    #[cbor(n(1), with = "minicbor::bytes")]
    signature: [u8; 64],
    #[cbor(n(2), with = "minicbor::bytes")]
    secret: [u8; 32],
    #[n(3)]
    contacts: Vec<ContactForm>,
}

#[derive(Encode, Decode)]
struct ContactForm {
    #[n(0)]
    key: NodeKey,
    #[n(1)]
    addresses: Vec<AddressForm>,
}

#[derive(Encode, Decode)]
struct AddressForm {
    /// 4 or 16 bytes.
    #[cbor(n(0), with = "minicbor::bytes")]
    ip: Vec<u8>,
    #[n(1)]
    port: u16,
}

/// The whole ticket, its secret too: for the one who asked for it.
impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = TicketForm {
            grant: self.grant.clone(),
            signature: self.signature.to_bytes(),
            secret: self.secret.to_bytes(),
            contacts: self.contacts.iter().map(ContactForm::from).collect(),
        };
        let mut bytes = minicbor::to_vec(form).map_err(|_| fmt::Error)?;
        bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
        write!(f, "{KIND}{FORMAT}_{}", URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for Ticket {
    type Err = TicketError;

    /// Reads a ticket; white space around and within it does not count, as terminals break lines.
    fn from_str(text: &str) -> Result<Self, TicketError> {
        if text.len() > TEXT_BYTES_MAX * 2 {
            return Err(TicketError::NotATicket);
        }
        let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let (format, rest) = text
            .strip_prefix(KIND)
            .and_then(|rest| rest.split_once('_'))
            .filter(|_| text.len() <= TEXT_BYTES_MAX)
            .ok_or(TicketError::NotATicket)?;
        match format.parse::<u64>() {
            Ok(known) if known == u64::from(FORMAT) => {}
            Ok(other) => return Err(TicketError::Format(other)),
            Err(_) => return Err(TicketError::NotATicket),
        }
        let bytes = URL_SAFE_NO_PAD.decode(rest).map_err(|_| TicketError::Damaged)?;
        let (body, checksum) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(TicketError::Damaged)?;
        if crc32fast::hash(body).to_be_bytes() != *checksum {
            return Err(TicketError::Damaged);
        }
        let form: TicketForm = minicbor::decode(body).map_err(|_| TicketError::Damaged)?;
        form.into_ticket().ok_or(TicketError::Damaged)
    }
}

impl TicketForm {
    fn into_ticket(self) -> Option<Ticket> {
        let secret = SecretKey::from_bytes(&self.secret);
        let own = *self.grant.key.as_bytes() == *secret.public().as_bytes();
        let fits = self.contacts.len() <= CONTACTS_MAX && (1..=USES_MAX).contains(&self.grant.uses);
        let contacts: Option<Vec<Contact>> =
            self.contacts.into_iter().map(ContactForm::into_contact).collect();
        let (signature, contacts) = (Signature::from_bytes(&self.signature), contacts?);
        (own && fits).then_some(Ticket { grant: self.grant, signature, secret, contacts })
    }
}

impl ContactForm {
    fn into_contact(self) -> Option<Contact> {
        let addresses: Option<Vec<SocketAddr>> =
            self.addresses.into_iter().map(AddressForm::into_address).collect();
        Some(Contact { key: self.key, addresses: addresses.filter(|a| a.len() <= ADDRESSES_MAX)? })
    }
}

impl AddressForm {
    fn into_address(self) -> Option<SocketAddr> {
        let ip = match self.ip.len() {
            4 => IpAddr::from(<[u8; 4]>::try_from(self.ip).ok()?),
            _ => IpAddr::from(<[u8; 16]>::try_from(self.ip).ok()?),
        };
        Some(SocketAddr::new(ip, self.port))
    }
}

impl From<&Contact> for ContactForm {
    fn from(contact: &Contact) -> Self {
        let address = |address: &SocketAddr| AddressForm {
            ip: match address.ip() {
                IpAddr::V4(ip) => ip.octets().to_vec(),
                IpAddr::V6(ip) => ip.octets().to_vec(),
            },
            port: address.port(),
        };
        ContactForm { key: contact.key, addresses: contact.addresses.iter().map(address).collect() }
    }
}
