//! Files of the operator's, outside of the data directory: certificates, keys. Read only.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The contents of the file at `path`; an error if it is larger than `bytes_max`. Blocks: callers run it through
/// [`crate::Tasks::blocking`].
pub fn read_operator_file(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut contents = Vec::new();
    File::open(path)?.take(bytes_max + 1).read_to_end(&mut contents)?;
    if contents.len() as u64 > bytes_max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {bytes_max} bytes")));
    }
    Ok(contents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_unless_it_is_too_large() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.pem");
        std::fs::write(&path, b"12345").unwrap();
        assert_eq!(read_operator_file(&path, 5).unwrap(), b"12345");
        assert_eq!(read_operator_file(&path, 4).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
