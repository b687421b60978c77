//! What a node keeps on its disk: a write-ahead log, an engine of tables, and the cache's segments.
//!
//! | part | keeps | promise |
//! |---|---|---|
//! | [`wal`] | records in one order, for all groups of the node | flushed when acknowledged; never silently cut |
//! | [`engine`] | tables, and up to which record they were made | a batch is there whole or not at all |
//! | [`segments`] | cached objects, bounded in bytes | checked when read; anything may be missing, nothing wrong |
//! | [`events`] | the last events | checked when read; bounded; the last seconds may be missing |
//!
//! All go through [`selvedge_rt::Disk`]. Each part has a blocking core, and those that many callers share
//! a service with a cheap handle around it.

mod coding;
pub mod engine;
pub mod events;
pub mod segments;
pub mod wal;

use std::io::{self, ErrorKind};

/// Whether an error says that no space is left, which may pass, unlike other failures of a disk.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
}
