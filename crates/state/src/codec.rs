//! The bytes of log entries and of table rows: CBOR with numbered fields (RFC 8949). What a resource holds
//! is CBOR with named fields, as in a snapshot.
//!
//! A number is never used again. A later version may add fields, which this one skips; a command that it
//! does not know is an error, never a guess.

mod row;

pub(crate) use row::{Row, decode_row, encode_key, encode_row};

use crate::command::{Command, Entry};
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use selvedge_cache::stamps::{PurgeKind, PurgeScope};
use selvedge_types::resource::{Namespace, Settings, Site, SiteName};
use selvedge_types::{Hlc, Manifest, Revision, Token};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The format of entries.
const FORMAT: u16 = 1;

/// Why bytes are not an entry or a row.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// A later version wrote them.
    #[error("an entry of format {0}, this version knows {FORMAT}")]
    Format(u16),
    /// They are not what any version writes.
    #[error("not CBOR of a known form: {0}")]
    Form(String),
}

impl CodecError {
    fn form(error: impl std::fmt::Display) -> Self {
        CodecError::Form(error.to_string())
    }
}

#[derive(Encode, Decode)]
struct EntryForm {
    #[n(0)]
    format: u16,
    #[n(1)]
    time: u64,
    #[n(2)]
    command: CommandForm,
}

#[derive(Encode, Decode)]
enum CommandForm {
    #[n(0)]
    ApplyManifest {
        #[n(0)]
        manifest: ByteVec,
        #[n(1)]
        expected: Option<u64>,
        /// Absent for true.
        #[n(2)]
        may_set: Option<bool>,
    },
    #[n(1)]
    CreateToken {
        #[n(0)]
        token: ByteVec,
    },
    #[n(2)]
    RevokeToken {
        #[n(0)]
        name: String,
    },
    #[n(3)]
    Purge {
        #[n(0)]
        scope: ScopeForm,
        #[n(1)]
        soft: bool,
    },
    #[n(4)]
    ExpireStamps {
        #[n(0)]
        oldest: u64,
    },
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

#[derive(Serialize, Deserialize)]
struct ManifestForm {
    namespace: Namespace,
    #[serde(default)]
    settings: Option<Settings>,
    #[serde(default)]
    sites: BTreeMap<SiteName, Site>,
}

/// The bytes of an entry.
pub(crate) fn encode_entry(entry: &Entry) -> Result<Vec<u8>, CodecError> {
    let form = EntryForm { format: FORMAT, time: entry.time.to_bits(), command: to_form(&entry.command)? };
    minicbor::to_vec(&form).map_err(CodecError::form)
}

/// Reads an entry. Never panics.
pub fn decode_entry(bytes: &[u8]) -> Result<Entry, CodecError> {
    match format(bytes) {
        Some(FORMAT) => {}
        Some(other) => return Err(CodecError::Format(other)),
        None => return Err(CodecError::form("an entry without its format")),
    }
    let form: EntryForm = minicbor::decode(bytes).map_err(CodecError::form)?;
    Ok(Entry { time: Hlc::from_bits(form.time), command: from_form(form.command)? })
}

/// The format, which is the first field whatever the rest is.
fn format(bytes: &[u8]) -> Option<u16> {
    let mut decoder = minicbor::Decoder::new(bytes);
    decoder.array().ok()?;
    decoder.u16().ok()
}

fn to_form(command: &Command) -> Result<CommandForm, CodecError> {
    Ok(match command {
        Command::ApplyManifest { manifest, expected, may_set } => {
            let Manifest { namespace, settings, sites } = (**manifest).clone();
            let manifest = named(&ManifestForm { namespace, settings, sites })?.into();
            let may_set = (!may_set).then_some(false);
            CommandForm::ApplyManifest { manifest, expected: expected.map(|r| r.0), may_set }
        }
        Command::CreateToken(token) => CommandForm::CreateToken { token: named(token)?.into() },
        Command::RevokeToken { name } => CommandForm::RevokeToken { name: name.clone() },
        Command::Purge { scope, kind } => {
            CommandForm::Purge { scope: scope.into(), soft: *kind == PurgeKind::Soft }
        }
        Command::ExpireStamps { oldest } => CommandForm::ExpireStamps { oldest: oldest.to_bits() },
    })
}

fn from_form(form: CommandForm) -> Result<Command, CodecError> {
    Ok(match form {
        CommandForm::ApplyManifest { manifest, expected, may_set } => {
            let ManifestForm { namespace, settings, sites } = from_named(&manifest)?;
            let manifest = Box::new(Manifest { namespace, settings, sites });
            let may_set = may_set.unwrap_or(true);
            Command::ApplyManifest { manifest, expected: expected.map(Revision), may_set }
        }
        CommandForm::CreateToken { token } => Command::CreateToken(from_named::<Token>(&token)?),
        CommandForm::RevokeToken { name } => Command::RevokeToken { name },
        CommandForm::Purge { scope, soft } => Command::Purge { scope: scope.into(), kind: purge_kind(soft) },
        CommandForm::ExpireStamps { oldest } => Command::ExpireStamps { oldest: Hlc::from_bits(oldest) },
    })
}

fn purge_kind(soft: bool) -> PurgeKind {
    if soft { PurgeKind::Soft } else { PurgeKind::Hard }
}

fn named<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
    minicbor_serde::to_vec(value).map_err(CodecError::form)
}

fn from_named<'b, T: Deserialize<'b>>(bytes: &'b [u8]) -> Result<T, CodecError> {
    minicbor_serde::from_slice(bytes).map_err(CodecError::form)
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
    use proptest::prelude::*;
    use selvedge_types::{Role, UnixMillis};

    fn manifest() -> Manifest {
        let text = "[site.docs]\nhosts = [\"docs.example.com\"]\norigin = \"https://origin.example.com\"\n\
                    [settings]\nname = \"edge\"\n";
        Manifest::parse("m", text).unwrap()
    }

    fn commands() -> impl Strategy<Value = Command> {
        let scope = prop_oneof![
            any::<String>().prop_map(|site| PurgeScope::Site { site }),
            any::<(String, String)>().prop_map(|(site, path)| PurgeScope::Prefix { site, path }),
            any::<(String, String)>().prop_map(|(site, uri)| PurgeScope::Url { site, uri }),
            any::<(String, String)>().prop_map(|(namespace, tag)| PurgeScope::Tag { namespace, tag }),
        ];
        let token = any::<(String, [u8; 32], u64)>().prop_map(|(name, hash, at)| Token {
            name,
            role: Role::Deployer,
            namespace: Some(Namespace::default()),
            hash,
            created: UnixMillis(at),
        });
        prop_oneof![
            any::<(Option<u64>, bool)>().prop_map(|(expected, may_set)| Command::ApplyManifest {
                manifest: Box::new(manifest()),
                expected: expected.map(Revision),
                may_set,
            }),
            token.prop_map(Command::CreateToken),
            any::<String>().prop_map(|name| Command::RevokeToken { name }),
            (scope, any::<bool>()).prop_map(|(scope, soft)| Command::Purge { scope, kind: purge_kind(soft) }),
            any::<u64>().prop_map(|bits| Command::ExpireStamps { oldest: Hlc::from_bits(bits) }),
        ]
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(time: u64, command in commands()) {
            let entry = Entry { time: Hlc::from_bits(time), command };
            prop_assert_eq!(decode_entry(&encode_entry(&entry).unwrap()), Ok(entry));
        }

        #[test]
        fn any_bytes_are_taken_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_entry(&bytes);
            let _ = decode_row(&bytes, &bytes);
        }

        #[test]
        fn changed_bytes_are_taken_without_panic(command in commands(), at: proptest::sample::Index, byte: u8) {
            let mut bytes = encode_entry(&Entry { time: Hlc::ZERO, command }).unwrap();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = decode_entry(&bytes);
        }
    }

    #[test]
    fn the_bytes_of_an_entry_stay_what_they_are() {
        let command = Command::Purge {
            scope: PurgeScope::Tag { namespace: "default".into(), tag: "news".into() },
            kind: PurgeKind::Soft,
        };
        let bytes = encode_entry(&Entry { time: Hlc::from_bits(7), command }).unwrap();
        let expected = b"\x83\x01\x07\x82\x03\x82\x82\x03\x82\x67default\x64news\xf5";
        assert_eq!(bytes, expected, "entries written by former versions must be read for ever");
    }

    #[test]
    fn a_manifest_written_before_rights_were_kept_may_set_all() {
        let written = CommandForm::ApplyManifest {
            manifest: named(&ManifestForm {
                namespace: Namespace::default(),
                settings: None,
                sites: BTreeMap::new(),
            })
            .unwrap()
            .into(),
            expected: None,
            may_set: None,
        };
        let Ok(Command::ApplyManifest { may_set, .. }) = from_form(written) else { panic!("it is one") };
        assert!(may_set);
    }

    #[test]
    fn an_entry_of_a_later_format_is_named_as_such() {
        assert_eq!(decode_entry(b"\x83\x02\x07\x00"), Err(CodecError::Format(2)));
    }
}
