//! Visitors near each node, who ask for a page again and again: the node near them, and the next nearest when that
//! one does not answer, as a browser does that knows several addresses.

use crate::cli::http::{ClientError, Connection, Endpoint};
use http_body_util::BodyExt;
use hyper::body::Bytes;
use selvedge_rt::{OnEnd, Tasks};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// What visitors near a node were answered.
#[derive(Debug, Default)]
pub(super) struct Count {
    near: AtomicU64,
    elsewhere: AtomicU64,
    failed: AtomicU64,
}

/// The same, at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// Answered by the node near them.
    pub(super) near: u64,
    /// Answered by another.
    pub(super) elsewhere: u64,
    /// Answered by none, or with an error of the server.
    pub(super) failed: u64,
}

impl Count {
    /// What was counted until now.
    pub(super) fn now(&self) -> Counted {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counted { near: read(&self.near), elsewhere: read(&self.elsewhere), failed: read(&self.failed) }
    }
}

/// Sends visitors who ask these nodes for `host`, in this order, until the tasks end.
pub(super) fn send(nodes: &[SocketAddr], host: &str, every: Duration, tasks: &Tasks) -> Arc<Count> {
    let count = Arc::<Count>::default();
    let endpoints = nodes.iter().filter_map(|addr| Endpoint::parse(&format!("http://{addr}")));
    let ways = endpoints.map(|endpoint| Way { endpoint, connection: None }).collect();
    let visitor = Visitor { ways, host: host.to_owned(), every, count: count.clone(), tasks: tasks.clone() };
    tasks.spawn("visitors", OnEnd::Forget, visitor.run());
    count
}

struct Visitor {
    ways: Vec<Way>,
    host: String,
    every: Duration,
    count: Arc<Count>,
    tasks: Tasks,
}

/// A node that may be asked.
struct Way {
    endpoint: Endpoint,
    connection: Option<Connection>,
}

impl Visitor {
    async fn run(mut self) {
        let tasks = self.tasks.clone();
        let mut ticks = tokio::time::interval(self.every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = tasks.stopped() => return,
            }
            tokio::select! {
                () = self.visit() => {}
                () = tasks.stopped() => return,
            }
        }
    }

    async fn visit(&mut self) {
        let mut place = &self.count.near;
        for way in &mut self.ways {
            if way.answers(&self.host, &self.tasks).await {
                place.fetch_add(1, Ordering::Relaxed);
                return;
            }
            place = &self.count.elsewhere;
        }
        self.count.failed.fetch_add(1, Ordering::Relaxed);
    }
}

impl Way {
    /// Whether the node answers, and with no error of its own.
    async fn answers(&mut self, host: &str, tasks: &Tasks) -> bool {
        let asked = tokio::time::timeout(ANSWER_MAX, self.ask(host, tasks)).await;
        let status = asked.ok().and_then(Result::ok);
        if status.is_none() {
            self.connection = None;
        }
        status.is_some_and(|status| status < 500)
    }

    async fn ask(&mut self, host: &str, tasks: &Tasks) -> Result<u16, ClientError> {
        let mut connection = match self.connection.take() {
            Some(open) if open.is_open() => open,
            _ => self.endpoint.connect(tasks).await?,
        };
        let response = connection.send("GET", "/", &[("host", host)], Bytes::new()).await?;
        let status = response.status().as_u16();
        response.into_body().collect().await.map_err(ClientError::Lost)?;
        self.connection = Some(connection);
        Ok(status)
    }
}
