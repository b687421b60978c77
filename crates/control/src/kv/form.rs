//! From JSON to what the store takes, and back.

use crate::problem::Problem;
use crate::wire::{
    Bytes, KvChanged, KvCompare, KvDelete, KvKeys, KvOp, KvOpDone, KvPair, KvPut, KvRange, KvRead, KvTarget,
    KvTxn, KvTxnDone,
};
use axum::http::StatusCode;
use selvedge_kv::{
    Compare, Delete, KeyRange, LeaseId, Op, OpAnswer, Put, PutLease, Range, RangeAnswer, Relation, Target,
    Txn, TxnAnswer, Want,
};
use selvedge_state::group::Level;
use selvedge_types::Revision;
use selvedge_types::resource::{Period, Text};

/// Comparisons of a transaction, and operations of each of its branches, as etcd's `--max-txn-ops`.
const OPS_MAX: usize = 128;

/// Bytes of keys and values in one request, as etcd's `--max-request-bytes`.
const REQUEST_BYTES_MAX: usize = 3 << 19;

pub(super) fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail)
}

/// What a read is promised, as it is written.
pub(crate) fn read_level(text: Option<&str>) -> Result<Level, Problem> {
    let wrong = || {
        let text = text.unwrap_or_default();
        invalid(format!(
            "`{text}` is no way to read: use linearizable, session=REVISION, bounded=TIME or local"
        ))
    };
    match text.map(|text| text.split_once('=').unwrap_or((text, ""))) {
        None | Some(("linearizable", "")) => Ok(Level::Linearizable),
        Some(("local", "")) => Ok(Level::Local),
        Some(("session", revision)) => {
            revision.parse().map(|revision| Level::Session(Revision(revision))).map_err(|_| wrong())
        }
        Some(("bounded", age)) => {
            Period::parse_text(age).map(|age| Level::Bounded(age.get())).map_err(|_| wrong())
        }
        Some(_) => Err(wrong()),
    }
}

pub(super) fn level_text(level: Level) -> String {
    match level {
        Level::Linearizable => "linearizable".into(),
        Level::Lease => "lease".into(),
        Level::Session(revision) => format!("session={revision}"),
        Level::Bounded(age) => format!("bounded={}ms", age.as_millis()),
        Level::Local => "local".into(),
    }
}

pub(super) fn keys(asked: KvKeys) -> Result<KeyRange, Problem> {
    match asked {
        KvKeys { prefix: Some(Bytes(prefix)), key: None, end: None } => Ok(KeyRange::prefix(prefix)),
        KvKeys { prefix: Some(_), .. } => Err(invalid("give `prefix`, or `key` and `end`, not both")),
        KvKeys { key: Some(Bytes(key)), end: None, .. } => Ok(KeyRange::one(key)),
        KvKeys { key, end: Some(Bytes(end)), .. } => {
            let start = key.unwrap_or_default().0.into();
            // Nothing comes before an empty key: as an end it can only mean that there is none.
            Ok(KeyRange::Span { start, end: (!end.is_empty()).then(|| end.into()) })
        }
        KvKeys { key: None, end: None, prefix: None } => Ok(KeyRange::all()),
    }
}

pub(super) fn range(asked: KvRange) -> Result<Range, Problem> {
    let want = if asked.count_only { Want::Count } else { Want::All };
    let revision = asked.revision.map(Revision);
    Ok(Range { keys: keys(asked.keys)?, revision, limit: asked.limit, want })
}

pub(super) fn put(asked: KvPut) -> Put {
    let lease = asked.lease.map_or(PutLease::Detach, |lease| PutLease::Attach(LeaseId(lease)));
    let value = Some(asked.value.0.into());
    Put { key: asked.key.0.into(), value, lease, previous: asked.previous }
}

/// Without any key nothing is deleted: to delete all, an empty prefix must be given.
pub(super) fn delete(asked: KvDelete) -> Result<Delete, Problem> {
    if asked.keys == KvKeys::default() {
        return Err(invalid(
            "nothing says what to delete: give `key` or `prefix`; all keys are `\"prefix\": \"\"`",
        ));
    }
    Ok(Delete { keys: keys(asked.keys)?, previous: asked.previous })
}

pub(super) fn txn(asked: KvTxn) -> Result<Txn, Problem> {
    let most = asked.compare.len().max(asked.then.len()).max(asked.otherwise.len());
    if most > OPS_MAX {
        let detail =
            format!("{most} comparisons or operations, and no more than {OPS_MAX} are allowed: split it");
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "limit", detail));
    }
    let compare = asked.compare.into_iter().map(compare).collect::<Result<_, _>>()?;
    let then = asked.then.into_iter().map(op).collect::<Result<_, _>>()?;
    let otherwise = asked.otherwise.into_iter().map(op).collect::<Result<_, _>>()?;
    let txn = Txn { compare, then, otherwise };
    check_size(&txn)?;
    Ok(txn)
}

fn op(asked: KvOp) -> Result<Op, Problem> {
    let inner = invalid("`read` and `call` belong to the whole transaction, not to its operations");
    match asked {
        KvOp::Get(asked) if asked.read.is_none() => range(asked).map(Op::Range),
        KvOp::Put(asked) if asked.call.is_none() => Ok(Op::Put(put(asked))),
        KvOp::Delete(asked) if asked.call.is_none() => delete(asked).map(Op::Delete),
        KvOp::Get(_) | KvOp::Put(_) | KvOp::Delete(_) => Err(inner),
    }
}

fn compare(asked: KvCompare) -> Result<Compare, Problem> {
    let relation = match asked.is.as_deref() {
        None | Some("=") => Relation::Equal,
        Some("!=") => Relation::NotEqual,
        Some("<") => Relation::Less,
        Some(">") => Relation::Greater,
        Some(other) => return Err(invalid(format!("`{other}` is no comparison: use =, !=, < or >"))),
    };
    let target = match asked.with {
        KvTarget::Version(version) => Target::Version(version),
        KvTarget::Created(revision) => Target::Created(Revision(revision)),
        KvTarget::Modified(revision) => Target::Modified(Revision(revision)),
        KvTarget::Lease(lease) => Target::Lease(LeaseId(lease)),
        KvTarget::Value(Bytes(value)) => Target::Value(value.into()),
    };
    Ok(Compare { keys: keys(asked.keys)?, relation, target })
}

pub(super) fn check_size(txn: &Txn) -> Result<(), Problem> {
    let size = |op: &Op| match op {
        Op::Put(put) => put.key.len() + put.value.as_ref().map_or(0, |value| value.len()),
        Op::Range(_) | Op::Delete(_) => 0,
    };
    let bytes: usize = txn.then.iter().chain(&txn.otherwise).map(size).sum();
    if bytes <= REQUEST_BYTES_MAX {
        return Ok(());
    }
    let detail = format!(
        "{bytes} bytes of keys and values, and no more than {REQUEST_BYTES_MAX} are allowed: split it"
    );
    Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "limit", detail))
}

pub(super) fn read_form(found: RangeAnswer) -> KvRead {
    KvRead {
        revision: found.revision.0,
        read: None,
        pairs: found.records.into_iter().map(KvPair::from).collect(),
        count: found.count,
        next: found.next.map(|key| Bytes(key.to_vec())),
    }
}

pub(super) fn op_form(done: OpAnswer, revision: Revision) -> KvOpDone {
    let pairs = |found: Vec<_>| found.into_iter().map(KvPair::from).collect();
    let revision = revision.0;
    match done {
        OpAnswer::Range(found) => KvOpDone::Get(read_form(found)),
        OpAnswer::Put { previous } => {
            let previous = pairs(previous.into_iter().collect());
            KvOpDone::Put(KvChanged { revision, deleted: None, previous })
        }
        OpAnswer::Delete { deleted, previous } => {
            KvOpDone::Delete(KvChanged { revision, deleted: Some(deleted), previous: pairs(previous) })
        }
    }
}

pub(super) fn txn_form(answer: TxnAnswer) -> KvTxnDone {
    let TxnAnswer { revision, succeeded, ops } = answer;
    let answers = ops.into_iter().map(|done| op_form(done, revision)).collect();
    KvTxnDone { revision: revision.0, read: None, succeeded, answers }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_way_to_read_is_read_as_it_is_written() {
        for (text, level, out) in [
            ("linearizable", Level::Linearizable, "linearizable"),
            ("session=7", Level::Session(Revision(7)), "session=7"),
            ("bounded=2s", Level::Bounded(Duration::from_secs(2)), "bounded=2000ms"),
            ("local", Level::Local, "local"),
        ] {
            assert_eq!(read_level(Some(text)).unwrap(), level);
            assert_eq!(level_text(level), out);
        }
        for bad in ["", "session", "session=x", "bounded", "local=1", "stale"] {
            assert_eq!(read_level(Some(bad)).unwrap_err().status(), 422, "{bad}");
        }
    }

    #[test]
    fn nothing_is_deleted_by_leaving_the_keys_out() {
        assert_eq!(delete(KvDelete::default()).unwrap_err().status(), 422);
        let all = KvKeys { prefix: Some(Bytes::default()), ..KvKeys::default() };
        let all = delete(KvDelete { keys: all, ..KvDelete::default() }).unwrap();
        assert_eq!(all.keys, KeyRange::all());
    }

    #[test]
    fn a_span_with_an_empty_end_goes_on_to_the_last_key() {
        let span = |key: &[u8], end: &[u8]| {
            let (key, end) = (Some(Bytes(key.to_vec())), Some(Bytes(end.to_vec())));
            keys(KvKeys { key, end, prefix: None }).unwrap()
        };
        for (range, key, is_in) in [
            (span(b"b", b""), &[0xff; 64][..], true),
            (span(b"b", b""), b"a", false),
            (span(b"b", b"c"), b"bz", true),
            (span(b"b", b"c"), b"c", false),
        ] {
            assert_eq!(range.contains(key), is_in, "{range:?} {key:?}");
        }
    }

    #[test]
    fn a_transaction_has_as_many_operations_as_etcd_takes() {
        let ops = |n| vec![KvOp::Get(KvRange::default()); n];
        assert!(txn(KvTxn { then: ops(OPS_MAX), ..KvTxn::default() }).is_ok());
        let problem = txn(KvTxn { then: ops(OPS_MAX + 1), ..KvTxn::default() }).unwrap_err();
        assert_eq!((problem.status().as_u16(), problem.kind()), (422, "limit"));
    }

    #[test]
    fn a_request_has_as_many_bytes_as_etcd_takes() {
        let put = |bytes| Txn::of([Op::Put(Put::new("k", vec![0; bytes]))]);
        assert!(check_size(&put(REQUEST_BYTES_MAX - 1)).is_ok());
        assert_eq!(check_size(&put(REQUEST_BYTES_MAX)).unwrap_err().status(), 413);
    }
}
