//! The service that tells edge nodes what they serve by.

use super::is_mirrored;
use super::wire::{Ask, News, ObjectForm};
use crate::codec::CodecError;
use crate::frames;
use crate::history::Watch;
use crate::object::{ObjectName, Value};
use crate::state::State;
use bytes::Bytes;
use selvedge_mesh::rpc::{Answer, BodySource, Fault, FaultKind, Question, Service};
use selvedge_rt::Tasks;
use selvedge_rt::links::side::Boxed;
use selvedge_types::Revision;
use std::iter::Peekable;
use std::ops::RangeInclusive;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The name of the service.
pub const MIRROR: &str = "mirror";

/// The version of its messages.
pub(super) const VERSION: u16 = 1;

/// How often an edge node hears something at least.
pub(super) const SIGN_OF_LIFE: Duration = Duration::from_secs(2);

/// Bytes of objects sent at once, about.
const PART_BYTES: usize = 256 << 10;

/// Tells edge nodes what they serve by. Clones are the same; until it has the state it says "not now", which it says
/// on edge nodes for good: what they have is of others.
#[derive(Clone, Default)]
pub struct MirrorService(Arc<OnceLock<State>>);

impl MirrorService {
    /// Tells of `state` from now on. Only the first call counts.
    pub fn serve(&self, state: State) {
        drop(self.0.set(state));
    }

    fn begin(&self, question: &Question) -> Result<Feed, Fault> {
        let state = self.0.get().ok_or_else(|| Fault::new(FaultKind::NotNow, "nothing is told here"))?;
        // Who has a ticket may link, too.
        if !state.nodes().contains_key(&question.peer) {
            return Err(Fault::new(FaultKind::Refused, "only nodes of the cluster are told"));
        }
        let ask: Ask = minicbor::decode(&question.message)
            .map_err(|error| Fault::new(FaultKind::Malformed, error.to_string()))?;
        Ok(Feed::new(state, ask.after))
    }
}

impl Service for MirrorService {
    fn versions(&self) -> RangeInclusive<u16> {
        VERSION..=VERSION
    }

    fn answer(&self, question: Question) -> Boxed<'_, Result<Answer, Fault>> {
        Box::pin(async move {
            let feed = self.begin(&question)?;
            Ok(Answer { message: Bytes::new(), body: Some(Box::new(feed)) })
        })
    }
}

/// What one edge node is told.
struct Feed {
    /// What is not listed yet; none once all is.
    list: Option<List>,
    changes: Watch,
    tasks: Tasks,
}

/// The rest of a list, and as of when it is one.
struct List {
    objects: Peekable<std::vec::IntoIter<(ObjectName, Value)>>,
    revision: Revision,
}

impl Feed {
    fn new(state: &State, after: Option<Revision>) -> Self {
        let tasks = state.tasks().clone();
        if let Some(after) = after.filter(|after| state.is_kept_since(*after)) {
            return Feed { list: None, changes: state.watch(after), tasks };
        }
        let (revision, objects) = state.objects(is_mirrored);
        let list = List { objects: objects.into_iter().peekable(), revision };
        Feed { list: Some(list), changes: state.watch(revision), tasks }
    }

    /// The next part of the list.
    fn listed(&mut self) -> Result<Option<News>, CodecError> {
        let Some(List { objects, revision }) = &mut self.list else { return Ok(None) };
        let (mut part, mut bytes) = (News { lists: true, ..News::default() }, 0);
        while bytes < PART_BYTES
            && let Some((name, value)) = objects.next()
        {
            let object = ObjectForm::new(&name, Some(&value))?;
            bytes += object.bytes();
            part.objects.push(object);
        }
        if objects.peek().is_none() {
            part.up_to = Some(*revision);
            self.list = None;
        }
        Ok(Some(part))
    }

    async fn part(&mut self) -> Result<Option<News>, CodecError> {
        if let Some(part) = self.listed()? {
            return Ok(Some(part));
        }
        let changes = tokio::select! {
            changes = tokio::time::timeout(SIGN_OF_LIFE, self.changes.next()) => changes,
            () = self.tasks.stopped() => return Ok(None),
        };
        let changes = match changes {
            Err(_) => return Ok(Some(News::default())),
            // Who asks again is told everything.
            Ok(Err(_)) => return Ok(None),
            Ok(Ok(changes)) => changes,
        };
        let ours = changes.iter().filter(|change| is_mirrored(change.object.kind));
        let form = |change: &crate::object::Change| {
            ObjectForm::new(&change.object, change.value.as_ref().map(|(_, value)| value))
        };
        let objects = ours.map(form).collect::<Result<_, _>>()?;
        Ok(Some(News { objects, lists: false, up_to: changes.last().map(|change| change.revision) }))
    }
}

impl BodySource for Feed {
    fn next(&mut self) -> Boxed<'_, Result<Option<Bytes>, Fault>> {
        Box::pin(async move {
            let part = self.part().await;
            let part = part.map_err(|error| Fault::new(FaultKind::Failed, error.to_string()))?;
            Ok(part.map(|part| frames::encode(&part)))
        })
    }
}
