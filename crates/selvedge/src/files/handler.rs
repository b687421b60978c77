//! Answers requests from a tree: finds, plans, reads.

use super::content_type::content_type;
use super::plan::{Facts, Plan, Representation, plan};
use super::tree::{Content, Found, Stored, Tree, etag_of};
use super::{FilePath, PathError, markdown, page};
use bytes::Bytes;
use selvedge_exchange::{Body, BodyError, BodyStream, Frame, Handler, Reply, Request, Response};
use selvedge_rt::{Clock, Tasks};
use selvedge_types::{Method, Status, UnixMillis, name};
use std::future::Future;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// How much of a file is read and sent at a time, in bytes.
const CHUNK: usize = 256 * 1024;
/// The largest Markdown file that is rendered, in bytes; a larger one is served as it is.
const MARKDOWN_MAX: u64 = 4 << 20;
/// How many pages navigation shows.
const PAGES_MAX: usize = 100;

/// How a tree is served.
#[derive(Debug, Clone, Default)]
pub struct FileOptions {
    /// Show what is in a directory that has no index.
    pub list: bool,
    /// Serve Markdown as it is instead of as pages.
    pub raw_markdown: bool,
}

/// Serves a tree of files. Cheap to clone.
#[derive(Debug, Clone)]
pub struct FileHandler(Arc<Inner>);

struct Inner {
    tree: Tree,
    options: FileOptions,
    clock: Clock,
    tasks: Tasks,
}

/// What a path leads to.
enum Target {
    File(Stored, &'static str),
    Page(String),
    Redirect(String),
    Error(Status, String),
}

impl FileHandler {
    /// A handler for `tree`; files are read on `tasks`' threads for blocking work.
    pub fn new(tree: Tree, options: FileOptions, clock: Clock, tasks: Tasks) -> Self {
        FileHandler(Arc::new(Inner { tree, options, clock, tasks }))
    }
}

impl Handler for FileHandler {
    fn handle(&self, request: Request) -> Reply {
        let inner = self.0.clone();
        Reply::later(async move {
            let (tasks, worker) = (inner.tasks.clone(), inner.clone());
            let answered = tasks.blocking("serve a file", move || worker.answer(&request)).await;
            answered.unwrap_or_else(|_| error(code(500), "the file could not be read"))
        })
    }
}

impl Inner {
    fn answer(&self, request: &Request) -> Response {
        match request.method {
            Method::Get | Method::Head => {}
            _ => return not_allowed(),
        }
        let target = match FilePath::parse(request.path()) {
            Ok(path) => self.resolve(&path, request.query()),
            Err(e) => Ok(refused(e)),
        };
        match target {
            Ok(Target::File(stored, media_type)) => self.send(request, stored, media_type),
            Ok(Target::Page(html)) => self.send(request, page_of(html), "text/html; charset=utf-8"),
            Ok(Target::Redirect(location)) => redirect(&location),
            Ok(Target::Error(status, text)) => error(status, &text),
            Err(e) => {
                eprintln!("cannot read {}: {e}", request.path());
                error(code(500), "the file could not be read")
            }
        }
    }

    fn resolve(&self, path: &FilePath, query: Option<&str>) -> io::Result<Target> {
        match self.tree.find(path.as_str())? {
            Some(Found::File(_)) if path.is_directory() => Ok(not_found(path)),
            Some(Found::File(stored)) => self.file(path.as_str(), stored),
            Some(Found::Directory) if !path.is_directory() => {
                let query = query.map_or(String::new(), |q| format!("?{q}"));
                Ok(Target::Redirect(format!("/{}/{query}", page::encode(path.as_str()))))
            }
            Some(Found::Directory) => self.index(path),
            None if path.is_directory() => Ok(not_found(path)),
            None => match self.tree.find(&format!("{path}.html").split_off(1))? {
                Some(Found::File(stored)) => Ok(Target::File(stored, content_type(".html"))),
                _ => Ok(not_found(path)),
            },
        }
    }

    fn file(&self, relative: &str, stored: Stored) -> io::Result<Target> {
        let render = relative.ends_with(".md") && !self.options.raw_markdown && stored.len <= MARKDOWN_MAX;
        if render { self.page(relative, &stored) } else { Ok(Target::File(stored, content_type(relative))) }
    }

    fn index(&self, directory: &FilePath) -> io::Result<Target> {
        for name in ["index.html", "index.md", "README.md"] {
            let relative = directory.join(name);
            if let Some(Found::File(stored)) = self.tree.find(&relative)? {
                return self.file(&relative, stored);
            }
        }
        if !self.options.list {
            return Ok(not_found(directory));
        }
        let shown = if directory.as_str().is_empty() { "/".to_owned() } else { format!("{directory}/") };
        Ok(Target::Page(page::listing(&shown, &self.tree.names(directory.as_str())?)))
    }

    fn page(&self, relative: &str, stored: &Stored) -> io::Result<Target> {
        let (directory, name) = relative.rsplit_once('/').unwrap_or(("", relative));
        let bytes = stored.content.read(0, usize::try_from(stored.len).unwrap_or(usize::MAX))?;
        let document = markdown::render(&String::from_utf8_lossy(&bytes));
        let frame = self.frame(directory, name)?;
        Ok(Target::Page(page::document(&frame, &document)))
    }

    /// Navigation: the directory's index, what it links to in that order, then the other pages by name.
    fn frame(&self, directory: &str, current: &str) -> io::Result<page::Frame> {
        let names = self.tree.names(directory)?;
        let is_page = |n: &str| names.iter().any(|name| name == n);
        let index = ["index.md", "README.md"].into_iter().find(|n| is_page(n));
        let mut frame = page::Frame { current: current.to_owned(), ..page::Frame::default() };
        if let Some(index) = index {
            let at = if directory.is_empty() { index.to_owned() } else { format!("{directory}/{index}") };
            let text = self.tree.read_text(&at, MARKDOWN_MAX)?.unwrap_or_default();
            let document = markdown::render(&text);
            frame.site = document.title.unwrap_or_default();
            frame.pages.push((index.to_owned(), "Overview".to_owned()));
            frame.pages.extend(document.links.into_iter().filter(|(file, _)| is_page(file) && file != index));
        }
        for name in names.iter().filter(|n| n.ends_with(".md")) {
            if !frame.pages.iter().any(|(file, _)| file == name) {
                frame.pages.push((name.clone(), name.trim_end_matches(".md").to_owned()));
            }
        }
        frame.pages.truncate(PAGES_MAX);
        Ok(frame)
    }

    fn send(&self, request: &Request, stored: Stored, media_type: &'static str) -> Response {
        let facts = Facts { method: &request.method, fields: &request.fields, now: self.clock.wall() };
        let representation = Representation {
            media_type,
            len: stored.len,
            etag: &stored.etag,
            modified: stored.modified.filter(|m| *m <= facts.now),
        };
        let Plan { status, fields, part } = plan(&facts, &representation);
        let mut response = Response::new(status);
        response.fields = fields;
        if let Some(part) = part.filter(|_| request.method == Method::Get) {
            match self.body(stored.content, part) {
                Ok(body) => response.body = body,
                Err(_) => return error(code(500), "the file could not be read"),
            }
        }
        response
    }

    /// What fits in one chunk is read now, more as it is sent.
    fn body(&self, content: Content, part: Range<u64>) -> io::Result<Body> {
        let len = part.end.saturating_sub(part.start);
        match usize::try_from(len) {
            Ok(len) if len <= CHUNK || matches!(content, Content::Memory(_)) => {
                let bytes = content.read(part.start, len)?;
                if bytes.len() < len { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(bytes.into()) }
            }
            _ => Ok(Body::Stream(Box::new(FileBody {
                content,
                part,
                tasks: self.tasks.clone(),
                reading: None,
            }))),
        }
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileHandler").field("tree", &self.tree).field("options", &self.options).finish()
    }
}

type Reading = Pin<Box<dyn Future<Output = io::Result<io::Result<Bytes>>> + Send>>;

/// The rest of a file's part, read a chunk at a time.
struct FileBody {
    content: Content,
    part: Range<u64>,
    tasks: Tasks,
    reading: Option<Reading>,
}

impl BodyStream for FileBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        let left = self.part.end.saturating_sub(self.part.start);
        if left == 0 {
            return Poll::Ready(None);
        }
        let len = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        let reading = self.reading.get_or_insert_with(|| {
            let (content, tasks, at) = (self.content.clone(), self.tasks.clone(), self.part.start);
            Box::pin(async move { tasks.blocking("read a file", move || content.read(at, len)).await })
        });
        let read = ready!(reading.as_mut().poll(cx));
        self.reading = None;
        match read.and_then(|inner| inner) {
            Ok(bytes) if bytes.is_empty() => {
                Poll::Ready(Some(Err(BodyError::Gone("the file was cut while it was sent"))))
            }
            Ok(bytes) => {
                self.part.start += bytes.len() as u64;
                Poll::Ready(Some(Ok(Frame::Data(bytes))))
            }
            Err(_) => Poll::Ready(Some(Err(BodyError::Gone("the file could not be read")))),
        }
    }

    fn length(&self) -> Option<u64> {
        Some(self.part.end.saturating_sub(self.part.start))
    }
}

fn page_of(html: String) -> Stored {
    let etag = etag_of(html.as_bytes());
    Stored {
        len: html.len() as u64,
        modified: None::<UnixMillis>,
        etag,
        content: Content::Memory(html.into()),
    }
}

fn not_found(path: &FilePath) -> Target {
    Target::Error(Status::NOT_FOUND, format!("There is nothing at {path}."))
}

fn refused(e: PathError) -> Target {
    let status = match e {
        PathError::Encoding => Status::BAD_REQUEST,
        PathError::Forbidden => Status::NOT_FOUND,
        PathError::TooLong => code(414),
    };
    Target::Error(status, format!("Not served: {e}."))
}

fn redirect(location: &str) -> Response {
    let mut response = Response::new(code(308));
    if response.fields.add(name::LOCATION, location).is_err() {
        return error(Status::BAD_REQUEST, "the path cannot be redirected");
    }
    response
}

fn not_allowed() -> Response {
    let mut response = error(code(405), "Files are only read: use GET or HEAD.");
    // A constant value is always valid.
    let _ = response.fields.add(name::ALLOW, "GET, HEAD");
    response
}

fn error(status: Status, text: &str) -> Response {
    let mut response = Response::new(status);
    response.body = Bytes::from(page::message(status.code(), status.reason(), text)).into();
    // A constant value is always valid.
    let _ = response.fields.add(name::CONTENT_TYPE, "text/html; charset=utf-8");
    response
}

fn code(code: u16) -> Status {
    Status::new(code).unwrap_or(Status::BAD_REQUEST)
}
