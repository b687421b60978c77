//! What clients and operators are told when there is no usable answer.

use super::world::{Origin, World, request};
use selvedge_exchange::{Body, BodyError, BodyStream, Frame, Handler, Response, Sent};
use selvedge_gateway::access_log::TailItem;
use selvedge_types::name;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

fn manifest(addr: SocketAddr) -> String {
    format!(
        "[site.a]\nhosts = \"*\"\norigin = {{ targets = [\"http://{addr}\"], retry = {{ attempts = 1 }} }}"
    )
}

/// An address at which nothing listens.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// An origin that answers everything with these bytes and closes the connection.
async fn saying(wire: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await;
            let _ = stream.write_all(wire.as_bytes()).await;
        }
    });
    addr
}

async fn line_of(world: &World, method_and_target: &str) -> (Response, serde_json::Value) {
    let mut tail = world.plane.log().follow();
    let mut response = world.plane.handle(request(method_and_target, "")).wait().await;
    response.finish.take().unwrap().finish(Sent::default());
    let Some(TailItem::Line(line)) = tail.next().await else { panic!("no line") };
    (response, serde_json::from_str(&line).unwrap())
}

#[tokio::test]
async fn the_client_learns_the_kind_of_failure_and_the_operator_the_cause() {
    let addr = nobody().await;
    let world = World::new(&manifest(addr));
    let (response, line) = line_of(&world, "GET /").await;
    assert_eq!(response.status.code(), 502);
    assert_eq!(response.fields.get_str(name::PROXY_STATUS), Some("selvedge; error=connection_refused"));
    assert_eq!(response.fields.get_str(name::X_REQUEST_ID), line["id"].as_str());
    let head = format!("{:?}", response.fields);
    let body = response.body.collect(4096).await.unwrap();
    assert_eq!(body, "Bad Gateway: The origin refused the connection.\n");
    assert!(!head.contains("127.0.0.1"), "{head}");
    assert_eq!(line["error"], "connection_refused");
    assert_eq!(line["origin"], addr.to_string());
    assert!(line["detail"].as_str().unwrap().contains("os error"), "{line}");
    assert_eq!(line["origin_ms"], serde_json::Value::Null);
}

#[tokio::test]
async fn the_operator_learns_who_answered_and_how_fast() {
    let origin = Origin::start("one", "").await;
    let world = World::new(&manifest(origin.addr));
    let (response, line) = line_of(&world, "GET /").await;
    assert_eq!(response.status.code(), 200);
    assert_eq!(line["origin"], origin.addr.to_string());
    assert!(line["origin_ms"].is_number() && line["attempts"].is_null() && line["error"].is_null(), "{line}");
    assert!(!response.fields.contains(name::X_REQUEST_ID));
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_never_an_empty_reply() {
    let long = "x".repeat(20_000);
    for (wire, status, error) in [
        ("Content-Length: 1000\r\n\r\nshort".to_owned(), "502", "http_response_incomplete"),
        ("Transfer-Encoding: chunked\r\n\r\nzz\r\nshort".to_owned(), "502", "http_response_transfer_coding"),
        (format!("Content-Length: 40000\r\n\r\n{long}"), "", ""),
    ] {
        let world = World::new(&manifest(saying(format!("HTTP/1.1 200 OK\r\n{wire}")).await));
        let front = world.front().await;
        for _ in 0..5 {
            let mut stream = TcpStream::connect(front).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
            let mut all = Vec::new();
            let _ = stream.read_to_end(&mut all).await;
            let all = String::from_utf8_lossy(&all);
            // Content that is longer than what is looked at may break off on the way.
            assert!(all.starts_with(&format!("HTTP/1.1 {status}")) && all.contains(error), "{all}");
            assert!(!all.ends_with("0\r\n\r\n"), "it looks whole: {all}");
        }
    }
}

/// Content of which nothing comes but an error.
struct Broken(Option<BodyError>);

impl BodyStream for Broken {
    fn poll_frame(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        Poll::Ready(self.0.take().map(Err))
    }

    fn length(&self) -> Option<u64> {
        Some(100)
    }
}

#[tokio::test]
async fn content_that_does_not_come_is_the_clients_fault() {
    let origin = Origin::start("one", "").await;
    let world = World::new(&manifest(origin.addr));
    for (error, status) in [
        (BodyError::TimedOut, 408),
        (BodyError::Malformed("chunk size"), 400),
        (BodyError::Incomplete, 400),
        (BodyError::TooLarge { limit: 5 }, 413),
    ] {
        let mut asked = request("POST /", "");
        asked.body = Body::Stream(Box::new(Broken(Some(error))));
        let response = world.plane.handle(asked).wait().await;
        assert_eq!(response.status.code(), status);
        let said = response.fields.get_str(name::PROXY_STATUS).unwrap();
        assert_eq!(said, "selvedge; error=http_request_error");
        let body = response.body.collect(4096).await.unwrap();
        let body = String::from_utf8_lossy(&body).into_owned();
        assert!(body.contains("The request's content") && !body.contains("origin"), "{body}");
    }
}
