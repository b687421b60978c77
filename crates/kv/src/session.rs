//! Client sessions: what the last commands of each client were answered, so that a repeated one is not done
//! again.
//!
//! A session has a number of slots; a command's slot is its sequence number modulo that. A slot's number
//! only grows: an equal one is a repetition, a lower one is too old to know anything about.

use crate::answer::{Answer, Refusal};
use crate::codec;
use crate::command::Call;
use crate::id::{Sequence, SessionId};
use crate::limits::Limits;
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use selvedge_types::{Revision, UnixMillis};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Uses of a session are noted when this part of its idle time has passed since the last one noted.
const NOTED_PARTS: u64 = 16;

/// All sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sessions {
    sessions: BTreeMap<SessionId, Session>,
    /// By the time of their last use.
    used: BTreeSet<(UnixMillis, SessionId)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) used: UnixMillis,
    pub(crate) answers: BTreeMap<u16, Kept>,
}

/// What is kept of a command.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Kept {
    #[n(0)]
    pub(crate) sequence: Sequence,
    /// The revision after it.
    #[n(1)]
    pub(crate) revision: Revision,
    /// Its answer's bytes; none if they were too many.
    #[n(2)]
    pub(crate) answer: Option<ByteVec>,
}

impl Sessions {
    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }

    pub(crate) fn get(&self, id: SessionId) -> Option<&Session> {
        self.sessions.get(&id)
    }

    /// All sessions from one on, by their names.
    pub(crate) fn from(&self, id: SessionId) -> impl Iterator<Item = (SessionId, &Session)> {
        self.sessions.range(id..).map(|(id, session)| (*id, session))
    }

    /// Adds a session, or notes its use.
    pub(crate) fn put(&mut self, id: SessionId, used: UnixMillis) {
        let session = self.sessions.entry(id).or_insert(Session { used, answers: BTreeMap::new() });
        self.used.remove(&(session.used, id));
        session.used = used;
        self.used.insert((used, id));
    }

    /// Removes a session; returns it.
    pub(crate) fn remove(&mut self, id: SessionId) -> Option<Session> {
        let session = self.sessions.remove(&id)?;
        self.used.remove(&(session.used, id));
        Some(session)
    }

    /// Keeps an answer; returns its slot. Nothing if there is no such session.
    pub(crate) fn keep(&mut self, id: SessionId, slot: u16, kept: Kept) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.answers.insert(slot, kept);
        }
    }

    /// What a call was answered, if it was made before and that is kept; none if it is new.
    pub(crate) fn recall(&self, call: Call, limits: &Limits) -> Option<Result<Answer, Refusal>> {
        let Call { session, sequence } = call;
        let Some(found) = self.sessions.get(&session) else {
            return Some(Err(Refusal::SessionEnded { session }));
        };
        let kept = found.answers.get(&slot(sequence, limits))?;
        match sequence.cmp(&kept.sequence) {
            Ordering::Greater => None,
            Ordering::Less => Some(Err(Refusal::TooOld { session, sequence })),
            Ordering::Equal => Some(kept.recall()),
        }
    }

    /// Whether a use at that time is to be noted.
    pub(crate) fn is_notable(&self, id: SessionId, now: UnixMillis, limits: &Limits) -> bool {
        let part = Duration::from_millis(limits.session_idle_ms / NOTED_PARTS);
        self.sessions.get(&id).is_some_and(|session| now.since(session.used) >= part)
    }

    /// The sessions that may be ended at that time.
    pub(crate) fn due(&self, now: UnixMillis, limits: &Limits) -> impl Iterator<Item = SessionId> {
        let idle = Duration::from_millis(limits.session_idle_ms);
        self.used.iter().take_while(move |(used, _)| used.plus(idle) <= now).map(|(_, id)| *id)
    }

    /// Whether a session may be ended at that time.
    pub(crate) fn is_due(&self, id: SessionId, now: UnixMillis, limits: &Limits) -> bool {
        let idle = Duration::from_millis(limits.session_idle_ms);
        self.sessions.get(&id).is_some_and(|session| session.used.plus(idle) <= now)
    }

    /// When the first session may be ended.
    pub(crate) fn next_due(&self, limits: &Limits) -> Option<UnixMillis> {
        let (used, _) = self.used.first()?;
        Some(used.plus(Duration::from_millis(limits.session_idle_ms)))
    }
}

impl Kept {
    pub(crate) fn new(
        sequence: Sequence,
        revision: Revision,
        answer: &Result<Answer, Refusal>,
        limits: &Limits,
    ) -> Self {
        let bytes = codec::encode_answer(answer);
        let fits = bytes.len() as u64 <= limits.session_answer_bytes_max;
        Kept { sequence, revision, answer: fits.then(|| bytes.into()) }
    }

    fn recall(&self) -> Result<Answer, Refusal> {
        let gone = Err(Refusal::AnswerGone { revision: self.revision });
        let decoded = self.answer.as_ref().and_then(|bytes| codec::decode_answer(bytes).ok());
        decoded.unwrap_or(gone)
    }
}

/// Where a command's answer is kept.
pub(crate) fn slot(sequence: Sequence, limits: &Limits) -> u16 {
    let slots = u64::from(limits.session_answers.max(1));
    u16::try_from(sequence.0 % slots).unwrap_or(0)
}
