//! HTTP/2 in cleartext, by prior knowledge.

use crate::support::*;
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response, StatusCode};
use selvedge_exchange::{Body, Frame, Interim};
use selvedge_gateway::upstream::*;
use selvedge_types::resource::{OriginProtocol, OriginTable};
use selvedge_types::{Method, Version, name};
use std::future::Future;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

/// Answers each stream of a connection by `answer`.
pub async fn serve<S, F, R>(stream: S, answer: F)
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Fn(Request<RecvStream>, SendResponse<Bytes>) -> R,
    R: Future<Output = ()> + Send + 'static,
{
    let mut connection = h2::server::handshake(stream).await.unwrap();
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::spawn(answer(request, respond));
    }
}

/// Sends back the request's content and, as fields, what else it saw.
pub async fn echo(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let seen = format!("{} {}", request.method(), request.uri());
    let te = request.headers().get("te").cloned();
    let mut content = request.into_body();
    let mut response = Response::builder().header("x-seen", seen);
    if let Some(te) = te {
        response = response.header("x-te", te);
    }
    let mut out = respond.send_response(response.body(()).unwrap(), false).unwrap();
    while let Some(Ok(data)) = content.data().await {
        content.flow_control().release_capacity(data.len()).unwrap();
        out.send_data(data, false).unwrap();
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "1".parse().unwrap());
    out.send_trailers(trailers).unwrap();
}

fn h2_table(origin: &TestOrigin) -> OriginTable {
    let mut table = table(&[&origin.url()]);
    table.protocol = OriginProtocol::H2;
    table
}

async fn echoing() -> TestOrigin {
    TestOrigin::start(|_, stream| serve(stream, echo)).await
}

#[tokio::test]
async fn requests_at_once_share_one_connection() {
    let origin = echoing().await;
    let group = group_of(&h2_table(&origin));
    let fetches: Vec<_> = (0..50)
        .map(|_| {
            let group = group.clone();
            tokio::spawn(async move { get(&group).await.unwrap().status.code() })
        })
        .collect();
    for fetch in fetches {
        assert_eq!(fetch.await.unwrap(), 200);
    }
    assert_eq!(origin.connections(), 1);
    until(|| group.status()[0].in_flight == 0).await;
}

#[tokio::test]
async fn heads_content_and_trailers_pass() {
    let origin = echoing().await;
    let group = group_of(&h2_table(&origin));
    let large = Bytes::from(vec![b'z'; 2_000_000]);
    for (body, size) in [(Body::Empty, 0), (Body::from("abc"), 3), (Body::from(large), 2_000_000)] {
        let mut request = request(Method::Post, "/p?<q>|", body);
        request.fields.append(b"TE", b"trailers").unwrap();
        let mut response = group.fetch(request, FetchOptions::default()).await.unwrap();
        assert_eq!(response.version, Version::Http2);
        let field = |name: &str| response.fields.get_all_named(name.as_bytes()).next().map(<[u8]>::to_vec);
        assert_eq!(field("x-seen").unwrap(), b"POST http://site.example/p?%3Cq%3E%7C");
        assert_eq!(field("x-te").unwrap(), b"trailers");
        let mut got = 0;
        loop {
            match response.body.frame().await.unwrap().unwrap() {
                Frame::Data(data) => got += data.len(),
                Frame::Trailers(trailers) => break assert_eq!(trailers.len(), 1),
            }
        }
        assert_eq!(got, size);
        assert!(response.body.frame().await.is_none());
    }
}

#[tokio::test]
async fn streamed_content_is_sent_as_it_comes() {
    let origin = echoing().await;
    let (feed, body) = fed(None);
    let group = group_of(&h2_table(&origin));
    let mut response = group.fetch(request(Method::Post, "/", body), FetchOptions::default()).await.unwrap();
    for piece in ["one", "two"] {
        feed.send(data(piece)).await.unwrap();
        assert!(matches!(response.body.frame().await, Some(Ok(Frame::Data(got))) if got == piece));
    }
    drop(feed);
    assert!(matches!(response.body.frame().await, Some(Ok(Frame::Trailers(_)))));
}

#[tokio::test]
async fn interim_responses_are_passed_on() {
    let origin = TestOrigin::start(|_, stream| {
        serve(stream, |_, mut respond| async move {
            let hint = Response::builder().status(103).header("link", "</a>").body(()).unwrap();
            respond.send_informational(hint).unwrap();
            let end = Response::builder().status(StatusCode::NO_CONTENT).body(()).unwrap();
            respond.send_response(end, true).unwrap();
        })
    })
    .await;
    let (interim, mut interims) = mpsc::channel::<Interim>(4);
    let options = FetchOptions { interim: Some(interim) };
    let group = group_of(&h2_table(&origin));
    let response = group.fetch(request(Method::Get, "/", Body::Empty), options).await.unwrap();
    assert_eq!(response.status.code(), 204);
    assert_eq!(interims.recv().await.unwrap().fields.get(name::LINK), Some(&b"</a>"[..]));
}

#[tokio::test]
async fn a_stream_that_the_origin_did_not_look_at_is_sent_again() {
    let origin = TestOrigin::start(|n, stream| {
        serve(stream, move |request, mut respond| async move {
            match n {
                0 => respond.send_reset(Reason::REFUSED_STREAM),
                _ => echo(request, respond).await,
            }
        })
    })
    .await;
    let group = group_of(&h2_table(&origin));
    let post = request(Method::Post, "/", Body::from("abc"));
    let response = group.fetch(post, FetchOptions::default()).await.unwrap();
    assert_eq!(text(response).await.unwrap(), "abc");
    assert_eq!(origin.connections(), 2);
}

#[tokio::test]
async fn content_that_is_reset_or_not_as_long_as_announced_is_an_error() {
    for reset in [true, false] {
        let origin = TestOrigin::start(move |_, stream| {
            serve(stream, move |_, mut respond| async move {
                let head = Response::builder().header("content-length", "10").body(()).unwrap();
                let mut out = respond.send_response(head, false).unwrap();
                out.send_data(Bytes::from_static(b"abc"), !reset).unwrap();
                if reset {
                    out.send_reset(Reason::INTERNAL_ERROR);
                }
            })
        })
        .await;
        let result = get(&group_of(&h2_table(&origin))).await;
        assert!(match result {
            Ok(response) => text(response).await.is_err(),
            Err(error) => error.kind.status().code() == 502,
        });
    }
}

#[tokio::test]
async fn something_else_than_http2_is_an_error() {
    let origin = TestOrigin::always(b"HTTP/1.1 200 OK\r\n\r\n").await;
    let error = get(&group_of(&h2_table(&origin))).await.unwrap_err();
    assert_eq!(error.kind.status().code(), 502, "{error:?}");
}
