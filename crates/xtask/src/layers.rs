//! The layers of the workspace: a crate imports only from layers below its own.

use crate::Outcome;
use crate::metadata::{self, Package};

/// A place in the order of imports.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Layer {
    /// 0 is the lowest.
    Numbered(u8),
    /// Simulation, lab, races, checks: import anything, are imported by nobody.
    Development,
}

use Layer::{Development, Numbered};

/// Every crate that may exist. A new crate gets its line here first.
const TABLE: &[(&str, Layer)] = &[
    ("selvedge-types", Numbered(0)),
    ("selvedge-http1", Numbered(1)),
    ("selvedge-cache", Numbered(1)),
    ("selvedge-membership", Numbered(1)),
    ("selvedge-kv", Numbered(1)),
    ("selvedge-schedule", Numbered(1)),
    ("selvedge-rt", Numbered(2)),
    ("selvedge-observe", Numbered(2)),
    ("selvedge-exchange", Numbered(2)),
    ("selvedge-store", Numbered(3)),
    ("selvedge-mesh", Numbered(3)),
    ("selvedge-state", Numbered(4)),
    ("selvedge-gateway", Numbered(5)),
    ("selvedge-compute", Numbered(5)),
    ("selvedge-control", Numbered(5)),
    ("selvedge", Numbered(6)),
    ("selvedge-sim", Development),
    ("selvedge-lab", Development),
    ("selvedge-bench", Development),
    ("xtask", Development),
];

/// Layers up to this one are cores without I/O.
const CORE: Layer = Numbered(1);

/// What a core must not depend on: each does I/O, reads a clock or draws randomness by itself.
const NOT_IN_A_CORE: &[&str] = &[
    "tokio",
    "mio",
    "async-std",
    "smol",
    "futures-executor",
    "socket2",
    "rustix",
    "libc",
    "nix",
    "rand",
    "getrandom",
    "fastrand",
    "parking_lot",
    "chrono",
    "time",
];

/// Checks every package of the workspace against the table.
pub(crate) fn check() -> Outcome {
    let faults: Vec<String> = metadata::load()?.packages.iter().flat_map(faults_of).collect();
    if faults.is_empty() { Ok(()) } else { Err(format!("layers:\n  {}", faults.join("\n  "))) }
}

fn faults_of(package: &Package) -> Vec<String> {
    let Some(own) = layer_of(&package.name) else {
        return vec![format!("{} has no layer: add it to TABLE in crates/xtask/src/layers.rs", package.name)];
    };
    let imports = package.dependencies.iter();
    imports
        .filter_map(|d| {
            import_fault(&package.name, own, &d.name).or_else(|| core_fault(&package.name, own, d))
        })
        .collect()
}

fn import_fault(importer: &str, own: Layer, imported: &str) -> Option<String> {
    let other = layer_of(imported)?;
    let allowed = other != Development && (own == Development || other < own);
    // Races and checks share helpers between themselves only by way of the layers.
    (!allowed).then(|| format!("{importer} ({own:?}) imports {imported} ({other:?}): only downwards"))
}

fn core_fault(importer: &str, own: Layer, dependency: &metadata::Dependency) -> Option<String> {
    let banned = own <= CORE && !dependency.dev && NOT_IN_A_CORE.contains(&dependency.name.as_str());
    banned.then(|| format!("{importer} is a core without I/O and depends on {}", dependency.name))
}

fn layer_of(package: &str) -> Option<Layer> {
    TABLE.iter().find(|(name, _)| *name == package).map(|(_, layer)| *layer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(importer: &str, imported: &str) -> bool {
        import_fault(importer, layer_of(importer).expect("listed"), imported).is_some()
    }

    #[test]
    fn imports_go_downwards_only() {
        let cases = [
            ("selvedge-cache", "selvedge-types", false),
            ("selvedge-gateway", "selvedge-http1", false),
            ("selvedge", "selvedge-gateway", false),
            ("selvedge-sim", "selvedge", false),
            ("selvedge-types", "selvedge-cache", true),
            ("selvedge-cache", "selvedge-http1", true),
            ("selvedge-control", "selvedge-gateway", true),
            ("selvedge", "selvedge-sim", true),
            ("selvedge-gateway", "selvedge-bench", true),
        ];
        for (importer, imported, expected) in cases {
            assert_eq!(fault(importer, imported), expected, "{importer} -> {imported}");
        }
    }

    #[test]
    fn a_core_may_not_depend_on_a_runtime_but_its_tests_may() {
        let dependency = |dev| metadata::Dependency { name: "tokio".into(), dev };
        assert!(core_fault("selvedge-cache", Numbered(1), &dependency(false)).is_some());
        assert!(core_fault("selvedge-cache", Numbered(1), &dependency(true)).is_none());
        assert!(core_fault("selvedge-rt", Numbered(2), &dependency(false)).is_none());
    }

    #[test]
    fn a_crate_without_a_layer_is_a_fault() {
        let package = Package { name: "selvedge-new".into(), dependencies: Vec::new() };
        assert_eq!(faults_of(&package).len(), 1);
    }
}
