//! Slow, greedy and broken clients.

use super::super::counters::Cause;
use super::*;

/// Timeouts that a test can wait for: only the one looked at is short.
fn patient() -> Timeouts {
    let long = Duration::from_secs(60);
    Timeouts {
        handshake: long,
        header_read: long,
        body_read: long,
        write: long,
        keep_alive: long,
        exchange: long,
        tunnel: long,
        drain: long,
        linger: Duration::from_millis(200),
    }
}

const SHORT: Duration = Duration::from_millis(80);

async fn start(timeouts: Timeouts) -> Server {
    let options = FrontOptions { timeouts, ..FrontOptions::default() };
    Server::with(options, Endpoint::default(), echo).await
}

#[tokio::test]
async fn a_head_that_trickles_gets_408_however_steadily_it_comes() {
    let server = start(Timeouts { header_read: SHORT, ..patient() }).await;
    let (mut read, mut write) = server.connect().await.into_split();
    let trickle = async {
        let mut every = tokio::time::interval(SHORT / 8);
        write.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n").await.unwrap();
        // Fails when the server closes.
        while write.write_all(b"X: y\r\n").await.is_ok() {
            every.tick().await;
        }
    };
    let (all, ()) = tokio::join!(read_all(&mut read), within(trickle));
    assert!(all.starts_with("HTTP/1.1 408"), "{all}");
    assert_eq!(server.front.counters.cut_count(Cause::HeaderTimeout), 1);
}

#[tokio::test]
async fn a_connection_without_a_request_is_closed_without_a_word() {
    let server = start(Timeouts { header_read: SHORT, ..patient() }).await;
    assert_eq!(server.exchange("").await, "");
    let server = start(Timeouts { keep_alive: SHORT, ..patient() }).await;
    let all = server.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(all.ends_with("GET a/"), "{all}");
}

#[tokio::test]
async fn content_that_stops_coming_is_an_error_to_its_reader() {
    let server = start(Timeouts { body_read: SHORT, ..patient() }).await;
    let all = server.exchange("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf").await;
    assert!(all.ends_with("POST a/ half TimedOut"), "{all}");
    assert!(all.contains("connection: close"), "{all}");
    assert_eq!(server.front.counters.cut_count(Cause::BodyTimeout), 1);
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut() {
    let options =
        FrontOptions { timeouts: Timeouts { write: SHORT, ..patient() }, ..FrontOptions::default() };
    let server = Server::with(options, Endpoint::default(), |_| Reply::Now(ok(vec![b'x'; 30_000_000]))).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    while server.front.counters.cut_count(Cause::WriteTimeout) == 0 {
        tokio::task::yield_now().await;
    }
    assert!(read_all(&mut stream).await.len() < 30_000_000);
}

#[tokio::test]
async fn an_exchange_has_a_time_in_all() {
    let options =
        FrontOptions { timeouts: Timeouts { exchange: SHORT, ..patient() }, ..FrontOptions::default() };
    let server = Server::with(options, Endpoint::default(), |_| Reply::later(std::future::pending())).await;
    assert_eq!(server.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await, "");
    assert_eq!(server.front.counters.cut_count(Cause::ExchangeTimeout), 1);
}

#[tokio::test]
async fn malformed_and_oversized_content_is_an_error_to_its_reader() {
    let mut options = FrontOptions::default();
    options.connections.request_content_bytes_max = 10;
    let server = Server::with(options, Endpoint::default(), echo).await;
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (wire, expected) in [
        (
            format!("{chunked}5\r\nhello\r\nx\r\n"),
            "POST a/ hello Malformed(\"the client broke the framing\")",
        ),
        (format!("{chunked}5\r\nhello\r\n6\r\nworlds\r\n0\r\n\r\n"), "POST a/ hello TooLarge { limit: 10 }"),
    ] {
        let all = server.exchange(wire).await;
        assert!(all.ends_with(expected) && all.contains("connection: close"), "{all}");
    }
    let all = server.exchange("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n").await;
    assert!(all.starts_with("HTTP/1.1 413"), "{all}");
}

#[tokio::test]
async fn a_client_that_goes_away_in_the_middle_leaves_no_reader_waiting() {
    let (send, mut ended) = tokio::sync::mpsc::unbounded_channel();
    let server = Server::start(move |mut request| {
        let send = send.clone();
        Reply::later(async move {
            while let Some(frame) = request.body.frame().await {
                if let Err(error) = frame {
                    send.send(error).unwrap();
                }
            }
            ok("x")
        })
    })
    .await;
    let mut stream = server.connect().await;
    stream.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf").await.unwrap();
    drop(stream);
    assert_eq!(within(ended.recv()).await, Some(BodyError::Incomplete));
}

#[tokio::test]
async fn connections_are_limited_in_all_and_by_client() {
    for (total_max, per_client_max, cause) in
        [(2, 10, Cause::TotalConnections), (10, 2, Cause::ClientConnections)]
    {
        let mut options = FrontOptions::default();
        options.connections.total_max = total_max;
        options.connections.per_client_max = per_client_max;
        let server = Server::with(options, Endpoint::default(), echo).await;
        let mut held = Vec::new();
        for _ in 0..2 {
            let mut stream = server.connect().await;
            stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
            read_until(&mut stream, "GET a/").await;
            held.push(stream);
        }
        assert_eq!(server.exchange("").await, "");
        assert_eq!(server.front.counters.cut_count(cause), 1);
        assert_eq!(server.front.counters.open.get(), 2);
        drop(held);
        while server.front.counters.open.get() > 0 {
            tokio::task::yield_now().await;
        }
        let all = server.exchange("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        assert!(all.ends_with("GET a/"), "{all}");
    }
}

#[tokio::test]
async fn noise_is_refused() {
    let server = Server::start(echo).await;
    for wire in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01"[..],
        b"GET /\r\n",
        b"\r\n\r\n\r\n",
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        &[&b"GET /"[..], &[b'a'; 100_000]].concat(),
        &[&b"GET / HTTP/1.1\r\nX: "[..], &[b'a'; 100_000]].concat(),
    ] {
        let all = server.exchange(wire).await;
        let status = all.split(' ').nth(1).unwrap_or_default();
        assert!(["400", "405", "414", "431", "505"].contains(&status), "{:?} {all}", &wire[..8]);
        assert!(all.contains("proxy-status: selvedge; error=http_request_error\r\n"), "{all}");
    }
}
