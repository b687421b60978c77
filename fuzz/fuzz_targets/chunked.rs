//! Chunked content: no panic, and the same whole as byte by byte.
#![no_main]

use libfuzzer_sys::fuzz_target;
use selvedge_http1::{BodyDecoder, BodyFraming, BodyStep, Limits};

fn decode(wire: &[u8], piece: usize) -> Option<(Vec<u8>, usize)> {
    let mut decoder = BodyDecoder::new(BodyFraming::Chunked, &Limits::DEFAULT);
    let (mut content, mut at, mut end) = (Vec::new(), 0, 0);
    loop {
        match decoder.step(&wire[at..end]).ok()? {
            BodyStep::End { consumed, .. } => return Some((content, at + consumed)),
            BodyStep::Data { start, len } => {
                content.extend_from_slice(&wire[at + start..at + start + len]);
                at += start + len;
            }
            BodyStep::NeedMore { .. } if end == wire.len() => return None,
            BodyStep::NeedMore { consumed } => {
                at += consumed;
                end = wire.len().min(end.saturating_add(piece));
            }
        }
    }
}

fuzz_target!(|wire: &[u8]| {
    assert_eq!(decode(wire, usize::MAX), decode(wire, 1));
});
