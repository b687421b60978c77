//! Fields as they are kept in memory for long: as many bytes as their wire form, to be sent again without being
//! parsed again.
//!
//! ```text
//! known name (1 byte), length of the name (1) | name | length of the value (2, little end first) | value
//! ```
//! for each line: the lengths stand where the line end before it and its colon stand on the wire. A list with a
//! line too long for that is its wire form behind a mark.

use super::{Entry, FieldError, Fields, TEXTS};

/// What no line begins with: behind it stands a wire form.
const AS_ON_THE_WIRE: [u8; 2] = [u8::MAX; 2];

impl Fields {
    /// The lines in packed form, for [`Fields::unpack`].
    pub fn pack(&self) -> Box<[u8]> {
        let mut out = Vec::with_capacity(self.wire_len());
        for entry in &self.entries {
            let (Ok(name_len), Ok(value_len)) =
                (u8::try_from(entry.name_len), u16::try_from(entry.value_len))
            else {
                return self.pack_as_wire();
            };
            out.extend_from_slice(&[entry.id, name_len]);
            out.extend_from_slice(self.name_of(entry));
            out.extend_from_slice(&value_len.to_le_bytes());
            out.extend_from_slice(self.value(entry));
        }
        out.into()
    }

    fn pack_as_wire(&self) -> Box<[u8]> {
        let mut out = Vec::with_capacity(self.wire_len() + AS_ON_THE_WIRE.len());
        out.extend_from_slice(&AS_ON_THE_WIRE);
        self.write_wire(&mut out);
        out.into()
    }

    /// The list that [`Fields::pack`] packed, in this process: which number a known name has is its own matter.
    ///
    /// # Errors
    /// When that is not what `packed` is.
    pub fn unpack(packed: &[u8]) -> Result<Fields, FieldError> {
        let Some((first, lines)) = packed.split_first_chunk() else { return Ok(Fields::new()) };
        if *first == AS_ON_THE_WIRE {
            return Fields::from_wire(lines);
        }
        let mut fields = Fields::with_capacity(LINES_MORE + LINES_USUAL, packed.len() + BYTES_MORE);
        fields.buf.extend_from_slice(lines);
        fields.buf.extend_from_slice(b"\r\n");
        let (mut at, mut prefix) = (0, *first);
        loop {
            at += fields.unpack_line(at, prefix).ok_or(FieldError::Line)?;
            if at == packed.len() {
                return Ok(fields);
            }
            prefix = *packed.get(at..).and_then(|rest| rest.first_chunk()).ok_or(FieldError::Line)?;
        }
    }

    /// Gives the line at `at` of the buffer its colon and its end; how long it is.
    #[inline]
    fn unpack_line(&mut self, at: usize, [id, name_len]: [u8; 2]) -> Option<usize> {
        TEXTS.get(usize::from(id))?;
        let colon = self.buf.get_mut(at + usize::from(name_len)..)?.first_chunk_mut()?;
        let value_len = u16::from_le_bytes(*colon);
        *colon = *b": ";
        let len = usize::from(name_len) + usize::from(value_len) + 4;
        *self.buf.get_mut(at + len - 2..)?.first_chunk_mut()? = *b"\r\n";
        let start = u32::try_from(at).ok()?;
        self.push_entry(Entry { start, value_len: value_len.into(), name_len: name_len.into(), id });
        Some(len)
    }
}

/// Room for what is added to a list before it is sent: Age, Cache-Status and the like.
const LINES_MORE: usize = 4;
const BYTES_MORE: usize = 128;
/// Few responses have more lines.
const LINES_USUAL: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::name;
    use proptest::prelude::*;

    fn wire(fields: &Fields) -> Vec<u8> {
        let mut out = Vec::new();
        fields.write_wire(&mut out);
        out
    }

    fn is_kept(fields: &Fields) -> bool {
        let back = Fields::unpack(&fields.pack()).unwrap();
        let known = |fields: &Fields| fields.iter_known().map(|(name, ..)| name).collect::<Vec<_>>();
        wire(&back) == wire(fields) && back == *fields && known(&back) == known(fields)
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_back(
            lines in prop::collection::vec(("[a-zA-Z-]{1,9}|[Ee]tag|DATE", "[ -~]{0,40}"), 0..20),
        ) {
            let mut fields = Fields::new();
            for (name, value) in &lines {
                fields.append(name.as_bytes(), value.trim().as_bytes()).unwrap();
            }
            prop_assert!(is_kept(&fields));
            prop_assert_eq!(fields.pack().len(), fields.wire_len());
            fields.remove(name::ETAG);
            prop_assert!(is_kept(&fields));
        }

        #[test]
        fn other_bytes_are_refused_or_read_and_never_panic(bytes: Vec<u8>) {
            let _ = Fields::unpack(&bytes);
        }
    }

    #[test]
    fn lines_of_any_length_are_kept() {
        for (name, value) in [(255, 65_535), (256, 1), (1, 65_536), (1, 0)] {
            let mut fields = Fields::new();
            fields.add(name::ETAG, "\"a\"").unwrap();
            fields.append(&vec![b'n'; name], &vec![b'v'; value]).unwrap();
            assert!(is_kept(&fields), "{name} {value}");
        }
    }
}
