//! HTTP/1.1 towards origins, over the framing of `selvedge-http1`.

mod body;
mod conn;
mod exchange;
mod out;
mod send;
mod tunnel;

pub(super) use body::{BodyTimes, content_of};
pub(super) use conn::Conn;
pub(super) use exchange::{Broken, INTERIM_MAX, exchange};
pub(super) use tunnel::OriginTunnel;
