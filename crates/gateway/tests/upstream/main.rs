//! The client side against origins that behave in every way an origin may, over loopback.

mod bodies;
mod choice;
mod http1;
mod http2;
mod names;
mod support;
mod tls;
