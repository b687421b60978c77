//! `selvedge upgrade`: nothing is dropped, whatever the new program does.

mod support;

use rustix::process::{Pid, Signal, kill_process};
use selvedge::handover::Received;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use support::visitor::{Protocol, Visitor};
use support::{
    Node, Origin, PATIENCE, apply, ask_api, at_home, free_address, free_udp_address, run, say, send_to, token,
};

/// A node whose program lies in a place of its own, where it can be replaced.
struct World {
    dir: tempfile::TempDir,
    origin: Origin,
    node: Node,
}

impl World {
    fn new(more: &[&str]) -> Self {
        // Where the binary is: it is linked, not copied.
        World::at(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(), more)
    }

    fn at(dir: tempfile::TempDir, more: &[&str]) -> Self {
        let origin = Origin::start("Cache-Control: max-age=600\r\n");
        install_binary(dir.path());
        // As it mostly is: the next process needs the same one.
        let mesh = free_udp_address().to_string();
        let more = [&["--mesh", &mesh], more].concat();
        let node =
            Node::start_program(at_home(Command::new(program(dir.path())), dir.path()), dir.path(), &more);
        let world = World { dir, origin, node };
        world.apply("");
        world.node.get_until("/page", |answer| answer.starts_with("HTTP/1.1 200"));
        world
    }

    fn apply(&self, more: &str) {
        let origin = self.origin.addr;
        apply(self.home(), &format!("[site.a]\nhosts = [\"a.test\"]\norigin = \"http://{origin}\"\n{more}"));
    }

    fn home(&self) -> &Path {
        self.dir.path()
    }

    /// Replaces the program by one that does nothing: the test answers in its place.
    fn install_idler(&self) {
        let idler = self.home().join("idler");
        std::fs::write(&idler, "#!/bin/sh\nexec /bin/sleep 1000\n").unwrap();
        std::fs::set_permissions(&idler, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::rename(&idler, program(self.home())).unwrap();
    }

    /// Runs `selvedge upgrade`; gives what it says.
    fn upgrade(&self) -> JoinHandle<String> {
        let home = self.home().to_owned();
        std::thread::spawn(move || say(&home, &["upgrade"]).1)
    }

    /// Asks for the sockets as a new program does.
    fn receive(&self) -> Received {
        let offer = self.home().join("data/handover.sock");
        let started = std::time::Instant::now();
        loop {
            match Received::ask(&offer) {
                Ok(received) => return received,
                Err(e) => assert!(started.elapsed() < PATIENCE, "{e}"),
            }
            std::thread::yield_now();
        }
    }

    fn serves_from_cache(&self) {
        let answer = self.node.get("/page", "");
        assert!(answer.contains("cache-status: selvedge; hit"), "{answer}");
    }

    /// Its API, its purges and its disk work.
    fn is_whole(&self) {
        run(self.home(), &["cache", "purge", "--url", "http://a.test/page"]);
        assert!(self.node.get("/page", "").contains("fwd="));
        self.serves_from_cache();
        self.apply("tags = [\"new\"]\n");
        let (status, _) = say(self.home(), &["status"]);
        assert!(status.contains("takes changes"), "{status}");
    }

    /// The process that is the node now, ended when this is dropped.
    fn successor(&self) -> Guard {
        let text = std::fs::read_to_string(self.home().join("data/pid")).unwrap();
        let pid = text.trim().parse().ok().and_then(Pid::from_raw).unwrap();
        assert_ne!(pid.as_raw_nonzero().get().unsigned_abs(), self.node.pid());
        Guard(pid)
    }
}

/// Does something when it is dropped.
struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

struct Guard(Pid);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::KILL);
    }
}

fn program(home: &Path) -> PathBuf {
    home.join("selvedge")
}

fn install_binary(home: &Path) {
    let new = home.join("new");
    std::fs::hard_link(env!("CARGO_BIN_EXE_selvedge"), &new).unwrap();
    std::fs::rename(new, program(home)).unwrap();
}

#[test]
fn no_request_is_dropped_while_a_new_process_takes_over() {
    let world = World::new(&[]);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let answer = world.node.get("/page", "Connection: close\r\n");
                assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            }
        });
        let said = world.upgrade().join().unwrap();
        over.store(true, Ordering::Relaxed);
        asking.join().unwrap();
        assert!(said.contains("took over from"), "{said}");
    });
    let _successor = world.successor();
    world.is_whole();
}

#[test]
fn a_node_with_links_is_upgraded_and_reached_again_where_it_was() {
    let world = World::new(&[]);
    let (ticket, _) = say(world.home(), &["ticket", "create"]);
    let home = tempfile::tempdir().unwrap();
    let other = Node::start_with(home.path(), &["--join", ticket.trim(), "--name", "other"]);
    let started = std::time::Instant::now();
    while !ask_api(world.home(), &other, "/v1/nodes").contains("\"other\"") {
        assert!(started.elapsed() < PATIENCE);
    }
    let said = world.upgrade().join().unwrap();
    assert!(said.contains("took over from"), "{said}");
    let _successor = world.successor();
    world.is_whole();
    // The other one asks it, as it leads.
    let api = format!("http://{}", other.api);
    run(
        world.home(),
        &["cache", "purge", "--url", "http://a.test/page", "--api", &api, "--token", &token(world.home())],
    );
    world.node.get_until("/page", |answer| answer.contains("fwd="));
}

#[test]
fn who_keeps_connections_loses_no_request_when_a_node_is_upgraded_twice_in_a_row() {
    let world = World::new(&[]);
    let (upgrades, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let (http, https) = (world.node.http, world.node.https);
    let visitors = [Protocol::Http1, Protocol::Http2].into_iter().flat_map(|protocol| {
        [(http, false), (https, true)].map(|(to, tls)| Visitor { protocol, to, tls, path: "/page" })
    });
    std::thread::scope(|scope| {
        let (upgrades, over) = (&upgrades, &over);
        // Also when this ends because something failed: the visitors are waited for.
        let _end = OnDrop(|| over.store(true, Ordering::Relaxed));
        let asking: Vec<_> = visitors
            .map(|visitor| {
                // Until it had to leave as often as the node was upgraded, which is twice.
                let is_over = move || over.load(Ordering::Relaxed);
                let enough = move |left| is_over() || left >= 2 && upgrades.load(Ordering::Relaxed) == 2;
                scope.spawn(move || visitor.ask_until(enough))
            })
            .collect();
        for _ in 0..2 {
            let said = world.upgrade().join().unwrap();
            assert!(said.contains("took over from"), "{said}");
            upgrades.fetch_add(1, Ordering::Relaxed);
        }
        for visitor in asking {
            assert!(visitor.join().unwrap() > 2);
        }
    });
    let _successor = world.successor();
    world.is_whole();
}

#[test]
fn a_new_process_that_ends_with_the_sockets_in_hand_changes_nothing() {
    let world = World::new(&[]);
    world.install_idler();
    let upgrade = world.upgrade();
    drop(world.receive());
    let said = upgrade.join().unwrap();
    assert!(said.contains("no new process took over") && said.contains("before it was ready"), "{said}");
    world.serves_from_cache();
    world.is_whole();
}

#[test]
fn a_new_process_that_ends_before_it_serves_has_everything_taken_back() {
    let world = World::new(&[]);
    world.install_idler();
    let upgrade = world.upgrade();
    let received = world.receive();
    received.ready().unwrap();
    // The data directory is lent, and the page is there.
    world.serves_from_cache();
    drop(received);
    let said = upgrade.join().unwrap();
    assert!(said.contains("no new process took over") && said.contains("before it served"), "{said}");
    world.is_whole();
    // The next one may be better.
    install_binary(world.home());
    let said = world.upgrade().join().unwrap();
    assert!(said.contains("took over from"), "{said}");
    let _successor = world.successor();
    world.is_whole();
}

#[test]
fn a_new_process_that_hangs_has_everything_taken_back() {
    let world = World::new(&["--upgrade-timeout", "300ms"]);
    world.install_idler();
    let upgrade = world.upgrade();
    let received = world.receive();
    received.ready().unwrap();
    world.serves_from_cache();
    let said = upgrade.join().unwrap();
    assert!(said.contains("took too long before it served"), "{said}");
    world.is_whole();
    drop(received);
}

#[test]
fn commands_go_where_they_went_before_when_a_node_ends_that_was_upgraded() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let context = dir.path().join(".config/selvedge/context.json");
    std::fs::create_dir_all(context.parent().unwrap()).unwrap();
    std::fs::write(&context, r#"{"api": "http://192.0.2.1:7070", "token": "sv_of-another"}"#).unwrap();
    let read = || std::fs::read_to_string(&context).unwrap();
    let world = World::at(dir, &[]);
    assert!(!read().contains("sv_of-another"));
    let said = world.upgrade().join().unwrap();
    assert!(said.contains("took over from"), "{said}");
    let successor = world.successor();
    kill_process(successor.0, Signal::INT).unwrap();
    let started = std::time::Instant::now();
    while !read().contains("sv_of-another") {
        assert!(started.elapsed() < PATIENCE, "{}", read());
        std::thread::yield_now();
    }
}

#[test]
fn a_process_that_is_no_node_is_not_signalled() {
    let World { dir, node, .. } = World::new(&[]);
    let pid = dir.path().join("data/pid");
    assert!(pid.exists());
    assert!(node.interrupt());
    assert!(!pid.exists(), "it is gone with the node");
    // As a node that was killed leaves it, with a number that is another's by now.
    let mut other = Command::new("/bin/sleep").arg("1000").spawn().unwrap();
    std::fs::write(&pid, format!("{}\n", other.id())).unwrap();
    let (_, said) = say(dir.path(), &["upgrade"]);
    let alive = other.try_wait().unwrap().is_none();
    other.kill().unwrap();
    other.wait().unwrap();
    assert!(alive && said.contains("no node runs in"), "{said}");
}

#[test]
fn what_is_no_program_changes_nothing() {
    let world = World::new(&[]);
    std::fs::remove_file(program(world.home())).unwrap();
    let said = world.upgrade().join().unwrap();
    assert!(said.contains("no new process took over"), "{said}");
    world.is_whole();
}

#[test]
fn a_listener_that_was_removed_stays_closed_after_an_upgrade() {
    let world = World::new(&[]);
    let (stays, other) = (free_address(), free_address());
    let listener = |addr| format!("[[settings.listener]]\naddress = \"{addr}\"\n");
    world.apply(&format!("{}{}", listener(stays), listener(other)));
    let request = "GET /page HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    assert!(send_to(other, request).starts_with("HTTP/1.1 200"));
    world.apply(&listener(stays));
    let said = world.upgrade().join().unwrap();
    assert!(said.contains("took over from"), "{said}");
    let _successor = world.successor();
    world.is_whole();
    assert!(send_to(stays, request).starts_with("HTTP/1.1 200"));
    assert!(TcpStream::connect(other).is_err(), "somebody listens there still");
}
