//! The answers, by subject.

pub(crate) mod backup;
pub(crate) mod cache;
pub(crate) mod cluster;
pub(crate) mod events;
pub(crate) mod health;
pub(crate) mod kv;
pub(crate) mod page;
pub(crate) mod requests;
pub(crate) mod resources;
pub(crate) mod status;
pub(crate) mod tokens;

use crate::problem::Problem;
use selvedge_types::resource::Text;

/// Reads a name or pattern out of a request.
pub(crate) fn parse<T: Text>(text: &str) -> Result<T, Problem> {
    T::parse_text(text).map_err(|e| Problem::invalid(format!("{}: {}", e.message, e.help)))
}
