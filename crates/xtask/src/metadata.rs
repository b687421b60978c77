//! What `cargo metadata` says about the workspace, reduced to what the tasks ask.

use std::path::PathBuf;

use serde_json::Value;

use crate::shell;

/// The workspace's own packages and where it builds.
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    pub(crate) target_directory: PathBuf,
}

/// One package of the workspace.
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) dependencies: Vec<Dependency>,
}

/// A dependency as the package's manifest states it.
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// Used by tests, examples and benches only.
    pub(crate) dev: bool,
}

/// Asks cargo.
pub(crate) fn load() -> Result<Metadata, String> {
    let text = shell::output(shell::cargo().args(["metadata", "--format-version=1", "--no-deps"]))?;
    let value: Value = serde_json::from_str(&text).map_err(|e| format!("cargo metadata: {e}"))?;
    let target = value["target_directory"].as_str().ok_or("cargo metadata names no target directory")?;
    let packages = list(&value["packages"]).iter().filter_map(package).collect();
    Ok(Metadata { packages, target_directory: PathBuf::from(target) })
}

fn package(value: &Value) -> Option<Package> {
    let dependencies = list(&value["dependencies"]).iter().filter_map(dependency).collect();
    Some(Package { name: value["name"].as_str()?.to_owned(), dependencies })
}

fn dependency(value: &Value) -> Option<Dependency> {
    let dev = value["kind"].as_str() == Some("dev");
    Some(Dependency { name: value["name"].as_str()?.to_owned(), dev })
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
