//! What all lives of the node did, as seen from outside, and what must hold of it.

use super::client::Answer;
use super::content::Content;
use super::workload::{Kind, tag_of};
use crate::run::Run;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long an answer of the origin may be on its way to the node.
const TRANSIT_MAX: Duration = Duration::from_millis(400);

/// One answer of the origin.
pub(super) struct Fetch {
    path: String,
    /// When the request came, in true time.
    arrived: Duration,
    /// When the answer began, in true time.
    answered: Duration,
    /// The node's wall clock then, in milliseconds.
    wall_ms: u64,
}

/// What a purge names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Url(String),
    Prefix(String),
    Tag(String),
    Site,
}

impl Scope {
    fn covers(&self, path: &str) -> bool {
        match self {
            Scope::Url(url) => url == path,
            Scope::Prefix(prefix) => {
                path.strip_prefix(prefix.as_str()).is_some_and(|rest| rest.starts_with('/'))
            }
            Scope::Tag(tag) => *tag == tag_of(path),
            Scope::Site => true,
        }
    }
}

struct Purge {
    scope: Scope,
    soft: bool,
    sent: Duration,
    acknowledged: Duration,
}

/// A request of a client's.
pub(super) struct Asked {
    pub(super) path: String,
    /// When it was sent, in true time.
    pub(super) at: Duration,
    /// The node's wall clock then.
    pub(super) wall_ms: u64,
    /// How often the node's clock had jumped by then.
    pub(super) jumps: usize,
}

#[derive(Default)]
struct Inner {
    versions: BTreeMap<String, u64>,
    fetches: Vec<Fetch>,
    purges: Vec<Purge>,
    /// The last generation acknowledged, and when.
    generations: Vec<(u64, Duration)>,
    /// The last generation sent.
    generation_sent: u64,
    /// When the node's clock was set anew.
    jumps: Vec<Duration>,
    /// Whether this life of the node has its control state.
    has_state: bool,
    failure: Option<String>,
}

/// Shared by everyone in the run.
#[derive(Clone, Default)]
pub(super) struct History(Arc<Mutex<Inner>>);

impl History {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first thing that did not hold.
    pub(super) fn failure(&self) -> Option<String> {
        self.inner().failure.clone()
    }

    pub(super) fn fail(&self, what: String) {
        self.inner().failure.get_or_insert(what);
    }

    /// A life of the node began, with or without its control state.
    pub(super) fn node_started(&self, has_state: bool) {
        self.inner().has_state = has_state;
    }

    pub(super) fn has_state(&self) -> bool {
        self.inner().has_state
    }

    /// The node's clock is set anew.
    pub(super) fn clock_jumps(&self, at: Duration) {
        self.inner().jumps.push(at);
    }

    pub(super) fn jumps(&self) -> usize {
        self.inner().jumps.len()
    }

    /// The present version at a path; `change` makes a new one first.
    pub(super) fn version(&self, path: &str, change: bool) -> u64 {
        let mut inner = self.inner();
        let version = inner.versions.entry(path.to_owned()).or_insert(1);
        *version += u64::from(change);
        *version
    }

    /// A request that came to the origin at `arrived` is answered now, at `wall_ms` of the node's clock; its number.
    pub(super) fn fetched(&self, path: &str, arrived: Duration, wall_ms: u64) -> usize {
        let mut inner = self.inner();
        inner.fetches.push(Fetch { path: path.to_owned(), arrived, answered: now(), wall_ms });
        inner.fetches.len() - 1
    }

    /// How often the origin answered for a path.
    pub(super) fn fetches_of(&self, path: &str) -> usize {
        self.inner().fetches.iter().filter(|f| f.path == path).count()
    }

    pub(super) fn purged(&self, scope: Scope, soft: bool, sent: Duration) {
        self.inner().purges.push(Purge { scope, soft, sent, acknowledged: now() });
    }

    /// A new generation, about to be applied.
    pub(super) fn next_generation(&self) -> u64 {
        let mut inner = self.inner();
        inner.generation_sent += 1;
        inner.generation_sent
    }

    pub(super) fn applied(&self, generation: u64) {
        self.inner().generations.push((generation, now()));
    }

    /// Checks an answer to a client; notes what does not hold.
    pub(super) fn judge(&self, run: &Run, asked: &Asked, answer: &Answer) {
        let found = self.inner().judge(run, asked, answer);
        if let Err(what) = found {
            let Asked { path, at, .. } = asked;
            self.fail(format!("GET {path} at {at:?}: {what}; the answer was {}", answer.describe()));
        }
    }
}

impl Inner {
    fn judge(&self, run: &Run, asked: &Asked, answer: &Answer) -> Result<(), String> {
        self.check_generation(asked, answer)?;
        let (Some(etag), 200 | 206 | 304) = (answer.field("etag"), answer.status) else { return Ok(()) };
        let content = Content::named(&asked.path, etag).ok_or_else(|| format!("an odd entity tag {etag}"))?;
        self.check_body(&content, answer)?;
        run.exercised("node: answers checked", 1);
        let number = answer.field("x-fetch").and_then(|n| n.parse::<usize>().ok());
        let fetch = number.and_then(|n| self.fetches.get(n)).ok_or("it names no fetch")?;
        if fetch.path != asked.path {
            return Err(format!("it is of {}", fetch.path));
        }
        self.check_purges(asked, answer, fetch)?;
        self.check_age(asked, fetch)
    }

    fn check_body(&self, content: &Content, answer: &Answer) -> Result<(), String> {
        let expected = match (answer.status, answer.range()) {
            (200, _) => (0, content.length),
            (206, Some((start, end, length))) if length == content.length => (start, end),
            (206, range) => return Err(format!("the range {range:?} is not one of {content:?}")),
            _ => return Ok(()),
        };
        if let Some(at) = content.first_difference(expected.0, &answer.body) {
            return Err(format!("its content differs from version {} at {at}", content.version));
        }
        if answer.is_complete && answer.body.len() as u64 != expected.1 - expected.0 {
            let length = answer.body.len();
            return Err(format!("it seems complete with {length} of {} bytes", expected.1 - expected.0));
        }
        Ok(())
    }

    /// A fetch begun before a purge was even sent is not served to one who asks after it was acknowledged: not at
    /// all after a hard one, not as fresh after a soft one.
    fn check_purges(&self, asked: &Asked, answer: &Answer, fetch: &Fetch) -> Result<(), String> {
        let covering = self.purges.iter().filter(|purge| {
            purge.acknowledged <= asked.at && fetch.arrived < purge.sent && purge.scope.covers(&asked.path)
        });
        for purge in covering {
            if !purge.soft || answer.fresh_hit_secs() > 0 {
                let Purge { scope, soft, sent, acknowledged } = purge;
                return Err(format!(
                    "its fetch began before {:?}, but {scope:?} was purged (soft: {soft}) from {sent:?} to {acknowledged:?}",
                    fetch.arrived
                ));
            }
        }
        Ok(())
    }

    /// By the node's own clock, nothing is served past what the origin and the manifest allow.
    fn check_age(&self, asked: &Asked, fetch: &Fetch) -> Result<(), String> {
        // The clock that the answer was stored by is not known if it was set meanwhile.
        let transit = fetch.answered..=fetch.answered + TRANSIT_MAX;
        if asked.jumps != self.jumps.len() || self.jumps.iter().any(|at| transit.contains(at)) {
            return Ok(());
        }
        let usable = Kind::of(&asked.path).usable() + TRANSIT_MAX;
        let age = Duration::from_millis(asked.wall_ms.saturating_sub(fetch.wall_ms));
        if age > usable {
            return Err(format!("it was fetched {age:?} ago by the node's clock, more than {usable:?}"));
        }
        Ok(())
    }

    /// What was applied and acknowledged before a request holds for it.
    fn check_generation(&self, asked: &Asked, answer: &Answer) -> Result<(), String> {
        let Some(seen) = answer.field("x-generation").and_then(|g| g.parse::<u64>().ok()) else {
            return Ok(());
        };
        let acknowledged = self.generations.iter().filter(|(_, at)| *at <= asked.at).map(|(g, _)| *g).max();
        if self.has_state && acknowledged.is_some_and(|generation| seen < generation) {
            return Err(format!("it is by generation {seen}, but {acknowledged:?} was acknowledged"));
        }
        if seen > self.generation_sent {
            return Err(format!("it is by generation {seen}, which nobody sent"));
        }
        Ok(())
    }
}

/// True time since the simulation began.
pub(super) fn now() -> Duration {
    turmoil::sim_elapsed().unwrap_or_default()
}
