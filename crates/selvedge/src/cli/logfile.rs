//! A log file, unpacked as it is read: plain, gzip, xz or Zstandard, told by its first bytes.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::rc::Rc;

/// How much is read from the file at a time, in bytes.
const BUFFER: usize = 256 << 10;
/// How many bytes tell the packing.
const MAGIC_LEN: usize = 6;

/// A log that is being read.
pub(super) struct LogFile {
    reader: Box<dyn Read>,
    taken: Rc<Cell<u64>>,
    len: Option<u64>,
}

impl LogFile {
    /// Opens a file; `-` is standard input.
    pub(super) fn open(path: &str) -> io::Result<Self> {
        let taken = Rc::new(Cell::new(0));
        let (source, len): (Box<dyn Read>, _) = match path {
            "-" => (Box::new(io::stdin().lock()), None),
            path => {
                let file = File::open(path)?;
                let metadata = file.metadata()?;
                if metadata.is_dir() {
                    return Err(io::ErrorKind::IsADirectory.into());
                }
                (Box::new(file), metadata.is_file().then_some(metadata.len()))
            }
        };
        let counted = Counted { source, taken: taken.clone() };
        Ok(LogFile { reader: unpack(BufReader::with_capacity(BUFFER, counted))?, taken, len })
    }

    /// How much of the file was read, 0 to 1; none if its length is not known.
    pub(super) fn progress(&self) -> Option<f64> {
        self.len.filter(|len| *len > 0).map(|len| (self.taken.get() as f64 / len as f64).min(1.0))
    }
}

impl Read for LogFile {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buf)
    }
}

struct Counted {
    source: Box<dyn Read>,
    taken: Rc<Cell<u64>>,
}

impl Read for Counted {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.source.read(buf)?;
        self.taken.set(self.taken.get() + n as u64);
        Ok(n)
    }
}

fn unpack(mut source: impl Read + 'static) -> io::Result<Box<dyn Read>> {
    let mut magic = Vec::with_capacity(MAGIC_LEN);
    source.by_ref().take(MAGIC_LEN as u64).read_to_end(&mut magic)?;
    let is = |start: &[u8]| magic.starts_with(start);
    let (gzip, xz, zstd) = (is(&[0x1f, 0x8b]), is(b"\xfd7zXZ\0"), is(&[0x28, 0xb5, 0x2f, 0xfd]));
    let whole = Cursor::new(magic).chain(source);
    Ok(match (gzip, xz, zstd) {
        (true, ..) => Box::new(flate2::read::MultiGzDecoder::new(whole)),
        (_, true, _) => Box::new(liblzma::read::XzDecoder::new_multi_decoder(whole)),
        (.., true) => Box::new(zstd::stream::read::Decoder::new(whole)?),
        _ => Box::new(whole),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const TEXT: &[u8] = b"a line\nanother line\n";

    fn read(packed: &[u8]) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, packed).unwrap();
        let mut log = LogFile::open(path.to_str().unwrap()).unwrap();
        let mut text = Vec::new();
        log.read_to_end(&mut text).unwrap();
        assert!(packed.is_empty() || log.progress() == Some(1.0));
        text
    }

    #[test]
    fn every_packing_is_told_by_its_first_bytes() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(TEXT).unwrap();
        let gzip = gzip.finish().unwrap();
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 6);
        xz.write_all(TEXT).unwrap();
        let zstd = zstd::stream::encode_all(TEXT, 3).unwrap();
        for packed in [TEXT.to_vec(), gzip.clone(), xz.finish().unwrap(), zstd] {
            assert_eq!(read(&packed), TEXT);
        }
        assert_eq!(read(&[gzip.clone(), gzip].concat()), [TEXT, TEXT].concat());
        assert_eq!(read(b""), b"");
        assert_eq!(read(b"a"), b"a");
    }
}
