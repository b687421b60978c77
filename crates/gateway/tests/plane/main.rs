//! The whole data plane behind its front: a manifest, requests, and an origin that tells what it was asked.

mod doors;
mod failures;
mod hops;
mod keys;
mod smuggling;
mod unanswered;
mod world;
