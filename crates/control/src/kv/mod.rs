//! What is asked of users' keyspaces.
//!
//! ```text
//!   JSON --form--> command, read --group--> answer --form--> JSON
//!   watch: Subscription --batches--> lines of JSON
//!   metrics: this node's copy --at each scrape--> gauges
//! ```

pub(crate) mod form;
mod metrics;
mod watch;

pub use metrics::KeyspaceMetrics;
pub(crate) use watch::WatchBody;

use crate::cluster::Cluster;
use crate::problem::Problem;
use crate::wire::{
    KvCall, KvChanged, KvCompact, KvDelete, KvGrant, KvLease, KvLeaseInfo, KvOpDone, KvPut, KvRange, KvRead,
    KvTxn, KvTxnDone, KvWatch,
};
use axum::http::StatusCode;
use form::{
    check_size, delete, invalid, keys, level_text, op_form, put, range, read_form, read_level, txn, txn_form,
};
use selvedge_kv::{
    Answer, Call, Command, KeyspaceNumber, LeaseId, LeaseInfo, Op, Refusal, Sequence, SessionId, Txn,
    TxnAnswer, Watch,
};
use selvedge_observe::LimitCounters;
use selvedge_state::group::{Error, Level, Reading, Subscription};
use selvedge_types::resource::KeyspaceId;
use selvedge_types::{Revision, UnixMillis};
use std::time::Duration;

/// How long a read or a change may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// Leases that are listed at once.
const LEASES_LISTED_MAX: usize = 1_000;

/// Bytes of the keys of leases that are listed at once; one lease is listed, whatever it has.
const LEASE_BYTES_MAX: usize = 2 << 20;

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

    /// Begins to watch keys. A limit that is met is counted.
    pub(crate) async fn watch(
        &self,
        asked: KvWatch,
        limits: &LimitCounters,
    ) -> Result<Subscription, Problem> {
        let mut watch = Watch::new(self.number().await?, keys(asked.keys)?, asked.from.map(Revision));
        watch.previous = asked.previous;
        let opened = self.cluster.state.group().watch(watch);
        opened.map_err(|full| {
            limits.reached("keyspace_watches");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "limit", full.to_string())
        })
    }

    /// Gives up the history before a revision.
    pub(crate) async fn compact(&self, asked: KvCompact) -> Result<KvChanged, Problem> {
        let command = Command::Compact { keyspace: self.number().await?, revision: Revision(asked.revision) };
        self.done(command).await
    }

    /// Makes a lease.
    pub(crate) async fn grant_lease(&self, asked: KvGrant) -> Result<KvLease, Problem> {
        let keyspace = self.number().await?;
        self.lease(Command::GrantLease { keyspace, lease: asked.lease.map(LeaseId), ttl_ms: asked.ttl_ms })
            .await
    }

    /// Lets a lease live for its whole time again.
    pub(crate) async fn renew_lease(&self, lease: u64) -> Result<KvLease, Problem> {
        self.lease(Command::RenewLease { keyspace: self.number().await?, lease: LeaseId(lease) }).await
    }

    /// Ends a lease and deletes its keys.
    pub(crate) async fn revoke_lease(&self, lease: u64) -> Result<KvChanged, Problem> {
        self.done(Command::RevokeLease { keyspace: self.number().await?, lease: LeaseId(lease) }).await
    }

    /// The leases from one on, as this node knows them at `now`.
    pub(crate) async fn leases(&self, from: u64, now: UnixMillis) -> Result<Vec<KvLeaseInfo>, Problem> {
        let list = |store: &selvedge_kv::Store, number| {
            let leases = page(store.leases(number, LeaseId(from))?, LEASE_BYTES_MAX);
            Ok(leases.into_iter().map(|(id, lease)| KvLeaseInfo::new(id, lease, now)).collect::<Vec<_>>())
        };
        Ok(self.look(Level::Linearizable, list).await?.value)
    }

    async fn lease(&self, command: Command) -> Result<KvLease, Problem> {
        match self.cluster.state.group().propose(command, None, DEADLINE).await? {
            Answer::Lease { revision, lease, ttl_ms } => {
                Ok(KvLease { lease: lease.0, ttl_ms, revision: revision.0 })
            }
            _ => Err(unexpected()),
        }
    }

    async fn done(&self, command: Command) -> Result<KvChanged, Problem> {
        match self.cluster.state.group().propose(command, None, DEADLINE).await? {
            Answer::Done { revision } => Ok(KvChanged { revision: revision.0, ..KvChanged::default() }),
            _ => Err(unexpected()),
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
        let unknown =
            || Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the cluster is not founded yet");
        let seed = self.cluster.state.cluster().ok_or_else(unknown)?.seed;
        let key = blake3::derive_key("selvedge 2026 sessions of keyspaces", &seed);
        let proof = blake3::keyed_hash(&key, format!("{}\n{session}", self.id).as_bytes());
        let proof: String = proof.to_hex().chars().take(32).collect();
        Ok(format!("{session}-{proof}"))
    }
}

/// The first leases, as many as one answer has; at least one if there is any.
fn page(leases: impl Iterator<Item = (LeaseId, LeaseInfo)>, bytes_max: usize) -> Vec<(LeaseId, LeaseInfo)> {
    let (mut page, mut bytes) = (Vec::new(), 0);
    for lease in leases.take(LEASES_LISTED_MAX) {
        bytes += lease.1.keys.iter().map(|key| key.len()).sum::<usize>();
        if bytes > bytes_max && !page.is_empty() {
            break;
        }
        page.push(lease);
    }
    page
}

fn unexpected() -> Problem {
    Problem::new(
        StatusCode::GATEWAY_TIMEOUT,
        "unknown",
        "the group answered something else; look what was done",
    )
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
    fn a_page_of_leases_is_bounded_by_their_keys_but_never_empty() {
        let lease = |id: u64| {
            let keys = vec![vec![b'k'; 10].into(); 3];
            (LeaseId(id), LeaseInfo { ttl_ms: 1_000, deadline: UnixMillis(0), keys })
        };
        let listed = |count: u64, bytes_max| page((0..count).map(lease), bytes_max).len();
        for (count, bytes_max, found) in
            [(4, 90, 3), (4, 89, 2), (4, 1, 1), (0, 1, 0), (2_000, 1 << 20, LEASES_LISTED_MAX)]
        {
            assert_eq!(listed(count, bytes_max), found, "{count} leases in {bytes_max} bytes");
        }
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
