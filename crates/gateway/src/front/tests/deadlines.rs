//! How long an HTTP/2 client may take. What it sends is no progress: only what it takes is.

use super::super::counters::Cause;
use super::frames::{DATA, END_STREAM, Frames, GOAWAY, HEADERS, PING, RESET, WINDOW_UPDATE};
use super::hostile::patient;
use super::wire::Wired;
use super::*;
use selvedge_exchange::{Finish, Sent};
use tokio::sync::mpsc;
use tokio::time::Instant;

const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;
const SECOND: Duration = Duration::from_secs(1);

/// A front that answers at once with `len` bytes, and what is told of each answer.
fn start(timeouts: Timeouts, len: usize) -> (Wired, mpsc::UnboundedReceiver<Sent>) {
    struct Told(mpsc::UnboundedSender<Sent>);
    impl Finish for Told {
        fn finish(self: Box<Self>, sent: Sent) {
            // Fails when the test has seen enough.
            let _ = self.0.send(sent);
        }
    }
    let (tell, told) = mpsc::unbounded_channel();
    let mut options = FrontOptions { timeouts, ..FrontOptions::default() };
    options.http2.resets_max = 10;
    let server = Wired::start(options, move |_| {
        let mut response = ok(vec![b'x'; len]);
        response.finish = Some(Box::new(Told(tell.clone())));
        Reply::Now(response)
    });
    (server, told)
}

/// The next frame of `kind`, while a PING and `also` go out each second.
async fn next_under_pings(client: &mut Frames, kind: u8, also: Option<&[u8]>) -> Option<frames::Raw> {
    loop {
        client.send(PING, 0, 0, b"anything").await;
        if let Some(update) = also {
            client.send(WINDOW_UPDATE, 0, 1, update).await;
        }
        if let Ok(frame) = tokio::time::timeout(SECOND, client.next_of(kind)).await {
            return frame;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_whose_client_opens_no_window_is_reset_however_many_pings_come() {
    let (server, mut told) = start(Timeouts { write: 20 * SECOND, ..patient() }, 1000);
    let mut client = Frames::connect(&server, 0).await;
    let begun = Instant::now();
    client.get(1, "/").await;
    let reset = next_under_pings(&mut client, RESET, None).await.unwrap();
    assert_eq!((reset.stream, reset.code(), begun.elapsed().as_secs()), (1, CANCEL, 20));
    assert_eq!(server.front.counters.cut_count(Cause::WriteTimeout), 1);
    assert_eq!(told.recv().await.unwrap(), Sent::default());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_a_byte_now_and_then_has_the_time_of_an_exchange() {
    let timeouts = Timeouts { write: 20 * SECOND, exchange: 100 * SECOND, ..patient() };
    let (server, mut told) = start(timeouts, 1000);
    let mut client = Frames::connect(&server, 0).await;
    let begun = Instant::now();
    client.get(1, "/").await;
    let reset = next_under_pings(&mut client, RESET, Some(&1u32.to_be_bytes())).await.unwrap();
    assert_eq!((reset.stream, begun.elapsed().as_secs()), (1, 100));
    let sent = told.recv().await.unwrap();
    assert!(!sent.complete && (95..=101).contains(&sent.body_bytes), "{sent:?}");
}

#[tokio::test(start_paused = true)]
async fn a_window_that_is_taken_back_does_not_hold_what_waits() {
    let (server, _told) = start(Timeouts { write: 20 * SECOND, ..patient() }, 60_000);
    // The pipe is full when the window shrinks: the content was given to the connection already.
    let mut client = Frames::over(server.connect_narrow(4096), 65_535).await;
    client.get(1, "/").await;
    assert_eq!(client.next().await.unwrap().kind, HEADERS);
    client.send(frames::SETTINGS, 0, 0, b"\0\x04\0\0\0\0").await;
    let begun = Instant::now();
    while next_under_pings(&mut client, DATA, None).await.is_some() {}
    assert!((15..=25).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    assert_eq!(server.front.counters.cut_count(Cause::WriteTimeout), 1);
}

#[tokio::test(start_paused = true)]
async fn an_upgraded_connection_ends_in_time_however_much_it_carries() {
    let timeouts = Timeouts { tunnel: 2 * SECOND, tunnel_total: 5 * SECOND, ..patient() };
    let server = Wired::start(FrontOptions { timeouts, ..FrontOptions::default() }, |_| {
        let (ours, mut theirs) = tokio::io::duplex(64);
        tokio::spawn(async move {
            while theirs.write_all(b"x").await.is_ok() {
                tokio::time::sleep(SECOND).await;
            }
        });
        let mut response = Response::new(Status::new(101).unwrap());
        response.fields = fields("Upgrade: x\r\n");
        response.tunnel = Some(Box::new(ours));
        Reply::Now(response)
    });
    let begun = Instant::now();
    let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n";
    let all = server.exchange(upgrade).await;
    assert!(all.ends_with("xxx"), "{all}");
    assert_eq!(begun.elapsed(), 5 * SECOND);
    assert_eq!(server.front.counters.cut_count(Cause::TunnelTotalTimeout), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_is_cut() {
    let (server, mut told) = start(Timeouts { write: 20 * SECOND, ..patient() }, 60_000);
    let mut client = Frames::over(server.connect_narrow(4096), 65_535).await;
    client.get(1, "/").await;
    let sent = told.recv().await.unwrap();
    assert!(!sent.complete && sent.body_bytes < 20_000, "{sent:?}");
    assert_eq!(server.front.counters.cut_count(Cause::WriteTimeout), 1);
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_streams_is_closed_however_many_pings_come() {
    let (server, mut told) = start(Timeouts { keep_alive: 50 * SECOND, ..patient() }, 3);
    let mut client = Frames::connect(&server, 65_535).await;
    client.get(1, "/").await;
    let begun = Instant::now();
    let goaway = next_under_pings(&mut client, GOAWAY, None).await.unwrap();
    assert_eq!((goaway.code(), begun.elapsed().as_secs()), (0, 50));
    while client.next().await.is_some() {}
    assert_eq!(told.recv().await.unwrap(), Sent { head_bytes: 0, body_bytes: 3, complete: true });
}

#[tokio::test(start_paused = true)]
async fn what_is_told_of_an_answer_is_what_was_sent() {
    let (server, mut told) = start(patient(), 100_000);
    let mut client = Frames::connect(&server, 65_535).await;
    client.get(1, "/").await;
    let mut got = 0;
    while got < 65_535 {
        got += client.next_of(DATA).await.unwrap().payload.len();
    }
    assert!(told.try_recv().is_err(), "it was not sent yet");
    client.send(RESET, 0, 1, &CANCEL.to_be_bytes()).await;
    let cancelled = Sent { head_bytes: 0, body_bytes: 65_535, complete: false };
    assert_eq!(told.recv().await.unwrap(), cancelled);
    client.get(3, "/").await;
    client.send(WINDOW_UPDATE, 0, 3, &50_000u32.to_be_bytes()).await;
    while client.next_of(DATA).await.unwrap().flags & END_STREAM == 0 {}
    let whole = Sent { head_bytes: 0, body_bytes: 100_000, complete: true };
    assert_eq!(within(told.recv()).await.unwrap(), whole);
}

#[tokio::test(start_paused = true)]
async fn cancelling_what_was_answered_at_once_counts_too() {
    let (server, mut told) = start(patient(), 60_000);
    let mut client = Frames::over(server.connect_narrow(1024), 65_535).await;
    let mut asked = 0;
    let goaway = loop {
        client.get(2 * asked + 1, "/").await;
        // The head is here, the content is not: there is no room for it.
        match client.next_of(HEADERS).await {
            Some(_) => drop(client.send(RESET, 0, 2 * asked + 1, &CANCEL.to_be_bytes()).await),
            None => break None,
        }
        asked += 1;
        if asked == 12 {
            break client.next_of(GOAWAY).await;
        }
    };
    assert_eq!(goaway.map(|frame| frame.code()), Some(ENHANCE_YOUR_CALM));
    assert_eq!(server.front.counters.cut_count(Cause::Resets), 1);
    assert!(!told.recv().await.unwrap().complete);
}
