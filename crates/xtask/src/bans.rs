//! Clippy's lists of banned functions and types: who uses which list.
//!
//! Clippy reads the nearest `clippy.toml` and merges nothing, so there are three:
//! the root's for most crates, `.clippy/core.toml` for the cores (the root's bans and more),
//! `.clippy/free.toml` (none) for `rt`, which is where clocks and sockets live, and for development crates.
//! The crates link to the last two.

use std::fs;
use std::path::Path;

use crate::Outcome;

const CORES: &[&str] = &["types", "http1", "cache", "membership", "kv", "schedule"];
const FREE: &[&str] = &["rt", "sim", "lab", "bench", "xtask"];

/// Checks that each crate links to its list and that the cores' list contains the root's.
pub(crate) fn check() -> Outcome {
    for (crates, list) in [(CORES, "core"), (FREE, "free")] {
        crates.iter().try_for_each(|name| check_link(name, list))?;
    }
    let (root, core) = (read("clippy.toml")?, read(".clippy/core.toml")?);
    match missing_paths(&root, &core).as_slice() {
        [] => Ok(()),
        missing => Err(format!(".clippy/core.toml lacks bans of clippy.toml: {}", missing.join(", "))),
    }
}

fn check_link(name: &str, list: &str) -> Outcome {
    if !Path::new("crates").join(name).is_dir() {
        return Ok(());
    }
    let (link, target) = (format!("crates/{name}/clippy.toml"), format!("../../.clippy/{list}.toml"));
    match fs::read_link(&link) {
        Ok(found) if found == Path::new(&target) => Ok(()),
        _ => Err(format!("{link} must link to the list of bans: ln -s {target} {link}")),
    }
}

fn missing_paths<'a>(root: &'a str, core: &str) -> Vec<&'a str> {
    banned_paths(root).filter(|path| !banned_paths(core).any(|other| other == *path)).collect()
}

fn banned_paths(list: &str) -> impl Iterator<Item = &str> {
    list.lines().filter_map(|line| line.split_once("path = \"")?.1.split('"').next())
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|e| format!("cannot read {path}: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ban_of_the_root_that_the_cores_lack_is_found() {
        let root = "  { path = \"a::b\", reason = \"r\" },\n  { path = \"c\" },\n";
        assert_eq!(missing_paths(root, "{ path = \"c\" }"), ["a::b"]);
        assert!(missing_paths(root, root).is_empty());
    }
}
