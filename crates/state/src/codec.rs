//! Objects as keys and values of the store: CBOR with numbered fields (RFC 8949). What a resource holds is CBOR
//! with named fields, as in a snapshot.
//!
//! A number is never used again. A later version may add fields, which this one skips; an object that it does
//! not know is an error, never a guess.

use crate::node::{ClusterForm, NodeRecord};
use crate::object::{Kind, ObjectName, Stamp, Value};
use minicbor::{Decode, Encode};
use selvedge_cache::stamps::PurgeScope;
use selvedge_mesh::ticket::TicketRecord;
use selvedge_types::Hlc;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Why bytes are not an object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an object of a known form: {0}")]
pub struct CodecError(String);

impl CodecError {
    fn form(error: impl std::fmt::Display) -> Self {
        CodecError(error.to_string())
    }
}

#[derive(Encode, Decode)]
enum ScopeForm {
    #[n(0)]
    Site {
        #[n(0)]
        site: String,
    },
    #[n(1)]
    Prefix {
        #[n(0)]
        site: String,
        #[n(1)]
        path: String,
    },
    #[n(2)]
    Url {
        #[n(0)]
        site: String,
        #[n(1)]
        uri: String,
    },
    #[n(3)]
    Tag {
        #[n(0)]
        namespace: String,
        #[n(1)]
        tag: String,
    },
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

/// Reads an object's key. Never panics.
pub(crate) fn decode_key(key: &[u8]) -> Result<ObjectName, CodecError> {
    let (kind, name) = key.split_first().ok_or_else(|| CodecError::form("an empty key"))?;
    let kind = kind_of_number(*kind).ok_or_else(|| CodecError::form(format!("an object of kind {kind}")))?;
    let name = std::str::from_utf8(name).map_err(CodecError::form)?.to_owned();
    Ok(ObjectName { kind, name })
}

/// The bytes of what an object holds.
pub(crate) fn encode_value(value: &Value) -> Result<Vec<u8>, CodecError> {
    match value {
        Value::Settings(settings) => named(&**settings),
        Value::Site(site) => named(&**site),
        Value::Token(token) => named(token),
        Value::Keyspace(keyspace) => named(keyspace),
        Value::Stamp(Stamp { scope, hard, soft }) => {
            let form = StampForm { scope: scope.into(), hard: hard.to_bits(), soft: soft.to_bits() };
            minicbor::to_vec(&form).map_err(CodecError::form)
        }
        Value::Node(record) => Ok(record.encode()),
        Value::Ticket(record) => Ok(record.encode()),
        Value::Cluster(record) => minicbor::to_vec(ClusterForm::from(record)).map_err(CodecError::form),
    }
}

/// Reads what an object of a kind holds. Never panics.
pub(crate) fn decode_value(kind: Kind, bytes: &[u8]) -> Result<Value, CodecError> {
    Ok(match kind {
        Kind::Settings => Value::Settings(Arc::new(from_named(bytes)?)),
        Kind::Site => Value::Site(Arc::new(from_named(bytes)?)),
        Kind::Token => Value::Token(from_named(bytes)?),
        Kind::Keyspace => Value::Keyspace(from_named(bytes)?),
        Kind::Stamp => {
            let StampForm { scope, hard, soft } = minicbor::decode(bytes).map_err(CodecError::form)?;
            let (hard, soft) = (Hlc::from_bits(hard), Hlc::from_bits(soft));
            Value::Stamp(Stamp { scope: scope.into(), hard, soft })
        }
        Kind::Node => Value::Node(NodeRecord::decode(bytes).map_err(CodecError::form)?),
        Kind::Ticket => Value::Ticket(TicketRecord::decode(bytes).map_err(CodecError::form)?),
        Kind::Cluster => {
            Value::Cluster(minicbor::decode::<ClusterForm>(bytes).map_err(CodecError::form)?.into())
        }
    })
}

/// Reads a key of the control state and what is kept under it. Never panics.
pub fn decode_object(key: &[u8], value: &[u8]) -> Result<(ObjectName, Value), CodecError> {
    let name = decode_key(key)?;
    let value = decode_value(name.kind, value)?;
    Ok((name, value))
}

fn named<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
    minicbor_serde::to_vec(value).map_err(CodecError::form)
}

fn from_named<'b, T: Deserialize<'b>>(bytes: &'b [u8]) -> Result<T, CodecError> {
    minicbor_serde::from_slice(bytes).map_err(CodecError::form)
}

/// With what the keys of all objects of a kind begin.
pub(crate) fn keys_of(kind: Kind) -> Vec<u8> {
    vec![kind_number(kind)]
}

const fn kind_number(kind: Kind) -> u8 {
    match kind {
        Kind::Settings => 0,
        Kind::Site => 1,
        Kind::Token => 2,
        Kind::Stamp => 3,
        Kind::Node => 4,
        Kind::Ticket => 5,
        Kind::Cluster => 6,
        Kind::Keyspace => 7,
    }
}

fn kind_of_number(number: u8) -> Option<Kind> {
    Kind::ALL.into_iter().find(|k| kind_number(*k) == number)
}

impl From<&PurgeScope> for ScopeForm {
    fn from(scope: &PurgeScope) -> Self {
        match scope.clone() {
            PurgeScope::Site { site } => ScopeForm::Site { site },
            PurgeScope::Prefix { site, path } => ScopeForm::Prefix { site, path },
            PurgeScope::Url { site, uri } => ScopeForm::Url { site, uri },
            PurgeScope::Tag { namespace, tag } => ScopeForm::Tag { namespace, tag },
        }
    }
}

impl From<ScopeForm> for PurgeScope {
    fn from(form: ScopeForm) -> Self {
        match form {
            ScopeForm::Site { site } => PurgeScope::Site { site },
            ScopeForm::Prefix { site, path } => PurgeScope::Prefix { site, path },
            ScopeForm::Url { site, uri } => PurgeScope::Url { site, uri },
            ScopeForm::Tag { namespace, tag } => PurgeScope::Tag { namespace, tag },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::VoterId;
    use crate::node::{ClusterRecord, Serves};
    use proptest::prelude::*;
    use selvedge_mesh::ticket::NodeRole;
    use selvedge_types::resource::{ByteSize, Consistency, Keyspace, Namespace};
    use selvedge_types::{Manifest, NodeKey, Role, Token, UnixMillis};
    use std::net::SocketAddr;

    fn site() -> Value {
        let text = "[site.docs]\nhosts = [\"docs.example.com\"]\norigin = \"https://origin.example.com\"\n";
        let manifest = Manifest::parse("m", text).unwrap();
        Value::Site(Arc::new(manifest.sites.into_values().next().unwrap()))
    }

    fn values() -> impl Strategy<Value = Value> {
        let scope = prop_oneof![
            any::<String>().prop_map(|site| PurgeScope::Site { site }),
            any::<(String, String)>().prop_map(|(site, path)| PurgeScope::Prefix { site, path }),
            any::<(String, String)>().prop_map(|(site, uri)| PurgeScope::Url { site, uri }),
            any::<(String, String)>().prop_map(|(namespace, tag)| PurgeScope::Tag { namespace, tag }),
        ];
        let token = any::<(String, [u8; 32], u64)>().prop_map(|(name, hash, at)| {
            let (role, namespace, created) = (Role::Deployer, Some(Namespace::default()), UnixMillis(at));
            Value::Token(Token { name, role, namespace, hash, created })
        });
        let stamp = (scope, any::<u64>(), any::<u64>()).prop_map(|(scope, hard, soft)| {
            Value::Stamp(Stamp { scope, hard: Hlc::from_bits(hard), soft: Hlc::from_bits(soft) })
        });
        let node = any::<([u8; 32], String, Option<u64>, std::net::SocketAddr)>();
        let node = node.prop_map(|(key, name, voter, address)| {
            Value::Node(NodeRecord {
                key: NodeKey::from_bytes(key),
                name,
                pop: "ams".into(),
                region: "eu".into(),
                role: NodeRole::Edge,
                voter: voter.map(VoterId),
                mesh: vec![SocketAddr::new(address.ip(), address.port())],
                serves: Serves::default(),
                version: "1".into(),
                joined: UnixMillis(1),
                draining: true,
            })
        });
        let cluster = any::<([u8; 32], u64)>();
        let cluster = cluster.prop_map(|(seed, at)| {
            Value::Cluster(ClusterRecord { seed, created: UnixMillis(at), voters: Vec::new() })
        });
        let keyspace = any::<u32>().prop_map(|n| {
            let quota = ByteSize::mib(u64::from(n));
            Value::Keyspace(Keyspace { consistency: Consistency::Strong, quota })
        });
        prop_oneof![
            Just(site()),
            keyspace,
            token,
            stamp,
            node,
            cluster,
            Just(Value::Settings(Arc::default()))
        ]
    }

    fn kind(value: &Value) -> Kind {
        match value {
            Value::Settings(_) => Kind::Settings,
            Value::Site(_) => Kind::Site,
            Value::Token(_) => Kind::Token,
            Value::Stamp(_) => Kind::Stamp,
            Value::Node(_) => Kind::Node,
            Value::Ticket(_) => Kind::Ticket,
            Value::Cluster(_) => Kind::Cluster,
            Value::Keyspace(_) => Kind::Keyspace,
        }
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(name: String, value in values()) {
            let name = ObjectName { kind: kind(&value), name };
            let bytes = encode_value(&value).unwrap();
            prop_assert_eq!(decode_object(&encode_key(&name), &bytes), Ok((name, value)));
        }

        #[test]
        fn any_bytes_are_taken_without_panic(key: Vec<u8>, value: Vec<u8>) {
            let _ = decode_object(&key, &value);
        }

        #[test]
        fn changed_bytes_are_taken_without_panic(value in values(), at: proptest::sample::Index, byte: u8) {
            let mut bytes = encode_value(&value).unwrap();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = decode_value(kind(&value), &bytes);
        }
    }

    #[test]
    fn the_bytes_of_an_object_stay_what_they_are() {
        let scope = PurgeScope::Tag { namespace: "default".into(), tag: "news".into() };
        let name = ObjectName::stamp(&scope);
        let stamp = Value::Stamp(Stamp { scope, hard: Hlc::from_bits(7), soft: Hlc::ZERO });
        assert_eq!(encode_key(&name), b"\x03tag default news");
        let expected = b"\x83\x82\x03\x82\x67default\x64news\x07\x00";
        assert_eq!(encode_value(&stamp).unwrap(), expected, "what former versions wrote is read for ever");
    }

    #[test]
    fn an_object_of_a_later_version_is_named_as_such() {
        assert!(decode_object(b"\x63x", b"").unwrap_err().to_string().contains("kind 99"));
    }
}
