//! Varnish with its default storage in memory; no TLS (it has none), HTTP/2 in cleartext switched on.

use std::fs;
use std::io;
use std::path::Path;

use super::contender::{Contender, Start, version_line};
use super::process::Server;

const PROGRAM: &str = "/usr/sbin/varnishd";

/// See the module.
pub(super) struct Varnish;

impl Contender for Varnish {
    fn name(&self) -> &'static str {
        "varnish"
    }

    fn version(&self) -> io::Result<String> {
        version_line(Path::new(PROGRAM), "-V")
    }

    fn configuration(&self, start: &Start<'_>) -> String {
        let (host, port) = (start.origin.ip(), start.origin.port());
        format!(
            "# varnishd {}\nvcl 4.1;\nbackend default {{ .host = \"{host}\"; .port = \"{port}\"; }}\n",
            flags(start).join(" ")
        )
    }

    fn start(&self, start: &Start<'_>) -> io::Result<Server> {
        fs::write(start.file("edge.vcl"), self.configuration(start))?;
        start.spawn(self.name(), Path::new(PROGRAM), &flags(start))
    }
}

fn flags(start: &Start<'_>) -> Vec<String> {
    let directory = start.directory.display();
    let storage = format!("malloc,{}", start.capacity.ram_bytes);
    let mut flags = vec!["-F".to_owned()];
    flags.extend(["-j", "none", "-n"].map(str::to_owned));
    flags.push(format!("{directory}/varnish"));
    flags.extend(["-f".to_owned(), format!("{directory}/edge.vcl")]);
    flags.extend(["-s".to_owned(), storage, "-a".to_owned(), start.endpoints.http1.to_string()]);
    // Idle connections are to be counted, not closed after five seconds.
    flags.extend(["-p", "feature=+http2", "-p", "timeout_idle=600"].map(str::to_owned));
    flags
}
