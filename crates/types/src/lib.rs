//! The vocabulary every other crate shares: HTTP message parts, clocks' values, resources.
//!
//! Nothing here does I/O, reads a clock or draws randomness.

pub mod calendar;
pub mod event;
pub mod fields;
pub mod manifest;
pub mod message;
pub mod node;
pub mod plan;
pub mod planted;
pub mod resource;
pub mod snapshot;
pub mod time;
pub mod token;

pub use event::{Event, Record};
pub use fields::{FieldError, Fields, Name, name};
pub use manifest::{ApplyError, Manifest, ManifestError, ManifestErrors, Permissions};
pub use message::{Method, Scheme, Status, Version};
pub use node::{ClusterId, NodeKey};
pub use plan::Plan;
pub use snapshot::{Revision, Snapshot, SnapshotError};
pub use time::{Hlc, HlcClock, HlcError, UnixMillis};
pub use token::{Role, Token};
