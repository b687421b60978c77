//! The bounds on what one message's framing may cost.

/// Limits on heads, chunk framing and trailers. Content length is the caller's to bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a head: start line, fields and the empty line. Beyond: 431.
    pub head_bytes_max: usize,
    /// Field lines in a head. Beyond: 431.
    pub field_lines_max: usize,
    /// Bytes of a request target. Beyond: 414.
    pub target_bytes_max: usize,
    /// Bytes of chunk extensions in one message, all chunks together. Beyond: 400.
    pub chunk_extension_bytes_max: usize,
    /// Bytes of a trailer section. Beyond: 431.
    pub trailer_bytes_max: usize,
    /// Field lines in a trailer section. Beyond: 431.
    pub trailer_lines_max: usize,
}

impl Limits {
    /// What a server accepts unless told otherwise.
    pub const DEFAULT: Limits = Limits {
        head_bytes_max: 32 * 1024,
        field_lines_max: 100,
        target_bytes_max: 8 * 1024,
        chunk_extension_bytes_max: 4 * 1024,
        trailer_bytes_max: 8 * 1024,
        trailer_lines_max: 32,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Limits::DEFAULT
    }
}
