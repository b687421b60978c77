//! Requests that servers cut at different places, end to end.

use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};

fn unescape(text: &str) -> Vec<u8> {
    let mut parts = text.split("\\x");
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (hex, rest) = part.split_at(2);
        bytes.push(u8::from_str_radix(hex, 16).unwrap());
        bytes.extend_from_slice(rest.as_bytes());
    }
    bytes
}

#[tokio::test]
async fn what_is_ambiguous_gets_400_and_a_closed_connection_and_is_never_handled() {
    let handled = Arc::new(AtomicUsize::new(0));
    let count = handled.clone();
    let server = Server::start(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        let mut response = ok("taken");
        response.close = true;
        Reply::Now(response)
    })
    .await;
    let table = include_str!("../../../../http1/tests/data/desync.txt");
    for row in table.lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
        let mut columns = row.split(" | ");
        let verdict = columns.next().unwrap();
        let mut wire = unescape(columns.next().unwrap());
        wire.extend_from_slice(b"\r\nHost: a.example\r\n");
        for column in columns {
            wire.extend_from_slice(&unescape(column));
            wire.extend_from_slice(b"\r\n");
        }
        wire.extend_from_slice(b"\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n");
        let before = handled.load(Ordering::SeqCst);
        let all = server.exchange(&wire).await;
        let taken = handled.load(Ordering::SeqCst) - before;
        match verdict {
            "pass" => assert!(all.starts_with("HTTP/1.1 200") && taken == 1, "{row}\n{all}"),
            "refuse" => assert!(all.starts_with("HTTP/1.1 400") && taken == 0, "{row}\n{all}"),
            _ => assert!(all.starts_with("HTTP/1.1 400") || all.starts_with("HTTP/1.1 200"), "{row}\n{all}"),
        }
        assert_eq!(all.matches("HTTP/1.1 ").count(), 1, "{row}\n{all}");
        assert!(all.contains("connection: close\r\n"), "{row}\n{all}");
    }
}
