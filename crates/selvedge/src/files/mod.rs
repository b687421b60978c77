//! Files as a site: what `selvedge serve DIR` serves, and the documentation that `selvedge dev` shows.
//!
//! ```text
//! request -> path (safe or refused) -> tree (directory on disk, or embedded) -> page or file -> plan -> response
//! ```
//!
//! Reading is all it does: no listing of directories unless asked for, nothing outside the tree, no names
//! that start with a dot (except `.well-known`), no content negotiation. Compression is the gateway's.

mod content_type;
mod handler;
mod markdown;
mod page;
mod path;
mod plan;
mod tree;

pub use content_type::content_type;
pub use handler::{FileHandler, FileOptions};
pub use path::{FilePath, PathError};
pub use plan::{Facts, Plan, Representation, plan};
pub use tree::{Content, Tree, documentation};
