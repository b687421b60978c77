//! Traces from files.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use liblzma::read::XzDecoder;

use super::Trace;

/// At most as many bytes are read from a trace after decompression.
const TRACE_BYTES_MAX: u64 = 1 << 30;

/// The traces of real servers, if they are in this folder.
pub fn shared(folder: &Path) -> io::Result<Vec<Trace>> {
    let mut traces = Vec::new();
    if let Some(bytes) = read(&folder.join("apache_logs.xz"))? {
        traces.push(apache_log("apache-logs", &String::from_utf8_lossy(&bytes)));
    }
    if let Some(bytes) = read(&folder.join("web12.trace.xz"))? {
        traces.push(integers("web12", &bytes));
    }
    Ok(traces)
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let mut bytes = Vec::new();
    XzDecoder::new(file).take(TRACE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Requests for 4-byte big-endian integers, each of size one.
pub fn integers(name: &str, bytes: &[u8]) -> Trace {
    let mut builder = Builder::default();
    for key in bytes.chunks_exact(4) {
        builder.request(key, 1);
    }
    builder.finish(name)
}

/// The GET and HEAD requests of a combined log that found something (200, 206, 304): an object is a target,
/// its size the largest that was sent.
pub fn apache_log(name: &str, text: &str) -> Trace {
    let mut builder = Builder::default();
    for line in text.lines() {
        if let Some((target, size)) = apache_line(line) {
            builder.request(target.as_bytes(), size);
        }
    }
    builder.finish(name)
}

fn apache_line(line: &str) -> Option<(&str, u64)> {
    let (_, rest) = line.split_once('"')?;
    let (request, rest) = rest.split_once('"')?;
    let mut request = request.split(' ');
    let (method, target) = (request.next()?, request.next()?);
    let mut rest = rest.split(' ').skip(1);
    let (status, size) = (rest.next()?, rest.next()?);
    let wanted = matches!(method, "GET" | "HEAD") && matches!(status, "200" | "206" | "304");
    wanted.then(|| (target, size.parse().unwrap_or(0)))
}

#[derive(Default)]
struct Builder<'a> {
    objects: HashMap<&'a [u8], usize>,
    sizes: Vec<u64>,
    requests: Vec<usize>,
}

impl<'a> Builder<'a> {
    fn request(&mut self, key: &'a [u8], size: u64) {
        let object = *self.objects.entry(key).or_insert(self.sizes.len());
        if object == self.sizes.len() {
            self.sizes.push(1);
        }
        self.sizes[object] = self.sizes[object].max(size);
        self.requests.push(object);
    }

    fn finish(self, name: &str) -> Trace {
        Trace { name: name.to_owned(), sizes: self.sizes, requests: self.requests }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_become_objects_in_order_of_appearance() {
        let trace = integers("t", &[0, 0, 0, 9, 0, 0, 0, 5, 0, 0, 0, 9]);
        assert_eq!((trace.requests, trace.sizes), (vec![0, 1, 0], vec![1, 1]));
    }

    #[test]
    fn log_lines_count_when_they_found_something() {
        let log = r#"1.2.3.4 - - [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 200 30 "-" "x"
1.2.3.4 - - [17/May/2015:10:05:03 +0000] "GET /b HTTP/1.1" 404 30 "-" "x"
1.2.3.4 - - [17/May/2015:10:05:03 +0000] "POST /a HTTP/1.1" 200 30 "-" "x"
1.2.3.4 - - [17/May/2015:10:05:03 +0000] "HEAD /c HTTP/1.1" 200 - "-" "x"
1.2.3.4 - - [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 304 - "-" "x"
nonsense"#;
        let trace = apache_log("t", log);
        assert_eq!((trace.requests, trace.sizes), (vec![0, 1, 0], vec![30, 1]));
    }
}
