//! HTTP/2 as clients see it.

use super::super::counters::Cause;
use super::*;
use h2::client::{Connection, SendRequest};
use http::{HeaderMap, Request as HttpRequest};
use selvedge_exchange::{Interim, Later};
use std::future::poll_fn;
use tokio::sync::mpsc;

type Client = SendRequest<Bytes>;

async fn connect(server: &Server) -> (Client, tokio::task::JoinHandle<Option<h2::Reason>>) {
    let stream = server.connect().await;
    let (client, connection): (Client, Connection<TcpStream, Bytes>) =
        within(h2::client::handshake(stream)).await.unwrap();
    (client, tokio::spawn(async move { connection.await.err().and_then(|e| e.reason()) }))
}

fn request(method: &str, path: &str) -> http::request::Builder {
    HttpRequest::builder().method(method).uri(format!("http://a.example{path}"))
}

/// Status, fields, content and trailers of the response to `request`, sent with `content`.
async fn exchange(
    client: &mut Client,
    request: HttpRequest<()>,
    content: &[&'static str],
) -> Result<(u16, HeaderMap, Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut ready = within(client.clone().ready()).await?;
    let (response, mut send) = ready.send_request(request, content.is_empty())?;
    for (i, piece) in content.iter().enumerate() {
        send.send_data(Bytes::from_static(piece.as_bytes()), i + 1 == content.len())?;
    }
    let (head, mut body) = within(response).await?.into_parts();
    let mut all = Vec::new();
    while let Some(data) = within(body.data()).await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        all.extend_from_slice(&data);
    }
    let trailers = body.trailers().await?;
    Ok((head.status.as_u16(), head.headers, all, trailers))
}

async fn get(client: &mut Client, path: &str) -> (u16, HeaderMap, Vec<u8>, Option<HeaderMap>) {
    exchange(client, request("GET", path).body(()).unwrap(), &[]).await.unwrap()
}

#[tokio::test]
async fn requests_and_responses_pass_with_content_and_trailers() {
    let server = Server::start(|request| match request.target.as_str() {
        "/now" => Reply::Now(ok("now")),
        "/stream" => {
            let mut response = Response::new(Status::OK);
            response.fields = fields("Connection: x\r\nKeep-Alive: 1\r\nX-Kept: 1\r\n");
            let trailers = Ok(Frame::Trailers(fields("X-Sum: 1\r\nHost: b\r\n")));
            response.body = stream(vec![data("ab"), data("cd"), trailers], None);
            Reply::Now(response)
        }
        _ => echo(request),
    })
    .await;
    let (mut client, _) = connect(&server).await;
    let (status, fields, content, _) = get(&mut client, "/now").await;
    assert_eq!((status, &content[..], fields["content-length"].as_bytes()), (200, &b"now"[..], &b"3"[..]));
    assert!(fields.contains_key("date"));
    let (_, fields, content, trailers) = get(&mut client, "/stream").await;
    assert_eq!(content, b"abcd");
    assert_eq!(fields.keys().filter(|k| *k != "date").collect::<Vec<_>>(), ["x-kept"]);
    let trailers = trailers.unwrap();
    assert_eq!((trailers.len(), trailers["x-sum"].as_bytes()), (1, &b"1"[..]));
    let post = request("POST", "/echo?q").body(()).unwrap();
    let (_, _, content, _) = exchange(&mut client, post, &["one", "two"]).await.unwrap();
    assert_eq!(String::from_utf8(content).unwrap().replace(' ', ""), "POSTa.example/echo?qonetwo");
    let (_, fields, content, _) =
        exchange(&mut client, request("HEAD", "/now").body(()).unwrap(), &[]).await.unwrap();
    assert_eq!((content.len(), fields.contains_key("content-length")), (0, false));
}

#[tokio::test]
async fn large_content_passes_in_both_directions_under_flow_control() {
    let content: Bytes = (0..2_000_000u32).map(|i| (i % 251) as u8).collect::<Vec<_>>().into();
    let shared = content.clone();
    let server = Server::start(move |request| {
        let shared = shared.clone();
        match request.target.as_str() {
            "/now" => Reply::Now(ok(shared)),
            "/stream" => {
                let mut response = Response::new(Status::OK);
                let frames = shared.chunks(70_000).map(|p| Ok(Frame::Data(shared.slice_ref(p)))).collect();
                response.body = stream(frames, Some(shared.len() as u64));
                Reply::Now(response)
            }
            _ => Reply::later(async move {
                let length = request.body.length();
                let all = request.body.collect(u64::MAX).await.unwrap();
                ok(format!("{length:?} {}", all == shared))
            }),
        }
    })
    .await;
    let (mut client, _) = connect(&server).await;
    for path in ["/now", "/stream"] {
        assert!(get(&mut client, path).await.2 == content, "{path}");
    }
    let (response, mut send) = client.send_request(request("PUT", "/put").body(()).unwrap(), false).unwrap();
    send.send_data(content, true).unwrap();
    let mut body = within(response).await.unwrap().into_body();
    assert_eq!(within(body.data()).await.unwrap().unwrap(), "None true");
}

#[tokio::test]
async fn interim_responses_pass() {
    let server = Server::start(|_| {
        let (send, interim) = mpsc::channel(1);
        let response = async move {
            let hints = Interim { status: Status::new(103).unwrap(), fields: fields("Link: </a>\r\n") };
            send.send(hints).await.unwrap();
            std::future::pending().await
        };
        Reply::Later(Later { response: Box::pin(response), interim: Some(interim) })
    })
    .await;
    let (mut client, _) = connect(&server).await;
    let (mut response, _) = client.send_request(request("GET", "/").body(()).unwrap(), true).unwrap();
    let interim = within(poll_fn(|cx| response.poll_informational(cx))).await.unwrap().unwrap();
    assert_eq!((interim.status().as_u16(), interim.headers()["link"].as_bytes()), (103, &b"</a>"[..]));
}

#[tokio::test]
async fn the_client_is_told_to_continue_when_its_content_is_wanted() {
    let server = Server::start(echo).await;
    let (mut client, _) = connect(&server).await;
    let put = request("PUT", "/").header("expect", "100-continue").body(()).unwrap();
    let (mut response, mut send) = client.send_request(put, false).unwrap();
    let interim = within(poll_fn(|cx| response.poll_informational(cx))).await.unwrap().unwrap();
    assert_eq!(interim.status().as_u16(), 100);
    send.send_data(Bytes::from_static(b"hi"), true).unwrap();
    let mut body = within(response).await.unwrap().into_body();
    assert_eq!(within(body.data()).await.unwrap().unwrap(), "PUT a.example/ hi");
}

#[tokio::test]
async fn cookies_that_came_in_pieces_are_one_field() {
    let server =
        Server::start(|request| Reply::Now(ok(request.fields.joined(selvedge_types::name::COOKIE).unwrap())))
            .await;
    let (mut client, _) = connect(&server).await;
    let get = request("GET", "/").header("cookie", "a=1").header("cookie", "b=2").body(()).unwrap();
    let (_, _, content, _) = exchange(&mut client, get, &[]).await.unwrap();
    assert_eq!(content, b"a=1; b=2");
}

#[tokio::test]
async fn what_http1_refuses_is_refused_here_too() {
    let server = Server::start(echo).await;
    let (mut client, _) = connect(&server).await;
    for (refused, content) in [
        (request("GET", "/").header("host", "b.example"), &[][..]),
        (request("GET", "/").header("host", "a.example").header("host", "a.example"), &[]),
        (request("POST", "/").header("content_length", "5"), &["hello"]),
        (request("GET", "/"), &["content"]),
        (request("GET", "/").header("x", "a "), &[]),
        (HttpRequest::get("http://user@a.example/"), &[]),
    ] {
        let refused = refused.body(()).unwrap();
        let shown = format!("{refused:?}");
        let status = exchange(&mut client, refused, content).await.map(|r| r.0);
        assert_eq!(status.unwrap(), 400, "{shown}");
    }
    let long = request("GET", &format!("/{}", "a".repeat(9000))).body(()).unwrap();
    assert_eq!(exchange(&mut client, long, &[]).await.unwrap().0, 414);
}

#[tokio::test]
async fn a_client_that_cancels_too_much_is_told_to_calm_down() {
    let server = Server::start(|_| Reply::later(std::future::pending())).await;
    let (client, connection) = connect(&server).await;
    let flood = async {
        for _ in 0..10_000 {
            let Ok(mut ready) = client.clone().ready().await else { return };
            let Ok((_, mut stream)) = ready.send_request(request("GET", "/").body(()).unwrap(), true) else {
                return;
            };
            // The request goes out before it is cancelled.
            tokio::task::yield_now().await;
            stream.send_reset(h2::Reason::CANCEL);
        }
    };
    within(flood).await;
    drop(client.clone());
    assert_eq!(within(connection).await.unwrap(), Some(h2::Reason::ENHANCE_YOUR_CALM));
    assert_eq!(server.front.counters.cut_count(Cause::Resets), 1);
}

#[tokio::test]
async fn an_endless_header_block_ends_the_connection() {
    let server = Server::start(echo).await;
    let mut stream = server.connect().await;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    stream.write_all(b"\0\0\x01\x01\0\0\0\0\x01\x82").await.unwrap();
    let (mut read, mut write) = stream.into_split();
    // Continuation frames of an unknown field each, none of them the last.
    let flood = async { while write.write_all(b"\0\0\x07\x09\0\0\0\0\x01\x00\x01a\x03bcd").await.is_ok() {} };
    let (_, ()) = tokio::join!(read_all(&mut read), within(flood));
    assert_eq!(server.front.counters.open.get(), 0);
}

#[tokio::test]
async fn stopping_lets_streams_end_and_takes_no_more() {
    let (begun, mut began) = mpsc::unbounded_channel::<tokio::sync::oneshot::Sender<()>>();
    let server = Server::start(move |_| {
        let (go, gone) = tokio::sync::oneshot::channel();
        begun.send(go).unwrap();
        Reply::later(async move {
            gone.await.unwrap();
            ok("done")
        })
    })
    .await;
    let (mut client, connection) = connect(&server).await;
    let (response, _) = client.send_request(request("GET", "/").body(()).unwrap(), true).unwrap();
    let go = within(began.recv()).await.unwrap();
    server.tasks.stop();
    go.send(()).unwrap();
    let mut body = within(response).await.unwrap().into_body();
    assert_eq!(within(body.data()).await.unwrap().unwrap(), "done");
    assert_eq!(within(connection).await.unwrap(), None);
    assert!(server.tasks.shut_down(Duration::from_secs(10)).await);
}
