//! Requests that end without an answer.

/// What stands in the log and the counters where a status would: 499, as nginx has it, when the client left or the
/// front gave the request up before there was an answer; 500 when making the answer panicked. To be asked when what was
/// kept of the request is dropped.
pub(crate) fn status() -> u16 {
    if std::thread::panicking() { 500 } else { 499 }
}
