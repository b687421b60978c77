//! Words that must not be in the tree: unfinished marks, left-over debugging, a machine's own paths.

use std::fs;
use std::process::Command;

use crate::{Outcome, shell};

/// A banned word, where it is banned, and the way out.
struct Ban {
    word: &'static str,
    /// Only in files with this ending; empty for all.
    ending: &'static str,
    instead: &'static str,
}

const BANS: &[Ban] = &[
    Ban { word: "todo!(", ending: ".rs", instead: "finish it, or leave the feature out" },
    Ban { word: "unimplemented!(", ending: ".rs", instead: "finish it, or leave the feature out" },
    Ban { word: "dbg!(", ending: ".rs", instead: "remove it" },
    Ban {
        word: "#[ignore]",
        ending: ".rs",
        instead: "run the test, or say why not: #[ignore = \"measures\"]",
    },
    Ban { word: "FIXME", ending: "", instead: "fix it, or state the limit in the docs" },
    Ban { word: "XXX", ending: ".rs", instead: "fix it, or state the limit in the docs" },
    Ban { word: "<<<<<<< ", ending: "", instead: "resolve the merge" },
    Ban { word: ">>>>>>> ", ending: "", instead: "resolve the merge" },
    Ban { word: "/work/", ending: "", instead: "use a path relative to the repository" },
    Ban { word: "/root/", ending: "", instead: "use a path relative to the repository" },
    Ban { word: "/home/", ending: "", instead: "use a path relative to the repository" },
    Ban { word: "artifactory", ending: "", instead: "name no registry's host" },
];

/// Files that must name the words: this one.
const EXEMPT: &[&str] = &["crates/xtask/src/words.rs"];

/// Searches every file that git tracks or would add.
pub(crate) fn check() -> Outcome {
    let listing = ["ls-files", "--cached", "--others", "--exclude-standard"];
    let files = shell::output(Command::new("git").args(listing))?;
    let found: Vec<String> = files.lines().filter(|file| !EXEMPT.contains(file)).flat_map(findings).collect();
    if found.is_empty() { Ok(()) } else { Err(format!("words:\n  {}", found.join("\n  "))) }
}

fn findings(file: &str) -> Vec<String> {
    // Binary files and files deleted but still listed hold no words.
    let Ok(text) = fs::read_to_string(file) else { return Vec::new() };
    let lines = (1..).zip(text.lines());
    lines.filter_map(|(number, line)| finding(file, line).map(|ban| describe(file, number, ban))).collect()
}

fn finding(file: &str, line: &str) -> Option<&'static Ban> {
    BANS.iter().find(|ban| file.ends_with(ban.ending) && line.contains(ban.word))
}

fn describe(file: &str, number: usize, ban: &Ban) -> String {
    format!("{file}:{number}: `{}`: {}", ban.word, ban.instead)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bans_depend_on_the_file() {
        let cases = [
            ("a.rs", "    todo!()", true),
            ("a.md", "write `todo!()` never", false),
            ("a.md", "FIXME later", true),
            ("a.rs", "let todo = 1;", false),
        ];
        for (file, line, expected) in cases {
            assert_eq!(finding(file, line).is_some(), expected, "{file}: {line}");
        }
    }
}
