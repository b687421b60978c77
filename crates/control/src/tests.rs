//! The API as its clients see it.

use crate::router::{Access, Route};
use crate::testing::World;
use crate::{Problem, openapi, wire};
use selvedge_types::token::Role;
use serde_json::json;
use std::collections::BTreeSet;

const MANIFEST: &str = "[site.docs]\nhosts = [\"docs.example.com\"]\norigin = \"http://127.0.0.1:9\"\n";

#[tokio::test]
async fn a_manifest_is_planned_applied_and_then_changes_nothing() {
    let world = World::default();
    let secret = world.token("root", Role::Admin, None);
    let plan: wire::Plan =
        serde_json::from_str(&world.ask("POST", "/v1/plan", &secret, MANIFEST).await.text).unwrap();
    assert_eq!((plan.revision, plan.changes.len()), (0, 1));
    assert_eq!(
        (plan.changes[0].name.as_str(), plan.changes[0].action),
        ("default/docs", wire::Action::Create)
    );

    let applied = world.ask("POST", "/v1/apply?expected=0", &secret, MANIFEST).await;
    assert_eq!((applied.status, applied.json()["revision"].clone()), (200, json!(1)));
    let site = world.ask("GET", "/v1/sites/default/docs", &secret, "").await.json();
    assert_eq!((&site["generation"], &site["spec"]["hosts"]), (&json!(1), &json!(["docs.example.com"])));
    assert_eq!(world.ask("GET", "/v1/sites?namespace=other", &secret, "").await.json(), json!([]));
    assert_eq!(world.ask("POST", "/v1/plan", &secret, MANIFEST).await.json()["changes"], json!([]));
}

#[tokio::test]
async fn a_manifest_without_sites_deletes_them_only_if_that_is_said() {
    let world = World::default();
    let secret = world.token("root", Role::Admin, None);
    let nothing = world.ask("POST", "/v1/apply", &secret, "").await;
    assert_eq!(nothing.status, 200, "there is nothing to lose: {}", nothing.text);
    assert_eq!(world.ask("POST", "/v1/apply", &secret, MANIFEST).await.status, 200);

    let refused = world.ask("POST", "/v1/apply", &secret, "").await;
    assert_eq!(refused.status, 409, "{}", refused.text);
    assert!(refused.text.contains("--delete-all"), "{}", refused.text);
    let other = world.ask("POST", "/v1/apply", &secret, "namespace = \"other\"\n").await;
    assert_eq!(other.status, 200, "it declares another namespace: {}", other.text);
    let meant = world.ask("POST", "/v1/apply?delete_all=true", &secret, "").await;
    assert_eq!(meant.json()["changes"][0]["action"], "delete");
}

#[tokio::test]
async fn without_the_control_state_a_token_is_not_called_wrong() {
    let world = World::default();
    let secret = world.token("root", Role::Admin, None);
    world.lose_state("the disk is full");
    let answer = world.ask("POST", "/v1/apply", &secret, MANIFEST).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.text.contains("the disk is full"), "{answer:?}");
    assert_eq!(world.ask("GET", "/healthz", "", "").await.status, 200);
}

#[tokio::test]
async fn what_is_wrong_is_told_as_a_problem() {
    let world = World::default();
    let secret = world.token("root", Role::Admin, None);
    let long = format!("/v1/cache/purge?{}", "a".repeat(100));
    for (method, path, body, status, kind) in [
        ("POST", "/v1/plan", "[site.docs]\nhost = [\"a\"]\n", 422, "manifest"),
        ("POST", "/v1/apply?expected=9", MANIFEST, 409, "conflict"),
        ("POST", "/v1/apply?expected=x", MANIFEST, 400, "invalid"),
        ("POST", "/v1/cache/purge", "{\"url\": 5}", 422, "invalid"),
        ("POST", "/v1/cache/purge", "{", 400, "invalid"),
        ("POST", &long, "plain", 415, "invalid"),
        ("POST", "/v1/tokens", "{\"name\": \"A b\", \"role\": \"viewer\"}", 400, "invalid"),
        ("POST", "/v1/tokens", "{\"name\": \"root\", \"role\": \"viewer\"}", 409, "exists"),
        ("DELETE", "/v1/tokens/root", "", 409, "limit"),
        ("DELETE", "/v1/tokens/none", "", 404, "not-found"),
        ("GET", "/v1/sites/default/none", "", 404, "not-found"),
        ("GET", "/v1/sites/a%2fb/none", "", 400, "invalid"),
        ("GET", "/v1/nothing", "", 404, "not-found"),
        ("PUT", "/v1/plan", "", 405, "method"),
    ] {
        let answer = world.ask(method, path, &secret, body).await;
        assert_eq!(answer.kind, "application/problem+json", "{method} {path}: {answer:?}");
        let problem: Problem = serde_json::from_str(&answer.text).unwrap();
        assert_eq!((answer.status, problem.kind()), (status, kind), "{method} {path}: {answer:?}");
    }
    let large = world.ask("POST", "/v1/plan", &secret, &"#".repeat(crate::router::BODY_BYTES_MAX + 1)).await;
    assert_eq!(large.status, 413);
    assert!(large.text.contains("larger than the 16 MiB allowed"), "{}", large.text);
    let manifest = world.ask("POST", "/v1/plan", &secret, "[site.docs]\nhost = [\"a\"]\n").await.json();
    assert_eq!(manifest["errors"][0]["line"], 2, "{manifest}");
}

#[tokio::test]
async fn each_role_may_do_what_it_is_for() {
    let world = World::default();
    let viewer = world.token("v", Role::Viewer, None);
    let deployer = world.token("d", Role::Deployer, None);
    let settings = "[settings]\nname = \"edge\"\n";
    for (secret, method, path, body, status) in [
        ("", "GET", "/v1/status", "", 401),
        ("sv_wrong", "GET", "/v1/status", "", 401),
        ("", "GET", "/metrics", "", 401),
        (&viewer, "GET", "/v1/status", "", 200),
        (&viewer, "GET", "/metrics", "", 200),
        (&viewer, "POST", "/v1/plan", MANIFEST, 200),
        (&viewer, "POST", "/v1/apply", MANIFEST, 403),
        (&viewer, "POST", "/v1/cache/purge", "{\"tag\": \"x\"}", 403),
        (&viewer, "GET", "/v1/tokens", "", 403),
        (&deployer, "POST", "/v1/apply", MANIFEST, 200),
        (&deployer, "POST", "/v1/cache/purge", "{\"tag\": \"x\"}", 200),
        (&deployer, "POST", "/v1/apply?delete_all=true", settings, 403),
        (&deployer, "POST", "/v1/tokens", "{\"name\": \"x\", \"role\": \"admin\"}", 403),
    ] {
        let answer = world.ask(method, path, secret, body).await;
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
    }
    assert_eq!(world.purges().len(), 1);
}

#[tokio::test]
async fn a_token_for_a_namespace_sees_and_changes_nothing_else() {
    let world = World::default();
    let root = world.token("root", Role::Admin, None);
    let team = world.token("team", Role::Admin, Some("team"));
    assert_eq!(world.ask("POST", "/v1/apply", &root, MANIFEST).await.status, 200);
    assert_eq!(world.ask("GET", "/v1/sites", &team, "").await.json(), json!([]));
    assert_eq!(world.ask("GET", "/v1/sites/default/docs", &team, "").await.status, 403);
    assert_eq!(world.ask("POST", "/v1/apply", &team, MANIFEST).await.status, 403);
    for whole in ["/metrics", "/v1/settings"] {
        assert_eq!(world.ask("GET", whole, &team, "").await.status, 403, "{whole} tells of all");
    }
    let stats = world.ask("GET", "/v1/cache/stats", &team, "").await.json();
    assert_eq!(stats["sites"].as_array().unwrap().len(), 1);
    let tokens = world.ask("GET", "/v1/tokens", &team, "").await.json();
    assert_eq!(tokens.as_array().unwrap().len(), 1, "{tokens}");
    let wanted = "{\"name\": \"ci\", \"role\": \"deployer\"}";
    let made = world.ask("POST", "/v1/tokens", &team, wanted).await.json();
    assert_eq!(made["namespace"], "team", "a token's limit passes on: {made}");
    let foreign = "{\"name\": \"ci2\", \"role\": \"deployer\", \"namespace\": \"default\"}";
    assert_eq!(world.ask("POST", "/v1/tokens", &team, foreign).await.status, 403);
    assert_eq!(world.ask("DELETE", "/v1/tokens/root", &team, "").await.status, 404);
}

#[tokio::test]
async fn a_token_for_a_namespace_takes_no_hosts_from_others() {
    let world = World::default();
    let root = world.token("root", Role::Admin, None);
    let team = world.token("team", Role::Admin, Some("team"));
    let site = |namespace: &str, hosts: &str| {
        format!(
            "namespace = \"{namespace}\"\n[site.secret-{namespace}]\nhosts = [{hosts}]\norigin = \"http://127.0.0.1:1\"\n"
        )
    };
    let apply = |text: String, token: String| {
        let world = world.clone();
        async move { world.ask("POST", "/v1/apply", &token, &text).await }
    };
    let own = "\"shop.example\", \"a.free.example\"";
    assert_eq!(apply(site("team", own), team.clone()).await.status, 200);
    let of_others = site("default", "\"*.example.com\", \"docs.test\"");
    assert_eq!(apply(of_others, root.clone()).await.status, 200);
    assert_eq!(apply(site("more", "\"*.free.example\""), root.clone()).await.status, 200);
    let others = ["a.example.com", "*.b.example.com", "*", "docs.test", "*.com", "*.example.com", "*.unused"];
    for taken in others.map(|host| format!("\"{host}\"")) {
        let answer = apply(site("team", &format!("{own}, {taken}")), team.clone()).await;
        assert_eq!(answer.status, 409, "{taken}: {}", answer.text);
        assert!(!answer.text.contains("secret-default"), "{}", answer.text);
        let plan = world.ask("POST", "/v1/plan", &team, &site("team", &taken)).await;
        assert_eq!(plan.status, 409, "{taken}");
    }
    // What it has it keeps, and who may act on all may do as they like.
    assert_eq!(apply(site("team", &format!("{own}, \"*.shop.example\"")), team.clone()).await.status, 200);
    assert_eq!(apply(site("team", own), team).await.status, 200);
    assert_eq!(apply(site("team", "\"a.example.com\""), root).await.status, 200);
}

#[tokio::test]
async fn what_is_not_understood_is_refused_rather_than_left_out() {
    let world = World::default();
    let root = world.token("root", Role::Admin, None);
    world.ask("POST", "/v1/apply", &root, MANIFEST).await;
    for (path, body, key) in [
        ("/v1/tokens", "{\"name\": \"n\", \"role\": \"viewer\", \"namespce\": \"x\"}", "namespce"),
        ("/v1/cache/purge", "{\"url\": \"http://docs.example.com/\", \"sotf\": true}", "sotf"),
        ("/v1/cache/purge", "{\"tag\": \"x\", \"stie\": \"default/docs\"}", "stie"),
        ("/v1/apply?expcted=1", MANIFEST, "expcted"),
        ("/v1/apply?delete_al=true", "", "delete_al"),
    ] {
        let answer = world.ask("POST", path, &root, body).await;
        assert!((400..500).contains(&answer.status) && answer.text.contains(key), "{path}: {answer:?}");
    }
    assert!(world.purges().is_empty());
}

#[tokio::test]
async fn a_plan_of_settings_is_for_those_alone_who_may_see_them() {
    let world = World::default();
    let team = world.token("team", Role::Admin, Some("team"));
    let text = "namespace = \"team\"\n[settings.limits]\nheader_count = 50\n";
    assert_eq!(world.ask("POST", "/v1/plan", &team, text).await.status, 403);
    let root = world.token("root", Role::Viewer, None);
    let plan = world.ask("POST", "/v1/plan", &root, text).await;
    assert_eq!(plan.status, 200, "{}", plan.text);
}

#[tokio::test]
async fn a_new_token_works_until_it_is_revoked() {
    let world = World::default();
    let root = world.token("root", Role::Admin, None);
    let wanted = "{\"name\": \"ci\", \"role\": \"deployer\"}";
    let made = world.ask("POST", "/v1/tokens", &root, wanted).await;
    assert_eq!(made.status, 201);
    let made: wire::NewToken = serde_json::from_str(&made.text).unwrap();
    assert_eq!(world.ask("GET", "/v1/status", &made.secret, "").await.status, 200);
    let listed = world.ask("GET", "/v1/tokens", &root, "").await;
    assert!(listed.text.contains("\"ci\"") && !listed.text.contains(&made.secret));
    assert_eq!(world.ask("DELETE", "/v1/tokens/ci", &root, "").await.status, 204);
    assert_eq!(world.ask("GET", "/v1/status", &made.secret, "").await.status, 401);
}

#[tokio::test]
async fn requests_are_followed_line_by_line() {
    let world = World::default();
    let root = world.token("root", Role::Admin, None);
    let team = world.token("team", Role::Viewer, Some("team"));
    let talk = || {
        world.say("default", "{\"a\":1}");
        world.miss(3);
        world.say("team", "{\"b\":2}");
    };
    talk();
    let all = world.ask("GET", "/v1/requests", &root, "").await;
    assert_eq!(all.text, "{\"a\":1}\n{\"missed\":3}\n{\"b\":2}\n");
    talk();
    assert_eq!(world.ask("GET", "/v1/requests", &team, "").await.text, "{\"missed\":3}\n{\"b\":2}\n");
}

#[tokio::test]
async fn a_node_is_ready_when_its_checks_hold() {
    let world = World::default();
    assert_eq!(world.ask("GET", "/healthz", "", "").await.status, 200);
    let unready = world.ask("GET", "/readyz", "", "").await;
    assert_eq!((unready.status, unready.json()["ready"].clone()), (503, json!(false)));
    let root = world.token("root", Role::Admin, None);
    world.ask("POST", "/v1/apply", &root, MANIFEST).await;
    assert_eq!(world.ask("GET", "/readyz", "", "").await.status, 200);
}

#[test]
fn every_route_is_documented_with_who_may_use_it() {
    let document = openapi::document();
    let (_, routes) = World::default().router();
    let in_table = |access: fn(&Route) -> bool| -> BTreeSet<(String, String)> {
        let wanted = routes.iter().filter(|r| access(r));
        wanted.map(|r| (r.path.to_owned(), r.method.to_owned())).collect()
    };
    let mut documented = BTreeSet::new();
    let mut secured = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            documented.insert((path.clone(), method.clone()));
            let responses = operation["responses"].as_object().unwrap();
            if operation["security"] == json!([{ "token": [] }]) {
                secured.insert((path.clone(), method.clone()));
                assert!(responses.contains_key("401"), "{method} {path} does not say 401");
            }
            assert!(operation["summary"].as_str().is_some_and(|s| s.ends_with('.')), "{method} {path}");
            assert!(operation["tags"].is_array(), "{method} {path} has no tag");
        }
    }
    assert_eq!(documented, in_table(|_| true));
    assert_eq!(secured, in_table(|r| matches!(r.access, Access::Token(_))));
}

#[test]
fn the_document_is_whole() {
    let document = openapi::document();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut references = Vec::new();
    collect_references(&document, &mut references);
    assert!(references.len() > 20);
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        for (field, about) in schema["properties"].as_object().into_iter().flatten() {
            // Of what may be null it stands with what it is else.
            let else_is = about["oneOf"].as_array().into_iter().flatten();
            let described = about["description"].is_string() || about["$ref"].is_string();
            let described = described || else_is.into_iter().any(|one| one["description"].is_string());
            assert!(described, "{name}.{field} has no description");
        }
    }
}

fn collect_references(value: &serde_json::Value, out: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(map) => {
            out.extend(map.get("$ref").and_then(|r| r.as_str()).map(str::to_owned));
            map.values().for_each(|v| collect_references(v, out));
        }
        serde_json::Value::Array(list) => list.iter().for_each(|v| collect_references(v, out)),
        _ => {}
    }
}

#[tokio::test]
async fn the_api_is_served_over_a_socket_and_stops_when_told_to() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let handles = World::default().handles();
    let tasks = handles.tasks.clone();
    let listener = selvedge_rt::Net::Real.bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = crate::serve(listener, crate::ApiOptions::default(), handles);
    tasks.spawn("api", selvedge_rt::OnEnd::Forget, serving);
    let mut stream = selvedge_rt::Net::Real.connect(address).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("ok\n"), "{text}");
    assert!(tasks.shut_down(std::time::Duration::from_secs(5)).await);
}
