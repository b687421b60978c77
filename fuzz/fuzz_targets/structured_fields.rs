//! Structured fields: no panic, and one line or two of the same members make no difference.
#![no_main]

use libfuzzer_sys::fuzz_target;
use selvedge_cache::semantics::structured::{dictionary, strings};

fuzz_target!(|text: &[u8]| {
    let one = dictionary([text].into_iter());
    if let Some(members) = &one {
        let line = [text, b", zz-last"].concat();
        let (joined, split) =
            (dictionary([line.as_slice()].into_iter()), dictionary([text, b"zz-last"].into_iter()));
        assert_eq!(joined, split);
        assert!(joined.is_some_and(|all| all.len() >= members.len()));
    }
    if let Some(members) = strings([text].into_iter()) {
        assert!(members.iter().all(|m| m.bytes().all(|b| (b' '..=b'~').contains(&b))));
    }
});
