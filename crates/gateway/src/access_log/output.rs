//! Where lines are written: standard output, or a file that is rotated.

use selvedge_rt::{Disk, DiskFile};
use selvedge_types::resource::{AccessLog as Options, LogTarget};
use std::io::{self, Write};

/// Writes lines where the options say. Blocks.
pub(super) struct Output {
    disk: Option<Disk>,
    file: Option<Open>,
}

struct Open {
    name: String,
    file: DiskFile,
    len: u64,
}

impl Output {
    /// Files are written in `disk`.
    pub(super) fn new(disk: Option<Disk>) -> Self {
        Output { disk, file: None }
    }

    /// Writes whole lines.
    pub(super) fn write(&mut self, lines: &[u8], options: &Options) -> io::Result<()> {
        match options.to {
            LogTarget::Off => {
                self.file = None;
                Ok(())
            }
            LogTarget::Stdout => {
                self.file = None;
                let mut out = io::stdout().lock();
                out.write_all(lines)?;
                out.flush()
            }
            LogTarget::File => {
                let written = self.write_file(lines, options);
                if written.is_err() {
                    // The next batch opens the file anew.
                    self.file = None;
                }
                written
            }
        }
    }

    fn write_file(&mut self, lines: &[u8], options: &Options) -> io::Result<()> {
        let disk = self.disk.as_ref().ok_or_else(|| io::Error::other("there is no directory for the log"))?;
        let full = |open: &Open| open.len > 0 && open.len + lines.len() as u64 > options.rotate_size.get();
        let mut open = match self.file.take().filter(|open| open.name == options.path) {
            Some(open) => open,
            None => open_file(disk, &options.path)?,
        };
        if full(&open) {
            drop(open);
            rotate(disk, &options.path, options.keep)?;
            open = open_file(disk, &options.path)?;
        }
        open.file.write_at(lines, open.len)?;
        open.len += lines.len() as u64;
        self.file = Some(open);
        Ok(())
    }
}

fn open_file(disk: &Disk, name: &str) -> io::Result<Open> {
    let file = disk.open(name, true)?;
    let len = file.len()?;
    Ok(Open { name: name.to_owned(), file, len })
}

/// `log` becomes `log.1`, `log.1` becomes `log.2`, and so on; the one beyond `keep` goes.
fn rotate(disk: &Disk, name: &str, keep: u32) -> io::Result<()> {
    let numbered = |n: u32| if n == 0 { name.to_owned() } else { format!("{name}.{n}") };
    let there: Vec<String> = disk.list()?;
    let exists = |n: u32| there.contains(&numbered(n));
    if exists(keep) {
        disk.remove(&numbered(keep))?;
    }
    (0..keep).rev().filter(|n| exists(*n)).try_for_each(|n| disk.rename(&numbered(n), &numbered(n + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use selvedge_types::resource::ByteSize;

    #[test]
    fn files_are_rotated_by_size_and_the_oldest_goes() {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::real(directory.path()).unwrap();
        let options = Options {
            to: LogTarget::File,
            path: "a.log".into(),
            rotate_size: ByteSize::bytes(10),
            keep: 2,
            ..Options::default()
        };
        let mut output = Output::new(Some(disk.clone()));
        for line in ["one--\n", "two--\n", "three-\n", "4\n", "five--\n"] {
            output.write(line.as_bytes(), &options).unwrap();
        }
        let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
        assert_eq!(read("a.log"), "five--\n");
        assert_eq!(read("a.log.1"), "three-\n4\n");
        assert_eq!(read("a.log.2"), "two--\n");
        let mut files = disk.list().unwrap();
        files.sort();
        assert_eq!(files, ["a.log", "a.log.1", "a.log.2"]);

        let mut again = Output::new(Some(disk));
        again.write(b"6\n", &options).unwrap();
        assert_eq!(read("a.log"), "five--\n6\n", "a restart appends");
        let none = Options { keep: 0, ..options };
        again.write(b"seven-\n", &none).unwrap();
        assert_eq!(read("a.log"), "seven-\n");
    }
}
