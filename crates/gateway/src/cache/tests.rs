//! The cache in virtual time, before an origin that plays a script.

mod shared;
mod slow;
mod visitors;

use super::*;
use bytes::Bytes;
use selvedge_cache::semantics::{FreshnessPolicy, ProxyError};
use selvedge_cache::stamps::{PurgeKind, PurgeScope};
use selvedge_exchange::{BodyError, BodyStream, Client, Frame};
use selvedge_rt::clock::WallClock;
use selvedge_types::resource::{CacheKey, Coding, Glob};
use selvedge_types::{Scheme, Version};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use tokio::sync::Notify;

mod disk;

const START: u64 = 1_800_000_000;

#[derive(Default)]
struct Wall(AtomicU64);
impl WallClock for Wall {
    fn wall(&self) -> UnixMillis {
        UnixMillis(self.0.load(Ordering::SeqCst))
    }
}

/// One answer of the script.
enum Step {
    /// Head lines and content.
    Answer(u16, String, Vec<Bytes>),
    /// The same, cut off after its content.
    Cut(u16, String, Vec<Bytes>),
    /// An answer that does not say how long its content is.
    Unknown(u16, String, Vec<Bytes>),
    /// An answer of that length whose origin sends no more than that.
    Stuck(u16, String, Vec<Bytes>, u64),
    Fail(ProxyError),
}

struct Script {
    steps: Mutex<VecDeque<Step>>,
    seen: Mutex<Vec<Request>>,
    /// Answers are held back until it is notified, once each.
    gate: Option<Notify>,
}

impl Origin for Script {
    fn fetch(
        &self,
        request: Request,
        _: Option<mpsc::Sender<selvedge_exchange::Interim>>,
    ) -> Pin<Box<dyn Future<Output = Result<Response, FetchFailure>> + Send + '_>> {
        self.seen.lock().unwrap().push(request);
        Box::pin(async move {
            if let Some(gate) = &self.gate {
                gate.notified().await;
            }
            let step = self.steps.lock().unwrap().pop_front();
            let (status, head, content, end) =
                match step.expect("the origin was asked more often than scripted") {
                    Step::Answer(status, head, content) => (status, head, content, End::Stated),
                    Step::Cut(status, head, content) => (status, head, content, End::Cut),
                    Step::Unknown(status, head, content) => (status, head, content, End::Unstated),
                    Step::Stuck(status, head, content, length) => (status, head, content, End::Never(length)),
                    Step::Fail(error) => {
                        return Err(FetchFailure::new(error, "scripted"));
                    }
                };
            let mut response = Response::new(Status::new(status).unwrap());
            response.fields = Fields::from_wire(head.replace('|', "\r\n").as_bytes()).unwrap();
            response.body = Body::Stream(Box::new(Content { content: content.into(), end }));
            Ok(response)
        })
    }
}

enum End {
    Stated,
    Unstated,
    Cut,
    /// It does not come, and the length is said to be that.
    Never(u64),
}

struct Content {
    content: VecDeque<Bytes>,
    end: End,
}
impl BodyStream for Content {
    fn poll_frame(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        Poll::Ready(match (self.content.pop_front(), &self.end) {
            (Some(data), _) => Some(Ok(Frame::Data(data))),
            (None, End::Cut) => Some(Err(BodyError::Incomplete)),
            (None, End::Stated | End::Unstated) => None,
            (None, End::Never(_)) => return Poll::Pending,
        })
    }
    fn length(&self) -> Option<u64> {
        match self.end {
            End::Stated => Some(self.content.iter().map(|c| c.len() as u64).sum()),
            End::Never(length) => Some(length),
            End::Unstated | End::Cut => None,
        }
    }
}

struct World {
    cache: Cache,
    wall: Arc<Wall>,
    origin: Arc<Script>,
    rules: CacheRules,
    tasks: Tasks,
}

fn rules() -> CacheRules {
    CacheRules {
        described: "test".into(),
        namespace: "default".into(),
        site: "default/test".into(),
        origin: None,
        cache_name: "selvedge".into(),
        enabled: true,
        key: CacheKey::default(),
        keys_by_uri: true,
        freshness: FreshnessPolicy::default(),
        tags: Vec::new(),
        expose_tags: false,
        strip_response_cookies: Vec::new(),
        collapse: true,
        slice_bytes: 1000,
        object_bytes_max: 100_000,
        compress: CompressRules {
            codings: Vec::new(),
            bytes_min: 10,
            types: vec![Glob::parse_text("text/*").unwrap()],
        },
        refine: None,
    }
}

use selvedge_types::resource::Text;

impl World {
    fn new(steps: Vec<Step>) -> World {
        Self::with(steps, false)
    }

    fn with(steps: Vec<Step>, gated: bool) -> World {
        Self::over(steps, gated, Tasks::simulated(), |_, _| None)
    }

    fn over(
        steps: Vec<Step>,
        gated: bool,
        tasks: Tasks,
        disk: impl FnOnce(&Tasks, Clock) -> Option<DiskTier>,
    ) -> World {
        let wall = Arc::new(Wall(AtomicU64::new(START * 1000)));
        let options = CacheOptions {
            ram_bytes: 4 << 20,
            secret: [1; 32],
            seed: 1,
            collapsed_waiters_max: 100,
            response_bytes_max: 64 << 20,
            unread_fetches_max: 100,
        };
        let clock = Clock::simulated(wall.clone());
        let cache = Cache::new(
            &options,
            disk(&tasks, clock.clone()),
            clock,
            Arc::default(),
            tasks.clone(),
            &Registry::default(),
        );
        let gate = gated.then(Notify::new);
        let origin = Arc::new(Script { steps: Mutex::new(steps.into()), seen: Mutex::default(), gate });
        World { cache, wall, origin, rules: rules(), tasks }
    }

    /// A reading of the clock that orders purges.
    fn now(&self) -> Hlc {
        self.cache.0.tick()
    }

    fn pass_time(&self, secs: u64) {
        self.wall.0.fetch_add(secs * 1000, Ordering::SeqCst);
    }

    fn ask(&self, method: &str, target: &str, head: &str) -> Reply {
        self.cache.handle(self.asked_for(method, target, head))
    }

    fn asked_for(&self, method: &str, target: &str, head: &str) -> Ask {
        let addr = "127.0.0.1:1".parse().unwrap();
        Ask {
            sent: None,
            request: Request {
                method: Method::parse(method.as_bytes()).unwrap(),
                scheme: Scheme::Http,
                authority: "a.example".into(),
                target: target.into(),
                version: Version::Http11,
                fields: Fields::from_wire(head.replace('|', "\r\n").as_bytes()).unwrap(),
                body: Body::Empty,
                client: Client { addr, local: addr },
                received: self.wall.wall(),
            },
            rules: Arc::new(self.rules.clone()),
            origin: self.origin.clone(),
            bypass: false,
        }
    }

    /// Status, content, and Cache-Status of the answer to a request.
    async fn get(&self, target: &str, head: &str) -> (u16, String, String) {
        let answer = told(self.ask("GET", target, head).wait().await).await;
        self.settle().await;
        answer
    }

    /// Lets background work end.
    async fn settle(&self) {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        let _ = &self.tasks;
    }

    fn asked(&self) -> usize {
        self.origin.seen.lock().unwrap().len()
    }

    fn last_header(&self, field: selvedge_types::Name) -> Option<String> {
        let seen = self.origin.seen.lock().unwrap();
        seen.last()?.fields.get_str(field).map(str::to_string)
    }
}

async fn told(response: Response) -> (u16, String, String) {
    let status = response.status.code();
    let cache = response.fields.get_str(name::CACHE_STATUS).unwrap_or("").to_string();
    let content = match response.body.collect(1 << 30).await {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => format!("<{error}>"),
    };
    (status, content, cache)
}

fn ok(head: &str, content: &str) -> Step {
    Step::Answer(200, head.into(), vec![Bytes::from(content.to_string())])
}

#[tokio::test]
async fn a_response_is_fetched_once_and_then_served_from_memory_with_its_age() {
    let world = World::new(vec![ok("Cache-Control: max-age=60|", "one")]);
    let (status, content, cache) = world.get("/a", "").await;
    assert_eq!(
        (status, content.as_str(), cache.as_str()),
        (200, "one", "selvedge; fwd=uri-miss; ttl=60; stored")
    );
    world.pass_time(10);
    let Reply::Now(response) = world.ask("GET", "/a", "") else { panic!("a hit is answered at once") };
    assert_eq!(response.fields.get_str(name::AGE), Some("10"));
    assert_eq!(response.fields.get_str(name::CACHE_STATUS), Some("selvedge; hit; ttl=50"));
    assert_eq!(told(response).await.1, "one");
    assert_eq!(world.asked(), 1);
}

#[tokio::test]
async fn whoever_has_all_of_a_response_finds_it_in_the_cache() {
    for (head, content) in [("", "content"), ("", ""), ("Range: bytes=0-|", "content")] {
        let world = World::new(vec![ok("Cache-Control: max-age=60|", content)]);
        let mut response = world.ask("GET", "/a", head).wait().await;
        let mut left = content.len();
        while left > 0 {
            let Some(Ok(Frame::Data(data))) = response.body.frame().await else { panic!("cut") };
            left -= data.len();
        }
        assert!(matches!(world.ask("GET", "/a", ""), Reply::Now(_)), "{head} {content}");
    }
}

#[tokio::test]
async fn any_number_of_requests_wait_for_one_fetch_and_all_get_its_content() {
    let world = World::with(vec![ok("Cache-Control: max-age=60|", "shared")], true);
    let waiting: Vec<_> = (0..50).map(|_| tokio::spawn(world.ask("GET", "/a", "").wait())).collect();
    world.settle().await;
    world.origin.gate.as_ref().unwrap().notify_one();
    for response in waiting {
        assert_eq!(told(response.await.unwrap()).await.1, "shared");
    }
    assert_eq!(world.asked(), 1);
}

#[tokio::test]
async fn an_answer_that_may_not_be_shared_releases_those_who_wait() {
    let steps = (0..5).map(|i| ok("Cache-Control: no-store|", &format!("own {i}"))).collect();
    let world = World::with(steps, true);
    let waiting: Vec<_> = (0..4).map(|_| tokio::spawn(world.ask("GET", "/a", "").wait())).collect();
    world.settle().await;
    assert_eq!(world.asked(), 1);
    world.origin.gate.as_ref().unwrap().notify_one();
    world.settle().await;
    // All others ask at the same time, not one after the other.
    assert_eq!(world.asked(), 4);
    for _ in 0..3 {
        world.origin.gate.as_ref().unwrap().notify_one();
        world.settle().await;
    }
    let mut contents = Vec::new();
    for response in waiting {
        contents.push(told(response.await.unwrap()).await.1);
    }
    contents.sort();
    contents.dedup();
    assert_eq!(contents.len(), 4);
}

#[tokio::test]
async fn a_failed_fetch_answers_all_who_wait_and_is_not_repeated_by_each() {
    let world = World::with(vec![Step::Fail(ProxyError::ConnectionRefused)], true);
    let waiting: Vec<_> = (0..20).map(|_| tokio::spawn(world.ask("GET", "/a", "").wait())).collect();
    world.settle().await;
    world.origin.gate.as_ref().unwrap().notify_one();
    for response in waiting {
        let response = response.await.unwrap();
        assert_eq!(response.status, Status::BAD_GATEWAY);
        assert!(response.fields.get_str(name::PROXY_STATUS).unwrap().contains("error=connection_refused"));
        assert!(!response.fields.contains(name::CACHE_STATUS));
    }
    assert_eq!(world.asked(), 1);
}

#[tokio::test]
async fn an_error_that_is_not_stored_reaches_all_who_wait_with_its_content() {
    for status in [500, 502, 503, 504, 599] {
        let content = vec![Bytes::from_static(b"first "), Bytes::from_static(b"second")];
        let world = World::with(vec![Step::Answer(status, String::new(), content)], true);
        let waiting: Vec<_> = (0..5).map(|_| tokio::spawn(world.ask("GET", "/a", "").wait())).collect();
        world.settle().await;
        world.origin.gate.as_ref().unwrap().notify_one();
        for response in waiting {
            let (found, content, _) = told(response.await.unwrap()).await;
            assert_eq!((found, content.as_str()), (status, "first second"));
        }
        assert_eq!(world.asked(), 1);
    }
}

#[tokio::test]
async fn a_response_fresh_from_the_origin_has_an_age_only_if_the_origin_said_one() {
    for (head, age) in [("", None), ("Age: 7|", Some("7"))] {
        let world = World::with(vec![ok(&format!("Cache-Control: max-age=60|{head}"), "one")], true);
        let response = tokio::spawn(world.ask("GET", "/a", "").wait());
        world.settle().await;
        world.wall.0.fetch_add(300, Ordering::SeqCst);
        world.origin.gate.as_ref().unwrap().notify_one();
        assert_eq!(response.await.unwrap().fields.get_str(name::AGE), age);
    }
}

#[tokio::test]
async fn a_stale_response_is_validated_and_a_304_keeps_its_content() {
    let world = World::new(vec![
        ok("Cache-Control: max-age=60|ETag: \"v1\"|", "one"),
        Step::Answer(304, "Cache-Control: max-age=60|ETag: \"v1\"|X-New: 1|".into(), vec![]),
    ]);
    world.get("/a", "").await;
    world.pass_time(61);
    let (status, content, cache) = world.get("/a", "").await;
    assert_eq!((status, content.as_str()), (200, "one"));
    assert_eq!(cache, "selvedge; fwd=stale; fwd-status=304; ttl=60; stored");
    assert_eq!(world.last_header(name::IF_NONE_MATCH).as_deref(), Some("\"v1\""));
    let (_, _, cache) = world.get("/a", "").await;
    assert_eq!(cache, "selvedge; hit; ttl=60");
}

#[tokio::test]
async fn a_stale_response_that_changed_is_replaced() {
    let world = World::new(vec![
        ok("Cache-Control: max-age=60|ETag: \"v1\"|", "one"),
        ok("Cache-Control: max-age=60|ETag: \"v2\"|", "two"),
    ]);
    world.get("/a", "").await;
    world.pass_time(61);
    assert_eq!(world.get("/a", "").await.1, "two");
    assert_eq!(world.get("/a", "").await.1, "two");
    assert_eq!(world.asked(), 2);
}

#[tokio::test]
async fn stale_while_revalidate_answers_at_once_and_asks_once_beside_it() {
    let world = World::with(
        vec![
            ok("Cache-Control: max-age=60, stale-while-revalidate=60|ETag: \"v1\"|", "one"),
            ok("Cache-Control: max-age=60|", "two"),
        ],
        true,
    );
    let first = tokio::spawn(world.ask("GET", "/a", "").wait());
    world.settle().await;
    world.origin.gate.as_ref().unwrap().notify_one();
    assert_eq!(told(first.await.unwrap()).await.1, "one");
    world.settle().await;
    world.pass_time(70);
    for _ in 0..5 {
        let Reply::Now(response) = world.ask("GET", "/a", "") else { panic!("it waits") };
        assert_eq!(response.source, Source::Stale);
        assert_eq!(told(response).await.1, "one");
    }
    world.settle().await;
    assert_eq!(world.asked(), 2);
    world.origin.gate.as_ref().unwrap().notify_one();
    world.settle().await;
    assert_eq!(world.get("/a", "").await.1, "two");
}

#[tokio::test]
async fn an_origin_that_fails_leaves_the_stale_page() {
    for failure in [Step::Fail(ProxyError::ConnectionRefused), Step::Answer(503, String::new(), vec![])] {
        let world = World::new(vec![
            ok("Cache-Control: max-age=60, stale-if-error=600|ETag: \"v1\"|", "one"),
            failure,
        ]);
        world.get("/a", "").await;
        world.pass_time(100);
        let (status, content, cache) = world.get("/a", "").await;
        assert_eq!((status, content.as_str()), (200, "one"), "{cache}");
        assert!(cache.contains("ttl=-40"), "{cache}");
    }
}

#[tokio::test]
async fn what_must_be_revalidated_is_never_served_on_failure() {
    let world = World::new(vec![
        ok("Cache-Control: max-age=60, must-revalidate|ETag: \"v1\"|", "one"),
        Step::Fail(ProxyError::ConnectionRefused),
    ]);
    world.get("/a", "").await;
    world.pass_time(100);
    assert_eq!(world.get("/a", "").await.0, 504);
}

#[tokio::test]
async fn variants_are_kept_apart() {
    let world = World::new(vec![
        ok("Cache-Control: max-age=60|Vary: X-Lang|", "de"),
        ok("Cache-Control: max-age=60|Vary: X-Lang|", "en"),
    ]);
    assert_eq!(world.get("/a", "X-Lang: de|").await.1, "de");
    assert_eq!(world.get("/a", "X-Lang: en|").await.1, "en");
    let (_, content, cache) = world.get("/a", "X-Lang: de|").await;
    assert_eq!((content.as_str(), cache.as_str()), ("de", "selvedge; hit; ttl=60"));
    assert_eq!(world.asked(), 2);
}

#[tokio::test]
async fn those_who_wait_for_another_variant_get_their_own() {
    let world = World::with(
        vec![
            ok("Cache-Control: max-age=60|Vary: X-Lang|", "de"),
            ok("Cache-Control: max-age=60|Vary: X-Lang|", "en"),
        ],
        true,
    );
    let de = tokio::spawn(world.ask("GET", "/a", "X-Lang: de|").wait());
    world.settle().await;
    let en: Vec<_> = (0..5).map(|_| tokio::spawn(world.ask("GET", "/a", "X-Lang: en|").wait())).collect();
    world.settle().await;
    world.origin.gate.as_ref().unwrap().notify_one();
    world.settle().await;
    world.origin.gate.as_ref().unwrap().notify_one();
    assert_eq!(told(de.await.unwrap()).await.1, "de");
    for response in en {
        assert_eq!(told(response.await.unwrap()).await.1, "en");
    }
    assert_eq!(world.asked(), 2);
}

#[tokio::test]
async fn a_body_cut_off_is_an_error_for_all_and_never_stored() {
    let cut = || Step::Cut(200, "Cache-Control: max-age=60|".into(), vec![Bytes::from_static(b"half")]);
    let world = World::new(vec![cut(), ok("Cache-Control: max-age=60|", "whole")]);
    assert!(world.get("/a", "").await.1.starts_with('<'));
    assert_eq!(world.get("/a", "").await.1, "whole");
}

#[tokio::test]
async fn a_fetch_does_not_run_away_from_a_client_that_is_slow_to_begin() {
    let piece = Bytes::from(vec![b'x'; 64 << 10]);
    let content = vec![piece; 128];
    let length: usize = content.iter().map(Bytes::len).sum();
    let mut world = World::new(vec![Step::Answer(200, "Cache-Control: max-age=60|".into(), content)]);
    world.rules.slice_bytes = 1 << 20;
    world.rules.object_bytes_max = 1 << 30;
    let mut answer = Box::pin(world.ask("GET", "/large", "").wait());
    assert!(answer.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop())).is_pending());
    for _ in 0..10 {
        world.settle().await;
    }
    let body = answer.await.body.collect(64 << 20).await;
    assert_eq!(body.map(|all| all.len()).ok(), Some(length), "larger than the memory of the cache");
}

#[tokio::test]
async fn large_content_is_kept_in_slices_and_ranges_are_served_from_them() {
    let pieces: Vec<Bytes> = (0..50).map(|i| Bytes::from(vec![b'a' + (i % 26) as u8; 70])).collect();
    let whole: String = pieces.iter().map(|p| String::from_utf8_lossy(p).into_owned()).collect();
    let head = "Cache-Control: max-age=60|ETag: \"v1\"|Content-Type: x/y|";
    let world = World::new(vec![Step::Answer(200, head.into(), pieces)]);
    assert_eq!(world.get("/big", "").await.1, whole);
    let (status, content, cache) = world.get("/big", "").await;
    assert_eq!((status, cache.as_str()), (200, "selvedge; hit; ttl=60"));
    assert_eq!(content, whole);
    for (range, expect) in [
        ("bytes=0-9", &whole[..10]),
        ("bytes=995-1005", &whole[995..1006]),
        ("bytes=-7", &whole[whole.len() - 7..]),
        ("bytes=500-2999", &whole[500..3000]),
    ] {
        let (status, content, _) = world.get("/big", &format!("Range: {range}|")).await;
        assert_eq!((status, content.as_str()), (206, expect), "{range}");
    }
    let (status, content, _) = world.get("/big", "Range: bytes=0-1,1500-1501|").await;
    assert_eq!(status, 206);
    assert!(content.contains("Content-Range: bytes 1500-1501/3500"), "{content}");
    assert_eq!(world.get("/big", "Range: bytes=9000-|").await.0, 416);
    assert_eq!(world.asked(), 1);
}

#[tokio::test]
async fn inspecting_counts_the_slices_that_are_there() {
    let head = "Cache-Control: max-age=60|ETag: \"v1\"|";
    let pieces = vec![Bytes::from(vec![b'x'; 700]); 5];
    let world = World::new(vec![Step::Answer(200, head.into(), pieces)]);
    world.get("/big", "").await;
    let inspect = async || {
        let stored = world.cache.inspect(world.asked_for("GET", "/big", "")).await.stored.unwrap();
        (stored.stored, stored.length)
    };
    assert_eq!(inspect().await, (3500, 3500));
    let inner = &world.cache.0;
    let (key, _) = inner.primary_key(&world.asked_for("GET", "/big", ""));
    let Some(object::Stored::Object(object)) = inner.memory.peek(key) else { panic!("it is in memory") };
    inner.memory.remove(keep::slice_key(key, object.layout().unwrap().id, 1));
    assert_eq!(inspect().await, (2500, 3500));
    inner.memory.remove(keep::slice_key(key, object.layout().unwrap().id, 3));
    assert_eq!(inspect().await, (2000, 3500));
}

#[tokio::test]
async fn conditions_are_evaluated_on_what_is_stored() {
    let world = World::new(vec![ok("Cache-Control: max-age=60|ETag: \"v1\"|", "one")]);
    world.get("/a", "").await;
    for (head, expect) in [
        ("If-None-Match: \"v1\"|", 304),
        ("If-None-Match: W/\"v1\", \"x\"|", 304),
        ("If-None-Match: \"v2\"|", 200),
        ("If-None-Match: *|", 304),
        ("If-Range: \"v1\"|Range: bytes=0-0|", 206),
        ("If-Range: \"v2\"|Range: bytes=0-0|", 200),
    ] {
        assert_eq!(world.get("/a", head).await.0, expect, "{head}");
    }
    let head = told(world.ask("HEAD", "/a", "").wait().await).await;
    assert_eq!(head.0, 200);
    assert_eq!(world.asked(), 1);
}

#[tokio::test]
async fn an_unsafe_request_invalidates_what_it_names() {
    let world = World::new(vec![
        ok("Cache-Control: max-age=60|", "one"),
        ok("Cache-Control: max-age=60|", "other"),
        Step::Answer(204, "Location: /b|".into(), vec![]),
        ok("Cache-Control: max-age=60|", "two"),
        ok("Cache-Control: max-age=60|", "other two"),
    ]);
    world.get("/a", "").await;
    world.get("/b", "").await;
    world.ask("POST", "/a", "").wait().await;
    assert_eq!(world.get("/a", "").await.1, "two");
    assert_eq!(world.get("/b", "").await.1, "other two");
}

#[tokio::test]
async fn only_if_cached_never_reaches_the_origin() {
    let world = World::new(vec![]);
    assert_eq!(world.get("/a", "Cache-Control: only-if-cached|").await.0, 504);
}

#[tokio::test]
async fn content_is_compressed_once_for_those_who_want_it() {
    let text = "the edge of a cloth ".repeat(40);
    let mut world =
        World::new(vec![ok("Cache-Control: max-age=60|Content-Type: text/plain|ETag: \"v1\"|", &text)]);
    world.rules.compress.codings = vec![Coding::Gzip];
    assert_eq!(world.get("/a", "").await.1, text);
    let response = world.ask("GET", "/a", "Accept-Encoding: gzip|").wait().await;
    assert_eq!(response.fields.get_str(name::CONTENT_ENCODING), Some("gzip"));
    assert_eq!(response.fields.get_str(name::ETAG), Some("W/\"v1\""));
    assert_eq!(response.fields.get_str(name::VARY), Some("Accept-Encoding"));
    assert!(response.body.length().unwrap() < 200);
    assert!(matches!(world.ask("GET", "/a", "Accept-Encoding: gzip|"), Reply::Now(_)), "compressed once");
    let plain = world.ask("GET", "/a", "Accept-Encoding: br|").wait().await;
    assert!(!plain.fields.contains(name::CONTENT_ENCODING));
    assert_eq!(world.asked(), 1);
}

#[tokio::test]
async fn content_kept_in_slices_is_sent_as_it_is_by_the_first_answer_and_all_others() {
    let text = "the edge of a cloth ".repeat(100);
    let mut world = World::new(vec![ok("Cache-Control: max-age=60|Content-Type: text/plain|", &text)]);
    world.rules.compress.codings = vec![Coding::Gzip];
    for _ in 0..2 {
        let response = world.ask("GET", "/a", "Accept-Encoding: gzip|").wait().await;
        assert!(!response.fields.contains(name::CONTENT_ENCODING));
        assert_eq!(told(response).await.1, text);
    }
    assert_eq!(world.asked(), 1);
}

#[tokio::test]
async fn a_post_whose_response_is_the_target_itself_is_stored_for_get() {
    let stated = "Cache-Control: max-age=60|Content-Location: /a|";
    let world = World::new(vec![
        ok("Cache-Control: max-age=60|", "before"),
        ok(stated, "posted"),
        ok("Cache-Control: max-age=60|", "after"),
    ]);
    world.get("/a", "").await;
    let (_, content, cache) = told(world.ask("POST", "/a", "").wait().await).await;
    assert_eq!((content.as_str(), cache.as_str()), ("posted", "selvedge; fwd=method; stored"));
    assert_eq!(world.get("/a", "").await.1, "posted");
    world.cache.purge(&PurgeScope::Site { site: "default/test".into() }, PurgeKind::Hard, world.now());
    assert_eq!(world.get("/a", "").await.1, "after");
}

#[tokio::test]
async fn a_post_during_which_a_purge_came_is_not_stored() {
    let world = World::with(
        vec![
            ok("Cache-Control: max-age=60|Content-Location: /a|", "posted"),
            ok("Cache-Control: max-age=60|", "after"),
        ],
        true,
    );
    let post = tokio::spawn(world.ask("POST", "/a", "").wait());
    world.settle().await;
    world.cache.purge(&PurgeScope::Site { site: "default/test".into() }, PurgeKind::Hard, world.now());
    world.origin.gate.as_ref().unwrap().notify_one();
    assert_eq!(told(post.await.unwrap()).await.2, "selvedge; fwd=method");
    world.origin.gate.as_ref().unwrap().notify_one();
    assert_eq!(world.get("/a", "").await.1, "after");
}

#[tokio::test]
async fn fields_not_to_be_reused_reach_the_one_who_asked_alone() {
    for said in ["no-cache=\"x-own\", max-age=60", "private=\"x-own\", max-age=60"] {
        let world = World::with(vec![ok(&format!("Cache-Control: {said}|X-Own: 1|X-All: 1|"), "one")], true);
        let first = tokio::spawn(world.ask("GET", "/a", "").wait());
        world.settle().await;
        let second = tokio::spawn(world.ask("GET", "/a", "").wait());
        world.settle().await;
        world.origin.gate.as_ref().unwrap().notify_one();
        let (first, second) = (first.await.unwrap(), second.await.unwrap());
        let later = world.ask("GET", "/a", "").wait().await;
        let own = [&first, &second, &later].map(|r| r.fields.get_all_named(b"x-own").next().is_some());
        assert_eq!(own, [true, false, false], "{said}");
        assert!(later.fields.get_all_named(b"x-all").next().is_some());
    }
}

#[tokio::test]
async fn surrogate_control_is_followed_and_not_passed_on() {
    let world = World::new(vec![ok("Surrogate-Control: max-age=60|Cache-Control: no-store|", "one")]);
    let first = world.ask("GET", "/a", "").wait().await;
    world.settle().await;
    let second = world.ask("GET", "/a", "").wait().await;
    assert_eq!(second.fields.get_str(name::CACHE_STATUS), Some("selvedge; hit; ttl=60"));
    for response in [first, second] {
        assert!(!response.fields.contains(name::SURROGATE_CONTROL));
        assert_eq!(response.fields.get_str(name::CACHE_CONTROL), Some("no-store"));
    }
}

#[tokio::test]
async fn a_head_that_finds_the_same_brings_what_is_stored_up_to_date() {
    let world = World::new(vec![
        ok("Cache-Control: max-age=60|X-Old: 1|X-Both: 1|", "one"),
        Step::Answer(200, "Cache-Control: max-age=90|X-Both: 2|".into(), vec![]),
    ]);
    world.get("/a", "").await;
    world.pass_time(61);
    let head = world.ask("HEAD", "/a", "").wait().await;
    assert_eq!(
        head.fields.get_str(name::CACHE_STATUS),
        Some("selvedge; fwd=stale; fwd-status=200; ttl=90; stored")
    );
    assert_eq!(head.fields.get_str(name::CONTENT_LENGTH), Some("3"));
    let get = world.ask("GET", "/a", "").wait().await;
    for response in [head, get] {
        let field = |text: &str| response.fields.get_all_named(text.as_bytes()).next().map(<[u8]>::to_vec);
        assert_eq!((field("x-old"), field("x-both")), (Some(b"1".to_vec()), Some(b"2".to_vec())));
    }
    assert_eq!(world.asked(), 2);
}

#[tokio::test]
async fn a_request_gets_its_favourite_language_from_what_is_stored() {
    let in_language = |language: &str| {
        let head = format!("Cache-Control: max-age=60|Vary: Accept-Language|Content-Language: {language}|");
        ok(&head, language)
    };
    let world = World::new(vec![in_language("de"), in_language("en")]);
    for (wish, expected) in
        [("en, de", "de"), ("fr;q=0.5, de;q=1.0", "de"), ("en", "en"), ("EN, de;q=0.1", "en"), ("de", "de")]
    {
        let (_, content, _) = world.get("/a", &format!("Accept-Language: {wish}|")).await;
        assert_eq!(content, expected, "{wish}");
    }
    assert_eq!(world.asked(), 2);
}

#[tokio::test]
async fn a_failing_origin_is_hidden_by_default_as_far_as_the_response_allows() {
    for (said, expected) in
        [("max-age=60", 200), ("max-age=60, must-revalidate", 503), ("max-age=60, stale-if-error=0", 503)]
    {
        let world = World::new(vec![
            ok(&format!("Cache-Control: {said}|"), "one"),
            Step::Answer(503, String::new(), vec![Bytes::from_static(b"down")]),
        ]);
        world.get("/a", "").await;
        world.pass_time(100);
        assert_eq!(world.get("/a", "").await.0, expected, "{said}");
    }
}

#[tokio::test]
async fn a_part_that_nobody_asked_for_is_an_error_of_the_origin() {
    let part = || {
        let head = "Cache-Control: max-age=60|Content-Range: bytes 0-2/9|";
        Step::Answer(206, head.into(), vec![Bytes::from_static(b"one")])
    };
    let world = World::new(vec![part(), part(), part(), ok("Cache-Control: max-age=60|", "whole")]);
    let response = world.ask("GET", "/a", "").wait().await;
    assert_eq!(response.status, Status::BAD_GATEWAY);
    assert!(response.fields.get_str(name::PROXY_STATUS).unwrap().contains("error=http_protocol_error"));
    assert_eq!(world.ask("POST", "/a", "").wait().await.status, Status::BAD_GATEWAY);
    assert_eq!(world.get("/a", "Range: bytes=0-2|").await.0, 206);
    assert_eq!(world.get("/b", "").await.1, "whole");
}

#[tokio::test]
async fn a_part_that_does_not_say_which_is_passed_on_and_never_stored() {
    for range in
        ["", "Content-Range: bytes 5-2/9|", "Content-Range: nonsense|", "Content-Range: bytes 0-8/3|"]
    {
        let part = || {
            let head = format!("Cache-Control: max-age=60|ETag: \"v\"|{range}");
            Step::Answer(206, head, vec![Bytes::from_static(b"one")])
        };
        let world = World::new(vec![part(), part()]);
        for _ in 0..2 {
            let (status, content, cache) = world.get("/a", "Range: bytes=0-2|").await;
            assert_eq!((status, content.as_str()), (206, "one"), "{range}");
            assert_eq!(cache, "selvedge; fwd=uri-miss", "{range}");
        }
    }
}

#[tokio::test]
async fn a_part_that_is_longer_than_it_says_is_not_kept() {
    let part = |content: &'static [u8]| {
        let head = "Cache-Control: max-age=60|ETag: \"v\"|Content-Range: bytes 0-2/9|";
        Step::Answer(206, head.into(), vec![Bytes::from_static(content)])
    };
    let world = World::new(vec![part(b"too long"), part(b"one")]);
    world.get("/a", "Range: bytes=0-2|").await;
    assert_eq!(world.get("/a", "Range: bytes=0-2|").await.1, "one");
}

#[tokio::test]
async fn responses_tell_that_they_came_through_here() {
    let world = World::new(vec![ok("Cache-Control: max-age=60|Via: 1.0 fred|", "one"), ok("", "two")]);
    for (method, target) in [("GET", "/a"), ("GET", "/a"), ("POST", "/b")] {
        let response = world.ask(method, target, "").wait().await;
        let via = response.fields.joined(name::VIA).unwrap();
        assert_eq!(via, if target == "/a" { &b"1.0 fred, 1.1 selvedge"[..] } else { b"1.1 selvedge" });
        world.settle().await;
    }
}
