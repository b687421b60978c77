//! Lines from pieces of a stream.

use memchr::memchr;

/// Lines longer than this are skipped.
pub const LINE_BYTES_MAX: usize = 64 * 1024;

/// Cuts a stream into lines, in bounded memory.
#[derive(Debug, Default)]
pub struct Lines {
    rest: Vec<u8>,
    /// The rest of a line that is too long is being passed over.
    skipping: bool,
    too_long: u64,
}

impl Lines {
    /// Takes the next piece of the stream; `each` is called for every line that it completes, without line end.
    pub fn push(&mut self, mut piece: &[u8], mut each: impl FnMut(&[u8])) {
        while let Some(end) = memchr(b'\n', piece) {
            let (line, after) = (&piece[..end], &piece[end + 1..]);
            piece = after;
            self.end_line(line, &mut each);
        }
        self.keep(piece);
    }

    /// The stream has ended: what is left is its last line.
    pub fn finish(&mut self, mut each: impl FnMut(&[u8])) {
        if !self.rest.is_empty() || self.skipping {
            self.end_line(b"", &mut each);
        }
    }

    /// How many lines were too long so far.
    pub fn too_long(&self) -> u64 {
        self.too_long
    }

    fn end_line(&mut self, end: &[u8], each: &mut impl FnMut(&[u8])) {
        self.give(end, each);
        self.rest.clear();
        self.skipping = false;
    }

    /// Calls `each` with the line that `end` completes, unless it is too long or empty.
    fn give(&mut self, end: &[u8], each: &mut impl FnMut(&[u8])) {
        if self.skipping || self.rest.len() + end.len() > LINE_BYTES_MAX {
            self.too_long += 1;
            return;
        }
        let line = if self.rest.is_empty() {
            end
        } else {
            self.rest.extend_from_slice(end);
            &self.rest
        };
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if !line.is_empty() {
            each(line);
        }
    }

    fn keep(&mut self, piece: &[u8]) {
        if self.skipping || self.rest.len() + piece.len() > LINE_BYTES_MAX {
            self.skipping = true;
            self.rest.clear();
        } else {
            self.rest.extend_from_slice(piece);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(pieces: &[&[u8]]) -> (Vec<Vec<u8>>, u64) {
        let (mut lines, mut out) = (Lines::default(), Vec::new());
        pieces.iter().for_each(|piece| lines.push(piece, |line| out.push(line.to_vec())));
        lines.finish(|line| out.push(line.to_vec()));
        (out, lines.too_long())
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_and_counted() {
        let long = vec![b'x'; LINE_BYTES_MAX];
        let (lines, too_long) = cut(&[b"a\n", &long, b"yz\nb\r\n\n", &long, b"\nc"]);
        assert_eq!(too_long, 1);
        assert_eq!(lines, [b"a".to_vec(), b"b".to_vec(), long, b"c".to_vec()]);
    }

    proptest! {
        #[test]
        fn where_pieces_are_cut_does_not_matter(bytes in "[a-c\n]{0,80}", at in 0..80usize) {
            let at = at.min(bytes.len());
            let (one, two) = bytes.as_bytes().split_at(at);
            prop_assert_eq!(cut(&[one, two]), cut(&[bytes.as_bytes()]));
        }
    }
}
