//! Traces: which object is asked for, one after the other, and how large each object is.

use super::reference::Object;

mod generate;
mod read;

pub use generate::{Popularity, Recipe, Sizes, recipes};
pub use read::{apache_log, integers, shared};

/// Requests for objects whose sizes do not change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// What to call it.
    pub name: String,
    /// Bytes of each object, at least one.
    pub sizes: Vec<u64>,
    /// Indices into `sizes`, in order.
    pub requests: Vec<Object>,
}

impl Trace {
    /// Bytes of all objects that are asked for.
    pub fn footprint(&self) -> u64 {
        let mut seen = vec![false; self.sizes.len()];
        let mut bytes = 0;
        for &object in &self.requests {
            if !std::mem::replace(&mut seen[object], true) {
                bytes += self.sizes[object];
            }
        }
        bytes
    }

    /// The same trace with objects cut into slices of at most so many bytes, each asked for in turn.
    pub fn sliced(&self, slice_bytes: u64) -> Trace {
        let mut sizes = Vec::new();
        let slices: Vec<std::ops::Range<Object>> = self
            .sizes
            .iter()
            .map(|&size| {
                let first = sizes.len();
                let whole = (size / slice_bytes) as usize;
                sizes.extend(std::iter::repeat_n(slice_bytes, whole));
                sizes.extend(Some(size % slice_bytes).filter(|&rest| rest > 0));
                first..sizes.len()
            })
            .collect();
        let requests = self.requests.iter().flat_map(|&object| slices[object].clone()).collect();
        Trace { name: self.name.clone(), sizes, requests }
    }

    /// Mean bytes of an object.
    pub fn mean_size(&self) -> u64 {
        (self.sizes.iter().sum::<u64>() / self.sizes.len().max(1) as u64).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_objects_are_cut_into_slices() {
        let trace = Trace { name: String::new(), sizes: vec![5, 4, 10], requests: vec![0, 2, 1] };
        let sliced = trace.sliced(4);
        assert_eq!(sliced.sizes, [4, 1, 4, 4, 4, 2]);
        assert_eq!(sliced.requests, [0, 1, 3, 4, 5, 2]);
        assert_eq!(sliced.footprint(), trace.footprint());
    }
}
