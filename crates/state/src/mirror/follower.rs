//! An edge node's side: it follows one full node at a time.

use super::is_mirrored;
use super::source::{MIRROR, SIGN_OF_LIFE, VERSION};
use super::wire::{Ask, News};
use crate::frames::Frames;
use crate::object::{ObjectName, Value};
use crate::state::State;
use selvedge_mesh::Mesh;
use selvedge_mesh::rpc::{Deadline, Priority, Target};
use selvedge_observe::{Gauge, Registry};
use selvedge_rt::Tasks;
use selvedge_types::{NodeKey, Revision};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::watch;

/// How long a node may take to begin its answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// How long nothing may come before another node is followed.
const SILENCE_MAX: Duration = SIGN_OF_LIFE.saturating_mul(3);

/// How long is waited before a node is asked again, or another.
const PAUSE: Duration = Duration::from_millis(300);

/// How far an edge node is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mirrored {
    /// Whom it follows; nobody while it is cut off.
    pub source: Option<NodeKey>,
    /// The revision of the cluster's control state up to which it has all that it serves by.
    pub revision: Revision,
}

/// Whom to follow, in order of preference: asked anew whenever one is looked for.
type Sources = Box<dyn Fn() -> Vec<NodeKey> + Send + Sync>;

/// Keeps an edge node's state as the cluster's is.
pub struct Mirroring {
    state: State,
    mesh: Mesh,
    sources: Sources,
    at: watch::Sender<Mirrored>,
    follows: Gauge,
    revision: Gauge,
    /// Whether all up to there is in this node's state; else everything is asked for.
    is_whole: bool,
}

impl Mirroring {
    /// Keeps `state`, which nothing else changes, as those nodes have it that `sources` names; and says how far it is.
    pub fn new(
        state: State,
        mesh: Mesh,
        sources: impl Fn() -> Vec<NodeKey> + Send + Sync + 'static,
        registry: &Registry,
    ) -> (Self, watch::Receiver<Mirrored>) {
        let revision = state.mirrored_revision();
        let (at, seen) = watch::channel(Mirrored { source: None, revision });
        let gauge = |name, help| registry.register(name, help, Gauge::default());
        let mirroring = Mirroring {
            state,
            mesh,
            sources: Box::new(sources),
            at,
            follows: gauge("mirror_follows", "Whether this edge node hears of changes"),
            revision: gauge("mirror_revision", "The cluster's revision that this edge node has all of"),
            is_whole: revision > Revision(0),
        };
        (mirroring, seen)
    }

    /// Goes on until the tasks end.
    pub async fn run(mut self, tasks: Tasks) {
        let mut turn = 0;
        loop {
            let sources = (self.sources)();
            if let Some(source) = sources.get(turn % sources.len().max(1)) {
                tokio::select! {
                    why = self.follow(*source) => tracing::debug!(%source, why, "a node is followed no longer"),
                    () = tasks.stopped() => return,
                }
            }
            // Who was followed for long is lost now: the nearest is the first to be tried again.
            let was_followed = self.at.borrow().source.is_some();
            self.at.send_modify(|at| at.source = None);
            self.follows.set(0);
            turn = if was_followed { 0 } else { turn.wrapping_add(1) };
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = tasks.stopped() => return,
            }
        }
    }

    /// Follows one node; says why no longer.
    async fn follow(&mut self, source: NodeKey) -> String {
        match Box::pin(self.try_follow(source)).await {
            Ok(()) => "it ended".to_owned(),
            Err(why) => why,
        }
    }

    async fn try_follow(&mut self, source: NodeKey) -> Result<(), String> {
        let after = self.is_whole.then(|| self.at.borrow().revision);
        let ask = Ask { after }.encode().into();
        let target = Target { service: MIRROR, version: VERSION };
        let begun =
            self.mesh.download(source, target, ask, Deadline::after(ANSWER_MAX), Priority::Normal).await;
        let mut frames = Frames::new(begun.map_err(|error| error.to_string())?.body);
        let mut listed = BTreeMap::new();
        loop {
            let next = tokio::time::timeout(SILENCE_MAX, frames.next::<News>()).await;
            let next = next.map_err(|_| "nothing was heard of it".to_owned())?;
            let Some(news) = next.map_err(|error| error.to_string())? else { return Ok(()) };
            self.take(source, news, &mut listed).await?;
        }
    }

    async fn take(
        &mut self,
        source: NodeKey,
        news: News,
        listed: &mut BTreeMap<ObjectName, Value>,
    ) -> Result<(), String> {
        let objects = news.objects.iter().filter_map(|object| match object.read() {
            // What was not asked for is not taken.
            Ok((name, value)) => is_mirrored(name.kind).then_some((name, value)),
            Err(error) => {
                tracing::error!(%error, "part of what this node serves by cannot be read; upgrade it");
                None
            }
        });
        let objects: Vec<(ObjectName, Option<Value>)> = objects.collect();
        let changes = if news.lists {
            listed.extend(objects.into_iter().filter_map(|(name, value)| Some((name, value?))));
            if news.up_to.is_none() {
                return Ok(());
            }
            self.differences(std::mem::take(listed))
        } else {
            objects
        };
        let Some(up_to) = news.up_to else { return Ok(()) };
        let former = self.at.borrow().revision;
        if up_to < former {
            return Err(format!("it is at revision {up_to}, behind {former}, which is in force here"));
        }
        // If that fails midway, all is asked for again.
        self.is_whole = false;
        self.state.mirror(changes, up_to).await.map_err(|error| error.to_string())?;
        self.is_whole = true;
        self.at.send_replace(Mirrored { source: Some(source), revision: up_to });
        self.follows.set(1);
        self.revision.set(i64::try_from(up_to.0).unwrap_or(i64::MAX));
        Ok(())
    }

    /// What has to be changed here for all to be as it was listed.
    fn differences(&self, mut listed: BTreeMap<ObjectName, Value>) -> Vec<(ObjectName, Option<Value>)> {
        let (_, here) = self.state.objects(is_mirrored);
        let mut changes = Vec::new();
        for (name, value) in here {
            match listed.remove(&name) {
                Some(wanted) if wanted == value => {}
                wanted => changes.push((name, wanted)),
            }
        }
        changes.extend(listed.into_iter().map(|(name, value)| (name, Some(value))));
        changes
    }
}
