//! `check`: everything that must hold before a change lands. `fix`: what a program can repair.

use std::process::Command;

use crate::shell::{cargo, profile, run, succeeds};
use crate::{Outcome, bans, layers, words};

/// Not asked of test code: it may use what is banned by name in the product, and its helpers may be plainly `pub`.
const NOT_FOR_TESTS: [&str; 6] =
    ["-A", "clippy::disallowed_methods", "-A", "clippy::disallowed_types", "-A", "unreachable_pub"];

/// Checks all, stops at the first fault. The quick checks come first.
pub(crate) fn check() -> Outcome {
    run(cargo().args(["fmt", "--all", "--check"]))?;
    words::check()?;
    layers::check()?;
    bans::check()?;
    clippy()?;
    fuzz_targets()?;
    docs()?;
    deny()
}

/// Formats and applies clippy's machine-applicable suggestions.
pub(crate) fn fix() -> Outcome {
    let clippy = ["clippy", "--workspace", "--all-targets", "--fix", "--allow-dirty", "--allow-staged"];
    run(cargo().args(clippy))?;
    run(cargo().args(["fmt", "--all"]))
}

fn clippy() -> Outcome {
    let common = ["clippy", "--workspace", "--profile", profile()];
    run(cargo().args(common).args(["--lib", "--bins", "--", "-D", "warnings"]))?;
    run(cargo().args(common).args(["--all-targets", "--", "-D", "warnings"]).args(NOT_FOR_TESTS))
}

/// The fuzz targets are a workspace of their own, which needs a nightly compiler to run but not to be checked.
fn fuzz_targets() -> Outcome {
    let manifest = ["--manifest-path", "fuzz/Cargo.toml"];
    run(cargo().arg("fmt").args(manifest).arg("--check"))?;
    run(cargo().arg("check").args(manifest).args(["--target-dir", "target/fuzz"]))
}

fn docs() -> Outcome {
    // Private items too: their docs are read by whoever works here, and links in them must not rot.
    let flags = "-D warnings -A rustdoc::private_intra_doc_links";
    let doc = ["doc", "--workspace", "--no-deps", "--document-private-items", "--profile", profile()];
    run(cargo().env("RUSTDOCFLAGS", flags).args(doc))
}

fn deny() -> Outcome {
    if !succeeds(cargo().args(["deny", "--version"])) {
        eprintln!("xtask: licences not checked: cargo-deny is missing (cargo install --locked cargo-deny)");
        return Ok(());
    }
    run(cargo().args(["deny", "check", "licenses", "bans", "sources"]))?;
    // The advisories' database is fetched by git, which an isolated machine cannot do.
    if succeeds(Command::new("timeout").args(["60", "cargo", "deny", "fetch", "db"])) {
        run(cargo().args(["deny", "check", "advisories"]))
    } else {
        eprintln!("xtask: advisories not checked: their database cannot be fetched from here");
        Ok(())
    }
}
