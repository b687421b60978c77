//! A client: one connection, one request at a time.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use super::Action;

pub(crate) type Doing<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + 'a>>;

/// A connection to one voter.
pub(crate) trait Client {
    /// Does it once, and waits for the answer.
    fn act<'a>(&'a mut self, action: Action, key: &'a str, value: &'a [u8]) -> Doing<'a, ()>;
}

/// A cluster that clients connect to.
pub(crate) trait Connect {
    /// A client of the voter of that number, from 0; of the leader, if there is no number.
    fn client(&self, voter: Option<usize>) -> Doing<'_, Box<dyn Client>>;

    /// Flushes that all voters have made so far.
    fn flushes(&self) -> Doing<'_, u64>;

    /// CPU time that all voters have used so far.
    fn cpu(&self) -> Duration;
}
