//! The vocabulary every other crate shares: HTTP message parts, clocks' values, resources.
//!
//! Nothing here does I/O, reads a clock or draws randomness.

pub mod fields;
pub mod message;
pub mod resource;
pub mod time;

pub use fields::{FieldError, Fields, Name, name};
pub use message::{Method, Scheme, Status, Version};
pub use time::{Hlc, HlcClock, HlcError, UnixMillis};
