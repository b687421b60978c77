//! Where an object is, in eight bytes.

/// Objects begin at multiples of this, in bytes.
pub(super) const UNIT: usize = 64;

/// The longest file, in bytes: what the offset's 20 bits can name.
pub const SEGMENT_BYTES_MAX: u32 = 64 << 20;

const PLACE_BITS: u32 = 20;
const PLACE_MASK: u64 = (1 << PLACE_BITS) - 1;
const SEGMENT_MASK: u64 = (1 << 24) - 1;

/// A place on the disk tier: 24 bits of the file's number, 20 of the offset, 20 of the length, both in
/// units of 64 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Location(u64);

impl Location {
    /// None if the place is not within a file.
    pub(super) fn new(segment: u64, offset_units: u32, length_units: u32) -> Option<Self> {
        let (offset, length) = (u64::from(offset_units), u64::from(length_units).checked_sub(1)?);
        let fits = offset <= PLACE_MASK && length <= PLACE_MASK;
        fits.then_some(Location((segment & SEGMENT_MASK) << (2 * PLACE_BITS) | offset << PLACE_BITS | length))
    }

    pub(super) const fn from_bits(bits: u64) -> Self {
        Location(bits)
    }

    pub(super) const fn to_bits(self) -> u64 {
        self.0
    }

    /// The number of the file, given the newest there is: numbers wrap, files do not live that long.
    pub(super) const fn segment(self, newest: u64) -> u64 {
        let low = self.0 >> (2 * PLACE_BITS);
        let guess = (newest & !SEGMENT_MASK) | low;
        if guess > newest { guess.wrapping_sub(SEGMENT_MASK + 1) } else { guess }
    }

    /// Where it begins in the file, in bytes.
    pub(super) const fn offset(self) -> u64 {
        ((self.0 >> PLACE_BITS) & PLACE_MASK) * UNIT as u64
    }

    /// How long it is on disk, in bytes.
    #[allow(clippy::cast_possible_truncation)] // 26 bits at most
    pub const fn len(self) -> usize {
        ((self.0 & PLACE_MASK) as usize + 1) * UNIT
    }

    /// Never: every object has a header.
    pub const fn is_empty(self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_place_is_read_back(newest in 0u64..1 << 40, age in 0u64..1 << 23, offset in 0u32..1 << 20, length in 1u32..=1 << 20) {
            let segment = newest.saturating_sub(age);
            let location = Location::new(segment, offset, length).unwrap();
            prop_assert_eq!(location.segment(newest), segment);
            prop_assert_eq!(location.offset(), u64::from(offset) * 64);
            prop_assert_eq!(location.len(), length as usize * 64);
            prop_assert_eq!(Location::from_bits(location.to_bits()), location);
        }
    }

    #[test]
    fn a_place_outside_of_a_file_is_none() {
        assert_eq!(Location::new(1, 1 << 20, 1), None);
        assert_eq!(Location::new(1, 0, (1 << 20) + 1), None);
        assert_eq!(Location::new(1, 0, 0), None);
    }
}
