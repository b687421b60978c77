//! What passes between those who receive requests and those who answer them.
//!
//! A front (HTTP/1.1, HTTP/2) makes a [`Request`] and gives it to a [`Handler`]; the answer is a [`Response`],
//! at once or later. Both carry a [`Body`] that may stream. Nothing here knows a wire format.

mod body;
mod fetched;
mod handler;
mod request;
mod response;

pub use body::{Body, BodyError, BodyStream, Frame};
pub use fetched::{Fetched, Trouble};
pub use handler::{Handler, Interim, Later, Reply};
pub use request::{Client, Request};
pub use response::{Finish, Response, Sent, Source, Tunnel};
