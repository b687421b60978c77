//! The composition root and the command line: the one crate that knows all others.

pub mod cli;
pub mod files;
pub mod handover;
pub mod node;
pub mod service_manager;
