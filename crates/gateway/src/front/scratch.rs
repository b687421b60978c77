//! Buffers that a thread's connections share, so that a connection without work holds none.

use super::output::Output;
use std::cell::Cell;

/// Bytes read at a time, unless heads may be larger.
const READ_BYTES: usize = 32 * 1024;

/// A thread's read buffer and output. Taken for the time of one poll and given back empty.
#[derive(Default)]
pub(crate) struct Scratch {
    /// Initialised bytes, of which `start..end` were read and not consumed.
    pub(crate) input: Vec<u8>,
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) output: Output,
}

thread_local! {
    static SPARE: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

impl Scratch {
    /// The thread's spare one, or a new one, with `carry` as its input.
    pub(crate) fn take(carry: &mut Vec<u8>, head_bytes_max: usize) -> Box<Scratch> {
        let mut scratch = SPARE.take().unwrap_or_default();
        let size = READ_BYTES.max(head_bytes_max + 1024).max(carry.len());
        if scratch.input.len() < size {
            scratch.input.resize(size, 0);
        }
        scratch.start = 0;
        scratch.end = carry.len();
        if let Some(front) = scratch.input.get_mut(..carry.len()) {
            front.copy_from_slice(carry);
        }
        *carry = Vec::new();
        scratch
    }

    /// Bytes read and not consumed.
    pub(crate) fn unread(&self) -> &[u8] {
        self.input.get(self.start..self.end).unwrap_or_default()
    }

    /// Room to read into, with what is unread moved to the front.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.input.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        self.input.get_mut(self.end..).unwrap_or_default()
    }

    /// Gives the buffers back; what is unread goes to `carry`, which costs memory only if there is some.
    pub(crate) fn give_back(mut self: Box<Self>, carry: &mut Vec<u8>) {
        *carry = self.unread().to_vec();
        if self.output.is_empty() {
            self.start = 0;
            self.end = 0;
            SPARE.set(Some(self));
        }
    }
}
