//! Priority queues of slots: 4-ary heaps of keys, and where each slot is in them.
//!
//! There are two heaps, so that all slots can be moved from one order to another a few at a time.

use super::Slot;

/// Which of the two heaps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Side {
    Left,
    Right,
}

impl Side {
    /// The other one.
    pub(super) fn other(self) -> Side {
        match self {
            Side::Left => Side::Right,
            Side::Right => Side::Left,
        }
    }
}

/// A slot and what it is ordered by, the lowest first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ordered {
    pub(super) key: u32,
    pub(super) slot: Slot,
}

const CHILDREN: usize = 4;
const NOWHERE: u32 = u32::MAX;
const RIGHT: u32 = 1 << 31;

/// Two heaps; a slot is in one of them or in none.
#[derive(Debug, Default)]
pub(super) struct Queue {
    left: Vec<Ordered>,
    right: Vec<Ordered>,
    /// For each slot its index in its heap, with a bit that says which.
    places: Vec<u32>,
}

impl Queue {
    /// Bytes of memory for a slot.
    pub(super) const ENTRY_BYTES: usize = size_of::<Ordered>() + size_of::<u32>();

    /// The heap with this slot.
    pub(super) fn side_of(&self, slot: Slot) -> Option<Side> {
        let place = *self.places.get(slot.index())?;
        let side = if place & RIGHT == 0 { Side::Left } else { Side::Right };
        (place != NOWHERE).then_some(side)
    }

    /// How many slots are in this heap.
    pub(super) fn len(&self, side: Side) -> usize {
        self.heap(side).len()
    }

    /// The lowest of this heap.
    pub(super) fn first(&self, side: Side) -> Option<Ordered> {
        self.heap(side).first().copied()
    }

    /// One that can be removed in constant time: the last leaf.
    pub(super) fn last(&self, side: Side) -> Option<Ordered> {
        self.heap(side).last().copied()
    }

    /// Adds a slot that is in neither heap.
    pub(super) fn push(&mut self, side: Side, item: Ordered) {
        if self.places.len() <= item.slot.index() {
            self.places.resize(item.slot.index() + 1, NOWHERE);
        }
        let end = self.len(side);
        self.heap_mut(side).push(item);
        self.rise(side, end, item);
    }

    /// Takes a slot out of the heap that it is in.
    pub(super) fn remove(&mut self, slot: Slot) {
        let Some(side) = self.side_of(slot) else { return };
        let at = self.index_of(slot);
        self.places[slot.index()] = NOWHERE;
        let Some(last) = self.heap_mut(side).pop() else { return };
        if last.slot != slot {
            self.settle(side, at, last);
        }
    }

    /// Changes a slot's key.
    pub(super) fn set_key(&mut self, slot: Slot, key: u32) {
        if let Some(side) = self.side_of(slot) {
            self.settle(side, self.index_of(slot), Ordered { key, slot });
        }
    }

    /// Changes all keys of a heap by a function that keeps their order.
    pub(super) fn map_keys(&mut self, side: Side, f: impl Fn(u32) -> u32) {
        for item in self.heap_mut(side) {
            item.key = f(item.key);
        }
    }

    /// Gives back the memory of a heap that is empty.
    pub(super) fn release(&mut self, side: Side) {
        if self.len(side) == 0 {
            *self.heap_mut(side) = Vec::new();
        }
    }

    /// Bytes of memory held.
    pub(super) fn overhead_bytes(&self) -> usize {
        let items = self.left.capacity() + self.right.capacity();
        items * size_of::<Ordered>() + self.places.capacity() * size_of::<u32>()
    }

    fn heap(&self, side: Side) -> &Vec<Ordered> {
        match side {
            Side::Left => &self.left,
            Side::Right => &self.right,
        }
    }

    fn heap_mut(&mut self, side: Side) -> &mut Vec<Ordered> {
        match side {
            Side::Left => &mut self.left,
            Side::Right => &mut self.right,
        }
    }

    fn index_of(&self, slot: Slot) -> usize {
        (self.places[slot.index()] & !RIGHT) as usize
    }

    /// Puts an item where `at` is free, up or down from there as its key demands.
    fn settle(&mut self, side: Side, at: usize, item: Ordered) {
        let parent = at.checked_sub(1).map(|below| self.heap(side)[below / CHILDREN]);
        match parent {
            Some(parent) if parent.key > item.key => self.rise(side, at, item),
            _ => self.sink(side, at, item),
        }
    }

    fn rise(&mut self, side: Side, mut at: usize, item: Ordered) {
        while at > 0 {
            let parent = (at - 1) / CHILDREN;
            let above = self.heap(side)[parent];
            if above.key <= item.key {
                break;
            }
            self.place(side, at, above);
            at = parent;
        }
        self.place(side, at, item);
    }

    fn sink(&mut self, side: Side, mut at: usize, item: Ordered) {
        while let Some((child, below)) = self.lowest_child(side, at) {
            if below.key >= item.key {
                break;
            }
            self.place(side, at, below);
            at = child;
        }
        self.place(side, at, item);
    }

    fn lowest_child(&self, side: Side, at: usize) -> Option<(usize, Ordered)> {
        let heap = self.heap(side);
        let first = at * CHILDREN + 1;
        let children = heap.get(first..(first + CHILDREN).min(heap.len()))?;
        let lowest = children.iter().enumerate().min_by_key(|(_, child)| child.key)?;
        Some((first + lowest.0, *lowest.1))
    }

    fn place(&mut self, side: Side, at: usize, item: Ordered) {
        let bit = if side == Side::Right { RIGHT } else { 0 };
        self.heap_mut(side)[at] = item;
        self.places[item.slot.index()] = at as u32 | bit;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[derive(Debug, Clone)]
    enum Op {
        Push(u32, u32),
        Remove(u32),
        SetKey(u32, u32),
        PopFirst,
        PopLast,
    }

    fn op() -> impl Strategy<Value = Op> {
        let (slot, key) = (0..40u32, 0..100u32);
        prop_oneof![
            (slot.clone(), key.clone()).prop_map(|(s, k)| Op::Push(s, k)),
            slot.clone().prop_map(Op::Remove),
            (slot, key).prop_map(|(s, k)| Op::SetKey(s, k)),
            Just(Op::PopFirst),
            Just(Op::PopLast),
        ]
    }

    proptest! {
        #[test]
        fn agrees_with_a_sorted_map(ops in proptest::collection::vec(op(), 0..300)) {
            let mut queue = Queue::default();
            let mut model = BTreeMap::new();
            for op in ops {
                match op {
                    Op::Push(slot, key) => {
                        queue.remove(Slot(slot));
                        queue.push(Side::Right, Ordered { key, slot: Slot(slot) });
                        model.insert(slot, key);
                    }
                    Op::Remove(slot) => {
                        queue.remove(Slot(slot));
                        model.remove(&slot);
                    }
                    Op::SetKey(slot, key) => {
                        queue.set_key(Slot(slot), key);
                        model.entry(slot).and_modify(|k| *k = key);
                    }
                    Op::PopFirst => if let Some(first) = queue.first(Side::Right) {
                        prop_assert_eq!(Some(&first.key), model.values().min());
                        queue.remove(first.slot);
                        model.remove(&first.slot.0);
                    },
                    Op::PopLast => if let Some(last) = queue.last(Side::Right) {
                        queue.remove(last.slot);
                        model.remove(&last.slot.0);
                    },
                }
                prop_assert_eq!(queue.len(Side::Right), model.len());
                prop_assert_eq!(queue.first(Side::Right).map(|f| f.key), model.values().min().copied());
            }
        }
    }
}
