//! What this cache knows of status codes (RFC 9110 section 15).

use selvedge_types::Status;

/// Whether a response with this status may be stored without explicit freshness (RFC 9110 section 15.1).
pub fn is_heuristically_cacheable(status: Status) -> bool {
    matches!(status.code(), 200 | 203 | 204 | 206 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// Whether this cache implements what the status asks of caches, which `must-understand` demands
/// (RFC 9111 section 5.2.2.3).
pub fn is_understood(status: Status) -> bool {
    matches!(
        status.code(),
        200..=206 | 300..=304 | 307 | 308 | 400..=417 | 421 | 422 | 425 | 426 | 428 | 429 | 431 | 451 | 500..=505 | 511
    )
}

/// Whether RFC 5861 section 4 counts the status as an error that a stale response may hide.
pub fn is_stale_if_error(status: Status) -> bool {
    matches!(status.code(), 500 | 502 | 503 | 504)
}
