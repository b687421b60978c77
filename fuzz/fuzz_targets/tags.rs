//! Surrogate-Key, Cache-Tag and Cache-Groups: no panic, each tag once, within the limits, and the same however the
//! lines are split.
#![no_main]

use libfuzzer_sys::fuzz_target;
use selvedge_cache::semantics::tags::{GROUPS_MAX, TAG_BYTES_MAX, TAGS_MAX, cache_groups, tags};
use selvedge_types::{Fields, name};

fuzz_target!(|lines: (Vec<Vec<u8>>, Vec<Vec<u8>>, Vec<u8>)| {
    let (keys, listed, groups) = lines;
    let mut fields = Fields::new();
    for key in &keys {
        let _ = fields.add(name::SURROGATE_KEY, key.clone());
    }
    for tag in &listed {
        let _ = fields.add(name::CACHE_TAG, tag.clone());
    }
    let _ = fields.add(name::CACHE_GROUPS, groups);
    assert!(cache_groups(&fields).len() <= GROUPS_MAX);
    let Ok(found) = tags(&fields) else { return };
    assert!(found.len() <= TAGS_MAX);
    assert!(found.iter().all(|tag| !tag.is_empty() && tag.len() <= TAG_BYTES_MAX));
    assert!(found.is_sorted() && found.windows(2).all(|pair| pair[0] != pair[1]));
    let joined = fields.get_all(name::SURROGATE_KEY).collect::<Vec<_>>().join(&b' ');
    let mut one_line = Fields::new();
    if one_line.add(name::SURROGATE_KEY, joined).is_ok() {
        for tag in fields.get_all(name::CACHE_TAG) {
            let _ = one_line.add(name::CACHE_TAG, tag.to_vec());
        }
        assert_eq!(tags(&one_line).ok().as_ref(), Some(&found));
    }
});
