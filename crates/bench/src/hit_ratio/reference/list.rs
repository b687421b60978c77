//! A doubly linked list of objects in vectors, for policies that move objects about.

use super::Object;

const NONE: usize = usize::MAX;

/// A list whose elements are objects, each in it at most once.
#[derive(Debug)]
pub(super) struct List {
    links: Vec<(usize, usize)>,
    newest: usize,
    oldest: usize,
}

impl List {
    /// An empty list for objects below `objects`.
    pub(super) fn new(objects: usize) -> Self {
        List { links: vec![(NONE, NONE); objects], newest: NONE, oldest: NONE }
    }

    /// The object put in first.
    pub(super) fn oldest(&self) -> Option<Object> {
        some(self.oldest)
    }

    /// The object put in next after this one.
    pub(super) fn newer(&self, object: Object) -> Option<Object> {
        some(self.links[object].0)
    }

    /// Adds an object that is not in the list.
    pub(super) fn push(&mut self, object: Object) {
        self.links[object] = (NONE, self.newest);
        match some(self.newest) {
            Some(before) => self.links[before].0 = object,
            None => self.oldest = object,
        }
        self.newest = object;
    }

    /// Takes out an object that is in the list.
    pub(super) fn remove(&mut self, object: Object) {
        let (newer, older) = self.links[object];
        match some(newer) {
            Some(n) => self.links[n].1 = older,
            None => self.newest = older,
        }
        match some(older) {
            Some(o) => self.links[o].0 = newer,
            None => self.oldest = newer,
        }
        self.links[object] = (NONE, NONE);
    }

    /// Makes an object of the list its newest.
    pub(super) fn renew(&mut self, object: Object) {
        self.remove(object);
        self.push(object);
    }
}

fn some(index: usize) -> Option<usize> {
    (index != NONE).then_some(index)
}
