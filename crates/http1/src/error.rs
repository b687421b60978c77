//! What can be wrong with a message. Each error closes the connection it came over.

use selvedge_types::{FieldError, Status};

/// Why a request head was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The request line is not `method SP target SP version CRLF` (RFC 9112 section 3).
    #[error("request line is malformed")]
    RequestLine,
    /// The method is not a token, or unreasonably long (RFC 9110 section 9.1).
    #[error("method is not a token")]
    Method,
    /// The target holds a byte no URI may hold, a fragment, or fits no form (RFC 9112 section 3.2).
    #[error("request target is malformed")]
    Target,
    /// The target is longer than the limit.
    #[error("request target is too long")]
    TargetTooLong,
    /// Not `HTTP/1.x`, but something like a version (RFC 9110 section 2.5).
    #[error("HTTP version is not supported")]
    Version,
    /// A line ends in LF without CR, or a CR stands alone (RFC 9112 section 2.2).
    #[error("line does not end in CRLF")]
    LineEnd,
    /// A field line is malformed.
    #[error("{0}")]
    Field(FieldError),
    /// The head is larger, or has more lines, than the limits allow.
    #[error("request head is too large")]
    HeadTooLarge,
    /// Host is missing, doubled, not a valid authority, or contradicts the target
    /// (RFC 9112 section 3.2).
    #[error("Host is missing, doubled or invalid")]
    Host,
    /// Content-Length is doubled, a list, or not a decimal number in range (RFC 9112 section 6.3).
    #[error("Content-Length is doubled or not a number")]
    ContentLength,
    /// Transfer-Encoding is malformed, does not end in `chunked`, or applies it twice
    /// (RFC 9112 section 6.1).
    #[error("Transfer-Encoding is malformed or does not end in chunked")]
    TransferEncoding,
    /// A transfer coding this program does not know stands before `chunked` (RFC 9112 section 6.1).
    #[error("transfer coding is not implemented")]
    UnknownCoding,
    /// Both Content-Length and Transfer-Encoding (RFC 9112 section 6.1).
    #[error("both Content-Length and Transfer-Encoding")]
    LengthAndCoding,
    /// Transfer-Encoding in an HTTP/1.0 message (RFC 9112 section 6.1).
    #[error("Transfer-Encoding in an HTTP/1.0 request")]
    CodingInHttp10,
    /// A name that some parsers read as Content-Length or Transfer-Encoding and others do not.
    #[error("field name resembles one that frames the message")]
    LookAlike,
    /// Content where the method gives it no meaning: GET, HEAD, TRACE, CONNECT (RFC 9110 section 9.3).
    #[error("the method takes no content")]
    UnexpectedContent,
}

impl RequestError {
    /// The status to answer with before closing.
    pub fn status(self) -> Status {
        let code = match self {
            RequestError::TargetTooLong => 414,
            RequestError::HeadTooLarge => 431,
            RequestError::UnknownCoding => 501,
            RequestError::Version => 505,
            _ => 400,
        };
        Status::new(code).unwrap_or(Status::BAD_REQUEST)
    }
}

impl From<FieldError> for RequestError {
    fn from(error: FieldError) -> Self {
        match error {
            FieldError::TooLarge | FieldError::TooMany => RequestError::HeadTooLarge,
            other => RequestError::Field(other),
        }
    }
}

/// Why a response head was refused. A proxy answers 502 (RFC 9110 section 15.6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// The status line is not `HTTP/1.x SP 3DIGIT [SP reason] CRLF` (RFC 9112 section 4).
    #[error("status line is malformed")]
    StatusLine,
    /// A line ends in LF without CR (RFC 9112 section 2.2).
    #[error("line does not end in CRLF")]
    LineEnd,
    /// A field line is malformed.
    #[error("{0}")]
    Field(FieldError),
    /// The head is larger, or has more lines, than the limits allow.
    #[error("response head is too large")]
    HeadTooLarge,
    /// Content-Length is doubled, a list, or not a decimal number in range (RFC 9112 section 6.3).
    #[error("Content-Length is doubled or not a number")]
    ContentLength,
    /// Transfer-Encoding is anything but one `chunked` (RFC 9112 section 6.1); nothing else was asked for.
    #[error("Transfer-Encoding is not chunked")]
    TransferEncoding,
    /// Both Content-Length and Transfer-Encoding (RFC 9112 section 6.3).
    #[error("both Content-Length and Transfer-Encoding")]
    LengthAndCoding,
    /// A name that some parsers read as Content-Length or Transfer-Encoding and others do not.
    #[error("field name resembles one that frames the message")]
    LookAlike,
}

impl From<FieldError> for ResponseError {
    fn from(error: FieldError) -> Self {
        match error {
            FieldError::TooLarge | FieldError::TooMany => ResponseError::HeadTooLarge,
            other => ResponseError::Field(other),
        }
    }
}

/// Why content could not be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// A chunk size is missing, not hexadecimal, or over 16 digits (RFC 9112 section 7.1).
    #[error("chunk size is malformed")]
    ChunkSize,
    /// A chunk extension is malformed (RFC 9112 section 7.1.1).
    #[error("chunk extension is malformed")]
    ChunkExtension,
    /// Chunk extensions of one message are longer than the limit.
    #[error("chunk extensions are too long")]
    ChunkExtensionTooLong,
    /// A chunk's data is not followed by CRLF, or a line ends in LF without CR.
    #[error("chunk does not end in CRLF")]
    ChunkEnd,
    /// A trailer line is malformed.
    #[error("trailer: {0}")]
    Trailer(FieldError),
    /// The trailer section is larger, or has more lines, than the limits allow.
    #[error("trailer section is too large")]
    TrailerTooLarge,
    /// The connection ended before the content did (RFC 9112 section 8).
    #[error("content ended early")]
    Truncated,
}

impl BodyError {
    /// The status to answer with if the response has not begun.
    pub fn status(self) -> Status {
        let code = if self == BodyError::TrailerTooLarge { 431 } else { 400 };
        Status::new(code).unwrap_or(Status::BAD_REQUEST)
    }
}

/// Why a head was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The target is empty or holds white space or a control character, which would end the request line.
    #[error("request target cannot be written: it is empty or holds white space or control characters")]
    Target,
}
