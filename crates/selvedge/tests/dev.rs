//! `selvedge dev` without a manifest: what it prints is true.

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use support::{PATIENCE, selvedge, send_to};

struct Dev(Child);

impl Drop for Dev {
    fn drop(&mut self) {
        // Asked to, it ends its origin as well.
        let _ = rustix::process::kill_process(
            rustix::process::Pid::from_child(&self.0),
            rustix::process::Signal::INT,
        );
        let _ = self.0.wait();
    }
}

#[test]
fn the_printed_line_kills_the_origin_and_shows_the_stored_page() {
    let dir = tempfile::tempdir().unwrap();
    let mut dev = Dev(selvedge(dir.path())
        .args(["dev", "--http", "127.0.0.1:0", "--https", "127.0.0.1:0", "--api", "127.0.0.1:0"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap());
    let mut lines = BufReader::new(dev.0.stderr.take().unwrap()).lines().map_while(Result::ok);
    let line =
        lines.find_map(|line| Some(line.split_once("when its origin is gone: ")?.1.to_owned())).unwrap();
    // kill PID && curl -i http://ADDR/
    let (kill, curl) = line.split_once(" && ").unwrap();
    let pid = kill.strip_prefix("kill ").unwrap().parse().ok().and_then(rustix::process::Pid::from_raw);
    let host = curl.strip_prefix("curl -i http://").unwrap().trim_end_matches('/');
    let addr = host.parse().unwrap();

    rustix::process::kill_process(pid.unwrap(), rustix::process::Signal::TERM).unwrap();
    // Until the origin is gone, which is seen from another page.
    let ask = |path: &str| {
        send_to(addr, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))
    };
    let started = std::time::Instant::now();
    for i in 0.. {
        if ask(&format!("/none/{i}")).starts_with("HTTP/1.1 502") {
            break;
        }
        assert!(started.elapsed() < PATIENCE, "the origin lives on");
    }
    let page = ask("/");
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("selvedge; hit"), "{page}");
    assert!(page.contains("<html"), "{page}");
}
