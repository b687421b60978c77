//! Who answers requests.

use crate::{Request, Response};
use selvedge_types::{Fields, Status};
use std::future::Future;
use std::pin::Pin;
use tokio::sync::mpsc;

/// Answers requests. An error is a response too.
pub trait Handler: Send + Sync + 'static {
    /// Answers `request`. Runs on a data-plane thread: must not block.
    fn handle(&self, request: Request) -> Reply;

    /// Takes note of a request that was refused without asking, as far as it could be read, and of its answer. To
    /// see it sent, attach to [`Response::finish`].
    fn refused(&self, request: Request, answer: &mut Response) {
        let _ = (request, answer);
    }
}

/// An answer that is there, or one to wait for.
pub enum Reply {
    /// There without waiting, as a hit in memory is.
    Now(Response),
    /// To wait for.
    Later(Later),
}

/// An answer to wait for.
pub struct Later {
    /// The final response. Dropping it gives the request up.
    pub response: Pin<Box<dyn Future<Output = Response> + Send>>,
    /// Interim responses to pass on meanwhile (1xx, RFC 9110 section 15.2), if there may be some.
    pub interim: Option<mpsc::Receiver<Interim>>,
}

/// An interim response.
#[derive(Debug, Clone)]
pub struct Interim {
    /// 100 to 199, never 101.
    pub status: Status,
    /// Its fields.
    pub fields: Fields,
}

impl Reply {
    /// An answer to wait for, without interim responses.
    pub fn later(response: impl Future<Output = Response> + Send + 'static) -> Self {
        Reply::Later(Later { response: Box::pin(response), interim: None })
    }

    /// Waits for the final response; interim ones are dropped.
    pub async fn wait(self) -> Response {
        match self {
            Reply::Now(response) => response,
            Reply::Later(later) => later.response.await,
        }
    }
}
