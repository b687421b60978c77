//! What came of asking an origin: for the operator, never for the client.

use std::sync::Arc;
use std::time::Duration;

/// What came of asking an origin for a response.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fetched {
    /// The endpoint asked last, if one was chosen.
    pub endpoint: Option<Arc<str>>,
    /// From choosing that endpoint to the head of its answer, connecting included; none if there was no answer.
    pub first_byte: Option<Duration>,
    /// How often the request was sent or tried to be; 0 if that is not known.
    pub attempts: u32,
    /// Why there is no usable answer, if there is none.
    pub trouble: Option<Trouble>,
}

/// Why an origin gave no usable answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The error type (RFC 9209 section 2.3).
    pub error: &'static str,
    /// What happened, in words; may name addresses.
    pub detail: String,
}
