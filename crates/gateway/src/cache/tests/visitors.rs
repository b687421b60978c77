//! What one visitor's request may do to what others get: nothing.

use super::*;

const PAGE: &str = "Cache-Control: max-age=60, stale-while-revalidate=30|ETag: \"v1\"|";

fn unchanged() -> Step {
    Step::Answer(304, "ETag: \"v1\"|".into(), vec![])
}

impl World {
    fn waiting(&self, head: &str) -> tokio::task::JoinHandle<Response> {
        tokio::spawn(self.ask("GET", "/a", head).wait())
    }

    fn answer_next(&self) {
        self.origin.gate.as_ref().unwrap().notify_one();
    }

    /// Asserts that visitors who say nothing find what was stored first.
    async fn assert_first_is_hit(&self, why: &str) {
        let (_, content, cache) = self.get("/a", "").await;
        assert_eq!((content.as_str(), cache.starts_with("selvedge; hit")), ("first", true), "{why}: {cache}");
    }
}

#[tokio::test]
async fn what_a_request_says_of_itself_evicts_nothing() {
    for head in [
        "Cache-Control: no-cache, no-store|",
        "Cache-Control: no-cache|Authorization: x|",
        "Cache-Control: max-age=0, no-store|Authorization: x|",
    ] {
        for (method, step) in [
            ("GET", unchanged()),
            ("GET", ok(PAGE, "for one")),
            ("GET", ok("Cache-Control: private|", "for one")),
            ("GET", Step::Answer(304, "ETag: \"other\"|Last-Modified: x|".into(), vec![])),
            ("HEAD", Step::Answer(200, PAGE.into(), vec![])),
            ("HEAD", Step::Answer(200, "Cache-Control: max-age=60|ETag: \"v2\"|".into(), vec![])),
        ] {
            let world = World::new(vec![ok(PAGE, "first"), step, ok(PAGE, "asked again")]);
            world.get("/a", "").await;
            assert_eq!(told(world.ask(method, "/a", head).wait().await).await.0, 200, "{method} {head}");
            assert!(world.asked() >= 2, "{head} goes to the origin");
            world.settle().await;
            world.assert_first_is_hit(head).await;
        }
    }
}

#[tokio::test]
async fn what_a_request_says_of_itself_does_not_end_the_waiting_of_others() {
    for head in ["Cache-Control: no-store|", "Authorization: x|", "Cache-Control: no-cache|Authorization: x|"]
    {
        let page = || ok(PAGE, "page");
        let world = World::with(vec![page(), page(), page()], true);
        let own = world.waiting(head);
        world.settle().await;
        let others: Vec<_> = (0..10).map(|_| world.waiting("")).collect();
        world.settle().await;
        assert_eq!(world.asked(), 2, "{head}: its own, and one for all others");
        for _ in 0..2 {
            world.answer_next();
            world.settle().await;
        }
        for response in others.into_iter().chain([own]) {
            assert_eq!(told(response.await.unwrap()).await.1, "page", "{head}");
        }
        world.settle().await;
        assert!(world.get("/a", "").await.2.contains("hit"), "{head}");
        assert_eq!(world.asked(), 2);
    }
}

#[tokio::test]
async fn after_it_others_wait_for_one_fetch_as_before() {
    for head in ["Cache-Control: no-store|", "Authorization: x|"] {
        let steps = vec![ok("Cache-Control: private|", "own"), ok(PAGE, "page")];
        let world = World::with(steps, true);
        let own = world.waiting(head);
        world.settle().await;
        world.answer_next();
        assert_eq!(told(own.await.unwrap()).await.1, "own");
        let others: Vec<_> = (0..10).map(|_| world.waiting("")).collect();
        world.settle().await;
        world.answer_next();
        for response in others {
            assert_eq!(told(response.await.unwrap()).await.1, "page", "{head}");
        }
        assert_eq!(world.asked(), 2, "{head}");
    }
}

#[tokio::test]
async fn requests_with_credentials_wait_for_each_other_while_what_they_get_is_for_all() {
    let world = World::with(vec![ok("Cache-Control: public, max-age=60|", "page")], true);
    let waiting: Vec<_> = (0..10).map(|_| world.waiting("Authorization: x|")).collect();
    world.settle().await;
    world.answer_next();
    for response in waiting {
        assert_eq!(told(response.await.unwrap()).await.1, "page");
    }
    assert_eq!(world.asked(), 1);
    let own = |i: usize| ok("Cache-Control: max-age=60|", &format!("own {i}"));
    let world = World::with((0..5).map(own).collect(), true);
    let first = world.waiting("Authorization: x|");
    world.settle().await;
    world.answer_next();
    assert_eq!(told(first.await.unwrap()).await.1, "own 0");
    let _waiting: Vec<_> = (0..4).map(|_| world.waiting("Authorization: x|")).collect();
    world.settle().await;
    assert_eq!(world.asked(), 5, "what they get is not shared: they do not wait");
}

#[tokio::test]
async fn a_change_made_while_one_with_credentials_fetches_counts_for_what_it_stores() {
    let page = |content| ok("Cache-Control: public, max-age=60|", content);
    let changed = Step::Answer(204, String::new(), vec![]);
    let world = World::with(vec![changed, page("before"), page("after")], true);
    let post = tokio::spawn(world.ask("POST", "/a", "").wait());
    world.settle().await;
    let own = world.waiting("Authorization: x|");
    world.settle().await;
    world.answer_next();
    assert_eq!(post.await.unwrap().status.code(), 204);
    world.answer_next();
    assert_eq!(told(own.await.unwrap()).await.1, "before");
    world.answer_next();
    assert_eq!(world.get("/a", "").await.1, "after");
}

#[tokio::test]
async fn a_change_made_while_one_fetches_alone_counts_for_what_it_stores() {
    for method in ["GET", "POST"] {
        let page = |content| ok("Cache-Control: max-age=60|Content-Location: /a|", content);
        let changed = Step::Answer(204, String::new(), vec![]);
        let mut world = World::with(vec![changed, page("before"), page("after")], true);
        world.rules.collapse = false;
        let change = tokio::spawn(world.ask("POST", "/a", "").wait());
        world.settle().await;
        let own = tokio::spawn(world.ask(method, "/a", "").wait());
        world.settle().await;
        world.answer_next();
        assert_eq!(change.await.unwrap().status.code(), 204);
        world.answer_next();
        assert_eq!(told(own.await.unwrap()).await.1, "before");
        world.answer_next();
        assert_eq!(world.get("/a", "").await.1, "after", "{method}");
    }
}

#[tokio::test]
async fn a_page_that_becomes_private_is_not_kept_where_nobody_waits_for_others_either() {
    let steps = vec![
        ok("Cache-Control: max-age=60, stale-if-error=600|", "for all"),
        ok("Cache-Control: private|", "for one"),
        Step::Answer(500, String::new(), vec![]),
    ];
    let mut world = World::new(steps);
    world.rules.collapse = false;
    assert_eq!(world.get("/a", "").await.1, "for all");
    world.pass_time(61);
    assert_eq!(world.get("/a", "").await.1, "for one");
    assert_eq!(world.get("/a", "").await.0, 500, "what was for all is gone");
}

#[tokio::test]
async fn a_slice_that_is_another_for_one_with_credentials_evicts_nothing() {
    let part = |range: &str| {
        let head = format!("Cache-Control: max-age=600|ETag: \"a\"|Content-Range: bytes {range}|");
        Step::Answer(206, head, vec![Bytes::from(vec![b'x'; 1000])])
    };
    let world = World::new(vec![
        part("0-999/3000"),
        Step::Answer(401, String::new(), vec![]),
        Step::Answer(401, String::new(), vec![]),
    ]);
    world.get("/a", "Range: bytes=0-999|").await;
    assert_eq!(world.get("/a", "Authorization: x|Range: bytes=1000-1999|").await.0, 401);
    let (status, _, cache) = world.get("/a", "Range: bytes=0-999|").await;
    assert_eq!((status, cache.as_str()), (206, "selvedge; hit; ttl=600"));
}

#[tokio::test]
async fn whoever_is_served_stale_has_what_is_stored_asked_for_as_it_is_stored() {
    for (method, head) in [
        ("HEAD", ""),
        ("HEAD", "Range: bytes=0-0|If-None-Match: \"x\"|"),
        ("GET", "Cache-Control: no-store|"),
        ("GET", "Range: bytes=0-0|If-None-Match: \"x\"|"),
    ] {
        for (step, content) in [(unchanged(), "first"), (ok(PAGE, "second"), "second")] {
            let world = World::new(vec![ok(PAGE, "first"), step]);
            world.get("/a", "").await;
            world.pass_time(70);
            world.ask(method, "/a", head).wait().await;
            world.settle().await;
            assert_eq!(world.last_header(name::IF_NONE_MATCH).as_deref(), Some("\"v1\""));
            assert_eq!(world.last_header(name::RANGE), None);
            let (_, found, cache) = world.get("/a", "").await;
            assert_eq!(
                (found.as_str(), cache.as_str()),
                (content, "selvedge; hit; ttl=60"),
                "{method} {head}"
            );
        }
    }
}

#[tokio::test]
async fn whoever_is_served_stale_with_credentials_costs_nobody_what_is_stored() {
    for step in [unchanged(), ok(PAGE, "for one"), Step::Answer(401, String::new(), vec![])] {
        let world = World::new(vec![ok(PAGE, "first"), step, unchanged()]);
        world.get("/a", "").await;
        world.pass_time(70);
        assert_eq!(world.get("/a", "Authorization: x|").await.1, "first");
        world.assert_first_is_hit("stale").await;
        world.assert_first_is_hit("refreshed").await;
        assert_eq!(world.get("/a", "").await.2, "selvedge; hit; ttl=60");
    }
}

#[tokio::test]
async fn a_failing_origin_is_hidden_from_head_as_it_is_from_get() {
    for (said, hidden) in [("max-age=60", true), ("max-age=60, must-revalidate", false)] {
        for (step, own) in [
            (Step::Fail(ProxyError::ConnectionRefused), if hidden { 502 } else { 504 }),
            (Step::Answer(503, String::new(), vec![]), 503),
        ] {
            let world = World::new(vec![ok(&format!("Cache-Control: {said}|"), "first"), step]);
            world.get("/a", "").await;
            world.pass_time(100);
            let response = world.ask("HEAD", "/a", "").wait().await;
            assert_eq!(response.status.code(), if hidden { 200 } else { own }, "{said}");
            if hidden {
                assert_eq!(response.fields.get_str(name::CONTENT_LENGTH), Some("5"));
                assert!(response.fields.get_str(name::CACHE_STATUS).unwrap().ends_with("ttl=-40"));
            }
        }
    }
}

#[tokio::test]
async fn an_error_that_varies_reaches_those_who_asked_alike() {
    let error = |tenant: &str| {
        let content = vec![Bytes::from(tenant.to_string())];
        Step::Answer(503, "Vary: X-Tenant|Content-Type: text/plain|".into(), content)
    };
    let world = World::with(vec![error("one"), error("two")], true);
    let ones: Vec<_> = (0..3).map(|_| world.waiting("X-Tenant: one|")).collect();
    world.settle().await;
    let twos: Vec<_> = (0..3).map(|_| world.waiting("X-Tenant: two|")).collect();
    world.settle().await;
    for _ in 0..2 {
        world.answer_next();
        world.settle().await;
    }
    for (waiting, tenant) in [(ones, "one"), (twos, "two")] {
        for response in waiting {
            assert_eq!(told(response.await.unwrap()).await.1, tenant);
        }
    }
    assert_eq!(world.asked(), 2, "each kind once");
}
