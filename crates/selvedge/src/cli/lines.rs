//! An answer that comes line by line.

use super::Failure;

/// Cuts pieces into lines.
pub(super) struct Lines {
    rest: Vec<u8>,
    /// The longest line that is understood, in bytes.
    longest: usize,
}

impl Lines {
    /// Of lines of so many bytes at most.
    pub(super) fn new(longest: usize) -> Self {
        Lines { rest: Vec::new(), longest }
    }

    /// The lines that end in this piece.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<Vec<String>, Failure> {
        let searched = self.rest.len();
        self.rest.extend_from_slice(piece);
        let Some(end) = piece.iter().rposition(|b| *b == b'\n').map(|end| searched + end) else {
            return match self.rest.len() <= self.longest {
                true => Ok(Vec::new()),
                false => {
                    Err(Failure::failed(format!("the API sent a line of more than {} bytes", self.longest)))
                }
            };
        };
        let rest = self.rest.split_off(end + 1);
        let whole = std::mem::replace(&mut self.rest, rest);
        Ok(String::from_utf8_lossy(&whole).lines().map(str::to_owned).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_may_come_in_any_pieces() {
        let mut lines = Lines::new(10);
        assert!(lines.push(b"{\"a\"").unwrap().is_empty());
        assert_eq!(lines.push(b":1}\n{}\n{").unwrap(), ["{\"a\":1}", "{}"]);
        assert_eq!(lines.push(b"}\n").unwrap(), ["{}"]);
        assert!(lines.push(b"12345678901").is_err());
    }
}
