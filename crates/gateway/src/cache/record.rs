//! Stored values as records of the disk tier.
//!
//! The meta of a record, format 1 (all numbers little-endian):
//! ```text
//! object   freshness 32 | content id 8 | status 2 | slice bytes 8 | length 8 | labels 2 + 16 each | fields
//! slice    start 8
//! varies   names
//! ```
//! An object's body is its content if it is whole, and empty if it lies in slices.

use super::object::{Content, Draft, Layout, Object, Slice, Stored};
use bytes::Bytes;
use selvedge_cache::semantics::{Freshness, KeyHash, VaryNames};
use selvedge_cache::stamps::{PurgeKind, ScopeHash};
use selvedge_store::segments::{DiskStamp, Found, Head, Key, Kind, NewRecord};
use selvedge_types::{Fields, Hlc, Status};
use std::sync::Arc;

/// The format in the upper bits of a record's note; its kind is in the lowest byte.
const FORMAT: u64 = 1 << 8;
const OBJECT: u64 = 1;
const SLICED_OBJECT: u64 = 2;
const SLICE: u64 = 3;
const VARIES: u64 = 4;

/// The disk tier's name of a purge scope.
pub(crate) fn disk_scope(scope: ScopeHash) -> Key {
    Key(scope.0)
}

/// The disk tier's number of a kind of purge.
pub(crate) fn disk_purge(kind: PurgeKind) -> u8 {
    match kind {
        PurgeKind::Hard => 0,
        PurgeKind::Soft => 1,
    }
}

/// A purge as the disk tier has it.
pub(crate) fn decode_stamp(stamp: &DiskStamp) -> (ScopeHash, PurgeKind, Hlc) {
    // What a later version may have written is taken for the strictest that there is.
    let kind = if stamp.kind == disk_purge(PurgeKind::Soft) { PurgeKind::Soft } else { PurgeKind::Hard };
    (ScopeHash(stamp.scope.0), kind, stamp.at)
}

/// The disk tier's name of a key.
pub(crate) fn disk_key(key: KeyHash) -> Key {
    Key(u128::from_le_bytes(key.to_bytes()))
}

/// The record of a value, that a request brought or that is only to be kept; none for what is only kept in memory.
pub(crate) fn encode(key: KeyHash, stored: &Stored, now: Hlc, asked: bool) -> Option<NewRecord> {
    let (kind, fetched, meta, body) = match stored {
        Stored::Object(object) => {
            let kind = if object.layout().is_some() { SLICED_OBJECT } else { OBJECT };
            (kind, object.fetched, encode_object(object)?, object.body())
        }
        Stored::Slice(slice) => (SLICE, now, slice.start.to_le_bytes().to_vec(), slice.bytes.clone()),
        Stored::Varies(names) => (VARIES, now, names.to_bytes(), Bytes::new()),
        Stored::Pass(_) => return None,
    };
    let head = Head { key: disk_key(key), fetched, kind: Kind::Object, note: FORMAT | kind };
    Some(NewRecord { head, meta: meta.into(), body, asked })
}

/// Reads a record back; none if it is of another format or makes no sense.
pub(crate) fn decode(found: Found) -> Option<Stored> {
    let meta = &found.meta[..];
    Some(match found.head.note.checked_sub(FORMAT)? {
        kind @ (OBJECT | SLICED_OBJECT) => {
            Stored::Object(decode_object(meta, &found.body, found.head.fetched, kind == SLICED_OBJECT)?)
        }
        SLICE => Stored::Slice(Arc::new(Slice::new(u64::from_le_bytes(meta.try_into().ok()?), found.body))),
        VARIES => Stored::Varies(Arc::new(VaryNames::from_bytes(meta)?)),
        _ => return None,
    })
}

fn encode_object(object: &Object) -> Option<Vec<u8>> {
    let slice_bytes = object.layout().map_or(0, |layout| layout.slice_bytes);
    let labels = object.labels();
    let mut out = Vec::with_capacity(64 + labels.len() * 16 + object.packed().len());
    out.extend_from_slice(&object.freshness.to_bytes());
    out.extend_from_slice(&object.content_id.to_le_bytes());
    out.extend_from_slice(&object.status.code().to_le_bytes());
    out.extend_from_slice(&slice_bytes.to_le_bytes());
    out.extend_from_slice(&object.length().to_le_bytes());
    // Tags and groups are far fewer: see the limits where they are read.
    out.extend_from_slice(&u16::try_from(labels.len()).unwrap_or(u16::MAX).to_le_bytes());
    labels.for_each(|label| out.extend_from_slice(&label.0.to_le_bytes()));
    object.fields().ok()?.write_wire(&mut out);
    Some(out)
}

fn decode_object(meta: &[u8], body: &[u8], fetched: Hlc, sliced: bool) -> Option<Object> {
    let mut rest = meta;
    let freshness = Freshness::from_bytes(take::<{ Freshness::ENCODED_LEN }>(&mut rest)?)?;
    let content_id = u64::from_le_bytes(*take(&mut rest)?);
    let status = Status::new(u16::from_le_bytes(*take(&mut rest)?))?;
    let slice_bytes = u64::from_le_bytes(*take(&mut rest)?);
    let length = u64::from_le_bytes(*take(&mut rest)?);
    let count = u16::from_le_bytes(*take(&mut rest)?);
    let label = |_| take(&mut rest).map(|bytes| ScopeHash(u128::from_le_bytes(*bytes)));
    let labels = (0..count).map(label).collect::<Option<Box<[ScopeHash]>>>()?;
    let fields = Fields::from_wire(rest).ok()?.pack();
    let content = if sliced {
        (slice_bytes > 0).then(|| Content::sliced(Layout { id: content_id, length, slice_bytes }))?
    } else {
        (length == body.len() as u64).then(|| Content::Whole(body.into()))?
    };
    Some(Draft { fields, content, freshness, fetched, content_id, labels, status }.store())
}

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (first, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use selvedge_cache::semantics::{
        FreshnessPolicy, MethodClass, Received, RequestFacts, Target, Times, judge,
    };
    use selvedge_types::{Scheme, UnixMillis};

    fn object(content: Content) -> Object {
        let fields = Fields::from_wire(b"Cache-Control: max-age=60\r\nETag: \"v\"\r\n").unwrap();
        let now = UnixMillis::from_secs(1_800_000_000);
        let received = Received {
            request: &RequestFacts::plain(MethodClass::Get),
            target: Target { scheme: Scheme::Http, authority: b"a", path_and_query: b"/" },
            status: Status::OK,
            fields: &fields,
            times: Times { requested: now, responded: now },
        };
        let freshness = judge(received, &FreshnessPolicy::default()).freshness;
        Draft {
            fields: fields.pack(),
            content,
            freshness,
            fetched: Hlc::from_bits(77),
            content_id: 5,
            labels: [ScopeHash(1), ScopeHash(u128::MAX)].into(),
            status: Status::OK,
        }
        .store()
    }

    fn through(stored: &Stored) -> Option<Stored> {
        let record = encode(KeyHash::from_bytes([9; 16]), stored, Hlc::from_bits(3), true)?;
        decode(Found {
            head: record.head,
            meta: record.meta,
            body_len: record.body.len() as u64,
            body: record.body,
        })
    }

    #[test]
    fn objects_come_back_as_they_were() {
        let layout = Layout { id: 5, length: 1 << 40, slice_bytes: 1 << 20 };
        for content in [Content::Whole(b"body"[..].into()), Content::sliced(layout)] {
            let before = object(content);
            let Some(Stored::Object(after)) = through(&Stored::Object(before.clone())) else {
                panic!("not an object");
            };
            assert_eq!(after.packed(), before.packed());
            assert_eq!(after.freshness, before.freshness);
            assert_eq!((after.fetched, after.content_id, after.status), (before.fetched, 5, Status::OK));
            assert_eq!(after.labels().collect::<Vec<_>>(), before.labels().collect::<Vec<_>>());
            assert_eq!(after.layout(), before.layout());
            assert_eq!(after.body(), before.body());
            assert_eq!(after.length(), before.length());
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused_and_never_panic() {
        let record = encode(
            KeyHash::from_bytes([9; 16]),
            &Stored::Object(object(Content::Whole(Box::default()))),
            Hlc::ZERO,
            true,
        );
        let record = record.unwrap();
        for len in 0..record.meta.len() {
            for note in 0..8 {
                let head = Head { note: FORMAT | note, ..record.head };
                let meta = record.meta.slice(..len);
                let _ = decode(Found { head, meta, body_len: 0, body: Bytes::new() });
            }
        }
    }
}
