//! The policies that ours is measured against, written from their papers, exact rather than fast.
//!
//! Each holds whole objects and is bounded in bytes; an object larger than the whole cache is never held.

mod gdsf;
mod list;
mod lru;
mod s3_fifo;
mod sieve;
mod sketch;
mod w_tinylfu;

pub use gdsf::Gdsf;
pub use lru::Lru;
pub use s3_fifo::S3Fifo;
pub use sieve::Sieve;
pub use w_tinylfu::WTinyLfu;

/// An object of a trace: its index in the trace's table of sizes.
pub type Object = usize;

/// A cache that is asked for one object after the other.
pub trait Cache {
    /// Whether the object was there; if it was not, the cache may take it in.
    fn request(&mut self, object: Object, size: u64) -> bool;

    /// Whether the object is there now.
    fn holds(&self, object: Object) -> bool;
}

/// How many requests for these objects of size one are hits.
#[cfg(test)]
pub(crate) fn hits(cache: &mut impl Cache, objects: &[Object]) -> usize {
    objects.iter().filter(|&&object| cache.request(object, 1)).count()
}

/// What is held after requests for these objects of size one, of those below `objects`.
#[cfg(test)]
pub(crate) fn held_after(cache: &mut impl Cache, requests: &[Object], objects: usize) -> Vec<Object> {
    hits(cache, requests);
    (0..objects).filter(|&object| cache.holds(object)).collect()
}
