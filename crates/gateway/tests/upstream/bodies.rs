//! Content in both directions.

use crate::support::*;
use bytes::Bytes;
use selvedge_cache::semantics::ProxyError;
use selvedge_exchange::{Body, BodyError, Frame};
use selvedge_gateway::upstream::*;
use selvedge_types::resource::Period;
use selvedge_types::{Fields, Method, name};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

#[tokio::test]
async fn content_of_every_framing_and_size_comes_whole() {
    for size in [0, 1, 3_000, 9_000, 200_000, 5_000_000] {
        let content = "x".repeat(size);
        for chunked in [false, true] {
            let wire = if chunked {
                let chunks = content.as_bytes().chunks(70_001);
                let chunks: String =
                    chunks.map(|c| format!("{:x}\r\n{}\r\n", c.len(), "x".repeat(c.len()))).collect();
                format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n")
            } else {
                format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n{content}")
            };
            let origin = TestOrigin::always(Box::leak(wire.into_bytes().into())).await;
            let group = group(&[&origin.url()]);
            for _ in 0..2 {
                assert_eq!(get_text(&group).await.unwrap().len(), size, "chunked: {chunked}");
            }
            assert_eq!(origin.connections(), 1, "{size} chunked: {chunked}");
        }
    }
}

#[tokio::test]
async fn content_that_ends_early_or_is_malformed_is_an_error() {
    let malformed = |detail| Some(BodyError::Malformed(detail));
    for (answer, error) in [
        (&b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc"[..], Some(BodyError::Incomplete)),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", Some(BodyError::Incomplete)),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
            Some(BodyError::Incomplete),
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n",
            malformed("chunk size is malformed"),
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
            malformed("chunk does not end in CRLF"),
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n",
            malformed("chunk size is malformed"),
        ),
        (b"HTTP/1.1 200 OK\r\n\r\nabc", None),
        (b"HTTP/1.0 200 OK\r\n\r\nabc", None),
    ] {
        let origin = TestOrigin::start(move |_, mut stream| async move {
            read_head(&mut stream).await;
            stream.write_all(answer).await.unwrap();
        })
        .await;
        let result = get_text(&group(&[&origin.url()])).await;
        assert_eq!(result.clone().err(), error, "{}", String::from_utf8_lossy(answer));
        assert!(error.is_some() || result.unwrap() == "abc");
    }
}

#[tokio::test]
async fn trailers_follow_content() {
    let wire = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n";
    let origin = TestOrigin::always(wire).await;
    let mut response = get(&group(&[&origin.url()])).await.unwrap();
    assert!(matches!(response.body.frame().await, Some(Ok(Frame::Data(data))) if data == "a"));
    let Some(Ok(Frame::Trailers(trailers))) = response.body.frame().await else { panic!("no trailers") };
    assert_eq!(trailers.get_all_named(b"x-sum").next(), Some(&b"1"[..]));
    assert!(response.body.frame().await.is_none());
}

#[tokio::test]
async fn a_transfer_that_stands_still_is_cut() {
    let origin = TestOrigin::always(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc").await;
    for (idle, total) in [(30, 10_000), (10_000, 30)] {
        let mut table = table(&[&origin.url()]);
        table.idle_timeout = Period::from_millis(idle);
        table.total_timeout = Period::from_millis(total);
        let group = group_of(&table);
        assert_eq!(get_text(&group).await, Err(BodyError::TimedOut));
        assert_eq!(group.status()[0].idle_connections, 0);
    }
}

#[tokio::test]
async fn a_response_dropped_early_frees_its_connection() {
    for (answer, connections) in [
        // Never complete: cut.
        (&b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nabc"[..], 2),
        // What is left is small and there: read away.
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n", 1),
    ] {
        let origin = TestOrigin::always(answer).await;
        let group = group(&[&origin.url()]);
        for _ in 0..2 {
            let mut response = get(&group).await.unwrap();
            assert!(matches!(response.body.frame().await, Some(Ok(Frame::Data(_)))));
            drop(response);
            assert_eq!(group.status()[0].in_flight, 0);
        }
        assert_eq!(origin.connections(), connections);
    }
}

#[tokio::test]
async fn an_origin_sends_no_more_than_is_read() {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    let origin = TestOrigin::start(move |_, mut stream| {
        let count = count.clone();
        async move {
            read_head(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n").await.unwrap();
            let piece = vec![b'x'; 65_536];
            // Ends when nothing is taken any more.
            while let Ok(Ok(())) = timeout(Duration::from_millis(200), stream.write_all(&piece)).await {
                count.fetch_add(piece.len(), SeqCst);
            }
            count.fetch_add(1, SeqCst);
        }
    })
    .await;
    let mut response = get(&group(&[&origin.url()])).await.unwrap();
    assert!(matches!(response.body.frame().await, Some(Ok(Frame::Data(_)))));
    until(|| sent.load(SeqCst) % 65_536 == 1).await;
    // What the kernel's buffers hold on loopback, not the billion bytes announced.
    assert!(sent.load(SeqCst) < 32 << 20, "{} bytes taken", sent.load(SeqCst));
}

/// Answers with the request's head and content, read to its end by `length` or the last chunk.
async fn echoing() -> TestOrigin {
    TestOrigin::start(|_, mut stream| async move {
        while let Some(head) = read_head(&mut stream).await {
            let mut content = Vec::new();
            if head.contains("transfer-encoding: chunked") {
                while !content.ends_with(b"0\r\n\r\n") && !content.ends_with(b"x-sum: 1\r\n\r\n") {
                    content.push(stream.read_u8().await.unwrap());
                }
            } else if let Some((_, rest)) = head.split_once("content-length: ") {
                let length: usize = rest.split("\r\n").next().unwrap().parse().unwrap();
                content.resize(length, 0);
                stream.read_exact(&mut content).await.unwrap();
            }
            let answer = format!(
                "HTTP/1.1 200 OK\r\nX-Length: {}\r\nContent-Length: {}\r\n\r\n",
                head.len(),
                content.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.write_all(&content).await.unwrap();
        }
    })
    .await
}

async fn post(group: &OriginGroup, body: Body) -> Result<String, FetchError> {
    let response = group.fetch(request(Method::Post, "/", body), FetchOptions::default()).await?;
    Ok(text(response).await.unwrap())
}

#[tokio::test]
async fn request_content_is_sent_by_length_or_in_chunks() {
    let origin = echoing().await;
    let group = group(&[&origin.url()]);
    assert_eq!(post(&group, Body::Empty).await.unwrap(), "");
    assert_eq!(post(&group, Body::from("abc")).await.unwrap(), "abc");
    let large = Bytes::from(vec![b'y'; 3_000_000]);
    assert_eq!(post(&group, Body::from(large)).await.unwrap().len(), 3_000_000);
    for (length, trailers, wire) in [
        (Some(6), false, "abcdef"),
        (None, false, "3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n"),
        (None, true, "3\r\nabc\r\n3\r\ndef\r\n0\r\nx-sum: 1\r\n\r\n"),
    ] {
        let (feed, body) = fed(length);
        let feeding = tokio::spawn(async move {
            feed.send(data("abc")).await.unwrap();
            feed.send(data("def")).await.unwrap();
            if trailers {
                let fields = Fields::from_wire(b"x-sum: 1\r\n").unwrap();
                feed.send(Ok(Frame::Trailers(fields))).await.unwrap();
            }
        });
        assert_eq!(post(&group, body).await.unwrap(), wire);
        feeding.await.unwrap();
    }
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn request_content_that_is_not_what_was_announced_is_never_sent_as_if() {
    let origin = echoing().await;
    let group = group(&[&origin.url()]);
    for (length, frames) in [
        (Some(5), vec![data("abc")]),
        (Some(2), vec![data("abc")]),
        (None, vec![data("abc"), Err(BodyError::Incomplete)]),
    ] {
        let (feed, body) = fed(length);
        for frame in frames {
            feed.send(frame).await.unwrap();
        }
        drop(feed);
        let error = post(&group, body).await.unwrap_err();
        assert_eq!((error.kind, error.side()), (ProxyError::HttpRequestError, Side::Client));
    }
}

#[tokio::test]
async fn an_answer_that_comes_before_the_content_is_taken() {
    let origin = TestOrigin::start(|_, mut stream| async move {
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno").await.unwrap();
    })
    .await;
    let group = group(&[&origin.url()]);
    let (_feed, body) = fed(Some(1_000_000));
    let response = group.fetch(request(Method::Post, "/", body), FetchOptions::default()).await.unwrap();
    assert_eq!(response.status.code(), 413);
    assert_eq!(text(response).await.unwrap(), "no");
    assert_eq!(group.status()[0].idle_connections, 0);
    let whole = Body::from(Bytes::from(vec![0; 20_000_000]));
    let response = group.fetch(request(Method::Post, "/", whole), FetchOptions::default()).await.unwrap();
    assert_eq!(response.status.code(), 413);
}

#[tokio::test]
async fn content_waits_for_consent_when_the_client_does() {
    for consents in [true, false] {
        let origin = TestOrigin::start(move |_, mut stream| async move {
            let head = read_head(&mut stream).await.unwrap();
            assert!(head.contains("Expect: 100-continue"), "{head}");
            if !consents {
                return stream
                    .write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
                    .await
                    .unwrap();
            }
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
            let mut content = [0; 3];
            stream.read_exact(&mut content).await.unwrap();
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        })
        .await;
        let (feed, body) = fed(Some(3));
        feed.send(data("abc")).await.unwrap();
        let mut request = request(Method::Post, "/", body);
        request.fields.append(b"Expect", b"100-continue").unwrap();
        let response = group(&[&origin.url()]).fetch(request, FetchOptions::default()).await.unwrap();
        assert_eq!(response.status.code(), if consents { 204 } else { 403 });
        assert!(response.fields.get(name::CONTENT_LENGTH).is_none_or(|v| v == b"0"));
    }
}
