//! Snapshots: the immutable, numbered view by which configuration reaches the data plane.

use crate::resource::{Resources, Settings, Site, SiteId};
use minicbor::data::Type;
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A position in the control store's total order. 0 is before every change.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, Encode, Decode,
)]
#[serde(transparent)]
#[cbor(transparent)]
pub struct Revision(#[n(0)] pub u64);

impl std::fmt::Display for Revision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What a node must know to serve, as it was at one revision.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Where in the control store's order it was taken.
    pub revision: Revision,
    /// What holds for all.
    pub settings: Settings,
    /// The sites this node serves.
    pub sites: BTreeMap<SiteId, Site>,
}

/// Why bytes are not a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// They do not begin as a snapshot does.
    #[error("not a snapshot: it begins with other bytes than `SLVS`")]
    NotASnapshot,
    /// They were written by a later version.
    #[error("snapshot of format {found}, this version reads up to {known}; run a newer version")]
    Format {
        /// The format they have.
        found: u16,
        /// The latest format this version reads.
        known: u16,
    },
    /// They are larger, or nested deeper, than a snapshot can be.
    #[error("snapshot is larger than {MAX_SNAPSHOT_BYTES} bytes or nested deeper than {MAX_DEPTH} levels")]
    TooLarge,
    /// What follows is damaged.
    #[error("snapshot is damaged: {0}")]
    Damaged(String),
}

/// The largest encoded snapshot, in bytes.
pub const MAX_SNAPSHOT_BYTES: usize = 256 << 20;
const MAX_DEPTH: usize = 32;
const MAGIC: [u8; 4] = *b"SLVS";
const FORMAT: u16 = 1;

/// The encoded body. A field that an older version does not know is left out by it; one that an older
/// version did not write has its default.
#[derive(Serialize, Deserialize)]
struct Body {
    revision: Revision,
    #[serde(default)]
    settings: Settings,
    #[serde(default)]
    sites: BTreeMap<SiteId, Site>,
}

impl Snapshot {
    /// The resources at a revision.
    pub fn new(revision: Revision, resources: Resources) -> Self {
        Snapshot { revision, settings: resources.settings, sites: resources.sites }
    }

    /// The bytes kept on disk: `SLVS`, the format's number (big endian), then CBOR (RFC 8949).
    ///
    /// # Errors
    /// None in practice; every snapshot can be encoded.
    pub fn encode(&self) -> Result<Vec<u8>, SnapshotError> {
        let Snapshot { revision, settings, sites } = self.clone();
        let body = minicbor_serde::to_vec(Body { revision, settings, sites })
            .map_err(|e| SnapshotError::Damaged(e.to_string()))?;
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&FORMAT.to_be_bytes());
        bytes.extend_from_slice(&body);
        Ok(bytes)
    }

    /// Reads what [`Snapshot::encode`] wrote, by this version or an earlier one. Never panics.
    ///
    /// # Errors
    /// When the bytes are not a snapshot, are of a later format, or are damaged.
    pub fn decode(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let rest = bytes.strip_prefix(&MAGIC).ok_or(SnapshotError::NotASnapshot)?;
        let (format, body) = rest.split_first_chunk::<2>().ok_or(SnapshotError::NotASnapshot)?;
        let found = u16::from_be_bytes(*format);
        if found == 0 || found > FORMAT {
            return Err(SnapshotError::Format { found, known: FORMAT });
        }
        if bytes.len() > MAX_SNAPSHOT_BYTES || !is_shallow(body) {
            return Err(SnapshotError::TooLarge);
        }
        let Body { revision, settings, sites } =
            minicbor_serde::from_slice(body).map_err(|e| SnapshotError::Damaged(e.to_string()))?;
        Ok(Snapshot { revision, settings, sites })
    }
}

/// Whether no list or map is nested deeper than allowed, so that decoding cannot exhaust the stack.
/// Damage is left to the decoder to find.
fn is_shallow(body: &[u8]) -> bool {
    let mut decoder = minicbor::Decoder::new(body);
    // How many items each open list or map still waits for; an indefinite one waits for a break.
    let mut open: Vec<Option<u64>> = Vec::with_capacity(MAX_DEPTH);
    loop {
        let waits = match decoder.datatype() {
            Ok(Type::Array | Type::ArrayIndef) => decoder.array(),
            Ok(Type::Map | Type::MapIndef) => decoder.map().map(|n| n.map(|n| n.saturating_mul(2))),
            Ok(Type::Break) => {
                decoder.set_position(decoder.position() + 1);
                open.pop();
                Ok(Some(0))
            }
            Ok(Type::Tag) => return false,
            Ok(_) => decoder.skip().map(|()| Some(0)),
            Err(_) => return true,
        };
        match waits {
            Ok(Some(0)) => finish_item(&mut open),
            Ok(waits) if open.len() < MAX_DEPTH => open.push(waits),
            Ok(_) => return false,
            Err(_) => return true,
        }
    }
}

/// Counts an item that is complete, and each list or map that it completes.
fn finish_item(open: &mut Vec<Option<u64>>) {
    while let Some(Some(left)) = open.last_mut() {
        *left -= 1;
        if *left > 0 {
            break;
        }
        open.pop();
    }
}

#[cfg(test)]
mod tests;
