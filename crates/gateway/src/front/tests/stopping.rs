//! What is on its way when a front stops is answered, over either protocol.

use super::frames::{DATA, Frames, GOAWAY, HEADERS};
use super::hostile::patient;
use super::wire::Wired;
use super::*;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

const ASK: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// Content that comes when the test says so.
struct Told(mpsc::UnboundedReceiver<&'static str>);

impl BodyStream for Told {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        self.0.poll_recv(cx).map(|told| told.map(data))
    }

    fn length(&self) -> Option<u64> {
        Some(4)
    }
}

fn start() -> Wired {
    let options = FrontOptions { timeouts: patient(), ..FrontOptions::default() };
    Wired::start(options, |_| Reply::Now(ok("here")))
}

async fn asked(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin)) {
    stream.write_all(ASK).await.unwrap();
    let answer = read_until(stream, "here").await;
    assert!(!answer.contains("connection: close"), "{answer}");
}

async fn is_answered_last(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin)) {
    stream.write_all(ASK).await.unwrap();
    let last = read_all(stream).await;
    assert!(last.contains("connection: close\r\n") && last.ends_with("here"), "{last}");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_on_its_way_is_answered_and_the_last() {
    let server = start();
    let mut used = server.connect();
    asked(&mut used).await;
    // It was accepted, and said nothing yet.
    let mut new = server.connect();
    let mut idle = server.connect();
    asked(&mut idle).await;
    let begun = Instant::now();
    server.tasks.stop();
    sleep_until(begun + Duration::from_millis(900)).await;
    is_answered_last(&mut used).await;
    is_answered_last(&mut new).await;
    assert_eq!(read_all(&mut idle).await, "");
    assert_eq!(begun.elapsed().as_secs(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_was_promised_another_request_while_the_server_stopped_may_send_it() {
    let (tell, told) = mpsc::unbounded_channel();
    let told = std::sync::Mutex::new(Some(told));
    let options = FrontOptions { timeouts: patient(), ..FrontOptions::default() };
    let server = Wired::start(options, move |_| {
        let mut response = ok("here");
        if let Some(told) = told.lock().unwrap().take() {
            response.body = Body::Stream(Box::new(Told(told)));
        }
        Reply::Now(response)
    });
    let mut client = server.connect();
    client.write_all(ASK).await.unwrap();
    let head = read_until(&mut client, "\r\n\r\n").await;
    assert!(!head.contains("connection: close"), "{head}");
    let begun = Instant::now();
    server.tasks.stop();
    sleep_until(begun + Duration::from_secs(5)).await;
    tell.send("here").unwrap();
    drop(tell);
    read_until(&mut client, "here").await;
    sleep_until(begun + Duration::from_millis(5900)).await;
    is_answered_last(&mut client).await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_was_begun_before_its_client_could_know_is_served() {
    let server = start();
    let mut client = Frames::connect(&server, 65_535).await;
    client.get(1, "/").await;
    assert_eq!(client.next_of(DATA).await.unwrap().payload, b"here");
    server.tasks.stop();
    let warning = client.next_of(GOAWAY).await.unwrap();
    assert_eq!((warning.last_stream(), warning.code()), (0x7fff_ffff, 0));
    // Both were sent before the warning was read, and the PING with it is not answered yet.
    client.get(3, "/").await;
    client.get(5, "/").await;
    let mut kinds = Vec::new();
    let mut last = None;
    while let Some(frame) = client.next().await {
        last = (frame.kind == GOAWAY).then(|| frame.last_stream()).or(last);
        kinds.push((frame.kind, frame.stream));
    }
    for stream in [3, 5] {
        assert!(kinds.contains(&(HEADERS, stream)) && kinds.contains(&(DATA, stream)), "{kinds:?}");
    }
    assert_eq!(last, Some(5));
}
