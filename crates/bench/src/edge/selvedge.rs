//! Ours, with its defaults: access log, metrics and everything else as a user gets it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::contender::{Contender, Start, version_line};
use super::process::Server;

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
        let (certificate, key) = (start.place.certificate_file(), start.place.key_file());
        format!(
            "# selvedge {}\n[site.bench]\nhosts = [\"{}\"]\norigin = [\"http://{}\"]\n\
             tls = {{ cert = \"{}\", key = \"{}\" }}\n",
            flags(start).join(" "),
            crate::load::HOST,
            start.origin,
            certificate.display(),
            key.display()
        )
    }

    fn start(&self, start: &Start<'_>) -> io::Result<Server> {
        fs::write(manifest(start), self.configuration(start))?;
        start.spawn(self.name(), &self.program, &flags(start))
    }
}

fn manifest(start: &Start<'_>) -> PathBuf {
    start.file("edge.toml")
}

fn flags(start: &Start<'_>) -> Vec<String> {
    let data = start.file("data");
    let mut flags = vec!["up".to_owned(), "--new".to_owned()];
    let mut flag = |name: &str, value: String| flags.extend([name.to_owned(), value]);
    flag("--data", path_text(&data));
    flag("--http", start.endpoints.http1.to_string());
    if let Some(https) = start.endpoints.tls1 {
        flag("--https", https.to_string());
    }
    flag("--api", "127.0.0.1:0".to_owned());
    flags
}

fn path_text(path: &Path) -> String {
    path.display().to_string()
}
