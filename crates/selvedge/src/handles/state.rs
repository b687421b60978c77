//! The control state, as the API uses it.

use selvedge_cache::stamps::{PurgeKind, PurgeScope as Scope};
use selvedge_control::handles::{Answer, Declared, Purge, PurgeScope, StateError, StateHandle, Version};
use selvedge_state::{Command, Error, Rejection, State};
use selvedge_types::resource::SiteId;
use selvedge_types::{Manifest, Revision, Token};

/// Writes a URL of a site as the site's cache keys do: host, path and what counts of the query. None if the
/// URL leads nowhere.
pub type UrlInKey = Box<dyn Fn(&SiteId, &str) -> Option<String> + Send + Sync>;

/// The control state of this node.
pub struct ControlState {
    source: Source,
    url_in_key: UrlInKey,
}

enum Source {
    Open(State),
    /// It could not be opened, as when its disk failed: every change is refused.
    Missing {
        why: String,
        declared: Declared,
        tokens: Vec<Token>,
    },
}

impl ControlState {
    /// The API's view of `state`.
    pub fn new(state: State, url_in_key: UrlInKey) -> Self {
        ControlState { source: Source::Open(state), url_in_key }
    }

    /// The API's view of a node whose state could not be opened, and why. It still tells what the node
    /// serves by, to bearers of `tokens`.
    pub fn missing(
        why: impl Into<String>,
        declared: Declared,
        tokens: Vec<Token>,
        url_in_key: UrlInKey,
    ) -> Self {
        ControlState { source: Source::Missing { why: why.into(), declared, tokens }, url_in_key }
    }

    fn run(&self, command: Command) -> Answer<'_, Result<u64, StateError>> {
        Box::pin(async move {
            match &self.source {
                Source::Open(state) => state.apply(command).await.map(|r| r.0).map_err(refused),
                Source::Missing { why, .. } => Err(StateError::Unavailable(why.clone())),
            }
        })
    }

    fn scope(&self, scope: PurgeScope) -> Result<Scope, StateError> {
        Ok(match scope {
            PurgeScope::Url { site, url } => {
                let uri = (self.url_in_key)(&site, &url);
                let uri = uri.ok_or_else(|| StateError::NotFound(format!("a route of {site} for {url}")))?;
                Scope::Url { site: site.to_string(), uri }
            }
            PurgeScope::Prefix { site, path } => Scope::Prefix { site: site.to_string(), path },
            PurgeScope::Tag { namespace, tag } => Scope::Tag { namespace: namespace.to_string(), tag },
            PurgeScope::Site(site) => Scope::Site { site: site.to_string() },
        })
    }
}

impl StateHandle for ControlState {
    fn declared(&self) -> Declared {
        let declared = match &self.source {
            Source::Open(state) => state.declared(),
            Source::Missing { declared, .. } => return declared.clone(),
        };
        let version =
            |v: selvedge_state::Version| Version { generation: v.generation, revision: v.modified.0 };
        Declared {
            revision: declared.revision.0,
            resources: declared.resources,
            versions: declared.versions.into_iter().map(|(id, v)| (id, version(v))).collect(),
        }
    }

    fn apply(&self, manifest: Manifest, expected: Option<u64>) -> Answer<'_, Result<u64, StateError>> {
        let expected = expected.map(Revision);
        self.run(Command::ApplyManifest { manifest: Box::new(manifest), expected })
    }

    fn purge(&self, purge: Purge) -> Answer<'_, Result<u64, StateError>> {
        let kind = if purge.soft { PurgeKind::Soft } else { PurgeKind::Hard };
        match self.scope(purge.scope) {
            Ok(scope) => self.run(Command::Purge { scope, kind }),
            Err(error) => Box::pin(async { Err(error) }),
        }
    }

    fn tokens(&self) -> Vec<Token> {
        match &self.source {
            Source::Open(state) => state.tokens(),
            Source::Missing { tokens, .. } => tokens.clone(),
        }
    }

    fn create_token(&self, token: Token) -> Answer<'_, Result<u64, StateError>> {
        self.run(Command::CreateToken(token))
    }

    fn revoke_token(&self, name: String) -> Answer<'_, Result<u64, StateError>> {
        self.run(Command::RevokeToken { name })
    }
}

fn refused(error: Error) -> StateError {
    match error {
        Error::Rejected(Rejection::Conflict { expected, current }) => {
            StateError::Conflict { expected: expected.0, current: current.0 }
        }
        Error::Rejected(Rejection::Exists(name)) => StateError::Exists(name.to_string()),
        Error::Rejected(Rejection::NotFound(name)) => StateError::NotFound(name.to_string()),
        Error::Rejected(other) => StateError::Invalid(other.to_string()),
        error if error.is_refusal() => StateError::Unavailable(chain(&error)),
        error => StateError::Unknown(chain(&error)),
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use selvedge_rt::{Clock, Disk, Tasks};
    use selvedge_state::{Metrics, Options, Setup};
    use selvedge_types::Role;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    const MANIFEST: &str = "[site.docs]\nhosts = [\"a.b\"]\norigin = \"http://127.0.0.1:9\"\n";

    fn manifest() -> Manifest {
        Manifest::parse("m", MANIFEST).unwrap()
    }

    fn url_in_key() -> UrlInKey {
        Box::new(|_, url| url.strip_prefix("http://").map(str::to_owned))
    }

    async fn open(disk: Disk, tasks: &Tasks) -> State {
        let setup = Setup {
            disk,
            options: Options::default(),
            clock: Clock::real(),
            hlc: Arc::new(Mutex::default()),
            tasks: tasks.clone(),
            metrics: Metrics::default(),
            wal_metrics: Default::default(),
            observer: Box::new(|_| {}),
        };
        State::open(setup).await.unwrap().0
    }

    #[tokio::test]
    async fn changes_are_made_and_refusals_keep_their_kind() {
        let dir = tempfile::tempdir().unwrap();
        let tasks = Tasks::real();
        let disk = Disk::real(dir.path()).unwrap();
        let api = ControlState::new(open(disk, &tasks).await, url_in_key());
        assert_eq!(api.apply(manifest(), Some(0)).await, Ok(1));
        assert_eq!(api.declared().revision, 1);
        assert_eq!(api.declared().versions.values().map(|v| v.generation).collect::<Vec<_>>(), [1]);
        let stale = api.apply(Manifest::default(), Some(0)).await;
        assert_eq!(stale, Err(StateError::Conflict { expected: 0, current: 1 }));
        let token = Token {
            name: "ci".into(),
            role: Role::Viewer,
            namespace: None,
            hash: [1; 32],
            created: Default::default(),
        };
        assert!(api.create_token(token.clone()).await.is_ok());
        assert!(matches!(api.create_token(token).await, Err(StateError::Exists(_))));
        assert!(api.revoke_token("ci".into()).await.is_ok());
        assert!(matches!(api.revoke_token("ci".into()).await, Err(StateError::NotFound(_))));
        assert!(tasks.shut_down(Duration::from_secs(10)).await);
    }

    #[tokio::test]
    async fn purges_are_written_as_stamps() {
        let dir = tempfile::tempdir().unwrap();
        let tasks = Tasks::real();
        let state = open(Disk::real(dir.path()).unwrap(), &tasks).await;
        let api = ControlState::new(state.clone(), url_in_key());
        let site = manifest().sites.keys().next().unwrap().clone();
        let site = SiteId { namespace: Default::default(), name: site };
        let url = |url: &str| PurgeScope::Url { site: site.clone(), url: url.into() };
        assert!(api.purge(Purge { scope: url("http://a.b/x?y"), soft: true }).await.is_ok());
        let stamps = state.stamps();
        let expected = Scope::Url { site: "default/docs".into(), uri: "a.b/x?y".into() };
        assert_eq!(stamps.len(), 1);
        assert_eq!(stamps[0].scope, expected);
        assert!(stamps[0].soft > stamps[0].hard, "only soft: {stamps:?}");
        let nowhere = api.purge(Purge { scope: url("gopher://a.b/"), soft: false }).await;
        assert!(matches!(nowhere, Err(StateError::NotFound(_))));
        assert!(tasks.shut_down(Duration::from_secs(10)).await);
    }

    #[tokio::test]
    async fn without_a_state_changes_are_refused_and_reading_goes_on() {
        let declared = Declared { revision: 7, ..Declared::default() };
        let api = ControlState::missing("its disk failed", declared, Vec::new(), url_in_key());
        assert_eq!(api.declared().revision, 7);
        let refused = api.apply(manifest(), None).await;
        assert_eq!(refused, Err(StateError::Unavailable("its disk failed".into())));
    }
}
