//! Rows of a keyspace store: no panic, and a store that they make gives rows that make the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use selvedge_kv::{Cursor, Loader, Store, Table};

fuzz_target!(|bytes: &[u8]| {
    let Some(store) = read(bytes) else { return };
    let mut loader = Loader::default();
    let mut cursor = Some(Cursor::default());
    while let Some(from) = cursor {
        let (rows, next) = store.rows(from, 100);
        for (table, key, value) in rows.iter() {
            loader.row(table, key, value.expect("a copy removes nothing")).expect("a row of a store");
        }
        cursor = next;
    }
    assert_eq!(loader.finish().expect("the rows of a store"), store);
});

/// Each row has its table and two lengths before it.
fn read(mut bytes: &[u8]) -> Option<Store> {
    let mut loader = Loader::default();
    while let [table, key_length, value_length, rest @ ..] = bytes {
        let (key, rest) = rest.split_at_checked(usize::from(*key_length))?;
        let (value, rest) = rest.split_at_checked(usize::from(*value_length))?;
        loader.row(*Table::ALL.get(usize::from(*table))?, key, value).ok()?;
        bytes = rest;
    }
    loader.finish().ok()
}
