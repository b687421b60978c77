//! What passes from an origin to a client, whatever version each of them speaks.

use super::world::{Origin, World, request};
use bytes::Bytes;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue};
use selvedge_exchange::Handler;
use selvedge_gateway::front::{Endpoint, Front, FrontOptions};
use selvedge_observe::Registry;
use selvedge_rt::{Clock, Net, OnEnd, Tasks};
use selvedge_types::name;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A front before the world's plane.
async fn front(world: &World) -> SocketAddr {
    let handler = Arc::new(world.plane.clone());
    let front = Front::new(handler, FrontOptions::default(), Clock::real(), &Registry::default());
    let listener = Net::Real.bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let tasks = Tasks::real();
    tasks.spawn("listener", OnEnd::Forget, front.serve(listener, Endpoint::default(), tasks.clone()));
    addr
}

/// An origin that speaks HTTP/2: early hints, then the request's `te` and content, then trailers.
async fn grpc_like() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((request, respond))) = connection.accept().await {
                    tokio::spawn(answer(request, respond));
                }
            });
        }
    });
    addr
}

async fn answer(request: http::Request<h2::RecvStream>, mut respond: SendResponse<Bytes>) {
    let hints = http::Response::builder().status(103).header("link", "</a>").body(()).unwrap();
    respond.send_informational(hints).unwrap();
    let te = request.headers().get("te").cloned().unwrap_or(HeaderValue::from_static("none"));
    let mut content = request.into_body();
    let mut all = Vec::new();
    while let Some(Ok(data)) = content.data().await {
        content.flow_control().release_capacity(data.len()).unwrap();
        all.extend_from_slice(&data);
    }
    let head = http::Response::builder().header("x-te", te).body(()).unwrap();
    let mut out = respond.send_response(head, false).unwrap();
    out.send_data(all.into(), false).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    out.send_trailers(trailers).unwrap();
}

fn h2_manifest(addr: SocketAddr) -> String {
    format!("[site.a]\nhosts = \"*\"\norigin = {{ targets = [\"http://{addr}\"], protocol = \"h2\" }}")
}

#[tokio::test]
async fn a_call_over_http2_passes_with_its_hints_te_and_trailers() {
    let world = World::new(&h2_manifest(grpc_like().await));
    let stream = TcpStream::connect(front(&world).await).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let call = http::Request::post("http://a.test/call").header("te", "trailers").body(()).unwrap();
    let (mut response, mut send) = client.ready().await.unwrap().send_request(call, false).unwrap();
    send.send_data(Bytes::from_static(b"ping"), true).unwrap();
    let hints = std::future::poll_fn(|cx| response.poll_informational(cx)).await.unwrap().unwrap();
    assert_eq!((hints.status().as_u16(), &hints.headers()["link"]), (103, &HeaderValue::from_static("</a>")));
    let (head, mut body) = response.await.unwrap().into_parts();
    assert_eq!(head.headers["x-te"], "trailers");
    assert_eq!(head.headers["via"], "2.0 selvedge");
    assert_eq!(body.data().await.unwrap().unwrap(), "ping");
    assert!(body.data().await.is_none());
    assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], "0");
}

#[tokio::test]
async fn trailers_of_an_http2_origin_reach_a_client_over_http11() {
    let world = World::new(&h2_manifest(grpc_like().await));
    let mut stream = TcpStream::connect(front(&world).await).await.unwrap();
    let call = b"POST /call HTTP/1.1\r\nHost: a.test\r\nTE: trailers\r\nConnection: TE, close\r\nContent-Length: 4\r\n\r\nping";
    stream.write_all(call).await.unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).await.unwrap();
    assert!(all.starts_with("HTTP/1.1 103 "), "{all}");
    assert!(all.contains("x-te: trailers\r\n"), "{all}");
    assert!(all.ends_with("\r\n4\r\nping\r\n0\r\ngrpc-status: 0\r\n\r\n"), "{all}");
}

#[tokio::test]
async fn via_names_the_version_that_the_answer_came_in() {
    let origin = Origin::start("o", "Cache-Control: max-age=600|").await;
    let old = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let old_addr = old.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = old.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await;
        stream.write_all(b"HTTP/1.0 200 OK\r\nCache-Control: max-age=600\r\n\r\nold").await.unwrap();
    });
    let of = |addr| format!("[site.a]\nhosts = \"*\"\norigin = \"http://{addr}\"");
    for (manifest, via) in [(of(origin.addr), "1.1 selvedge"), (of(old_addr), "1.0 selvedge")] {
        let world = World::new(&manifest);
        // The second answer is stored.
        for _ in 0..2 {
            let response = world.plane.handle(request("GET /", "")).wait().await;
            assert_eq!(response.fields.get_str(name::VIA), Some(via));
            response.body.collect(1 << 20).await.unwrap();
        }
    }
}
