//! Serves the API on a listener.

use crate::handles::Handles;
use crate::router::router;
use crate::stall::Progressing;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use selvedge_rt::{Listener, OnEnd, Stream};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// How the API is served.
#[derive(Debug, Clone)]
pub struct ApiOptions {
    /// Connections at once; more wait to be accepted.
    pub connections: usize,
    /// How long a request's head may take.
    pub header_timeout: Duration,
    /// How long a client may take nothing of an answer that waits for it.
    pub write_timeout: Duration,
    /// How long to wait after an accept that failed, as when descriptors run out.
    pub accept_pause: Duration,
}

impl Default for ApiOptions {
    fn default() -> Self {
        ApiOptions {
            connections: 4096,
            header_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            accept_pause: Duration::from_millis(100),
        }
    }
}

/// Serves until the handles' tasks are told to stop. Connections then end after their present answer.
pub async fn serve(listener: Listener, options: ApiOptions, handles: Handles) {
    let tasks = handles.tasks.clone();
    let (router, _) = router(handles);
    let permits = Arc::new(Semaphore::new(options.connections));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(options.header_timeout);
    loop {
        let accepted = async {
            let permit = permits.clone().acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            () = tasks.stopped() => return,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let service = TowerToHyperService::new(router.clone());
                let connection = http
                    .serve_connection(TokioIo::new(Progressing::new(stream, options.write_timeout)), service);
                let stopping = tasks.clone();
                tasks.spawn("api connection", OnEnd::Forget, async move {
                    drive(connection, stopping).await;
                    drop(permit);
                });
            }
            Err(e) => {
                tracing::warn!(error = %e, "the API cannot accept connections");
                tokio::time::sleep(options.accept_pause).await;
            }
        }
    }
}

type Connection = http1::Connection<TokioIo<Progressing<Stream>>, TowerToHyperService<axum::Router>>;

async fn drive(connection: Connection, tasks: selvedge_rt::Tasks) {
    let mut connection = pin!(connection);
    // Both are cancel-safe: the connection is polled again below. A connection's error is its client's affair.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = tasks.stopped() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
