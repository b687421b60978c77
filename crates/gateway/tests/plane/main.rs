//! The whole data plane behind its front: a manifest, requests, and an origin that tells what it was asked.

mod doors;
mod hops;
mod keys;
mod unanswered;
mod world;
