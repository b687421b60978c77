//! Debian packages that tests and races use.
//!
//! Installing a server package must not start a server: while packages install, Debian's own hook
//! `/usr/sbin/policy-rc.d` refuses starts; it is removed afterwards.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;

use crate::Outcome;
use crate::shell::{output, run, succeeds};

/// What tests call: real clients.
const FOR_TESTS: &[&str] = &["curl", "nghttp2-client", "xz-utils"];

/// What races call beside that: the peers and a second load generator.
const FOR_RACES: &[&str] = &["nginx", "varnish", "wrk", "etcd-server", "etcd-client"];

const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs what is missing, or says with which command to do it.
///
/// Without the right to install, tests that need a missing program skip with a notice; races fail.
pub(crate) fn prepare(races: bool) -> Outcome {
    let wanted = FOR_TESTS.iter().chain(if races { FOR_RACES } else { &[] });
    let missing: Vec<&str> = wanted.copied().filter(|package| !installed(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if may_install() {
        return install(&missing);
    }
    let advice =
        format!("missing packages; install them with: sudo apt-get install -y {}", missing.join(" "));
    if races {
        return Err(advice);
    }
    eprintln!("xtask: {advice}");
    Ok(())
}

fn installed(package: &str) -> bool {
    let query = output(Command::new("dpkg-query").args(["-W", "-f", "${Package} ${db:Status-Abbrev}\n"]));
    query.is_ok_and(|list| list.lines().any(|line| line.trim() == format!("{package} ii")))
}

fn may_install() -> bool {
    let root = output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    root && succeeds(Command::new("apt-get").arg("--version"))
}

fn install(packages: &[&str]) -> Outcome {
    let _policy = NoStart::new()?;
    run(apt().arg("update"))?;
    run(apt().args(["install", "--yes", "--no-install-recommends"]).args(packages))
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").arg("-qq");
    command
}

/// While it lives, installed packages do not start their services.
struct NoStart {
    /// Whether the hook is ours; one that was there before stays.
    ours: bool,
}

impl NoStart {
    fn new() -> Result<Self, String> {
        if Path::new(POLICY).exists() {
            return Ok(Self { ours: false });
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(0o755).open(POLICY);
        file.and_then(|mut file| file.write_all(b"#!/bin/sh\nexit 101\n"))
            .map_err(|e| format!("cannot write {POLICY}: {e}"))?;
        Ok(Self { ours: true })
    }
}

impl Drop for NoStart {
    fn drop(&mut self) {
        if self.ours
            && let Err(e) = fs::remove_file(POLICY)
        {
            eprintln!("xtask: cannot remove {POLICY}: {e}; remove it by hand");
        }
    }
}
