//! Ours, with its defaults: access log, metrics and everything else as a user gets it.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::contender::{Contender, Start, version_line};
use super::process::Server;
use crate::load::HOST;

/// How long the node may take until it takes a manifest.
const APPLY_TIME_MAX: Duration = Duration::from_secs(15);

/// See the module.
pub(super) struct Selvedge {
    /// The release build.
    pub(super) program: PathBuf,
}

impl Contender for Selvedge {
    fn name(&self) -> &'static str {
        "selvedge"
    }

    fn version(&self) -> io::Result<String> {
        version_line(&self.program, "--version")
    }

    fn configuration(&self, start: &Start<'_>) -> String {
        let place = start.place;
        let manifest = manifest(start.origin, &place.certificate_file(), &place.key_file());
        format!("# selvedge {}\n{manifest}", flags(start).join(" "))
    }

    fn start(&self, start: &Start<'_>) -> io::Result<Server> {
        let manifest = start.file("edge.toml");
        fs::write(&manifest, self.configuration(start))?;
        let mut server = Server::start(
            &self.program,
            &flags(start),
            start.place.server_core,
            &log(start),
            &environment(start),
        )?;
        self.apply(start, &manifest, &mut server)?;
        Ok(server)
    }
}

impl Selvedge {
    /// Applies the manifest as a user would, as soon as the node takes it.
    fn apply(&self, start: &Start<'_>, manifest: &Path, server: &mut Server) -> io::Result<()> {
        let deadline = Instant::now() + APPLY_TIME_MAX;
        loop {
            let mut command = Command::new(&self.program);
            let out = command.arg("apply").arg(manifest).envs(environment(start)).output()?;
            if out.status.success() {
                return Ok(());
            }
            if Instant::now() > deadline || server.has_ended() {
                let log = fs::read_to_string(log(start)).unwrap_or_default();
                let said = String::from_utf8_lossy(&out.stderr).into_owned();
                return Err(io::Error::other(format!("selvedge apply: {said}\nthe node: {log}")));
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Only what the race needs: where the origin is, and the certificate that all share.
fn manifest(origin: SocketAddr, certificate: &Path, key: &Path) -> String {
    let (certificate, key) = (certificate.display(), key.display());
    format!(
        "[site.bench]
hosts  = [\"{HOST}\"]
origin = \"http://{origin}\"
tls    = {{ cert = \"{certificate}\", key = \"{key}\" }}
"
    )
}

fn log(start: &Start<'_>) -> PathBuf {
    start.file("selvedge.log")
}

/// A home of its own, so that the user's context file stays as it is.
fn environment(start: &Start<'_>) -> [(&'static str, PathBuf); 3] {
    let home = start.directory.to_owned();
    [("HOME", home.clone()), ("XDG_CONFIG_HOME", home), ("SELVEDGE_DATA", data(start))]
}

fn data(start: &Start<'_>) -> PathBuf {
    start.file("data")
}

fn flags(start: &Start<'_>) -> Vec<String> {
    let mut flags = vec!["up".to_owned(), "--new".to_owned()];
    let mut flag = |name: &str, value: String| flags.extend([name.to_owned(), value]);
    flag("--data", data(start).display().to_string());
    flag("--http", start.endpoints.http1.to_string());
    if let Some(https) = start.endpoints.tls1 {
        flag("--https", https.to_string());
    }
    flag("--api", "127.0.0.1:0".to_owned());
    flag("--cache-ram", format!("{}B", start.capacity.ram_bytes));
    flag("--cache-disk", format!("{}B", start.capacity.disk_bytes));
    flags
}

#[cfg(test)]
mod tests {
    use selvedge_types::manifest::Manifest;

    use super::*;

    #[test]
    fn the_manifest_is_one() {
        let origin = SocketAddr::from(([127, 0, 0, 1], 8000));
        let text = manifest(origin, Path::new("/tmp/cert.pem"), Path::new("/tmp/key.pem"));
        assert!(Manifest::parse("edge.toml", &text).is_ok());
    }
}
