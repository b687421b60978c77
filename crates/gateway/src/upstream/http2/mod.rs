//! HTTP/2 towards origins, over `h2`: one connection for each runtime, more when its streams are used up.

mod body;
mod conn;
mod convert;
mod exchange;
mod send;

pub(super) use body::content_of;
pub(super) use conn::{Conn, Lent, Pool};
pub(super) use exchange::exchange;
