//! Slow, greedy and broken clients.

use super::super::counters::Cause;
use super::wire::Wired;
use super::*;

/// Timeouts that do not pass: each test shortens the one it looks at.
pub(super) fn patient() -> Timeouts {
    let long = Duration::from_secs(3600);
    Timeouts {
        handshake: long,
        header_read: long,
        body_read: long,
        write: long,
        keep_alive: long,
        exchange: long,
        tunnel: long,
        tunnel_total: long,
        drain: long,
        linger: Duration::from_secs(2),
    }
}

const SHORT: Duration = Duration::from_secs(10);

fn start(timeouts: Timeouts) -> Wired {
    start_with(timeouts, echo)
}

fn start_with(timeouts: Timeouts, handler: impl Fn(Request) -> Reply + Send + Sync + 'static) -> Wired {
    Wired::start(FrontOptions { timeouts, ..FrontOptions::default() }, handler)
}

#[tokio::test(start_paused = true)]
async fn a_head_that_trickles_gets_408_however_steadily_it_comes() {
    let server = start(Timeouts { header_read: SHORT, ..patient() });
    let (mut read, mut write) = tokio::io::split(server.connect());
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

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_request_is_closed_without_a_word() {
    let server = start(Timeouts { header_read: SHORT, ..patient() });
    assert_eq!(server.exchange("").await, "");
    let server = start(Timeouts { keep_alive: SHORT, ..patient() });
    let all = server.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(all.ends_with("GET a/"), "{all}");
}

#[tokio::test(start_paused = true)]
async fn content_that_stops_coming_is_an_error_to_its_reader() {
    let server = start(Timeouts { body_read: SHORT, ..patient() });
    let all = server.exchange("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf").await;
    assert!(all.ends_with("POST a/ half TimedOut"), "{all}");
    assert!(all.contains("connection: close"), "{all}");
    assert_eq!(server.front.counters.cut_count(Cause::BodyTimeout), 1);
}

#[tokio::test(start_paused = true)]
async fn content_that_nobody_waits_for_any_more_may_stop_coming() {
    // As an origin does that answers early: it reads some, then answers for longer than content may take.
    let server = start_with(Timeouts { body_read: SHORT, ..patient() }, |mut request| {
        Reply::later(async move {
            request.body.frame().await.unwrap().unwrap();
            // Asks for more, which does not come.
            let _ = tokio::time::timeout(SHORT / 2, request.body.frame()).await;
            drop(request);
            tokio::time::sleep(SHORT).await;
            ok("early")
        })
    });
    let mut stream = server.connect();
    stream.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf").await.unwrap();
    let all = read_until(&mut stream, "early").await;
    assert!(!all.contains("connection: close"), "{all}");
    stream.write_all(b"+half").await.unwrap();
    stream.write_all(b"POST /next HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx").await.unwrap();
    read_until(&mut stream, "early").await;
    assert_eq!(server.front.counters.cut_count(Cause::BodyTimeout), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_is_cut() {
    let server = start_with(Timeouts { write: SHORT, ..patient() }, |_| Reply::Now(ok(vec![b'x'; 300_000])));
    let mut stream = server.connect();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    tokio::time::sleep(2 * SHORT).await;
    assert_eq!(server.front.counters.cut_count(Cause::WriteTimeout), 1);
    assert!(read_all(&mut stream).await.len() < 300_000);
}

#[tokio::test(start_paused = true)]
async fn an_exchange_has_a_time_in_all() {
    let server =
        start_with(Timeouts { exchange: SHORT, ..patient() }, |_| Reply::later(std::future::pending()));
    assert_eq!(server.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await, "");
    assert_eq!(server.front.counters.cut_count(Cause::ExchangeTimeout), 1);
}

#[tokio::test(start_paused = true)]
async fn malformed_and_oversized_content_is_an_error_to_its_reader() {
    let mut options = FrontOptions::default();
    options.connections.request_content_bytes_max = 10;
    let server = Wired::start(options, echo);
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

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_in_the_middle_leaves_no_reader_waiting() {
    let (send, mut ended) = tokio::sync::mpsc::unbounded_channel();
    let server = start_with(patient(), move |mut request| {
        let send = send.clone();
        Reply::later(async move {
            while let Some(frame) = request.body.frame().await {
                if let Err(error) = frame {
                    send.send(error).unwrap();
                }
            }
            ok("x")
        })
    });
    let mut stream = server.connect();
    stream.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf").await.unwrap();
    drop(stream);
    assert_eq!(within(ended.recv()).await, Some(BodyError::Incomplete));
}

#[tokio::test(start_paused = true)]
async fn connections_are_limited_in_all_and_by_client() {
    for (total_max, per_client_max, cause) in
        [(2, 10, Cause::TotalConnections), (10, 2, Cause::ClientConnections)]
    {
        let mut options = FrontOptions::default();
        options.connections.total_max = total_max;
        options.connections.per_client_max = per_client_max;
        let server = Wired::start(options, echo);
        let mut held = Vec::new();
        for _ in 0..2 {
            let mut stream = server.connect();
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

#[tokio::test(start_paused = true)]
async fn noise_is_refused() {
    let server = start(patient());
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
