//! What a request loses before anything is decided about it.

use super::world::{Origin, World, request, told};
use selvedge_exchange::Handler;

const FRESH: &str = "Cache-Control: max-age=600|";

#[tokio::test]
async fn what_connection_lists_is_in_no_key_and_takes_nothing_from_the_gateways_fields() {
    let origin = Origin::start("o", FRESH).await;
    let world = World::new(&format!(
        "[site.a]\nhosts = \"*\"\norigin = \"http://{}\"\ncache = {{ key = {{ headers = [\"X-Tenant\"] }} }}\n\
         request_headers = {{ set = {{ X-Internal = \"yes\" }} }}",
        origin.addr
    ));
    let poison = world.ask("GET /", "X-Tenant: victim|Connection: X-Tenant, X-Internal, X-Request-Id").await;
    let head = poison.body.to_ascii_lowercase();
    assert!(head.contains("x-internal: yes\r\n") && head.contains("x-request-id: "), "{head}");
    assert!(!head.contains("victim"), "{head}");
    let victim = world.ask("GET /", "X-Tenant: victim").await;
    assert!(victim.cache.contains("fwd=uri-miss"), "{}", victim.cache);
    assert!(world.ask("GET /", "").await.cache.contains("hit"));
}

#[tokio::test]
async fn what_connection_lists_is_in_no_variant() {
    let origin = Origin::start("o", "Cache-Control: max-age=600|Vary: X-Lang|").await;
    let world = World::new(&format!("[site.a]\nhosts = \"*\"\norigin = \"http://{}\"", origin.addr));
    world.ask("GET /", "X-Lang: de|Connection: X-Lang").await;
    assert!(world.ask("GET /", "X-Lang: de").await.cache.contains("fwd="));
}

#[tokio::test]
async fn a_request_to_switch_to_what_is_not_allowed_is_an_ordinary_one() {
    let origin = Origin::start("o", FRESH).await;
    let world = World::new(&format!("[site.a]\nhosts = \"*\"\norigin = \"http://{}\"", origin.addr));
    let h2c = "Connection: Upgrade, HTTP2-Settings|Upgrade: h2c|HTTP2-Settings: AAMAAABk";
    let first = world.ask("GET /", h2c).await;
    assert!(!first.body.to_ascii_lowercase().contains("upgrade"), "{}", first.body);
    for header in [h2c, "Upgrade: foo", "Upgrade: websocket"] {
        assert!(world.ask("GET /", header).await.cache.contains("hit"), "{header}");
    }
    let switched = world.ask("GET /", "Connection: Upgrade|Upgrade: websocket").await;
    assert!(switched.body.to_ascii_lowercase().contains("upgrade: websocket\r\n"), "{}", switched.body);
    assert!(switched.cache.contains("fwd=bypass"), "{}", switched.cache);
}

#[tokio::test]
async fn more_requests_at_once_than_may_be_get_503() {
    let origin = Origin::start("o", FRESH).await;
    let world = World::new(&format!(
        "[settings.limits]\nrequests = 1\n[site.a]\nhosts = \"*\"\norigin = \"http://{}\"",
        origin.addr
    ));
    let first = world.plane.handle(request("GET /", ""));
    assert_eq!(world.ask("GET /", "").await.status, 503);
    let metrics = world.registry.encode();
    assert!(metrics.contains("selvedge_limit_reached_total{limit=\"requests\"} 1\n"), "{metrics}");
    assert_eq!(told(first.wait().await).await.status, 200);
    assert_eq!(world.ask("GET /", "").await.status, 200);
}
