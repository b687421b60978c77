//! What commands print, errors too, compared with the transcripts in `tests/cli/`.
//!
//! A transcript is a list of `$ selvedge ...` lines, each with what followed: standard output as it is,
//! standard error behind `! `, and `? N` for an exit code other than 0. Run with `UPDATE=1` to write what the
//! program prints now; then read the difference.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn transcripts() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli");
    let entries = fs::read_dir(directory).unwrap().map(|e| e.unwrap().path());
    let mut paths: Vec<PathBuf> = entries.filter(|p| p.extension().is_some_and(|e| e == "txt")).collect();
    paths.sort();
    paths
}

fn run(line: &str, home: &Path) -> String {
    let words = line.split_whitespace().skip(1);
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli");
    let output = Command::new(env!("CARGO_BIN_EXE_selvedge"))
        .args(words)
        .current_dir(directory)
        .env_clear()
        .env("HOME", home)
        .env("LANG", "C.UTF-8")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let mut text = String::from_utf8(output.stdout).unwrap();
    for line in String::from_utf8(output.stderr).unwrap().lines() {
        text.push_str(format!("! {line}").trim_end());
        text.push('\n');
    }
    match output.status.code() {
        Some(0) => {}
        code => text.push_str(&format!("? {}\n", code.map_or("killed".to_owned(), |c| c.to_string()))),
    }
    text
}

#[test]
fn a_variable_that_is_set_to_nothing_is_not_set() {
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_selvedge"))
        .args(["status"])
        .env_clear()
        .env("HOME", home.path())
        .envs([("SELVEDGE_DATA", ""), ("SELVEDGE_API", ""), ("SELVEDGE_TOKEN", "")])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("no node found on this machine"), "{said}");
}

#[test]
fn commands_print_what_the_transcripts_say() {
    let home = tempfile::tempdir().unwrap();
    let update = std::env::var_os("UPDATE").is_some();
    let mut differences = Vec::new();
    for path in transcripts() {
        let expected = fs::read_to_string(&path).unwrap();
        let mut found = String::new();
        for line in expected.lines().filter(|l| l.starts_with("$ ") || l.starts_with("# ")) {
            found.push_str(&format!("{line}\n"));
            if let Some(command) = line.strip_prefix("$ ") {
                found.push_str(&run(command, home.path()));
            }
        }
        if found != expected && update {
            fs::write(&path, &found).unwrap();
        } else if found != expected {
            differences.push(format!("--- {}\n{found}", path.display()));
        }
    }
    assert!(differences.is_empty(), "found (UPDATE=1 writes it):\n{}", differences.join("\n"));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut child =
        Command::new(env!("CARGO_BIN_EXE_selvedge")).arg("schema").stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}
