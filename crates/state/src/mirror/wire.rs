//! What edge nodes ask and are told: CBOR with numbered fields (RFC 8949), none of them ever used again.

use crate::codec::{CodecError, decode_key, decode_value, encode_key, encode_value};
use crate::object::{ObjectName, Value};
use minicbor::{Decode, Encode};
use selvedge_types::Revision;

/// A question: everything, or what changed after a revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub(super) struct Ask {
    /// What the node has all of; none if it wants everything.
    #[n(0)]
    pub(super) after: Option<Revision>,
}

/// A part of the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub(super) struct News {
    /// Objects as they are now.
    #[n(0)]
    pub(super) objects: Vec<ObjectForm>,
    /// Whether they are of a list of everything; else they are what changed.
    #[n(1)]
    pub(super) lists: bool,
    /// With these, all is told up to this revision.
    #[n(2)]
    pub(super) up_to: Option<Revision>,
}

/// An object, as the store keeps it; without a value it is gone.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct ObjectForm {
    #[cbor(n(0), with = "minicbor::bytes")]
    key: Vec<u8>,
    #[cbor(n(1), with = "minicbor::bytes")]
    value: Option<Vec<u8>>,
}

impl ObjectForm {
    pub(super) fn new(name: &ObjectName, value: Option<&Value>) -> Result<Self, CodecError> {
        Ok(ObjectForm { key: encode_key(name), value: value.map(encode_value).transpose()? })
    }

    /// Bytes that it takes, about.
    pub(super) fn bytes(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, Vec::len)
    }

    /// Never panics.
    pub(super) fn read(&self) -> Result<(ObjectName, Option<Value>), CodecError> {
        let name = decode_key(&self.key)?;
        let value = self.value.as_ref().map(|value| decode_value(name.kind, value)).transpose()?;
        Ok((name, value))
    }
}

impl Ask {
    pub(super) fn encode(&self) -> Vec<u8> {
        // Writing to memory cannot fail, and no type here refuses to be encoded.
        minicbor::to_vec(self).expect("encoding into memory")
    }
}

/// Whether bytes are what an edge node asks or is told: for fuzzing.
pub fn decode_mirror(bytes: &[u8]) -> Result<(), minicbor::decode::Error> {
    let news = minicbor::decode::<News>(bytes).map(|news| {
        news.objects.iter().for_each(|object| drop(object.read()));
    });
    news.or_else(|_| minicbor::decode::<Ask>(bytes).map(drop))
}
