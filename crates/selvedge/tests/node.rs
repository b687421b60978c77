//! A node as a user runs it: caching, purging, surviving, refusing.

mod support;

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use support::{Node, run, selvedge, world};

#[test]
fn a_page_is_fetched_once_purged_and_fetched_again() {
    let (dir, origin, node) = world("Cache-Control: max-age=600\r\nSurrogate-Key: one\r\n");
    let before = origin.asked();
    let first = node.get("/a", "");
    assert!(first.contains("fwd=uri-miss") && !first.contains("urrogate"), "{first}");
    let second = node.get("/a", "");
    assert!(second.contains("cache-status: selvedge; hit"), "{second}");
    assert_eq!(origin.asked(), before + 1);
    run(dir.path(), &["cache", "purge", "--tag", "one"]);
    assert!(node.get("/a", "").contains("fwd=uri-miss"));
    assert_eq!(origin.asked(), before + 2);
}

#[test]
fn what_was_acknowledged_and_what_was_cached_outlive_kill_9() {
    let (dir, origin, node) = world("Cache-Control: max-age=600\r\n");
    node.get("/kept", "");
    node.get("/purged", "");
    run(dir.path(), &["cache", "purge", "--url", "http://a.test/purged"]);
    let before = origin.asked();
    node.kill();
    let node = Node::start(dir.path());
    // What is on its way to the disk when a node is killed may be lost: it is then fetched again, never wrong.
    let kept = node.get("/kept", "");
    assert!(kept.contains("/kept answer"), "{kept}");
    assert!(kept.contains("hit") || origin.asked() == before + 1, "{kept}");
    let purged = node.get("/purged", "");
    assert!(purged.contains("fwd="), "a purge was lost: {purged}");
}

#[test]
fn a_second_node_says_that_commands_go_to_it_and_gives_them_back() {
    let home = tempfile::tempdir().unwrap();
    let first = Node::start(home.path());
    let context = || fs::read_to_string(home.path().join(".config/selvedge/context.json")).unwrap();
    let of_first = context();
    let (other, log) = (home.path().join("other"), home.path().join("log"));
    let mut program = selvedge(home.path());
    program.stderr(File::create(&log).unwrap());
    let second = Node::start_program(program, home.path(), &["--data", other.to_str().unwrap()]);
    assert!(context().contains(&second.api.to_string()));
    let said = fs::read_to_string(&log).unwrap();
    assert!(said.contains(&format!("not to http://{} as before", first.api)), "{said}");
    assert!(second.interrupt());
    assert_eq!(context(), of_first);
    assert!(first.interrupt());
    assert!(!home.path().join(".config/selvedge/context.json").exists());
}

#[test]
fn the_page_stays_when_the_origin_fails() {
    let (_dir, origin, node) = world("Cache-Control: max-age=0, stale-if-error=600\r\nETag: \"v\"\r\n");
    assert!(node.get("/a", "").contains("/a answer"));
    // Every further answer is malformed.
    *origin.head.lock().unwrap() = "Content-Length: 1\r\n".into();
    let stale = node.get_until("/a", |answer| answer.contains("ttl=-"));
    assert!(stale.starts_with("HTTP/1.1 200") && stale.contains("/a answer"), "{stale}");
    let failed = node.get("/other", "");
    assert!(failed.starts_with("HTTP/1.1 502") && failed.contains("proxy-status"), "{failed}");
}

#[test]
fn a_listener_that_cannot_be_used_does_not_keep_the_node_from_starting() {
    let (dir, origin, node) = world("Cache-Control: max-age=600\r\n");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let manifest = format!(
        "[site.a]\nhosts = [\"a.test\"]\norigin = \"http://{}\"\n[[settings.listener]]\naddress = \"{}\"\n",
        origin.addr,
        taken.local_addr().unwrap()
    );
    let file = dir.path().join("listener.toml");
    std::fs::write(&file, manifest).unwrap();
    run(dir.path(), &["apply", file.to_str().unwrap()]);
    node.kill();
    let node = Node::start(dir.path());
    assert!(node.get("/a", "").starts_with("HTTP/1.1 200"));
}

#[test]
fn ambiguous_framing_is_refused_and_closed() {
    let (_dir, origin, node) = world("Cache-Control: max-age=600\r\n");
    let before = origin.asked();
    for lines in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Content-Length: +5\r\n",
        "X: a\nContent-Length: 5\r\n",
    ] {
        let answer = node.send(&format!("POST /a HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n0\r\n\r\n"));
        let status = answer.split(' ').nth(1).unwrap_or("");
        assert!(status == "400" || status == "501", "{lines}: {answer}");
        assert!(answer.to_ascii_lowercase().contains("connection: close"), "{lines}: {answer}");
    }
    assert_eq!(origin.asked(), before);
}

#[test]
fn a_keyspace_is_made_at_once_and_goes_only_if_that_is_said() {
    let (dir, _origin, _node) = world("Cache-Control: max-age=600\r\n");
    let manifest = std::fs::read_to_string(dir.path().join("site.toml")).unwrap();
    let begun = std::time::Instant::now();
    let said = support::apply(dir.path(), &format!("{manifest}\n[keyspace.k]\nconsistency = \"strong\"\n"));
    assert!(said.contains("revision"), "{said}");
    assert!(begun.elapsed() < std::time::Duration::from_secs(2), "it waited for what does not come");
    let refused = support::apply(dir.path(), &manifest);
    assert!(refused.contains("default/k") && refused.contains("--delete-keyspaces"), "{refused}");
    let file = dir.path().join("site.toml");
    run(dir.path(), &["apply", "--delete-keyspaces", file.to_str().unwrap()]);
}

#[test]
fn what_is_followed_ends_when_nobody_reads_it() {
    let (dir, _origin, node) = world("Cache-Control: max-age=600\r\n");
    for words in [&["requests", "--follow"][..], &["events", "--follow"]] {
        let mut follower = selvedge(dir.path()).args(words).stdout(Stdio::piped()).spawn().unwrap();
        // As `head` does when it has seen enough, while nothing more comes.
        drop(follower.stdout.take());
        assert!(follower.wait().unwrap().success(), "{words:?}");
    }
    let mut follower = selvedge(dir.path());
    let follower = follower.args(["requests", "--follow"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut follower = follower.spawn().unwrap();
    let mut shown = BufReader::new(follower.stdout.take().unwrap()).lines();
    let asks = AtomicBool::new(true);
    std::thread::scope(|scope| {
        // Until it is seen: it may not follow yet.
        scope.spawn(|| {
            while asks.load(Ordering::Relaxed) {
                node.get("/seen", "");
            }
        });
        assert!(shown.next().unwrap().unwrap().contains("/seen"));
        asks.store(false, Ordering::Relaxed);
    });
    assert!(node.interrupt());
    for _ in shown.by_ref() {}
    let ended = follower.wait_with_output().unwrap();
    assert!(!ended.status.success(), "it was not enough");
}
