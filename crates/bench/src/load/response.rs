//! As much of HTTP/1.1 as counting answers of stated length needs.

use memchr::{memchr, memmem};

/// The longest head that is understood, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Reads one answer after another from a connection's bytes.
#[derive(Debug, Default)]
pub struct ResponseReader {
    /// The start of a head that came in parts.
    partial: Vec<u8>,
    body_left: u64,
    in_body: bool,
}

/// What a call of [`ResponseReader::read`] came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// All bytes were taken and the answer goes on.
    More,
    /// The answer is complete; so many bytes were taken.
    Done(usize),
}

impl ResponseReader {
    /// Takes bytes up to the answer's end.
    ///
    /// # Errors
    /// Says what is wrong with an answer that is not a 200 with a `Content-Length`.
    pub fn read(&mut self, bytes: &[u8]) -> Result<Progress, String> {
        let head_taken = if self.in_body { 0 } else { self.read_head(bytes)? };
        if !self.in_body {
            return Ok(Progress::More);
        }
        let body_taken = self.body_left.min((bytes.len() - head_taken) as u64);
        self.body_left -= body_taken;
        Ok(self.progress(head_taken + body_taken as usize))
    }

    /// Body bytes still to come, which need not be looked at.
    #[must_use]
    pub fn body_left(&self) -> u64 {
        self.body_left
    }

    /// Whether no answer has begun.
    #[must_use]
    pub fn is_between(&self) -> bool {
        !self.in_body && self.partial.is_empty()
    }

    /// Tells that so many body bytes were thrown away unread, at most [`Self::body_left`].
    pub fn skip(&mut self, bytes: u64) -> Progress {
        self.body_left = self.body_left.saturating_sub(bytes);
        self.progress(0)
    }

    fn progress(&mut self, taken: usize) -> Progress {
        if self.body_left > 0 {
            return Progress::More;
        }
        self.in_body = false;
        Progress::Done(taken)
    }

    fn read_head(&mut self, bytes: &[u8]) -> Result<usize, String> {
        if self.partial.is_empty() {
            return match memmem::find(bytes, b"\r\n\r\n") {
                Some(end) => self.begin_body(&bytes[..end + 2]).map(|()| end + 4),
                None => self.keep(bytes).map(|()| bytes.len()),
            };
        }
        let before = self.partial.len();
        self.keep(bytes)?;
        let Some(end) = memmem::find(&self.partial, b"\r\n\r\n") else { return Ok(bytes.len()) };
        let head = std::mem::take(&mut self.partial);
        self.begin_body(&head[..end + 2])?;
        Ok(end + 4 - before)
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), String> {
        if self.partial.len() + bytes.len() > HEAD_BYTES_MAX {
            return Err(format!("a head of more than {HEAD_BYTES_MAX} bytes"));
        }
        self.partial.extend_from_slice(bytes);
        Ok(())
    }

    fn begin_body(&mut self, head: &[u8]) -> Result<(), String> {
        let mut lines = Lines(head);
        let status = lines.next().unwrap_or_default();
        if status.get(9..12) != Some(b"200") {
            return Err(String::from_utf8_lossy(status).into_owned());
        }
        self.body_left = lines.find_map(content_length).ok_or("no Content-Length")?;
        self.in_body = true;
        Ok(())
    }
}

/// The lines of a head, without their ends.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let end = memchr(b'\n', self.0)?;
        let (line, rest) = self.0.split_at(end + 1);
        self.0 = rest;
        Some(line.trim_ascii_end())
    }
}

fn content_length(line: &[u8]) -> Option<u64> {
    let (name, value) = line.split_at_checked(15)?;
    if !name.eq_ignore_ascii_case(b"content-length:") {
        return None;
    }
    std::str::from_utf8(value.trim_ascii()).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nAge: 1\r\ncontent-length: 3\r\n\r\nabc";

    #[test]
    fn an_answer_is_complete_at_its_last_body_byte() {
        let mut reader = ResponseReader::default();
        let two = [ANSWER, ANSWER].concat();
        assert_eq!(reader.read(&two), Ok(Progress::Done(ANSWER.len())));
        assert_eq!(reader.read(ANSWER), Ok(Progress::Done(ANSWER.len())));
    }

    #[test]
    fn splitting_anywhere_gives_the_same() {
        for split in 1..ANSWER.len() {
            let mut reader = ResponseReader::default();
            let (first, second) = ANSWER.split_at(split);
            assert_eq!(reader.read(first), Ok(Progress::More), "split at {split}");
            assert_eq!(reader.read(second), Ok(Progress::Done(second.len())), "split at {split}");
        }
    }

    #[test]
    fn a_skipped_body_completes_the_answer() {
        let mut reader = ResponseReader::default();
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";
        assert_eq!(reader.read(head), Ok(Progress::More));
        assert_eq!(reader.skip(999), Progress::More);
        assert_eq!(reader.skip(1), Progress::Done(0));
    }

    #[test]
    fn other_answers_are_errors() {
        let cases: [(&[u8], &str); 3] = [
            (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 503 Busy"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "no Content-Length"),
            (&[b'a'; HEAD_BYTES_MAX + 1], "a head of more than 16384 bytes"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(ResponseReader::default().read(bytes), Err(expected.to_owned()));
        }
    }
}
