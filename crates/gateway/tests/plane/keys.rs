//! What is stored under which name, and what a purge of that name reaches.

use super::world::{Origin, World, request};
use selvedge_cache::stamps::{PurgeKind, PurgeScope};
use selvedge_types::Hlc;

const FRESH: &str = "Cache-Control: max-age=600|";

#[tokio::test]
async fn routes_that_ask_different_origins_for_one_path_share_nothing() {
    let (main, other) = (Origin::start("main", FRESH).await, Origin::start("other", FRESH).await);
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "sesame").unwrap();
    let world = World::new(&format!(
        "[site.a]\nhosts = \"*\"\norigin = \"http://{}\"\norigins = {{ b = \"http://{}\" }}\n\
         [[site.a.route]]\npath = \"/a/*\"\nto = \"origin:b\"\nauth = {{ bearer = {{ tokens = \"file:{}\" }} }}\n\
         rewrite = {{ strip_prefix = \"/a\" }}\n\
         [[site.a.route]]\npath = \"/b/*\"\nrewrite = {{ strip_prefix = \"/b\" }}",
        main.addr,
        other.addr,
        token.display()
    ));
    let secret = world.ask("GET /a/x", "Authorization: Bearer sesame").await;
    assert!(secret.body.starts_with("other 1\nGET /x HTTP/1.1\r\n"), "{}", secret.body);
    let open = world.ask("GET /b/x", "").await;
    assert!(open.body.starts_with("main 1\nGET /x HTTP/1.1\r\n"), "{}", open.body);
    assert_eq!(world.ask("GET /a/x", "").await.status, 401);
    assert!(world.ask("GET /b/x", "").await.cache.contains("hit"));
}

#[tokio::test]
async fn one_url_sent_as_another_target_is_kept_apart() {
    let origin = Origin::start("o", FRESH).await;
    let world = World::new(&format!(
        "[site.a]\nhosts = \"*\"\norigin = \"http://{}\"\ncache = {{ key = {{ query = {{ drop = [\"utm_*\"] }} }} }}\n\
         [[site.a.rule]]\nwhen = {{ cookie = {{ beta = \"1\" }} }}\nrewrite = {{ add_prefix = \"/beta\" }}",
        origin.addr
    ));
    assert!(world.ask("GET /x?utm_a=1", "").await.body.contains("GET /x?utm_a=1 "));
    assert!(world.ask("GET /x?utm_a=1", "Cookie: beta=1").await.body.contains("GET /beta/x?utm_a=1 "));
    assert!(world.ask("GET /x?utm_b=1", "").await.cache.contains("hit"));
    let beta = world.ask("GET /x?utm_b=1", "Cookie: beta=1").await;
    assert!(beta.cache.contains("hit") && beta.body.contains("/beta/x"), "{}", beta.cache);
    assert_eq!(origin.asked(), 2);
}

#[tokio::test]
async fn an_unsafe_request_invalidates_its_url_wherever_it_and_what_is_stored_come_from() {
    let (main, other) = (Origin::start("main", FRESH).await, Origin::start("other", FRESH).await);
    let world = World::new(&format!(
        "[site.a]\nhosts = \"*\"\norigin = \"http://{}\"\norigins = {{ w = \"http://{}\" }}\n\
         rewrite = {{ add_prefix = \"/v1\" }}\n\
         [[site.a.route]]\npath = \"*\"\nmethods = [\"PUT\"]\nto = \"origin:w\"",
        main.addr, other.addr
    ));
    assert!(world.ask("GET /x", "").await.body.contains("GET /v1/x "));
    assert!(world.ask("PUT /%78", "").await.body.starts_with("other 1\nPUT /v1/x "));
    assert!(world.ask("GET /x", "").await.body.starts_with("main 2\n"));
}

#[tokio::test]
async fn every_spelling_of_a_path_is_one_object() {
    let origin = Origin::start("o", FRESH).await;
    let world = World::new(&format!("[site.a]\nhosts = \"*\"\norigin = \"http://{}\"", origin.addr));
    for target in ["/tag/%2f", "/%74ag/%2F", "/x/../tag/%2F", "/x/%2e%2E/tag/%2f"] {
        let told = world.ask(&format!("GET {target}"), "").await;
        assert!(told.body.starts_with("o 1\nGET /tag/%2F HTTP/1.1\r\n"), "{target}: {}", told.body);
    }
}

#[tokio::test]
async fn a_purge_goes_by_the_url_the_client_asked_for_and_asks_no_door() {
    let origin = Origin::start("o", FRESH).await;
    let world = World::new(&format!(
        "[site.a]\nhosts = \"a.test\"\norigin = \"http://{}\"\nforce_https = true\n\
         access = {{ allow = [\"198.51.100.0/24\"] }}\nrate_limit = {{ rate = \"1/h\", burst = 2 }}\n\
         cache = {{ key = {{ query = {{ drop = [\"utm_*\"] }} }} }}\nrewrite = {{ strip_prefix = \"/b\" }}",
        origin.addr
    ));
    let from_inside = |target: &str| {
        let mut request = request(&format!("GET {target}"), "");
        request.client.addr = "198.51.100.1:1".parse().unwrap();
        request.scheme = selvedge_types::Scheme::Https;
        request
    };
    use selvedge_exchange::Handler;
    world.plane.handle(from_inside("/b/x?utm_a=1")).wait().await;
    for _ in 0..5 {
        let found = world.plane.dry_run(request("GET /b/%78?utm_z=9", "")).unwrap();
        let cache = world.plane.cache();
        assert_eq!(cache.uri_of(&found.ask.rules, &found.ask.request), "a.test/b/x");
        assert_eq!(found.ask.request.path(), "/b/x");
        assert!(!found.is_answered_here);
    }
    let inspected = world.plane.dry_run(from_inside("/b/x")).unwrap();
    assert_eq!(world.plane.cache().inspect(inspected.ask).await.decision, "hit");
    let scope = PurgeScope::Prefix { site: "default/a".into(), path: "/b/".into() };
    world.plane.cache().purge(&scope, PurgeKind::Hard, Hlc::from_bits(u64::MAX >> 2));
    let gone = world.plane.dry_run(from_inside("/b/x")).unwrap();
    assert_eq!(world.plane.cache().inspect(gone.ask).await.decision, "miss");
    // Two requests were let through in all: looking took none.
    let last = world.plane.handle(from_inside("/b/x")).wait().await;
    assert_eq!((last.status.code(), origin.asked()), (200, 2));
    assert_eq!(world.plane.handle(from_inside("/b/x")).wait().await.status.code(), 429);
}
