//! Settings of a running node: what is declared is in force when `apply` returns, and what does not work is told.

mod support;

use std::net::{TcpListener, TcpStream};
use support::{apply, ask_api, free_address, say, send_to, site, world};

const GET: &str = "GET /a HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";

#[test]
fn listeners_come_and_go() {
    let (dir, origin, node) = world("Cache-Control: max-age=600\r\n");
    let (one, two) = (free_address(), free_address());
    let listener = |addr| format!("[[settings.listener]]\naddress = \"{addr}\"\n");
    let site = site(origin.addr);
    assert!(!apply(dir.path(), &format!("{site}{}{}", listener(one), listener(two))).contains("warning"));
    assert!(send_to(one, GET).starts_with("HTTP/1.1 200"));
    assert!(send_to(two, GET).starts_with("HTTP/1.1 200"));
    let (status, _) = say(dir.path(), &["status"]);
    assert!(status.contains(&one.to_string()), "{status}");
    apply(dir.path(), &format!("{site}{}", listener(two)));
    assert!(send_to(two, GET).starts_with("HTTP/1.1 200"));
    let started = std::time::Instant::now();
    while TcpStream::connect(one).is_ok() {
        assert!(started.elapsed() < support::PATIENCE, "the socket stays open");
        std::thread::yield_now();
    }
    assert!(node.get("/a", "").starts_with("HTTP/1.1 200"));
}

#[test]
fn what_does_not_work_is_told_by_apply_and_status_and_metrics() {
    let (dir, origin, node) = world("Cache-Control: max-age=600\r\n");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let manifest = format!(
        "[site.a]\nhosts = [\"a.test\"]\norigin = \"http://{}\"\n\
         tls = {{ cert = \"/nowhere/cert.pem\", key = \"/nowhere/key.pem\" }}\n\
         [[settings.listener]]\naddress = \"{}\"\n[settings.cache]\ndisk = \"1GiB\"\n",
        origin.addr,
        taken.local_addr().unwrap()
    );
    let said = apply(dir.path(), &manifest);
    for part in ["/nowhere/cert.pem", &taken.local_addr().unwrap().to_string(), "settings.cache.disk"] {
        assert!(said.lines().any(|l| l.starts_with("warning: ") && l.contains(part)), "{part}: {said}");
        let (status, _) = say(dir.path(), &["status"]);
        assert!(status.lines().any(|l| l.starts_with("problem ") && l.contains(part)), "{part}: {status}");
    }
    let metrics = ask_api(dir.path(), &node, "/metrics");
    assert!(metrics.contains("selvedge_configuration_problems 3"), "{metrics}");
    assert!(node.get("/a", "").starts_with("HTTP/1.1 200"));
}

#[test]
fn limits_and_the_size_of_the_cache_change_while_it_runs() {
    let (dir, origin, node) = world("Cache-Control: max-age=600\r\n");
    let long = format!("/{}", "x".repeat(500));
    assert!(node.get(&long, "").starts_with("HTTP/1.1 200"));
    let settings = "[settings.limits]\nuri_bytes = \"200B\"\n[settings.cache]\nram = \"32MiB\"\n";
    apply(dir.path(), &format!("{}{settings}", site(origin.addr)));
    assert!(node.get(&long, "").starts_with("HTTP/1.1 414"));
    let (stats, _) = say(dir.path(), &["cache", "stats", "-o", "json"]);
    let stats: serde_json::Value = serde_json::from_str(&stats).unwrap();
    assert_eq!(stats["ram"]["capacity"], 32 << 20);
}
