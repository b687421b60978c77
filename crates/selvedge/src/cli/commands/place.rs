//! What a node is called and where it is, kept in its data directory: a restart is a restart, also without the words
//! that said so at first.

use super::up::write_private;
use selvedge_types::resource::{PopName, RegionName, Text};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;

/// The file in the data directory.
const FILE: &str = "place.json";

/// What a node is called and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) name: String,
    pub(super) pop: PopName,
    pub(super) region: RegionName,
}

#[derive(Serialize, Deserialize)]
struct PlaceForm {
    name: String,
    pop: String,
    region: String,
}

impl Place {
    /// What is kept in `data`; nothing if nothing is, or cannot be read, which is logged.
    pub(super) fn read(data: &Path) -> Option<Self> {
        let text = match std::fs::read_to_string(data.join(FILE)) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(%error, "what the node was called and where it was cannot be read");
                return None;
            }
        };
        let place = Self::parse(&text);
        if place.is_none() {
            tracing::warn!(file = FILE, "what the node was called and where it was is damaged");
        }
        place
    }

    /// Keeps it for the next start of a node that has begun.
    pub(super) fn keep(self, data: &Path) {
        let (name, pop, region) = (self.name, self.pop.to_string(), self.region.to_string());
        let text = serde_json::to_string_pretty(&PlaceForm { name, pop, region }).unwrap_or_default();
        if let Err(error) = write_private(&data.join(FILE), &text) {
            tracing::warn!(%error, "what the node is called and where it is has to be said again at its next start");
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let PlaceForm { name, pop, region } = serde_json::from_str(text).ok()?;
        selvedge_control::cluster::check_name(&name).ok()?;
        let (pop, region) = (PopName::parse_text(&pop).ok()?, RegionName::parse_text(&region).ok()?);
        Some(Place { name, pop, region })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_and_damage_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Place::read(dir.path()), None);
        let text = r#"{"name": "c", "pop": "iad", "region": "us"}"#;
        std::fs::write(dir.path().join(FILE), text).unwrap();
        let place = Place::read(dir.path()).unwrap();
        assert_eq!((place.name.as_str(), place.pop.to_string().as_str()), ("c", "iad"));
        for damaged in ["", "{}", r#"{"name": "", "pop": "a", "region": "b"}"#] {
            std::fs::write(dir.path().join(FILE), damaged).unwrap();
            assert_eq!(Place::read(dir.path()), None, "{damaged}");
        }
    }
}
