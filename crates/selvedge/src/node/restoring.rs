//! Beginning with a backup. While that is not done a mark lies in the data directory: what was cut off is begun anew,
//! and never taken for a node.

use super::NodeError;
use selvedge_rt::{Disk, Tasks};
use selvedge_state::Backup;
use std::io;
use std::path::Path;

/// Lies in the data directory while a node begins with a backup.
pub(crate) const MARK: &str = "restoring";

/// Reads the backup that the node in `disk` begins with, if it does, and leaves the mark.
pub(super) async fn begin(
    disk: &Disk,
    path: Option<&Path>,
    tasks: &Tasks,
) -> Result<Option<Backup>, NodeError> {
    let failed = |source| NodeError::data(disk, source);
    let Some(path) = path.map(Path::to_owned) else {
        let is_marked = disk.list().map_err(failed)?.iter().any(|name| name == MARK);
        return if is_marked { Err(NodeError::HalfRestored) } else { Ok(None) };
    };
    let from = path.clone();
    let read = tasks.blocking("backup", move || Backup::open(&from)).await.map_err(failed)?;
    let backup = read.map_err(|source| NodeError::Backup { path, source })?;
    mark(disk).map_err(failed)?;
    Ok(Some(backup))
}

fn mark(disk: &Disk) -> io::Result<()> {
    disk.open(MARK, true)?.sync()?;
    disk.sync()
}

/// Takes the mark away: the node has all that was in the backup.
pub(super) fn done(disk: &Disk) -> Result<(), NodeError> {
    let removed = disk.remove(MARK).and_then(|()| disk.sync());
    removed.map_err(|source| NodeError::data(disk, source))
}
