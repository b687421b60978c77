//! Files of the operator's, outside of the data directory: certificates, keys. Read only.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The contents of the file at `path`; an error if it is larger than `bytes_max`, or no regular file: a pipe or a
/// device may never end. Blocks: callers run it through [`crate::Tasks::blocking`].
pub fn read_operator_file(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
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
        for endless in [Path::new("/dev/zero"), dir.path()] {
            assert_eq!(read_operator_file(endless, 4).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    }
}
