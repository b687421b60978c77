//! What is shown of keys.

use crate::cli::Table;
use selvedge_control::wire::{Bytes, KvChanged, KvOpDone, KvPair, KvRead, KvTxnDone};

/// Bytes for people: what cannot be shown is escaped.
pub(super) fn text(Bytes(bytes): &Bytes) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text
            .chars()
            .map(|c| if c.is_control() { c.escape_default().to_string() } else { c.into() })
            .collect(),
        Err(_) => bytes.escape_ascii().to_string(),
    }
}

pub(super) fn pairs(pairs: &[KvPair]) -> Table {
    let mut table = Table::new()
        .column("KEY")
        .column("VALUE")
        .number("MODIFIED")
        .number("VERSION")
        .wide("CREATED")
        .wide("LEASE");
    for pair in pairs {
        let lease = pair.lease.map_or(String::new(), |lease| lease.to_string());
        let numbers = [pair.modified, pair.version, pair.created].map(|number| number.to_string());
        table.row([text(&pair.key), text(&pair.value)].into_iter().chain(numbers).chain([lease]));
    }
    table
}

pub(super) fn count(read: &KvRead) -> Table {
    let mut table = Table::new().number("KEYS").number("REVISION");
    table.row([read.count.to_string(), read.revision.to_string()]);
    table
}

pub(super) fn changed(done: &KvChanged) -> Table {
    if !done.previous.is_empty() {
        return pairs(&done.previous);
    }
    let mut table = Table::new().number("REVISION");
    if done.deleted.is_some() {
        table = table.number("DELETED");
    }
    table.row([Some(done.revision), done.deleted].into_iter().flatten().map(|number| number.to_string()));
    table
}

pub(super) fn txn(done: &KvTxnDone) -> Table {
    let mut table = Table::new().column("DID").column("KEY").column("VALUE").number("REVISION");
    let branch = if done.succeeded { "then" } else { "else" };
    table.row([branch.to_owned(), String::new(), String::new(), done.revision.to_string()]);
    for answer in &done.answers {
        let (what, pairs) = match answer {
            KvOpDone::Get(read) => (format!("get {}", read.count), &read.pairs),
            KvOpDone::Put(done) => ("put".to_owned(), &done.previous),
            KvOpDone::Delete(done) => (format!("delete {}", done.deleted.unwrap_or(0)), &done.previous),
        };
        table.row([what, String::new(), String::new(), String::new()]);
        for pair in pairs {
            table.row([String::new(), text(&pair.key), text(&pair.value), pair.modified.to_string()]);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_shown_is_escaped() {
        for (bytes, shown) in
            [(&b"a b"[..], "a b"), (b"a\nb", "a\\nb"), (b"\xff1", "\\xff1"), ("ä".as_bytes(), "ä")]
        {
            assert_eq!(text(&Bytes(bytes.to_vec())), shown);
        }
    }
}
