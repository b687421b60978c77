//! A state as a copy for another node: rows, some at a time, in one order.

use crate::group::image::Row;
use selvedge_kv::{Limits, LoadError, Loader, Store, Table};
use selvedge_store::engine::{self, View};
use std::sync::Arc;

/// Where in a snapshot some rows begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::group) struct Place {
    table: Table,
    key: Vec<u8>,
}

/// A state that does not change. Clones are the same.
#[derive(Clone)]
pub(in crate::group) struct Snapshot(Arc<Source>);

enum Source {
    View(View),
    Rows(Vec<Row>),
}

/// Why a snapshot cannot be used.
#[derive(Debug, thiserror::Error)]
pub(in crate::group) enum SnapshotError {
    #[error("the tables cannot be used")]
    Tables(#[from] engine::Error),
    #[error("the snapshot is not a store")]
    Load(#[from] LoadError),
}

impl SnapshotError {
    /// Whether it is for lack of room, which may pass.
    pub(in crate::group) fn is_full(&self) -> bool {
        matches!(self, SnapshotError::Tables(engine::Error::Full { .. }))
    }
}

impl Snapshot {
    pub(super) fn of_view(view: View) -> Self {
        Snapshot(Arc::new(Source::View(view)))
    }

    /// The snapshot of these rows, which came from another.
    pub(in crate::group) fn of_rows(rows: Vec<Row>) -> Self {
        Snapshot(Arc::new(Source::Rows(rows)))
    }

    /// Shows every row.
    pub(super) fn rows(
        &self,
        mut visit: impl FnMut(&Row) -> Result<(), SnapshotError>,
    ) -> Result<(), SnapshotError> {
        match &*self.0 {
            Source::Rows(rows) => rows.iter().try_for_each(visit),
            Source::View(_) => {
                let mut from = Some(Place::start());
                while let Some(place) = from.take() {
                    let (rows, next) = self.page(&place, 1 << 20)?;
                    rows.iter().try_for_each(&mut visit)?;
                    from = next;
                }
                Ok(())
            }
        }
    }

    /// Rows from a place on, of about so many bytes, and where to go on. Blocking.
    pub(in crate::group) fn page(
        &self,
        from: &Place,
        bytes_max: usize,
    ) -> Result<(Vec<Row>, Option<Place>), engine::Error> {
        let Source::View(view) = &*self.0 else { return Ok((Vec::new(), None)) };
        let (mut rows, mut bytes) = (Vec::new(), 0);
        for table in Table::ALL.into_iter().filter(|table| *table >= from.table) {
            let start: &[u8] = if table == from.table { &from.key } else { &[] };
            for row in view.range(engine::Table(table.name()), start..)? {
                let (key, value) = row?;
                if bytes >= bytes_max {
                    return Ok((rows, Some(Place { table, key })));
                }
                bytes += key.len() + value.len();
                rows.push(Row { table, key, value });
            }
        }
        Ok((rows, None))
    }

    /// The store that it is a copy of. Blocking.
    pub(super) fn store(&self, limits: Limits) -> Result<Store, SnapshotError> {
        let (mut loader, mut count) = (Loader::default(), 0u64);
        self.rows(|row| {
            count += 1;
            Ok(loader.row(row.table, &row.key, &row.value)?)
        })?;
        if count == 0 { Ok(Store::new(limits)) } else { Ok(loader.finish()?) }
    }
}

impl Place {
    /// Where the first row is.
    pub(in crate::group) fn start() -> Self {
        Place { table: Table::Meta, key: Vec::new() }
    }
}
