//! HTTP/1.1: what is sent, what is taken, when connections are used again.

use crate::support::*;
use selvedge_cache::semantics::ProxyError;
use selvedge_exchange::{Body, Frame, Interim};
use selvedge_gateway::upstream::*;
use selvedge_types::resource::Period;
use selvedge_types::{Fields, Method, Status, name};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, Semaphore, mpsc};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn one_connection_serves_requests_one_after_another() {
    let origin = TestOrigin::always(OK).await;
    let group = group(&[&origin.url()]);
    for _ in 0..3 {
        assert_eq!(get_text(&group).await.unwrap(), "ok");
    }
    assert_eq!(origin.connections(), 1);
    assert_eq!(group.status()[0].in_flight, 0);
    assert_eq!(group.status()[0].idle_connections, 1);
}

#[tokio::test]
async fn a_request_is_sent_without_its_connections_fields_and_with_host() {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = heads.clone();
    let origin = TestOrigin::start(move |_, mut stream| {
        let seen = seen.clone();
        async move {
            while let Some(head) = read_head(&mut stream).await {
                seen.lock().unwrap().push(head);
                stream.write_all(OK).await.unwrap();
            }
        }
    })
    .await;
    let own = origin.addr.to_string();
    for (host, sent) in [("request", "site.example"), ("target", own.as_str()), ("x.example", "x.example")] {
        let mut table = table(&[&origin.url()]);
        table.host = selvedge_types::resource::Text::parse_text(host).unwrap();
        get(&group_of(&table)).await.unwrap();
        let head = heads.lock().unwrap().pop().unwrap();
        assert_eq!(head, format!("GET /a?b HTTP/1.1\r\nAccept: */*\r\nhost: {sent}\r\n\r\n"));
    }
}

#[tokio::test]
async fn malformed_answers_are_errors_and_close_the_connection() {
    use ProxyError::*;
    let large: &[u8] =
        Box::leak(format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "a".repeat(70_000)).into_bytes().into());
    for (answer, kind) in [
        (&b"nonsense\r\n\r\n"[..], HttpProtocolError),
        (b"HTTP/2.0 200 OK\r\n\r\n", HttpProtocolError),
        (b"HTTP/1.1 99 x\r\n\r\n", HttpProtocolError),
        (b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", HttpProtocolError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", HttpProtocolError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", HttpProtocolError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\na", HttpProtocolError),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            HttpProtocolError,
        ),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", HttpProtocolError),
        (b"HTTP/1.1 200 OK\r\nA: 1\r\n folded\r\n\r\n", HttpProtocolError),
        (b"HTTP/1.1 200 OK\r\nA : 1\r\n\r\n", HttpProtocolError),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", HttpUpgradeFailed),
        (large, HttpResponseHeaderSectionSize),
    ] {
        let origin = TestOrigin::always(answer).await;
        let error = get(&group(&[&origin.url()])).await.unwrap_err();
        assert_eq!(
            error.kind,
            kind,
            "{} for {}",
            error,
            String::from_utf8_lossy(&answer[..answer.len().min(80)])
        );
        assert_eq!((error.kind.status(), origin.connections()), (Status::BAD_GATEWAY, 1));
    }
}

#[tokio::test]
async fn a_head_that_ends_early_is_an_error() {
    for (answer, kind) in [
        (&b""[..], ProxyError::ConnectionTerminated),
        (b"HTTP/1.1 200 OK\r\nA: 1\r\n", ProxyError::HttpResponseIncomplete),
    ] {
        let origin = TestOrigin::start(move |_, mut stream| async move {
            read_head(&mut stream).await;
            stream.write_all(answer).await.unwrap();
        })
        .await;
        assert_eq!(get(&group(&[&origin.url()])).await.unwrap_err().kind, kind);
    }
}

/// Serves one request on each connection and closes when the second one comes.
async fn closing_after_one() -> TestOrigin {
    TestOrigin::start(|_, mut stream| async move {
        read_head(&mut stream).await;
        stream.write_all(OK).await.unwrap();
        read_head(&mut stream).await;
    })
    .await
}

#[tokio::test]
async fn a_request_over_a_connection_that_turns_out_closed_is_sent_again() {
    let origin = closing_after_one().await;
    let group = group(&[&origin.url()]);
    for round in 1..4 {
        assert_eq!(get_text(&group).await.unwrap(), "ok");
        assert_eq!(origin.connections(), round);
    }
}

#[tokio::test]
async fn a_request_that_is_not_safe_to_repeat_is_not() {
    let origin = closing_after_one().await;
    let group = group(&[&origin.url()]);
    get(&group).await.unwrap();
    let post = request(Method::Post, "/", Body::from("x"));
    let error = group.fetch(post, FetchOptions::default()).await.unwrap_err();
    assert_eq!((error.kind, error.stage), (ProxyError::ConnectionTerminated, Stage::Stale));
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn a_connection_closed_while_idle_is_not_used() {
    let (closed, mut was_closed) = mpsc::channel(1);
    let origin = TestOrigin::start(move |_, mut stream| {
        let closed = closed.clone();
        async move {
            read_head(&mut stream).await;
            stream.write_all(OK).await.unwrap();
            drop(stream);
            closed.send(()).await.unwrap();
        }
    })
    .await;
    let group = group(&[&origin.url()]);
    for _ in 0..2 {
        let post = request(Method::Post, "/", Body::from("x"));
        group.fetch(post, FetchOptions::default()).await.unwrap();
        was_closed.recv().await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(origin.connections(), 2);
}

#[tokio::test]
async fn bytes_after_an_answer_make_its_connection_unusable() {
    let origin =
        TestOrigin::always(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n").await;
    let group = group(&[&origin.url()]);
    for round in 1..3 {
        assert_eq!(get_text(&group).await.unwrap(), "ok");
        assert_eq!(origin.connections(), round);
    }
}

#[tokio::test]
async fn head_and_304_have_no_content_but_may_state_its_length() {
    for (method, answer) in [
        (Method::Head, &b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"[..]),
        (Method::Get, b"HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n"),
    ] {
        let origin = TestOrigin::always(answer).await;
        let group = group(&[&origin.url()]);
        for _ in 0..2 {
            let request = request(method.clone(), "/", Body::Empty);
            let response = group.fetch(request, FetchOptions::default()).await.unwrap();
            assert_eq!(response.fields.get(name::CONTENT_LENGTH), Some(&b"1000"[..]));
            assert_eq!(response.body.length(), Some(0));
        }
        assert_eq!(origin.connections(), 1);
    }
}

#[tokio::test]
async fn interim_responses_are_passed_on() {
    let early = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
    let origin = TestOrigin::always(early).await;
    let (interim, mut interims) = mpsc::channel::<Interim>(4);
    let options = FetchOptions { interim: Some(interim) };
    let response =
        group(&[&origin.url()]).fetch(request(Method::Get, "/", Body::Empty), options).await.unwrap();
    assert_eq!(response.status.code(), 204);
    let hint = interims.recv().await.unwrap();
    assert_eq!((hint.status.code(), hint.fields.get(name::LINK)), (103, Some(&b"</a>"[..])));
    assert!(interims.recv().await.is_none());
}

#[tokio::test]
async fn endless_interim_responses_are_an_error() {
    let flood: &[u8] = Box::leak(b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(100).into());
    let origin = TestOrigin::always(flood).await;
    assert_eq!(get(&group(&[&origin.url()])).await.unwrap_err().kind, ProxyError::HttpProtocolError);
}

#[tokio::test]
async fn an_upgrade_hands_the_connection_over() {
    let origin = TestOrigin::start(|_, mut stream| async move {
        let head = read_head(&mut stream).await.unwrap();
        assert!(head.contains("upgrade: echo\r\n") && head.contains("connection: upgrade\r\n"), "{head}");
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\nhello";
        stream.write_all(answer).await.unwrap();
        let mut byte = [0];
        stream.read_exact(&mut byte).await.unwrap();
        stream.write_all(&byte).await.unwrap();
    })
    .await;
    let mut request = request(Method::Get, "/", Body::Empty);
    request.fields = Fields::from_wire(b"Upgrade: echo\r\n").unwrap();
    let options = FetchOptions::default();
    let response = group(&[&origin.url()]).fetch(request, options).await.unwrap();
    assert_eq!(response.status.code(), 101);
    assert_eq!(response.fields.get(name::UPGRADE), Some(&b"echo"[..]));
    let mut tunnel = response.tunnel.unwrap();
    tunnel.write_all(b"!").await.unwrap();
    let mut got = String::new();
    tunnel.read_to_string(&mut got).await.unwrap();
    assert_eq!(got, "hello!");
}

#[tokio::test]
async fn a_group_that_is_not_used_any_more_keeps_only_what_is_under_way() {
    let (closed, go_on) = (Arc::new(Semaphore::new(0)), Arc::new(Notify::new()));
    let (seen, told) = (closed.clone(), go_on.clone());
    let origin = TestOrigin::start(move |number, mut stream| {
        let (seen, told) = (seen.clone(), told.clone());
        async move {
            let Some(head) = read_head(&mut stream).await else { return };
            if head.contains("upgrade: echo") {
                let answer =
                    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\n";
                stream.write_all(answer).await.unwrap();
                let mut byte = [0];
                stream.read_exact(&mut byte).await.unwrap();
                return stream.write_all(&byte).await.unwrap();
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no").await.unwrap();
            if number == 1 {
                told.notified().await;
            }
            stream.write_all(b"k").await.unwrap();
            assert!(read_head(&mut stream).await.is_none());
            seen.add_permits(1);
        }
    })
    .await;
    let (upstream, _) = upstream_with(Arc::new(NoNames));
    let group = upstream.group("test", &table(&[&origin.url()]), None).unwrap();
    let mut request = request(Method::Get, "/", Body::Empty);
    request.fields = Fields::from_wire(b"Upgrade: echo\r\n").unwrap();
    let mut tunnel = group.fetch(request, FetchOptions::default()).await.unwrap().tunnel.unwrap();
    let under_way = get(&group).await.unwrap();
    assert_eq!(get_text(&group).await.unwrap(), "ok");
    drop(group);
    closed.acquire().await.unwrap().forget();
    go_on.notify_one();
    assert_eq!(text(under_way).await.unwrap(), "ok");
    closed.acquire().await.unwrap().forget();
    tunnel.write_all(b"!").await.unwrap();
    let mut got = String::new();
    tunnel.read_to_string(&mut got).await.unwrap();
    assert_eq!(got, "!");
}

#[tokio::test]
async fn an_origin_that_does_not_answer_in_time_is_given_up() {
    let origin = TestOrigin::start(|_, mut stream| async move {
        read_head(&mut stream).await;
        read_head(&mut stream).await;
    })
    .await;
    for (first_byte, total) in [(30, 10_000), (10_000, 30)] {
        let mut table = table(&[&origin.url()]);
        table.first_byte_timeout = Period::from_millis(first_byte);
        table.total_timeout = Period::from_millis(total);
        let error = get(&group_of(&table)).await.unwrap_err();
        assert_eq!(error.kind, ProxyError::HttpResponseTimeout);
        assert_eq!(error.kind.status(), Status::GATEWAY_TIMEOUT);
    }
}

#[tokio::test]
async fn requests_beyond_the_limit_wait_and_too_many_are_refused() {
    let origin = TestOrigin::always(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nbegin").await;
    let mut table = table(&[&origin.url()]);
    (table.max_connections, table.max_waiting) = (1, 1);
    let group = group_of(&table);
    let mut first = get(&group).await.unwrap();
    assert!(matches!(first.body.frame().await, Some(Ok(Frame::Data(_)))));
    let waiting = tokio::spawn({
        let group = group.clone();
        async move { get(&group).await.map(|r| r.status) }
    });
    until(|| group.status()[0].in_flight == 2).await;
    let refused = get(&group).await.unwrap_err();
    assert_eq!(refused.kind, ProxyError::ConnectionLimitReached);
    assert_eq!(refused.kind.status(), Status::SERVICE_UNAVAILABLE);
    drop(first);
    assert_eq!(waiting.await.unwrap().unwrap(), Status::OK);
}
