//! Rows of the tables: one an object.

use super::{CodecError, ScopeForm, from_named, named};
use crate::machine::{Kind, ObjectName, Stamp, Value, Version};
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use selvedge_types::{Hlc, Revision};
use std::sync::Arc;

/// An object as the tables hold it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) name: ObjectName,
    pub(crate) version: Version,
    pub(crate) value: Value,
}

#[derive(Encode, Decode)]
struct RowForm {
    #[n(0)]
    generation: u64,
    #[n(1)]
    created: u64,
    #[n(2)]
    modified: u64,
    #[n(3)]
    value: ByteVec,
}

#[derive(Encode, Decode)]
struct StampForm {
    #[n(0)]
    scope: ScopeForm,
    #[n(1)]
    hard: u64,
    #[n(2)]
    soft: u64,
}

/// The bytes of an object's key: its kind, then its name.
pub(crate) fn encode_key(name: &ObjectName) -> Vec<u8> {
    let mut key = vec![kind_number(name.kind)];
    key.extend_from_slice(name.name.as_bytes());
    key
}

/// The bytes of an object's key and of its value.
pub(crate) fn encode_row(row: &Row) -> Result<(Vec<u8>, Vec<u8>), CodecError> {
    let value = match &row.value {
        Value::Settings(settings) => named(&**settings)?,
        Value::Site(site) => named(&**site)?,
        Value::Token(token) => named(token)?,
        Value::Stamp(Stamp { scope, hard, soft }) => {
            let form = StampForm { scope: scope.into(), hard: hard.to_bits(), soft: soft.to_bits() };
            minicbor::to_vec(&form).map_err(CodecError::form)?
        }
    };
    let Version { generation, created, modified } = row.version;
    let form = RowForm { generation, created: created.0, modified: modified.0, value: value.into() };
    Ok((encode_key(&row.name), minicbor::to_vec(&form).map_err(CodecError::form)?))
}

/// Reads an object. Never panics.
pub(crate) fn decode_row(key: &[u8], bytes: &[u8]) -> Result<Row, CodecError> {
    let (kind, name) = key.split_first().ok_or_else(|| CodecError::form("an empty key"))?;
    let kind = kind_of_number(*kind).ok_or_else(|| CodecError::form(format!("an object of kind {kind}")))?;
    let name = std::str::from_utf8(name).map_err(CodecError::form)?.to_owned();
    let form: RowForm = minicbor::decode(bytes).map_err(CodecError::form)?;
    let value = match kind {
        Kind::Settings => Value::Settings(Arc::new(from_named(&form.value)?)),
        Kind::Site => Value::Site(Arc::new(from_named(&form.value)?)),
        Kind::Token => Value::Token(from_named(&form.value)?),
        Kind::Stamp => {
            let StampForm { scope, hard, soft } = minicbor::decode(&form.value).map_err(CodecError::form)?;
            let (hard, soft) = (Hlc::from_bits(hard), Hlc::from_bits(soft));
            Value::Stamp(Stamp { scope: scope.into(), hard, soft })
        }
    };
    let (created, modified) = (Revision(form.created), Revision(form.modified));
    let version = Version { generation: form.generation, created, modified };
    Ok(Row { name: ObjectName { kind, name }, version, value })
}

const fn kind_number(kind: Kind) -> u8 {
    match kind {
        Kind::Settings => 0,
        Kind::Site => 1,
        Kind::Token => 2,
        Kind::Stamp => 3,
    }
}

fn kind_of_number(number: u8) -> Option<Kind> {
    [Kind::Settings, Kind::Site, Kind::Token, Kind::Stamp].into_iter().find(|k| kind_number(*k) == number)
}
