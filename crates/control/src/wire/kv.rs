//! Keys and values. Bytes that are UTF-8 are a string, others `{"base64": "..."}`; both forms are taken.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use selvedge_kv::KeyValue;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

/// Any bytes: a string if they are UTF-8, else `{"base64": "..."}`.
#[derive(Debug, Clone, PartialEq, Eq, Default, ToSchema)]
#[schema(value_type = Object)]
pub struct Bytes(#[schema(value_type = String)] pub Vec<u8>);

#[derive(Serialize, Deserialize)]
struct Base64 {
    base64: String,
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => to.serialize_str(text),
            Err(_) => Base64 { base64: STANDARD.encode(&self.0) }.serialize(to),
        }
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Text(String),
            Base64(Base64),
        }
        match Form::deserialize(from)? {
            Form::Text(text) => Ok(Bytes(text.into_bytes())),
            Form::Base64(Base64 { base64 }) => {
                STANDARD.decode(base64).map(Bytes).map_err(serde::de::Error::custom)
            }
        }
    }
}

/// A key and all there is about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KvPair {
    /// The key.
    pub key: Bytes,
    /// What it holds.
    pub value: Bytes,
    /// The revision that made it.
    pub created: u64,
    /// The revision of its last change.
    pub modified: u64,
    /// How often it was put since it was made, from 1.
    pub version: u64,
    /// The lease with which it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<u64>,
}

impl From<KeyValue> for KvPair {
    fn from(found: KeyValue) -> Self {
        KvPair {
            key: Bytes(found.key.to_vec()),
            value: Bytes(found.value.to_vec()),
            created: found.created.0,
            modified: found.modified.0,
            version: found.version,
            lease: found.lease.map(|lease| lease.0),
        }
    }
}

/// Which keys: one, those that begin with a prefix, or a span.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct KvKeys {
    /// The key, or the first of a span. Without it and `prefix`, all keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Bytes>,
    /// The first key no longer meant; without it, `key` alone is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<Bytes>,
    /// Every key that begins so; instead of `key` and `end`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<Bytes>,
}

/// A read of keys, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct KvRange {
    /// Which keys.
    #[serde(flatten)]
    pub keys: KvKeys,
    /// As of which revision; the present one if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// How many at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Whether only their count is wanted.
    #[serde(default)]
    pub count_only: bool,
    /// How fresh: `linearizable` (the default), `session=REVISION`, `bounded=TIME` or `local`. Not in a transaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<String>,
}

/// A put.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct KvPut {
    /// The key.
    pub key: Bytes,
    /// What it shall hold.
    pub value: Bytes,
    /// The lease with which it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<u64>,
    /// Whether the answer tells what was there.
    #[serde(default)]
    pub previous: bool,
    /// The command's place in a session, so that it is done once however often it is sent. Not in a transaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<KvCall>,
}

/// A deletion.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct KvDelete {
    /// Which keys.
    #[serde(flatten)]
    pub keys: KvKeys,
    /// Whether the answer tells what was there.
    #[serde(default)]
    pub previous: bool,
    /// As in a put.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<KvCall>,
}

/// A command's place in a client's session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KvCall {
    /// The session.
    pub session: String,
    /// The command's number in it, counted up by the client.
    pub sequence: u64,
}

/// A transaction: if all comparisons hold, `then` is done, else `else`, in order and as one revision.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct KvTxn {
    /// What must hold.
    #[serde(default)]
    pub compare: Vec<KvCompare>,
    /// What is done if it does.
    #[serde(default)]
    pub then: Vec<KvOp>,
    /// What is done if it does not.
    #[serde(default, rename = "else")]
    pub otherwise: Vec<KvOp>,
    /// How fresh, if it changes nothing: as in a range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<String>,
    /// As in a put.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<KvCall>,
}

impl KvTxn {
    /// Whether it changes nothing, whatever is there.
    pub(crate) fn reads_alone(&self) -> bool {
        self.then.iter().chain(&self.otherwise).all(|op| matches!(op, KvOp::Get(_)))
    }
}

/// A client's session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KvSession {
    /// Its name, for `call`.
    pub session: String,
}

/// A comparison: of a key that is not there, all numbers are 0, and no comparison of its value holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KvCompare {
    /// Which keys: each must compare so.
    #[serde(flatten)]
    pub keys: KvKeys,
    /// How what is there must relate to what it is compared with: `=`, `!=`, `<` or `>`; `=` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is: Option<String>,
    /// What it is compared with.
    #[serde(flatten)]
    pub with: KvTarget,
}

/// What a comparison compares with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum KvTarget {
    /// How often the key was put since it was made.
    Version(u64),
    /// The revision that made it.
    Created(u64),
    /// The revision of its last change.
    Modified(u64),
    /// Its lease.
    Lease(u64),
    /// What it holds, as bytes are ordered.
    Value(Bytes),
}

/// An operation of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum KvOp {
    /// Reads keys.
    Get(KvRange),
    /// Puts a key.
    Put(KvPut),
    /// Deletes keys.
    Delete(KvDelete),
}

/// What a read found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct KvRead {
    /// The revision as of which it is.
    pub revision: u64,
    /// How fresh it is: at least what was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<String>,
    /// The keys, in their order.
    pub pairs: Vec<KvPair>,
    /// How many keys this answer is about.
    pub count: u64,
    /// The key to go on with, at the same revision, if this is not all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Bytes>,
}

/// What a change did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct KvChanged {
    /// Its revision; a read with `session=` it sees it.
    pub revision: u64,
    /// How many keys were deleted, of a deletion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<u64>,
    /// What was there, if that was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub previous: Vec<KvPair>,
}

/// What a transaction did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KvTxnDone {
    /// Its revision if it changed anything, else the one that it saw.
    pub revision: u64,
    /// How fresh it is, if it changed nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<String>,
    /// Whether all comparisons held.
    pub succeeded: bool,
    /// The answers of the operations done, in their order.
    pub answers: Vec<KvOpDone>,
}

/// What an operation did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum KvOpDone {
    /// What was read.
    Get(KvRead),
    /// The key was put.
    Put(KvChanged),
    /// The keys are gone.
    Delete(KvChanged),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_text_where_they_can_be() {
        for (bytes, json) in [(&b"a"[..], "\"a\""), (b"\xff\x00", "{\"base64\":\"/wA=\"}")] {
            let value = Bytes(bytes.to_vec());
            assert_eq!(serde_json::to_string(&value).unwrap(), json);
            assert_eq!(serde_json::from_str::<Bytes>(json).unwrap(), value);
        }
        assert!(serde_json::from_str::<Bytes>("{\"base64\": \"*\"}").is_err());
    }

    #[test]
    fn a_transaction_is_read_as_it_is_documented() {
        let text = "{\"compare\": [{\"key\": \"a\", \"is\": \"=\", \"version\": 0}],
            \"then\": [{\"put\": {\"key\": \"a\", \"value\": \"1\"}}], \"else\": [{\"get\": {\"prefix\": \"a\"}}]}";
        let txn: KvTxn = serde_json::from_str(text).unwrap();
        assert_eq!(txn.compare[0].with, KvTarget::Version(0));
        assert!(matches!((&txn.then[..], &txn.otherwise[..]), ([KvOp::Put(_)], [KvOp::Get(_)])));
    }
}
