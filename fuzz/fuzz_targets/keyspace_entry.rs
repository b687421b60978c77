//! Entries of a keyspace store: no panic, what is taken is the same after another round, and a store that
//! does what they say can be made again from its rows.
#![no_main]

use libfuzzer_sys::fuzz_target;
use selvedge_kv::{Command, Entry, Limits, Loader, Rows, Store};
use selvedge_types::Hlc;
use selvedge_types::resource::{KeyspaceId, Text};

/// Entries of one input.
const ENTRIES_MAX: usize = 100;

fuzz_target!(|bytes: &[u8]| {
    let mut store = Store::new(Limits { history_max: 8, sweep_max: 2, ..Limits::default() });
    let name = KeyspaceId::parse_text("fuzz").expect("a name");
    let command = Command::DeclareKeyspace { name, quota_bytes: 1 << 20 };
    let mut rows = store.apply(&Entry { time: Hlc::ZERO, call: None, command }).rows;
    // An entry has its length before it, so that one input can be several.
    let mut rest = bytes;
    for _ in 0..ENTRIES_MAX {
        let Some((length, after)) = rest.split_first() else { break };
        let Some((entry, after)) = after.split_at_checked(usize::from(*length)) else { break };
        rest = after;
        let Ok(entry) = Entry::decode(entry) else { continue };
        assert_eq!(Entry::decode(&entry.encode()).as_ref(), Ok(&entry));
        rows.extend(store.apply(&entry).rows);
    }
    assert_eq!(load(rows), store);
});

fn load(rows: Rows) -> Store {
    let mut loader = Loader::default();
    for ((table, key), value) in rows {
        if let Some(value) = value {
            loader.row(table, &key, &value).expect("a row of a store");
        }
    }
    loader.finish().expect("the rows of a store")
}
