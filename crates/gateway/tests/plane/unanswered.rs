//! Clients that leave before there is an answer.

use super::world::{World, request};
use selvedge_exchange::{Handler, Reply};
use selvedge_gateway::access_log::TailItem;
use tokio::net::TcpListener;

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_is_counted_and_logged() {
    // It accepts, and says nothing.
    let origin = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world =
        World::new(&format!("[site.a]\nhosts = \"*\"\norigin = \"http://{}\"", origin.local_addr().unwrap()));
    let mut tail = world.plane.log().follow();
    let Reply::Later(later) = world.plane.handle(request("GET /slow", "")) else { panic!() };
    drop(later);
    let Some(TailItem::Line(line)) = tail.next().await else { panic!() };
    for member in ["\"uri\":\"/slow\"", "\"site\":\"default/a\"", "\"status\":499", "\"complete\":false"] {
        assert!(line.contains(member), "{member} {line}");
    }
    let metrics = world.registry.encode();
    let counted = "selvedge_requests_total{site=\"default/a\",source=\"local\"} 1\n";
    assert!(metrics.contains(counted), "{metrics}");
}
