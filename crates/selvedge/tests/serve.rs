//! `serve` as clients see it, over its handler.

use selvedge::files::{FileHandler, FileOptions, Tree, documentation};
use selvedge_exchange::{Body, Client, Handler, Request, Response};
use selvedge_rt::{Clock, Tasks};
use selvedge_types::{Fields, Method, Scheme, UnixMillis, Version, name};
use std::fs;
use std::path::Path;

fn request(method: Method, target: &str, fields: &str) -> Request {
    let address = "127.0.0.1:1".parse().unwrap();
    Request {
        method,
        scheme: Scheme::Http,
        authority: "localhost".into(),
        target: target.into(),
        version: Version::Http11,
        fields: Fields::from_wire(fields.as_bytes()).unwrap(),
        body: Body::Empty,
        client: Client { addr: address, local: address },
        received: UnixMillis(0),
    }
}

struct Site(FileHandler);

impl Site {
    fn new(tree: Tree, options: FileOptions) -> Self {
        Site(FileHandler::new(tree, options, Clock::real(), Tasks::real()))
    }

    fn of(directory: &Path) -> Self {
        Site::new(Tree::directory(directory).unwrap(), FileOptions::default())
    }

    async fn ask(&self, method: Method, target: &str, fields: &str) -> (Response, String) {
        let mut response = self.0.handle(request(method, target, fields)).wait().await;
        let body = std::mem::take(&mut response.body).collect(64 << 20).await.unwrap();
        (response, String::from_utf8_lossy(&body).into_owned())
    }

    async fn get(&self, target: &str) -> (u16, String) {
        let (response, text) = self.ask(Method::Get, target, "").await;
        (response.status.code(), text)
    }
}

fn example() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    fs::create_dir_all(dir.path().join("sub")).unwrap();
    fs::create_dir_all(dir.path().join("empty")).unwrap();
    write("index.html", "<h1>home</h1>");
    write("a.txt", "0123456789");
    write("about.html", "about");
    write(".secret", "no");
    write("sub/README.md", "# Sub\n\n[Other](other.md)\n");
    write("sub/other.md", "# Other page\n");
    dir
}

#[tokio::test]
async fn paths_lead_to_files_indexes_and_pages() {
    let dir = example();
    let site = Site::of(dir.path());
    for (target, status, part) in [
        ("/", 200, "<h1>home</h1>"),
        ("/a.txt", 200, "0123456789"),
        ("/a.txt?v=1", 200, "0123456789"),
        ("/about", 200, "about"),
        ("/sub", 308, ""),
        ("/sub/", 200, "<h1 id=\"sub\">Sub</h1>"),
        ("/sub/other.md", 200, "<a href=\"other.md\" aria-current=\"page\">Other</a>"),
        ("/empty/", 404, "nothing at /empty"),
        ("/none", 404, "nothing at /none"),
        ("/a.txt/", 404, ""),
        ("/.secret", 404, ""),
        ("/sub/../a.txt", 404, ""),
        ("/%zz", 400, ""),
        ("*", 400, ""),
    ] {
        let (found, text) = site.get(target).await;
        assert_eq!(found, status, "{target}");
        assert!(text.contains(part), "{target}: {text}");
    }
    let (response, _) = site.ask(Method::Get, "/sub?q", "").await;
    assert_eq!(response.fields.get_str(name::LOCATION), Some("/sub/?q"));
}

#[tokio::test]
async fn a_file_is_sent_with_validators_and_answers_conditions() {
    let dir = example();
    let site = Site::of(dir.path());
    let (response, _) = site.ask(Method::Get, "/a.txt", "").await;
    let etag = response.fields.get_str(name::ETAG).unwrap().to_owned();
    assert!(response.fields.contains(name::LAST_MODIFIED));
    assert_eq!(response.fields.get_str(name::CONTENT_TYPE), Some("text/plain; charset=utf-8"));
    let (response, text) = site.ask(Method::Get, "/a.txt", &format!("If-None-Match: {etag}\r\n")).await;
    assert_eq!((response.status.code(), text.as_str()), (304, ""));
    let (response, text) = site.ask(Method::Get, "/a.txt", "Range: bytes=2-4\r\n").await;
    assert_eq!((response.status.code(), text.as_str()), (206, "234"));
    let (response, text) = site.ask(Method::Head, "/a.txt", "").await;
    assert_eq!((response.fields.get_str(name::CONTENT_LENGTH), text.as_str()), (Some("10"), ""));
    let (response, _) = site.ask(Method::Post, "/a.txt", "").await;
    assert_eq!((response.status.code(), response.fields.get_str(name::ALLOW)), (405, Some("GET, HEAD")));
}

#[tokio::test]
async fn a_directory_is_listed_only_when_asked_for() {
    let dir = example();
    let tree = || Tree::directory(dir.path()).unwrap();
    fs::write(dir.path().join("empty/<x>.txt"), "").unwrap();
    let listing = Site::new(tree(), FileOptions { list: true, ..FileOptions::default() });
    let (status, text) = listing.get("/empty/").await;
    assert_eq!(status, 200);
    assert!(text.contains("<a href=\"./%3Cx%3E.txt\">&lt;x&gt;.txt</a>"), "{text}");
    let raw = Site::new(tree(), FileOptions { raw_markdown: true, ..FileOptions::default() });
    assert_eq!(raw.get("/sub/other.md").await, (200, "# Other page\n".to_owned()));
}

#[tokio::test]
async fn a_large_file_is_sent_in_pieces_whole_and_in_part() {
    let dir = tempfile::tempdir().unwrap();
    let content: Vec<u8> = (0..3_000_000u32).flat_map(u32::to_le_bytes).collect();
    fs::write(dir.path().join("large.bin"), &content).unwrap();
    let site = Site::of(dir.path());
    let response = site.0.handle(request(Method::Get, "/large.bin", "")).wait().await;
    assert_eq!(response.body.length(), Some(12_000_000));
    assert_eq!(response.body.collect(64 << 20).await.unwrap(), content);
    let part = request(Method::Get, "/large.bin", "Range: bytes=1000000-8999999\r\n");
    let response = site.0.handle(part).wait().await;
    assert_eq!(response.body.collect(64 << 20).await.unwrap(), content[1_000_000..9_000_000]);
}

#[tokio::test]
async fn the_documentation_is_in_the_binary() {
    let site = Site::new(documentation(), FileOptions::default());
    let (status, text) = site.get("/").await;
    assert_eq!(status, 200);
    assert!(text.contains("<nav class=\"pages\""), "{text}");
    assert_eq!(site.get("/manifest.md").await.0, 200);
}

#[tokio::test]
async fn links_between_pages_of_the_documentation_lead_somewhere() {
    let site = Site::new(documentation(), FileOptions::default());
    let names = documentation().names("").unwrap();
    for name in names.iter().filter(|n| n.ends_with(".md")) {
        let (_, text) = site.get(&format!("/{name}")).await;
        for link in text.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            let path = link.split('#').next().unwrap_or_default();
            if !path.is_empty() && !path.contains("://") && !path.starts_with("../") {
                assert_eq!(site.get(&format!("/{path}")).await.0, 200, "{name} links to {link}");
            }
        }
    }
}
