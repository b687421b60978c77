//! Where files come from: a directory of the machine, or what was built into the binary.

use super::path::is_served_name;
use bytes::Bytes;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use selvedge_types::UnixMillis;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How many names of a directory are looked at; the rest is not listed.
const NAMES_MAX: usize = 10_000;

static DOCUMENTATION: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/docs.rs"));

/// This program's own documentation.
pub fn documentation() -> Tree {
    Tree::Embedded(DOCUMENTATION)
}

/// A tree of files.
#[derive(Debug, Clone)]
pub enum Tree {
    /// A directory. Symbolic links are followed as long as they stay inside.
    Directory(Arc<Root>),
    /// Files in the binary: path and content, sorted by path.
    Embedded(&'static [(&'static str, &'static [u8])]),
}

/// A directory that was opened once: what is found is below it, whatever is renamed meanwhile.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    fd: File,
}

/// What stands at a path.
#[derive(Debug)]
pub enum Found {
    /// A file.
    File(Stored),
    /// A directory.
    Directory,
}

/// A file's content and what is known of it.
#[derive(Debug)]
pub struct Stored {
    /// The content.
    pub content: Content,
    /// The length in bytes.
    pub len: u64,
    /// When it was last changed, if that is known.
    pub modified: Option<UnixMillis>,
    /// A strong entity tag, with its quotes (RFC 9110 section 8.8.3).
    pub etag: String,
}

/// A file's content.
#[derive(Debug, Clone)]
pub enum Content {
    /// On disk, open.
    Open(Arc<File>),
    /// In memory.
    Memory(Bytes),
}

impl Tree {
    /// The tree below `path`, which must be a directory.
    pub fn directory(path: &Path) -> io::Result<Self> {
        let path = path.canonicalize()?;
        let fd = File::open(&path)?;
        if !fd.metadata()?.is_dir() {
            return Err(io::Error::from(io::ErrorKind::NotADirectory));
        }
        Ok(Tree::Directory(Arc::new(Root { path, fd })))
    }

    /// What stands at `relative` (a checked path); `None` if nothing that may be served does. Blocks.
    pub fn find(&self, relative: &str) -> io::Result<Option<Found>> {
        match self {
            Tree::Directory(root) => root.find(relative),
            Tree::Embedded(files) => Ok(find_embedded(files, relative)),
        }
    }

    /// The whole content of a file of at most `limit` bytes, as text. Blocks.
    pub fn read_text(&self, relative: &str, limit: u64) -> io::Result<Option<String>> {
        let Some(Found::File(stored)) = self.find(relative)? else { return Ok(None) };
        if stored.len > limit {
            return Ok(None);
        }
        let bytes = stored.content.read(0, usize::try_from(stored.len).unwrap_or(usize::MAX))?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// The names in a directory that may be served, sorted, directories with a slash at their end. Blocks.
    pub fn names(&self, relative: &str) -> io::Result<Vec<String>> {
        let mut names = match self {
            Tree::Directory(root) => root.names(relative)?,
            Tree::Embedded(files) => names_embedded(files, relative),
        };
        names.sort();
        names.dedup();
        Ok(names)
    }
}

impl Content {
    /// Up to `len` bytes from `offset`; fewer only at the end. Blocks.
    pub fn read(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        match self {
            Content::Memory(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                Ok(bytes.slice(start..start.saturating_add(len).min(bytes.len())))
            }
            Content::Open(file) => {
                let mut buf = vec![0; len];
                let mut done = 0;
                while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
                    match file.read_at(rest, offset + done as u64)? {
                        0 => break,
                        n => done += n,
                    }
                }
                buf.truncate(done);
                Ok(buf.into())
            }
        }
    }
}

impl Root {
    fn find(&self, relative: &str) -> io::Result<Option<Found>> {
        let file = match self.open(relative) {
            Ok(file) => file,
            Err(e) if is_not_there(&e) => return Ok(None),
            Err(e) => return Err(e),
        };
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Ok(Some(Found::Directory));
        }
        if !metadata.is_file() {
            return Ok(None);
        }
        let modified = u64::try_from(metadata.mtime()).ok().map(UnixMillis::from_secs);
        let nanos = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
        let etag = format!("\"{nanos:x}-{:x}-{:x}\"", metadata.len(), metadata.ino());
        let len = metadata.len();
        Ok(Some(Found::File(Stored { content: Content::Open(Arc::new(file)), len, modified, etag })))
    }

    /// Opens without leaving the root, by symbolic link or rename (`openat2`, Linux 5.6). `NONBLOCK`, so
    /// that a named pipe cannot hold the thread.
    fn open(&self, relative: &str) -> io::Result<File> {
        let name = if relative.is_empty() { "." } else { relative };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let inside = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        match rustix::fs::openat2(&self.fd, name, flags, Mode::empty(), inside) {
            Ok(fd) => Ok(fd.into()),
            Err(Errno::NOSYS | Errno::PERM) => self.open_checked(relative),
            Err(e) => Err(e.into()),
        }
    }

    /// For kernels and sandboxes without `openat2`.
    fn open_checked(&self, relative: &str) -> io::Result<File> {
        let path = self.path.join(relative).canonicalize()?;
        if !path.starts_with(&self.path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
        Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
    }

    fn names(&self, relative: &str) -> io::Result<Vec<String>> {
        let dir = self.open(relative)?;
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&dir)?.take(NAMES_MAX) {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
            if is_served_name(&name) {
                let slash = if entry.file_type().is_dir() { "/" } else { "" };
                names.push(name + slash);
            }
        }
        Ok(names)
    }
}

/// Errors that mean "no such thing for you", as opposed to a machine in trouble.
fn is_not_there(e: &io::Error) -> bool {
    use io::ErrorKind::{InvalidFilename, NotADirectory, NotFound, PermissionDenied};
    matches!(e.kind(), NotFound | NotADirectory | PermissionDenied | InvalidFilename)
        || [Errno::LOOP, Errno::XDEV, Errno::NXIO]
            .iter()
            .any(|no| e.raw_os_error() == Some(no.raw_os_error()))
}

fn find_embedded(files: &'static [(&'static str, &'static [u8])], relative: &str) -> Option<Found> {
    if let Some((_, content)) =
        files.binary_search_by(|(name, _)| (*name).cmp(relative)).ok().and_then(|i| files.get(i))
    {
        return Some(Found::File(Stored {
            content: Content::Memory(Bytes::from_static(content)),
            len: content.len() as u64,
            modified: None,
            etag: etag_of(content),
        }));
    }
    let inside =
        |name: &str| relative.is_empty() || name.strip_prefix(relative).is_some_and(|n| n.starts_with('/'));
    files.iter().any(|(name, _)| inside(name)).then_some(Found::Directory)
}

fn names_embedded(files: &'static [(&'static str, &'static [u8])], relative: &str) -> Vec<String> {
    let prefix = if relative.is_empty() { String::new() } else { format!("{relative}/") };
    let below = files.iter().filter_map(|(name, _)| name.strip_prefix(&prefix));
    below.map(|rest| rest.split_once('/').map_or(rest.to_owned(), |(dir, _)| format!("{dir}/"))).collect()
}

/// A strong entity tag made from the content itself.
pub(super) fn etag_of(content: &[u8]) -> String {
    let hash = blake3::hash(content).to_hex();
    format!("\"{}\"", hash.get(..24).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn text(found: Option<Found>) -> Option<String> {
        let Some(Found::File(stored)) = found else { return None };
        Some(String::from_utf8(stored.content.read(0, stored.len as usize).unwrap().to_vec()).unwrap())
    }

    #[test]
    fn files_below_the_root_are_found_others_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::write(dir.path().join("secret"), "secret").unwrap();
        fs::write(root.join("sub/a.txt"), "hello").unwrap();
        std::os::unix::fs::symlink("../secret", root.join("out")).unwrap();
        std::os::unix::fs::symlink("sub/a.txt", root.join("in")).unwrap();
        std::os::unix::fs::symlink("loop", root.join("loop")).unwrap();
        let tree = Tree::directory(&root).unwrap();
        assert_eq!(text(tree.find("sub/a.txt").unwrap()).as_deref(), Some("hello"));
        assert_eq!(text(tree.find("in").unwrap()).as_deref(), Some("hello"));
        assert!(matches!(tree.find("sub").unwrap(), Some(Found::Directory)));
        assert!(matches!(tree.find("").unwrap(), Some(Found::Directory)));
        for absent in ["out", "loop", "none", "sub/a.txt/x"] {
            assert!(tree.find(absent).unwrap().is_none(), "{absent}");
        }
        assert_eq!(tree.names("").unwrap(), ["in", "loop", "out", "sub/"]);
    }

    #[test]
    fn a_changed_file_has_another_tag() {
        let dir = tempfile::tempdir().unwrap();
        let tree = Tree::directory(dir.path()).unwrap();
        let tag = |content: &str| {
            fs::write(dir.path().join("f"), content).unwrap();
            match tree.find("f").unwrap() {
                Some(Found::File(stored)) => stored.etag,
                _ => String::new(),
            }
        };
        assert_ne!(tag("one"), tag("other"));
    }

    #[test]
    fn embedded_files_form_a_tree() {
        static FILES: &[(&str, &[u8])] = &[("a.md", b"A"), ("b/c.md", b"C"), ("b/d.md", b"D")];
        let tree = Tree::Embedded(FILES);
        assert_eq!(text(tree.find("b/c.md").unwrap()).as_deref(), Some("C"));
        assert!(matches!(tree.find("b").unwrap(), Some(Found::Directory)));
        assert!(tree.find("b/").unwrap().is_none() && tree.find("x").unwrap().is_none());
        assert_eq!(tree.names("").unwrap(), ["a.md", "b/"]);
        assert_eq!(tree.names("b").unwrap(), ["c.md", "d.md"]);
    }
}
