//! How long a typical browser's request takes to parse: `cargo run --release --example parse_speed`.

#![allow(clippy::disallowed_methods)] // a measurement reads the clock

use selvedge_http1::{BodyFraming, Limits, Persistence, Progress, ResponseWriter, parse_request};
use selvedge_types::Status;
use std::hint::black_box;
use std::time::Instant;

const REQUEST: &[u8] = b"GET /articles/2024/some-article?ref=front HTTP/1.1\r\n\
Host: www.example.org\r\n\
User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
Accept-Language: en-US,en;q=0.5\r\n\
Accept-Encoding: gzip, deflate, br, zstd\r\n\
Connection: keep-alive\r\n\
Cookie: session=0123456789abcdef; theme=dark\r\n\
Upgrade-Insecure-Requests: 1\r\n\
Sec-Fetch-Dest: document\r\n\
Sec-Fetch-Mode: navigate\r\n\
Priority: u=0, i\r\n\r\n";

const ROUNDS: u32 = 1_000_000;

fn measure(what: &str, mut work: impl FnMut()) {
    let best = (0..5)
        .map(|_| {
            let start = Instant::now();
            (0..ROUNDS).for_each(|_| work());
            start.elapsed() / ROUNDS
        })
        .min()
        .unwrap_or_default();
    println!("{what}: {} ns", best.as_nanos());
}

fn main() {
    let parse = |wire: &[u8]| parse_request(wire, &mut Progress::default(), &Limits::DEFAULT);
    println!("request of {} bytes", REQUEST.len());
    measure("parse_request", || {
        black_box(parse(black_box(REQUEST)).is_ok());
    });
    measure("httparse, borrowing", || {
        let mut lines = [httparse::EMPTY_HEADER; 64];
        black_box(httparse::Request::new(&mut lines).parse(black_box(REQUEST)).is_ok());
    });
    let Ok(Some((head, _))) = parse(REQUEST) else {
        return;
    };
    let mut out = Vec::with_capacity(1024);
    measure("ResponseWriter::write", || {
        out.clear();
        ResponseWriter {
            status: Status::OK,
            fields: black_box(&head.fields),
            date: None,
            framing: BodyFraming::Length(1024),
            to_head: false,
            persistence: Persistence::Keep,
        }
        .write(&mut out);
        black_box(&out);
    });
}
