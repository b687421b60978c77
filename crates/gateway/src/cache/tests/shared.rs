//! Fetches that many share: what purges, failures and slow readers do to them.

use super::*;
use selvedge_cache::stamps::{PurgeKind, PurgeScope};

impl World {
    fn purge(&self, scope: &PurgeScope, kind: PurgeKind) {
        self.cache.purge(scope, kind, self.cache.0.tick());
    }

    fn open_gate(&self) {
        self.origin.gate.as_ref().unwrap().notify_one();
    }

    fn spawn(&self, target: &str, head: &str) -> tokio::task::JoinHandle<Response> {
        tokio::spawn(self.ask("GET", target, head).wait())
    }
}

fn whole_site() -> PurgeScope {
    PurgeScope::Site { site: "default/test".into() }
}

fn tag(tag: &str) -> PurgeScope {
    PurgeScope::Tag { namespace: "default".into(), tag: tag.into() }
}

#[tokio::test]
async fn who_comes_after_a_purge_does_not_join_a_fetch_from_before_it() {
    let fresh = |content| ok("Cache-Control: max-age=60|", content);
    let world = World::with(vec![fresh("old"), fresh("new")], true);
    let before = world.spawn("/a", "");
    world.settle().await;
    world.purge(&whole_site(), PurgeKind::Hard);
    let after = world.spawn("/a", "");
    world.settle().await;
    assert_eq!(world.asked(), 2, "it asks anew at once");
    world.open_gate();
    assert_eq!(told(before.await.unwrap()).await.1, "old");
    world.open_gate();
    assert_eq!(told(after.await.unwrap()).await.1, "new");
    assert_eq!(world.get("/a", "").await.1, "new");
}

#[tokio::test]
async fn who_waited_when_its_tag_was_purged_gets_what_was_fetched_since() {
    let tagged = |content| ok("Cache-Control: max-age=60|Cache-Tag: news|", content);
    let world = World::with(vec![tagged("old"), tagged("new")], true);
    let first = world.spawn("/a", "");
    world.settle().await;
    let second = world.spawn("/a", "");
    world.settle().await;
    world.purge(&tag("news"), PurgeKind::Hard);
    world.open_gate();
    assert_eq!(told(first.await.unwrap()).await.1, "old");
    world.settle().await;
    world.open_gate();
    assert_eq!(told(second.await.unwrap()).await.1, "new");
    assert_eq!(world.asked(), 2);
}

#[tokio::test]
async fn a_soft_purge_begins_the_time_to_be_stale_once() {
    let world = World::new(vec![
        ok("Cache-Control: max-age=600, stale-if-error=60|", "one"),
        Step::Answer(500, String::new(), vec![]),
        Step::Answer(500, String::new(), vec![]),
    ]);
    world.get("/a", "").await;
    world.pass_time(100);
    world.purge(&whole_site(), PurgeKind::Soft);
    world.pass_time(30);
    let (status, _, cache) = world.get("/a", "").await;
    assert_eq!((status, cache.as_str()), (200, "selvedge; fwd=stale; fwd-status=500; ttl=-30"));
    world.pass_time(31);
    assert_eq!(world.get("/a", "").await.0, 500);
}

#[tokio::test]
async fn an_error_that_may_tell_of_one_user_is_for_no_other() {
    let page =
        |text: &str| Step::Answer(500, "Content-Type: text/plain|".into(), vec![text.to_string().into()]);
    let world = World::with(vec![page("of the first"), page("of the second")], true);
    let first = world.spawn("/a", "Cookie: user=1|");
    world.settle().await;
    let second = world.spawn("/a", "");
    world.settle().await;
    world.open_gate();
    assert_eq!(told(first.await.unwrap()).await.1, "of the first");
    world.settle().await;
    world.open_gate();
    assert_eq!(told(second.await.unwrap()).await.1, "of the second");
}

#[tokio::test]
async fn an_error_that_is_not_stored_reaches_all_who_wait_in_full() {
    let page =
        Step::Answer(503, String::new(), vec![Bytes::from(vec![b'x'; 5000]), Bytes::from_static(b"end")]);
    let world = World::with(vec![page], true);
    let waiting: Vec<_> = (0..5).map(|_| world.spawn("/a", "")).collect();
    world.settle().await;
    world.open_gate();
    for response in waiting {
        let (status, content, _) = told(response.await.unwrap()).await;
        assert_eq!((status, content.len()), (503, 5003));
    }
    assert_eq!(world.asked(), 1);
}

#[tokio::test]
async fn one_private_answer_leaves_the_other_variants_to_be_hit() {
    let world = World::new(vec![
        ok("Cache-Control: max-age=60|Vary: Accept-Language|", "english"),
        ok("Cache-Control: private|Vary: Accept-Language|", "deutsch"),
    ]);
    world.get("/a", "Accept-Language: en|").await;
    assert_eq!(world.get("/a", "Accept-Language: de|").await.1, "deutsch");
    let (_, content, cache) = world.get("/a", "Accept-Language: en|").await;
    assert_eq!((content.as_str(), cache.as_str()), ("english", "selvedge; hit; ttl=60"));
}

#[tokio::test]
async fn a_stored_page_that_becomes_private_goes() {
    let mut steps = vec![ok("Cache-Control: max-age=60|", "public")];
    steps.extend((0..3).map(|i| ok("Cache-Control: private|", &format!("own {i}"))));
    let world = World::new(steps);
    world.get("/a", "").await;
    world.pass_time(61);
    for i in 0..3 {
        assert_eq!(world.get("/a", "").await.1, format!("own {i}"));
        assert!(world.cache.0.memory.oldest().is_none(), "nothing is stored");
    }
}

#[tokio::test]
async fn a_download_of_content_that_is_too_large_to_keep_reaches_its_end() {
    let chunk = || Bytes::from(vec![b'x'; 64 << 10]);
    let chunked =
        Step::Unknown(200, "Cache-Control: max-age=60|".into(), (0..100).map(|_| chunk()).collect());
    let world = World::new(vec![chunked]);
    let (status, content, _) = world.get("/large", "").await;
    assert_eq!((status, content.len()), (200, 100 * (64 << 10)));
    assert!(world.cache.0.memory.oldest().is_none());
    assert_eq!(world.cache.usage().fetches, 0);
}

#[tokio::test]
async fn a_part_is_held_to_what_its_content_range_states() {
    let part = |range: &str, length: usize| {
        let head = format!("Cache-Control: max-age=60|ETag: \"a\"|Content-Range: bytes {range}|");
        Step::Answer(206, head, vec![Bytes::from(vec![b'x'; length])])
    };
    for (length, expect) in [(5000, 502), (9, 502)] {
        let world = World::new(vec![part("0-9/1000", length), part("0-99/1000", 100)]);
        assert_eq!(world.get("/a", "Range: bytes=0-9|").await.0, expect, "{length} bytes");
        let (_, content, cache) = world.get("/a", "Range: bytes=0-99|").await;
        assert!(!cache.contains("hit"), "{cache}");
        assert_eq!(content.len(), 100);
    }
}

#[tokio::test]
async fn a_part_of_unknown_length_ends_in_an_error_where_it_leaves_its_range() {
    let head = || "Cache-Control: max-age=60|ETag: \"a\"|Content-Range: bytes 0-9/1000|".to_string();
    let chunks = |n: usize| vec![Bytes::from_static(b"12345"); n];
    for (chunks, expect) in [(chunks(2), "1234512345"), (chunks(1), "<"), (chunks(3), "<")] {
        let world = World::new(vec![Step::Unknown(206, head(), chunks)]);
        let (_, content, _) = world.get("/a", "Range: bytes=0-9|").await;
        assert!(content.starts_with(expect), "{content}");
    }
}

#[tokio::test]
async fn an_origin_that_is_away_costs_no_stored_slices() {
    let world = World::new(vec![
        Step::Answer(
            206,
            "Cache-Control: max-age=600|ETag: \"a\"|Content-Range: bytes 0-999/3000|".into(),
            vec![Bytes::from(vec![b'x'; 1000])],
        ),
        Step::Fail(ProxyError::ConnectionRefused),
        Step::Answer(503, String::new(), vec![]),
    ]);
    world.get("/a", "Range: bytes=0-999|").await;
    for expect in [502, 502] {
        assert_eq!(world.get("/a", "Range: bytes=1000-1999|").await.0, expect);
    }
    let (status, _, cache) = world.get("/a", "Range: bytes=0-999|").await;
    assert_eq!((status, cache.as_str()), (206, "selvedge; hit; ttl=600"));
}

#[tokio::test]
async fn a_missing_slice_is_fetched_once_for_all_who_lack_it() {
    let part = |range: &str| {
        let head = format!("Cache-Control: max-age=600|ETag: \"a\"|Content-Range: bytes {range}|");
        Step::Answer(206, head, vec![Bytes::from(vec![b'x'; 1000])])
    };
    let world = World::with(vec![part("0-999/3000"), part("1000-1999/3000")], true);
    let first = world.spawn("/a", "Range: bytes=0-999|");
    world.settle().await;
    world.open_gate();
    drop(told(first.await.unwrap()).await);
    world.settle().await;
    let waiting: Vec<_> = (0..20).map(|_| world.spawn("/a", "Range: bytes=1000-1999|")).collect();
    world.settle().await;
    world.open_gate();
    for response in waiting {
        let (status, content, _) = told(response.await.unwrap()).await;
        assert_eq!((status, content.len()), (206, 1000));
    }
    assert_eq!(world.asked(), 2);
}

#[tokio::test]
async fn seats_that_were_given_up_are_there_for_others() {
    let world = World::with(vec![ok("Cache-Control: max-age=60|", "a")], true);
    for _ in 0..300 {
        let mut waiting = Box::pin(world.ask("GET", "/a", "").wait());
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(waiting.as_mut().poll(&mut cx).is_pending());
    }
    world.settle().await;
    assert_eq!(world.asked(), 1, "three times as many as may wait at once all joined one fetch");
}
