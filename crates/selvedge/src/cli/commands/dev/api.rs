//! The API of the world: of whichever node answers.

use crate::cli::Failure;
use crate::cli::http::{ClientError, Endpoint};
use http_body_util::BodyExt;
use hyper::body::Bytes;
use selvedge_control::{Problem, wire};
use selvedge_rt::Tasks;
use selvedge_types::plan;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long a change may take.
const CHANGE_MAX: Duration = Duration::from_secs(20);
/// How long an answer about the cluster may take, before another node is asked.
const LOOK_MAX: Duration = Duration::from_millis(500);

/// Asks the nodes of the world. Clones are the same.
#[derive(Clone)]
pub(super) struct Api {
    token: String,
    /// Where nodes answer that run and are not cut off, the one to be asked first at the front.
    nodes: Arc<Mutex<Vec<String>>>,
    tasks: Tasks,
}

/// Why there is no answer.
enum NoAnswer {
    /// The node was not asked: another can be.
    NotAsked(ClientError),
    /// It was.
    Failed(Failure),
}

impl Api {
    /// Asks with that token.
    pub(super) fn new(token: String, tasks: &Tasks) -> Self {
        Api { token, nodes: Arc::default(), tasks: tasks.clone() }
    }

    /// The token.
    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// Asks these from now on.
    pub(super) fn set_nodes(&self, nodes: Vec<String>) {
        *self.nodes.lock().unwrap_or_else(PoisonError::into_inner) = nodes;
    }

    /// Applies a manifest; says what changed, and which revision has it.
    pub(super) async fn apply(&self, manifest: &str) -> Result<(String, u64), Failure> {
        let body = Bytes::from(manifest.to_owned());
        let target = "/v1/apply";
        let applied: wire::Applied =
            self.ask("POST", target, Some("application/toml"), body, CHANGE_MAX).await?;
        let changes = applied.changes.into_iter().map(Into::into).collect();
        Ok((plan::Plan { changes }.to_string(), applied.revision))
    }

    /// How far the nodes are with a revision, once they go by it or have not in time.
    pub(super) async fn rollout(&self, revision: u64) -> Result<Vec<wire::RolloutNode>, Failure> {
        self.get(&format!("/v1/rollout?revision={revision}&wait_ms=10000"), CHANGE_MAX).await
    }

    /// Marks all of the documentation stale.
    pub(super) async fn make_stale(&self) -> Result<(), Failure> {
        let purge =
            wire::PurgeRequest { all: true, site: Some("docs".into()), soft: true, ..Default::default() };
        self.post::<_, serde_json::Value>("/v1/cache/purge", &purge).await.map(drop)
    }

    /// A ticket by which that many nodes join within ten minutes.
    pub(super) async fn ticket(&self, uses: u32) -> Result<String, Failure> {
        let wanted = wire::CreateTicket { uses: Some(uses), ttl: Some(600), role: None };
        Ok(self.post::<_, wire::NewTicket>("/v1/tickets", &wanted).await?.ticket)
    }

    /// The nodes, as the first one that answers sees them, and where that one's API is.
    pub(super) async fn nodes(&self) -> Result<(String, Vec<wire::ClusterNode>), Failure> {
        self.ask_any("GET", "/v1/nodes", None, Bytes::new(), LOOK_MAX).await
    }

    /// Who votes.
    pub(super) async fn voters(&self) -> Result<wire::Voters, Failure> {
        self.get("/v1/voters", LOOK_MAX).await
    }

    async fn get<T: DeserializeOwned>(&self, target: &str, patience: Duration) -> Result<T, Failure> {
        self.ask("GET", target, None, Bytes::new(), patience).await
    }

    async fn post<B: Serialize, T: DeserializeOwned>(&self, target: &str, body: &B) -> Result<T, Failure> {
        let body =
            serde_json::to_vec(body).map_err(|e| Failure::failed("cannot write the request").because(e))?;
        self.ask("POST", target, Some("application/json"), body.into(), CHANGE_MAX).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: &str,
        target: &str,
        kind: Option<&str>,
        body: Bytes,
        patience: Duration,
    ) -> Result<T, Failure> {
        self.ask_any(method, target, kind, body, patience).await.map(|(_, answer)| answer)
    }

    /// Asks one node after the other until one is there; which one that was, too.
    async fn ask_any<T: DeserializeOwned>(
        &self,
        method: &str,
        target: &str,
        kind: Option<&str>,
        body: Bytes,
        patience: Duration,
    ) -> Result<(String, T), Failure> {
        let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut failure = Failure::failed("no node runs that could be asked");
        for node in nodes {
            let asking = tokio::time::timeout(patience, self.send(&node, method, target, kind, body.clone()));
            match asking.await {
                Ok(Ok(bytes)) => {
                    return serde_json::from_slice(&bytes)
                        .map(|answer| (node, answer))
                        .map_err(|e| Failure::failed("the node's answer was not understood").because(e));
                }
                Ok(Err(NoAnswer::NotAsked(e))) => {
                    failure = Failure::failed(format!("the API at {node} cannot be reached")).because(e);
                }
                Ok(Err(NoAnswer::Failed(failure))) => return Err(failure),
                Err(_) if method == "GET" => {
                    failure = Failure::failed(format!("the API at {node} does not answer"));
                }
                Err(_) => {
                    return Err(Failure::failed(format!(
                        "the API at {node} does not answer within {patience:?}"
                    )));
                }
            }
        }
        Err(failure)
    }

    async fn send(
        &self,
        node: &str,
        method: &str,
        target: &str,
        kind: Option<&str>,
        body: Bytes,
    ) -> Result<Bytes, NoAnswer> {
        let failed = |why: ClientError| {
            let what = format!("the API at {node} does not answer");
            NoAnswer::Failed(Failure::failed(what).because(why))
        };
        let endpoint = Endpoint::parse(node);
        let endpoint = endpoint.ok_or_else(|| NoAnswer::Failed(Failure::failed("no API")))?;
        let mut connection = endpoint.connect(&self.tasks).await.map_err(NoAnswer::NotAsked)?;
        let authorization = format!("Bearer {}", self.token);
        let mut fields = vec![("authorization", authorization.as_str())];
        fields.extend(kind.map(|kind| ("content-type", kind)));
        let answer = connection.send(method, target, &fields, body).await.map_err(failed)?;
        let status = answer.status();
        let bytes = answer.into_body().collect().await.map_err(|e| failed(ClientError::Lost(e)))?.to_bytes();
        if status.is_success() {
            return Ok(bytes);
        }
        let problem: Option<Problem> = serde_json::from_slice(&bytes).ok();
        let what = problem.map_or(format!("the node answered {status}"), |p| p.detail().to_owned());
        Err(NoAnswer::Failed(Failure::failed(what)))
    }
}
