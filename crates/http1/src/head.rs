//! Finds the end of a head that arrives in pieces, in linear time.

use crate::limits::Limits;
use memchr::memchr_iter;

/// How far a head that is not complete yet has been looked at. One for each message.
///
/// A head that arrives whole is parsed at once. One that does not is scanned for its end as bytes come in,
/// each byte once, and parsed when the end is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    scanned: usize,
    line_start: usize,
}

/// Why a scan gave up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScanError {
    LineEnd,
    StartLineTooLong,
    HeadTooLarge,
}

/// Bytes of a start line beside its target: a method and a version with room to spare.
const START_LINE_REST: usize = 128;

impl Progress {
    /// Whether no byte was looked at before.
    pub(crate) fn is_fresh(&self) -> bool {
        self.scanned == 0
    }

    /// Looks at the bytes that are new; whether the empty line is among them.
    pub(crate) fn scan(&mut self, buf: &[u8], limits: &Limits) -> Result<bool, ScanError> {
        let from = self.scanned;
        let fresh = buf.get(from..).unwrap_or_default();
        for lf in memchr_iter(b'\n', fresh).map(|i| i + from) {
            let before = buf.get(self.line_start..lf).unwrap_or_default();
            match before {
                [b'\r'] => return Ok(true),
                [.., b'\r'] => self.line_start = lf + 1,
                _ => return Err(ScanError::LineEnd),
            }
        }
        self.scanned = buf.len();
        if self.line_start == 0 && buf.len() > limits.target_bytes_max + START_LINE_REST {
            return Err(ScanError::StartLineTooLong);
        }
        if buf.len() >= limits.head_bytes_max {
            return Err(ScanError::HeadTooLarge);
        }
        Ok(false)
    }
}
