//! HTTP dates: no panic, and a date that was read is written and read as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use selvedge_cache::semantics::http_date;
use selvedge_types::UnixMillis;

const NOW: UnixMillis = UnixMillis::from_secs(1_790_000_000);

fuzz_target!(|text: &[u8]| {
    if let Some(date) = http_date::parse(text, NOW) {
        // A leap second at the end of the year 9999 is the one date that cannot be written.
        if date.secs() < 253_402_300_800 {
            assert_eq!(http_date::parse(&http_date::write(date), NOW), Some(date));
        }
    }
});
