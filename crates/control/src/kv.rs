//! What is asked of users' keyspaces, from JSON to the group and back.

use crate::cluster::Cluster;
use crate::problem::Problem;
use crate::wire::{
    Bytes, KvCall, KvChanged, KvCompare, KvDelete, KvKeys, KvOp, KvOpDone, KvPair, KvPut, KvRange, KvRead,
    KvTarget, KvTxn, KvTxnDone,
};
use axum::http::StatusCode;
use selvedge_kv::{
    Answer, Call, Command, Compare, Delete, KeyRange, KeyspaceNumber, LeaseId, Op, OpAnswer, Put, PutLease,
    Range, RangeAnswer, Refusal, Relation, Sequence, SessionId, Target, Txn, TxnAnswer, Want,
};
use selvedge_state::group::{Error, Level, Reading};
use selvedge_types::Revision;
use selvedge_types::resource::{KeyspaceId, Period, Text};
use std::time::Duration;

/// How long a read or a change may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// Comparisons of a transaction, and operations of each of its branches, as etcd's `--max-txn-ops`.
const OPS_MAX: usize = 128;

/// Bytes of keys and values in one request, as etcd's `--max-request-bytes`.
const REQUEST_BYTES_MAX: usize = 3 << 19;

/// A keyspace, by its name.
pub(crate) struct Space<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) id: KeyspaceId,
}

impl Space<'_> {
    /// Reads keys.
    pub(crate) async fn range(&self, asked: KvRange) -> Result<KvRead, Problem> {
        let level = read_level(asked.read.as_deref())?;
        let range = range(asked)?;
        let found = self.look(level, |store, number| store.range(number, &range)).await?;
        Ok(KvRead { read: Some(level_text(found.level)), ..read_form(found.value) })
    }

    /// Puts a key.
    pub(crate) async fn put(&self, asked: KvPut) -> Result<KvChanged, Problem> {
        let call = self.call(asked.call.as_ref())?;
        self.change(Op::Put(put(asked)), call).await
    }

    /// Deletes keys.
    pub(crate) async fn delete(&self, asked: KvDelete) -> Result<KvChanged, Problem> {
        let call = self.call(asked.call.as_ref())?;
        self.change(Op::Delete(delete(asked)?), call).await
    }

    /// Does a transaction.
    pub(crate) async fn txn(&self, asked: KvTxn) -> Result<KvTxnDone, Problem> {
        let call = self.call(asked.call.as_ref())?;
        let read = asked.read.clone();
        let txn = txn(asked)?;
        if txn.is_read_only() {
            let level = read_level(read.as_deref())?;
            let seen = self.look(level, |store, number| store.evaluate(number, &txn)).await?;
            return Ok(KvTxnDone { read: Some(level_text(seen.level)), ..txn_form(seen.value) });
        }
        if read.is_some() {
            let detail = "a transaction that changes something is linearizable: leave `read` out";
            return Err(invalid(detail));
        }
        self.propose_txn(txn, call).await.map(txn_form)
    }

    /// Begins a session, in which commands can be repeated.
    pub(crate) async fn open_session(&self) -> Result<String, Problem> {
        self.number().await?;
        match self.cluster.state.group().propose(Command::OpenSession, None, DEADLINE).await {
            Ok(Answer::Session { session }) => self.session_text(session),
            Ok(_) => Err(unexpected()),
            Err(error) => Err(error.into()),
        }
    }

    /// The keyspace's number, which this node may have to hear of first.
    pub(crate) async fn number(&self) -> Result<KeyspaceNumber, Problem> {
        let group = self.cluster.state.group();
        for level in [Level::Local, Level::Linearizable] {
            let found = group.read(level, DEADLINE, |store| store.keyspace(&self.id)).await?;
            if let Some(number) = found.value {
                return Ok(number);
            }
        }
        Err(self.missing())
    }

    fn missing(&self) -> Problem {
        let detail = format!(
            "there is no keyspace {}; declare it in a manifest: [keyspace.{}] with consistency = \"strong\"",
            self.id, self.id.name
        );
        Problem::not_found(detail)
    }

    async fn look<T>(
        &self,
        level: Level,
        look: impl FnOnce(&selvedge_kv::Store, KeyspaceNumber) -> Result<T, Refusal>,
    ) -> Result<Reading<T>, Problem> {
        let look = |store: &selvedge_kv::Store| store.keyspace(&self.id).map(|number| look(store, number));
        let Reading { value, revision, level } =
            self.cluster.state.group().read(level, DEADLINE, look).await?;
        let value = value.ok_or_else(|| self.missing())?.map_err(Error::Refused)?;
        Ok(Reading { value, revision, level })
    }

    async fn change(&self, op: Op, call: Option<Call>) -> Result<KvChanged, Problem> {
        let txn = Txn::of([op]);
        check_size(&txn)?;
        let TxnAnswer { revision, ops, .. } = self.propose_txn(txn, call).await?;
        let done = ops.into_iter().next().ok_or_else(unexpected)?;
        match op_form(done, revision) {
            KvOpDone::Put(changed) | KvOpDone::Delete(changed) => Ok(changed),
            KvOpDone::Get(_) => Err(unexpected()),
        }
    }

    async fn propose_txn(&self, txn: Txn, call: Option<Call>) -> Result<TxnAnswer, Problem> {
        let command = Command::Txn { keyspace: self.number().await?, txn };
        match self.cluster.state.group().propose(command, call, DEADLINE).await? {
            Answer::Txn(answer) => Ok(answer),
            _ => Err(unexpected()),
        }
    }

    fn call(&self, asked: Option<&KvCall>) -> Result<Option<Call>, Problem> {
        let Some(KvCall { session, sequence }) = asked else { return Ok(None) };
        let number = session.split_once('-').and_then(|(number, _)| number.parse().ok()).map(SessionId);
        let is_ours = |number: SessionId| Ok::<_, Problem>(self.session_text(number)? == *session);
        match number {
            Some(number) if is_ours(number)? => {
                Ok(Some(Call { session: number, sequence: Sequence(*sequence) }))
            }
            _ => Err(invalid("there is no such session of this keyspace; open one at .../sessions")),
        }
    }

    /// A session's name: nobody can guess one of another keyspace, and get the answers that are kept there.
    fn session_text(&self, session: SessionId) -> Result<String, Problem> {
        let unknown = || Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the cluster is not founded yet");
        let seed = self.cluster.state.cluster().ok_or_else(unknown)?.seed;
        let key = blake3::derive_key("selvedge 2026 sessions of keyspaces", &seed);
        let proof = blake3::keyed_hash(&key, format!("{}\n{session}", self.id).as_bytes());
        let proof: String = proof.to_hex().chars().take(32).collect();
        Ok(format!("{session}-{proof}"))
    }
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail)
}

fn unexpected() -> Problem {
    Problem::new(StatusCode::GATEWAY_TIMEOUT, "unknown", "the group answered something else; look what was done")
}

/// What a read is promised, as it is written.
fn read_level(text: Option<&str>) -> Result<Level, Problem> {
    let wrong = || {
        let text = text.unwrap_or_default();
        invalid(format!("`{text}` is no way to read: use linearizable, session=REVISION, bounded=TIME or local"))
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

fn level_text(level: Level) -> String {
    match level {
        Level::Linearizable => "linearizable".into(),
        Level::Lease => "lease".into(),
        Level::Session(revision) => format!("session={revision}"),
        Level::Bounded(age) => format!("bounded={}ms", age.as_millis()),
        Level::Local => "local".into(),
    }
}

fn keys(asked: KvKeys) -> Result<KeyRange, Problem> {
    match asked {
        KvKeys { prefix: Some(Bytes(prefix)), key: None, end: None } => Ok(KeyRange::prefix(prefix)),
        KvKeys { prefix: Some(_), .. } => Err(invalid("give `prefix`, or `key` and `end`, not both")),
        KvKeys { key: Some(Bytes(key)), end: None, .. } => Ok(KeyRange::one(key)),
        KvKeys { key, end: Some(Bytes(end)), .. } => Ok(KeyRange::span(key.unwrap_or_default().0, end)),
        KvKeys { key: None, end: None, prefix: None } => Ok(KeyRange::all()),
    }
}

fn range(asked: KvRange) -> Result<Range, Problem> {
    let want = if asked.count_only { Want::Count } else { Want::All };
    let revision = asked.revision.map(Revision);
    Ok(Range { keys: keys(asked.keys)?, revision, limit: asked.limit, want })
}

fn put(asked: KvPut) -> Put {
    let lease = asked.lease.map_or(PutLease::Detach, |lease| PutLease::Attach(LeaseId(lease)));
    let value = Some(asked.value.0.into());
    Put { key: asked.key.0.into(), value, lease, previous: asked.previous }
}

/// Without any key nothing is deleted: to delete all, an empty prefix must be given.
fn delete(asked: KvDelete) -> Result<Delete, Problem> {
    if asked.keys == KvKeys::default() {
        return Err(invalid("nothing says what to delete: give `key` or `prefix`; all keys are `\"prefix\": \"\"`"));
    }
    Ok(Delete { keys: keys(asked.keys)?, previous: asked.previous })
}

fn txn(asked: KvTxn) -> Result<Txn, Problem> {
    let most = asked.compare.len().max(asked.then.len()).max(asked.otherwise.len());
    if most > OPS_MAX {
        let detail = format!("{most} comparisons or operations, and no more than {OPS_MAX} are allowed: split it");
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

fn check_size(txn: &Txn) -> Result<(), Problem> {
    let size = |op: &Op| match op {
        Op::Put(put) => put.key.len() + put.value.as_ref().map_or(0, |value| value.len()),
        Op::Range(_) | Op::Delete(_) => 0,
    };
    let bytes: usize = txn.then.iter().chain(&txn.otherwise).map(size).sum();
    if bytes <= REQUEST_BYTES_MAX {
        return Ok(());
    }
    let detail = format!("{bytes} bytes of keys and values, and no more than {REQUEST_BYTES_MAX} are allowed: split it");
    Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "limit", detail))
}

fn read_form(found: RangeAnswer) -> KvRead {
    KvRead {
        revision: found.revision.0,
        read: None,
        pairs: found.records.into_iter().map(KvPair::from).collect(),
        count: found.count,
        next: found.next.map(|key| Bytes(key.to_vec())),
    }
}

fn op_form(done: OpAnswer, revision: Revision) -> KvOpDone {
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

fn txn_form(answer: TxnAnswer) -> KvTxnDone {
    let TxnAnswer { revision, succeeded, ops } = answer;
    let answers = ops.into_iter().map(|done| op_form(done, revision)).collect();
    KvTxnDone { revision: revision.0, read: None, succeeded, answers }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let (status, kind) = match &error {
            _ if error.is_unknown() => (StatusCode::GATEWAY_TIMEOUT, "unknown"),
            Error::Refused(refusal) => refused(refusal),
            Error::NoLeader { .. } | Error::Stopped { .. } | Error::Behind { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable")
            }
            Error::Busy { .. } => (StatusCode::TOO_MANY_REQUESTS, "busy"),
            Error::Full => (StatusCode::INSUFFICIENT_STORAGE, "refused"),
            Error::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "limit"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "failed"),
        };
        Problem::new(status, kind, error.to_string())
    }
}

fn refused(refusal: &Refusal) -> (StatusCode, &'static str) {
    match refusal {
        Refusal::NoKeyspace { .. } | Refusal::NoLease { .. } => (StatusCode::NOT_FOUND, "not-found"),
        Refusal::Limit { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "limit"),
        Refusal::NoSpace { .. } => (StatusCode::CONFLICT, "quota"),
        Refusal::EmptyKey
        | Refusal::NoKey { .. }
        | Refusal::Twice { .. }
        | Refusal::Future { .. }
        | Refusal::Ttl { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "invalid"),
        Refusal::Compacted { .. } => (StatusCode::GONE, "compacted"),
        Refusal::LeaseExists { .. } => (StatusCode::CONFLICT, "exists"),
        Refusal::AnswerGone { .. } => (StatusCode::GONE, "answer-gone"),
        Refusal::SessionEnded { .. } | Refusal::TooOld { .. } => (StatusCode::GATEWAY_TIMEOUT, "unknown"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn what_may_have_been_done_is_told_apart_from_what_was_not() {
        let kind = |error: Error| Problem::from(error).kind().to_owned();
        assert_eq!(kind(Error::Unknown { why: "lost" }), "unknown");
        assert_eq!(kind(Error::NoLeader { waited: DEADLINE }), "unavailable");
        assert_eq!(kind(Refusal::SessionEnded { session: SessionId(1) }.into()), "unknown");
        assert_eq!(kind(Refusal::EmptyKey.into()), "invalid");
    }
}
