//! Strict HTTP/1.1 framing (RFC 9112), without I/O: bytes in, messages out, and back.
//!
//! Server side: [`parse_request`], [`BodyDecoder`], [`ResponseWriter`]. Client side: [`RequestWriter`],
//! [`parse_response`]. The caller owns buffers and connections; the decoders hand out ranges of what they
//! were given, so content is never copied here.
//!
//! What is ambiguous is an error and never repaired: a message that two parsers could cut at different
//! places is how requests are smuggled (RFC 9112 section 11.2). Every error asks for the connection to be
//! closed, because where the next message starts is then unknown.
//!
//! Deliberately absent: HTTP/0.9, line folding, bare LF, transfer codings other than `chunked` in responses,
//! and any decision about hop-by-hop fields, which is the gateway's.

mod authority;
mod body;
mod chunked;
mod error;
mod framing;
mod head;
mod limits;
mod request;
mod response;
mod target;
mod write;

pub use authority::Authority;
pub use body::{BodyDecoder, BodyStep};
pub use chunked::{ChunkHead, drop_forbidden_trailers, write_last_chunk};
pub use error::{BodyError, RequestError, ResponseError, WriteError};
pub use framing::{BodyFraming, is_look_alike};
pub use head::Progress;
pub use limits::Limits;
pub use request::{RequestHead, parse_request};
pub use response::{ResponseHead, parse_response};
pub use target::{Target, TargetForm};
pub use write::{Persistence, RequestWriter, ResponseWriter};
