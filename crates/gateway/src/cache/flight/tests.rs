//! One fetch and its readers, step by step.

use super::*;
use crate::cache::beginnings::Beginnings;
use selvedge_cache::semantics::KeyHash;

fn flight() -> Arc<Flight<()>> {
    Flight::new(Beginnings::default().begin(Hlc::ZERO, KeyHash::from_bytes([0; 16])))
}

/// Memory that is not scarce.
fn plenty() -> Held {
    Held::new(1 << 30)
}

fn next(reader: &mut Seat<()>) -> Poll<Next> {
    reader.poll_next(&mut Context::from_waker(Waker::noop()))
}

fn text(poll: Poll<Next>) -> String {
    match poll {
        Poll::Ready(Next::Data(d)) => String::from_utf8_lossy(&d).into_owned(),
        Poll::Ready(other) => format!("{other:?}"),
        Poll::Pending => "pending".into(),
    }
}

#[test]
fn each_reader_gets_all_bytes_whenever_it_came() {
    let flight = flight();
    let mut early = flight.seat();
    assert_eq!(text(next(&mut early)), "pending");
    flight.push(Bytes::from_static(b"one "));
    assert_eq!(text(next(&mut early)), "one ");
    flight.push(Bytes::from_static(b"two"));
    flight.land(Ok(None));
    let mut late = flight.seat();
    for reader in [&mut early, &mut late] {
        let mut all = String::new();
        while let Poll::Ready(Next::Data(d)) = next(reader) {
            all.push_str(&String::from_utf8_lossy(&d));
        }
        assert!(all.ends_with("two"), "{all}");
    }
}

#[test]
fn a_failure_reaches_every_reader() {
    let flight = flight();
    flight.push(Bytes::from_static(b"half"));
    flight.land(Err(BodyError::Incomplete));
    let mut reader = flight.seat();
    assert_eq!(text(next(&mut reader)), "half");
    assert_eq!(text(next(&mut reader)), "Failed(Incomplete)");
}

#[test]
fn what_was_forgotten_is_reported_not_skipped() {
    let flight = flight();
    let mut fast = flight.seat();
    let mut slow = flight.seat();
    for _ in 0..4 {
        flight.push(Bytes::from_static(b"abcd"));
    }
    while let Poll::Ready(Next::Data(_)) = next(&mut fast) {}
    flight.kept_up_to(8);
    assert_eq!(text(next(&mut slow)), "Forgotten");
    slow.skip_to(10);
    assert_eq!(text(next(&mut slow)), "cd");
}

#[tokio::test]
async fn the_producer_waits_for_the_fastest_reader_and_goes_on_without_any() {
    let flight = flight();
    let mut reader = flight.seat();
    flight.push(Bytes::from(vec![0; Flight::<()>::WINDOW as usize]));
    let held = plenty();
    let mut room = Box::pin(flight.room(&held));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(room.as_mut().poll(&mut cx).is_pending());
    assert!(next(&mut reader).is_ready());
    assert_eq!(room.as_mut().poll(&mut cx), Poll::Ready(Room::Wanted));
    drop(reader);
    flight.push(Bytes::from(vec![0; 1 + Flight::<()>::WINDOW as usize]));
    assert_eq!(Box::pin(flight.room(&held)).as_mut().poll(&mut cx), Poll::Ready(Room::Unread));
}

const CHUNK: u64 = 1 << 20;

fn chunk() -> Bytes {
    Bytes::from(vec![7; CHUNK as usize])
}

fn held(flight: &Flight<()>) -> u64 {
    flight.lock().chunks.iter().map(|chunk| chunk.len() as u64).sum()
}

/// As long as there is room, `fast` reads all that comes; how many chunks that were.
async fn pump(flight: &Flight<()>, fast: &mut Seat<()>) -> u64 {
    let mut count = 0;
    while tokio::time::timeout(Duration::from_secs(1), flight.room(&plenty())).await.is_ok() {
        flight.push(chunk());
        assert!(next(fast).is_ready());
        count += 1;
        if count == 40 {
            break;
        }
    }
    count
}

#[tokio::test(start_paused = true)]
async fn content_that_is_not_stored_waits_for_the_slowest_and_is_whole_for_it() {
    let flight = flight();
    let (mut fast, mut slow) = (flight.seat(), flight.seat());
    flight.keep_nothing();
    assert_eq!(pump(&flight, &mut fast).await * CHUNK, Flight::<()>::BEHIND);
    assert_eq!(held(&flight), Flight::<()>::BEHIND);
    // Each chunk that it takes makes room for one.
    for _ in 0..20 {
        assert!(matches!(next(&mut slow), Poll::Ready(Next::Data(_))));
        assert_eq!(pump(&flight, &mut fast).await, 1);
    }
    assert_eq!(slow.offset(), 20 * CHUNK);
    drop(slow);
    assert_eq!(pump(&flight, &mut fast).await, 40, "nobody else is waited for");
    assert_eq!(held(&flight), 0);
}

#[tokio::test(start_paused = true)]
async fn one_that_takes_nothing_is_cut_off_alone() {
    let flight = flight();
    let (mut fast, mut slow, mut stalled) = (flight.seat(), flight.seat(), flight.seat());
    flight.keep_nothing();
    pump(&flight, &mut fast).await;
    assert!(matches!(next(&mut slow), Poll::Ready(Next::Data(_))));
    let before = tokio::time::Instant::now();
    assert_eq!(flight.room(&plenty()).await, Room::Wanted);
    assert_eq!(before.elapsed(), Flight::<()>::STALL);
    assert_eq!(text(next(&mut stalled)), "Forgotten");
    assert_eq!(pump(&flight, &mut fast).await, 1);
    assert!(matches!(next(&mut slow), Poll::Ready(Next::Data(_))));
}

#[test]
fn a_seat_that_is_given_up_is_taken_again_from_the_first_byte() {
    let flight = flight();
    let mut first = flight.seat();
    flight.push(Bytes::from_static(b"all"));
    assert_eq!(text(next(&mut first)), "all");
    drop(first);
    assert_eq!(flight.seated(), 0);
    assert_eq!(text(next(&mut flight.seat())), "all");
    assert_eq!(flight.lock().seats.places.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn while_memory_is_scarce_the_producer_is_a_piece_ahead_at_most() {
    let memory = Held::new(4 * PIECE);
    let _others = memory.hold(3 * PIECE);
    let flight = flight();
    let mut reader = flight.seat();
    flight.push(Bytes::from(vec![7; PIECE as usize]));
    assert_eq!(flight.room(&memory).await, Room::Scarce, "what is collected should go");
    flight.keep_nothing();
    let wait = tokio::time::timeout(Duration::from_secs(100), flight.room(&memory));
    assert!(wait.await.is_err(), "the only reader is waited for");
    assert!(matches!(next(&mut reader), Poll::Ready(Next::Data(_))));
    assert_eq!(flight.room(&memory).await, Room::Wanted);
    assert_eq!(held(&flight), 0, "what was read is let go");
}

#[tokio::test(start_paused = true)]
async fn while_memory_is_scarce_who_holds_the_others_up_is_cut_off_soon() {
    let memory = Held::new(4 * PIECE);
    let _others = memory.hold(3 * PIECE);
    let flight = flight();
    let (mut fast, mut slow) = (flight.seat(), flight.seat());
    flight.keep_nothing();
    for _ in 0..4 {
        flight.push(Bytes::from(vec![7; PIECE as usize]));
        assert!(matches!(next(&mut fast), Poll::Ready(Next::Data(_))));
    }
    let before = tokio::time::Instant::now();
    assert_eq!(flight.room(&memory).await, Room::Wanted);
    assert_eq!(before.elapsed(), Flight::<()>::SCARCE_STALL);
    assert_eq!(text(next(&mut slow)), "Forgotten");
}

#[test]
fn when_it_is_over_what_all_have_read_is_let_go() {
    let flight = flight();
    let (mut first, mut second) = (flight.seat(), flight.seat());
    flight.push(chunk());
    flight.land(Ok(None));
    assert!(matches!(next(&mut first), Poll::Ready(Next::Data(_))));
    assert_eq!(held(&flight), CHUNK);
    assert!(matches!(next(&mut second), Poll::Ready(Next::Data(_))));
    assert_eq!(held(&flight), 0);
}
