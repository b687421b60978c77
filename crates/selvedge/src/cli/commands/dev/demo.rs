//! Requests that `dev` makes to show something: a miss, a hit, and a page that stays when its origin is gone.

use super::api::Api;
use crate::cli::http::{ClientError, Endpoint};
use http_body_util::BodyExt;
use hyper::body::Bytes;
use selvedge_rt::{Clock, Tasks};
use std::net::SocketAddr;
use tokio::sync::mpsc;

/// What is said while something is shown.
pub(super) type Say = mpsc::UnboundedSender<String>;

/// Asks one node for a page of one host. Clones are the same.
#[derive(Clone)]
pub(super) struct Demo {
    front: SocketAddr,
    host: String,
    clock: Clock,
    tasks: Tasks,
}

impl Demo {
    /// Asks the node that answers at `front` for `host`.
    pub(super) fn new(front: SocketAddr, host: &str, tasks: &Tasks) -> Self {
        Demo { front, host: host.to_owned(), clock: Clock::real(), tasks: tasks.clone() }
    }

    /// The host that is asked for.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// A command that asks for the same.
    pub(super) fn curl(&self) -> String {
        // With the host that is asked for here: another one has a key of its own.
        match self.front.to_string() == self.host {
            true => format!("curl -i http://{}/", self.front),
            false => format!("curl -i -H 'Host: {}' http://{}/", self.host, self.front),
        }
    }

    /// A miss and a hit.
    pub(super) async fn begin(&self) -> String {
        let first = self.request("the first request").await;
        format!("\n{first}\n{}", self.request("the same again").await)
    }

    /// The origin is gone.
    pub(super) async fn without_origin(self, api: Api, say: Say) {
        // Fails when the world ends.
        let tell = |text| drop(say.send(text));
        tell(self.request("still fresh: nobody needs the origin").await);
        if let Err(failure) = api.make_stale().await {
            tell(failure.text());
            return;
        }
        tell(self.request("stale (purged softly): served all the same, as stale_if_error allows").await);
    }

    /// The origin is back.
    pub(super) async fn with_origin(self, say: Say) {
        let text = self.request("served at once, while the origin is asked again").await;
        // Fails when the world ends.
        drop(say.send(text));
    }

    /// Makes a request and says what came of it.
    async fn request(&self, what: &str) -> String {
        let started = self.clock.monotonic();
        let answered = self.ask().await;
        let took = (self.clock.monotonic() - started).as_secs_f64() * 1000.0;
        match answered {
            Ok((status, cache)) => format!("GET /  {status}  {took:.1} ms  {what}\n       {cache}"),
            Err(e) => format!("GET /  no answer: {e}"),
        }
    }

    async fn ask(&self) -> Result<(u16, String), ClientError> {
        let Some(endpoint) = Endpoint::parse(&format!("http://{}", self.front)) else {
            return Ok((0, String::new()));
        };
        let mut connection = endpoint.connect(&self.tasks).await?;
        let response = connection.send("GET", "/", &[("host", &self.host)], Bytes::new()).await?;
        let status = response.status().as_u16();
        let field = response
            .headers()
            .get("cache-status")
            .map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
        response.into_body().collect().await.map_err(ClientError::Lost)?;
        Ok((status, field.map_or("(no Cache-Status)".to_owned(), |value| format!("Cache-Status: {value}"))))
    }
}
