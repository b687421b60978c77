//! Keys and values. Bytes that are UTF-8 are a string, others `{"base64": "..."}`; both forms are taken.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use selvedge_kv::{Event, KeyValue, LeaseId, LeaseInfo};
use selvedge_types::UnixMillis;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use utoipa::ToSchema;

/// Any bytes: a string if they are UTF-8, else `{"base64": "..."}`.
#[derive(Debug, Clone, PartialEq, Eq, Default, ToSchema)]
#[schema(value_type = BytesForm)]
pub struct Bytes(pub Vec<u8>);

/// The two forms of bytes.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it is there to be described")]
enum BytesForm {
    /// Bytes that are UTF-8.
    Text(String),
    /// Any others.
    Base64(Base64),
}

#[derive(Serialize, Deserialize, ToSchema)]
struct Base64 {
    /// The bytes in base64 (RFC 4648 section 4).
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
        from.deserialize_any(BytesVisitor)
    }
}

/// Reads either form, without keeping what it reads aside.
struct BytesVisitor;

impl<'de> Visitor<'de> for BytesVisitor {
    type Value = Bytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, or {\"base64\": \"...\"}")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Bytes, E> {
        Ok(Bytes(text.as_bytes().to_vec()))
    }

    fn visit_string<E: serde::de::Error>(self, text: String) -> Result<Bytes, E> {
        Ok(Bytes(text.into_bytes()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Bytes, A::Error> {
        let Base64 { base64 } = Base64::deserialize(MapAccessDeserializer::new(map))?;
        STANDARD.decode(base64).map(Bytes).map_err(serde::de::Error::custom)
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
    /// The first key no longer meant; an empty one for no end; without it, `key` alone is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<Bytes>,
    /// Every key that begins so; instead of `key` and `end`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<Bytes>,
}

/// A read of keys, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
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
#[serde(deny_unknown_fields)]
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
#[serde(deny_unknown_fields)]
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
#[serde(deny_unknown_fields)]
pub struct KvCall {
    /// The session.
    pub session: String,
    /// The command's number in it, counted up by the client.
    pub sequence: u64,
}

/// A transaction: if all comparisons hold, `then` is done, else `else`, in order and as one revision.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
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
#[serde(deny_unknown_fields)]
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

/// What is watched.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KvWatch {
    /// Which keys.
    #[serde(flatten)]
    pub keys: KvKeys,
    /// The first revision wanted; what comes after the present one if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// Whether events tell what was there before.
    #[serde(default)]
    pub previous: bool,
}

/// A line of a watch.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct KvWatched {
    /// All events up to this revision have now been told: to go on later, watch from the one after it.
    pub revision: u64,
    /// The events of whole revisions, in their order; none when the line only tells of the revision.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<KvEvent>,
    /// Why the watch ends with this line, if it does: what was to come is compacted, or the keyspace was removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<KvEnd>,
}

/// Why a watch ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum KvEnd {
    /// Changes that come next are no longer kept; those after this revision are. Read the keys, then watch from there.
    Compacted(u64),
    /// The keyspace was removed.
    Removed,
}

/// A change that a watch tells of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KvEvent {
    /// Its revision.
    pub revision: u64,
    /// The key.
    pub key: Bytes,
    /// What it holds now; absent if it was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Bytes>,
    /// The revision that made the key; 0 if it was deleted.
    #[serde(default)]
    pub created: u64,
    /// How often it was put since it was made; 0 if it was deleted.
    #[serde(default)]
    pub version: u64,
    /// The lease with which it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<u64>,
    /// What was there before, if that was asked for and is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<KvPair>,
}

impl From<Event> for KvEvent {
    fn from(event: Event) -> Self {
        let (change, record) = (&event.change, event.change.record.as_ref());
        KvEvent {
            revision: change.position.revision.0,
            key: Bytes(change.key.to_vec()),
            value: record.map(|record| Bytes(record.value.to_vec())),
            created: record.map_or(0, |record| record.created.0),
            version: record.map_or(0, |record| record.version),
            lease: record.and_then(|record| record.lease).map(|lease| lease.0),
            previous: event.previous.map(KvPair::from),
        }
    }
}

/// History to be given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KvCompact {
    /// The oldest revision that can still be read and watched from the one after.
    pub revision: u64,
}

/// A lease to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KvGrant {
    /// How long it lives after its grant and each renewal, in milliseconds: a second at least.
    pub ttl_ms: u64,
    /// Its number; one that is free if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<u64>,
}

/// A lease as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KvLease {
    /// Its number.
    pub lease: u64,
    /// How long it lives from now, in milliseconds.
    pub ttl_ms: u64,
    /// The present revision.
    pub revision: u64,
}

/// A lease in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KvLeaseInfo {
    /// Its number.
    pub lease: u64,
    /// How long it lives after its grant and each renewal, in milliseconds.
    pub ttl_ms: u64,
    /// How long it lives from now, in milliseconds, by the clock of the node that is asked.
    pub left_ms: u64,
    /// The keys that end with it.
    pub keys: Vec<Bytes>,
}

impl KvLeaseInfo {
    pub(crate) fn new(id: LeaseId, lease: LeaseInfo, now: UnixMillis) -> Self {
        KvLeaseInfo {
            lease: id.0,
            ttl_ms: lease.ttl_ms,
            left_ms: lease.deadline.0.saturating_sub(now.0),
            keys: lease.keys.iter().map(|key| Bytes(key.to_vec())).collect(),
        }
    }
}

/// A keyspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyspaceResource {
    /// Who owns it.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What reads and writes are promised.
    pub consistency: String,
    /// What keys, values and history may take, in bytes.
    pub quota: u64,
    /// What they take; absent while it is not made yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// The oldest revision that can be read.
    pub compacted: u64,
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

    #[test]
    fn a_key_that_nobody_knows_is_no_condition_less() {
        for (text, key) in [
            ("{\"comapre\": []}", "comapre"),
            ("{\"bad\": 1}", "bad"),
            ("{\"compare\": [{\"key\": \"a\", \"version\": 0, \"si\": \"=\"}]}", "si"),
            ("{\"then\": [{\"put\": {\"key\": \"a\", \"value\": \"1\", \"leese\": 3}}]}", "leese"),
            ("{\"then\": [{\"delete\": {\"prefx\": \"a\"}}]}", "prefx"),
            ("{\"then\": [{\"get\": {\"key\": \"a\", \"edn\": \"b\"}}]}", "edn"),
        ] {
            let error = serde_json::from_str::<KvTxn>(text).unwrap_err().to_string();
            assert!(error.contains(key), "{text}: {error}");
        }
        assert!(serde_json::from_str::<KvWatch>("{\"prefix\": \"a\", \"form\": 3}").is_err());
    }
}
