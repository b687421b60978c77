//! Whole connections, over real sockets or in memory.

mod deadlines;
mod desync;
mod frames;
mod hostile;
mod http1;
mod http2;
mod malformed;
mod secure;
mod stopping;
mod wire;

use super::*;
use bytes::Bytes;
use selvedge_exchange::{Body, BodyError, BodyStream, Frame, Handler, Reply, Request, Response};
use selvedge_observe::Registry;
use selvedge_rt::{Clock, Net, Tasks};
use selvedge_types::{Fields, Status};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

struct Closure<F>(F);

impl<F: Fn(Request) -> Reply + Send + Sync + 'static> Handler for Closure<F> {
    fn handle(&self, request: Request) -> Reply {
        (self.0)(request)
    }
}

/// A front on a free port of the loopback.
struct Server {
    addr: SocketAddr,
    tasks: Tasks,
    front: Arc<Front>,
}

impl Server {
    async fn start(handler: impl Fn(Request) -> Reply + Send + Sync + 'static) -> Server {
        Server::with(FrontOptions::default(), Endpoint::default(), handler).await
    }

    async fn with(
        options: FrontOptions,
        endpoint: Endpoint,
        handler: impl Fn(Request) -> Reply + Send + Sync + 'static,
    ) -> Server {
        let front = Front::new(Arc::new(Closure(handler)), options, Clock::real(), &Registry::default());
        let listener = Net::Real.bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let tasks = Tasks::real();
        let serve = front.clone().serve(listener, endpoint, tasks.clone());
        tasks.spawn("listener", selvedge_rt::OnEnd::Forget, serve);
        Server { addr, tasks, front }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.unwrap()
    }

    /// What comes back until the server closes, after `wire` was sent.
    async fn exchange(&self, wire: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect().await;
        stream.write_all(wire.as_ref()).await.unwrap();
        read_all(&mut stream).await
    }
}

async fn read_all(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut all = Vec::new();
    // A reset after the response is no failure here: what was read is looked at.
    let _ = within(stream.read_to_end(&mut all)).await;
    String::from_utf8_lossy(&all).into_owned()
}

/// Reads until what came ends with `end`.
async fn read_until(stream: &mut (impl tokio::io::AsyncRead + Unpin), end: &str) -> String {
    let mut all = Vec::new();
    while !all.ends_with(end.as_bytes()) {
        match within(stream.read_u8()).await {
            Ok(byte) => all.push(byte),
            Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&all)),
        }
    }
    String::from_utf8(all).unwrap()
}

/// Bounds a test that would hang.
async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), work).await.expect("took too long")
}

fn ok(content: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Status::OK);
    response.body = Body::from(content.into());
    response
}

/// Content in given pieces, of unknown length unless stated.
struct Pieces {
    frames: Vec<Result<Frame, BodyError>>,
    length: Option<u64>,
}

impl BodyStream for Pieces {
    fn poll_frame(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        Poll::Ready((!self.frames.is_empty()).then(|| self.frames.remove(0)))
    }

    fn length(&self) -> Option<u64> {
        self.length
    }
}

fn stream(frames: Vec<Result<Frame, BodyError>>, length: Option<u64>) -> Body {
    Body::Stream(Box::new(Pieces { frames, length }))
}

fn data(text: &'static str) -> Result<Frame, BodyError> {
    Ok(Frame::Data(Bytes::from_static(text.as_bytes())))
}

fn fields(lines: &str) -> Fields {
    Fields::from_wire(lines.as_bytes()).unwrap()
}

/// Answers with the request's line, content and trailers.
fn echo(mut request: Request) -> Reply {
    Reply::later(async move {
        let mut text = format!("{} {}{}", request.method, request.authority, request.target);
        while let Some(frame) = request.body.frame().await {
            match frame {
                Ok(Frame::Data(data)) => text.push_str(&format!(" {}", String::from_utf8_lossy(&data))),
                Ok(Frame::Trailers(trailers)) => text.push_str(&format!(" {trailers:?}")),
                Err(error) => text.push_str(&format!(" {error:?}")),
            }
        }
        ok(text)
    })
}

/// A head without its Date line.
fn undated(text: &str) -> String {
    text.split_inclusive("\r\n").filter(|line| !line.starts_with("date: ")).collect()
}
