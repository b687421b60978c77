//! The context file: how commands on the same machine find a node's API without flags.
//!
//! `dev` and `up` write it into the data directory and for the user; commands look at their flags, then the
//! environment, then these files.

use super::{Exit, Failure};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Where a node's data is when nothing else is said, for a system service.
pub const SYSTEM_DATA: &str = "/var/lib/selvedge";
const FILE: &str = "context.json";

/// An API and the token for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// The API's base URL.
    pub api: String,
    /// The token's secret; none on a node that joined a cluster, whose tokens were made elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// An API, and what is said to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Access {
    /// The API's base URL.
    pub(super) api: String,
    /// The token's secret.
    pub(super) token: String,
}

impl Context {
    /// Writes the file into `directory`, readable by its owner alone. The old one stays until the new one is
    /// whole.
    pub fn write(&self, directory: &Path) -> io::Result<PathBuf> {
        fs::create_dir_all(directory)?;
        let (path, new) = (directory.join(FILE), directory.join(format!("{FILE}.new")));
        match fs::remove_file(&new) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(serde_json::to_string_pretty(self)?.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        Ok(path)
    }

    /// Where the file is in `directory`.
    pub fn path(directory: &Path) -> PathBuf {
        directory.join(FILE)
    }

    /// Removes the file in `directory`, if there is one.
    pub fn remove(directory: &Path) -> io::Result<()> {
        match fs::remove_file(directory.join(FILE)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    /// Reads the file in `directory`, if there is one.
    pub fn read(directory: &Path) -> io::Result<Option<Self>> {
        match fs::read(directory.join(FILE)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }
}

/// The directory of the user's own context file; none without a home.
pub fn user_directory() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let config = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")))?;
    Some(config.join("selvedge"))
}

/// Finds the API: `api` and `token` as given by flag or environment, the rest from the first context file that fits
/// among the data directory's, the user's and the system's.
pub(super) fn find(api: Option<&str>, token: Option<&str>, data: Option<&Path>) -> Result<Access, Failure> {
    let places = match data {
        Some(data) => vec![data.to_owned()],
        None => user_directory().into_iter().chain([PathBuf::from(SYSTEM_DATA)]).collect(),
    };
    find_in(&places, api, token)
}

/// A token is only ever sent to the API it belongs to, or to the one it was given with.
fn find_in(places: &[PathBuf], api: Option<&str>, token: Option<&str>) -> Result<Access, Failure> {
    if let (Some(api), Some(token)) = (api, token) {
        return Ok(Access { api: api.to_owned(), token: token.to_owned() });
    }
    let (mut of_another, mut without, mut refused) = (None, None, None);
    for place in places {
        match Context::read(place) {
            Ok(Some(found)) if api.is_none_or(|api| is_same(api, &found.api)) => {
                let Context { api, token: kept } = found;
                match token.map(str::to_owned).or(kept) {
                    Some(token) => return Ok(Access { api, token }),
                    None => without = without.or(Some(api)),
                }
            }
            Ok(Some(found)) => of_another = of_another.or(Some(found.api)),
            Ok(None) => {}
            Err(e) => refused = refused.or(Some((place, e))),
        }
    }
    if let Some(api) = without {
        return Err(Failure::usage(format!("no token is known for the node at {api}"))
            .next("its cluster's tokens were made elsewhere: set SELVEDGE_TOKEN to the secret of one"));
    }
    Err(match (api, of_another, refused) {
        (Some(api), Some(other), _) => Failure::usage(format!("no token for {api}"))
            .next(format!("the context file is for {other}: set SELVEDGE_TOKEN too")),
        (Some(_), None, _) => Failure::usage("no token for the API")
            .next("set SELVEDGE_TOKEN to a token's secret, or run this where the node left its context file"),
        (None, _, Some((place, e))) => {
            Failure::failed(format!("cannot read {}", place.join(FILE).display())).because(e)
        }
        (None, _, None) => Failure::new(Exit::Unreachable, "no node found on this machine")
            .next("start one with `selvedge dev`, or set SELVEDGE_API and SELVEDGE_TOKEN to reach another"),
    })
}

fn is_same(one: &str, other: &str) -> bool {
    one.trim_end_matches('/') == other.trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn context() -> Context {
        Context { api: "http://127.0.0.1:7070".into(), token: Some("sv_x".into()) }
    }

    #[test]
    fn it_is_written_for_its_owner_alone_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let path = context().write(dir.path()).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(Context::read(dir.path()).unwrap(), Some(context()));
        assert_eq!(Context::read(&dir.path().join("none")).unwrap(), None);
    }

    #[test]
    fn flags_come_before_the_file() {
        let dir = tempfile::tempdir().unwrap();
        context().write(dir.path()).unwrap();
        let find = |api, token| find(api, token, Some(dir.path()));
        let access = |api: &str, token: &str| Access { api: api.into(), token: token.into() };
        let api = &context().api;
        assert_eq!(find(None, None).unwrap(), access(api, "sv_x"));
        assert_eq!(find(None, Some("t")).unwrap(), access(api, "t"));
        assert_eq!(find(Some("http://other"), Some("t")).unwrap(), access("http://other", "t"));
        assert_eq!(find(Some("http://127.0.0.1:7070/"), None).unwrap(), access(api, "sv_x"));
    }

    #[test]
    fn a_token_is_not_sent_to_another_api() {
        let dir = tempfile::tempdir().unwrap();
        context().write(dir.path()).unwrap();
        let refused = find(Some("http://elsewhere"), None, Some(dir.path())).unwrap_err();
        assert_eq!(refused.exit(), Exit::Usage);
    }

    #[test]
    fn the_file_that_fits_is_found_behind_others() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        Context { api: "http://first".into(), token: Some("t1".into()) }.write(one.path()).unwrap();
        Context { api: "http://second".into(), token: Some("t2".into()) }.write(two.path()).unwrap();
        let places = [one.path().to_owned(), two.path().to_owned()];
        assert_eq!(find_in(&places, Some("http://second/"), None).unwrap().token, "t2");
        assert_eq!(find_in(&places, None, None).unwrap().token, "t1");
        assert_eq!(find_in(&places, Some("http://third"), None).unwrap_err().exit(), Exit::Usage);
    }

    #[test]
    fn of_a_node_that_joined_the_place_is_known_and_a_token_is_asked_for() {
        let (joined, first) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        Context { api: "http://joined".into(), token: None }.write(joined.path()).unwrap();
        let places = [joined.path().to_owned(), first.path().to_owned()];
        let refused = find_in(&places, None, None).unwrap_err();
        assert!(refused.exit() == Exit::Usage && refused.to_string().contains("http://joined"), "{refused}");
        assert_eq!(find_in(&places, None, Some("t")).unwrap().api, "http://joined");
        context().write(first.path()).unwrap();
        assert_eq!(
            find_in(&places, None, None).unwrap().api,
            context().api,
            "one that has a token goes before"
        );
    }

    #[test]
    fn without_any_file_it_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(find(None, None, Some(dir.path())).unwrap_err().exit(), Exit::Unreachable);
        assert_eq!(find(Some("http://a"), None, Some(dir.path())).unwrap_err().exit(), Exit::Usage);
    }
}
