//! The HTML around what is rendered: one template, self-contained, with navigation; light and dark.

use super::markdown::Document;
use std::fmt::Write;

const STYLE: &str = include_str!("page.css");

/// What surrounds a page.
#[derive(Debug, Default)]
pub(super) struct Frame {
    /// The name of the whole, at the top of the navigation.
    pub(super) site: String,
    /// The other pages: link and text.
    pub(super) pages: Vec<(String, String)>,
    /// The link of the page shown.
    pub(super) current: String,
}

/// A Markdown page as a whole HTML document.
pub(super) fn document(frame: &Frame, page: &Document) -> String {
    let title = page.title.clone().unwrap_or_else(|| frame.current.clone());
    let mut sections = String::new();
    if page.sections.len() > 1 {
        sections.push_str("<nav class=\"sections\" aria-label=\"On this page\"><ul>");
        for section in &page.sections {
            let (id, text) = (escape(&section.id), escape(&section.text));
            let _ = write!(sections, "<li><a href=\"#{id}\">{text}</a></li>");
        }
        sections.push_str("</ul></nav>");
    }
    html(&title, frame, &format!("<main>{}</main>{sections}", page.html))
}

/// A listing of a directory's names.
pub(super) fn listing(directory: &str, names: &[String]) -> String {
    let mut items = String::new();
    if directory != "/" {
        items.push_str("<li><a href=\"../\">../</a></li>");
    }
    for name in names {
        let _ = write!(items, "<li><a href=\"./{}\">{}</a></li>", encode(name), escape(name));
    }
    let frame = Frame { site: "Files".to_owned(), ..Frame::default() };
    html(
        directory,
        &frame,
        &format!("<main><h1>{}</h1><ul class=\"files\">{items}</ul></main>", escape(directory)),
    )
}

/// A short page that says why there is nothing else.
pub(super) fn message(status: u16, reason: &str, text: &str) -> String {
    let body = format!("<main><h1>{status} {}</h1><p>{}</p></main>", escape(reason), escape(text));
    html(&format!("{status} {reason}"), &Frame::default(), &body)
}

fn html(title: &str, frame: &Frame, body: &str) -> String {
    let mut nav = String::new();
    if !frame.pages.is_empty() {
        let _ = write!(nav, "<nav class=\"pages\" aria-label=\"Pages\"><p>{}</p><ul>", escape(&frame.site));
        for (link, text) in &frame.pages {
            let mark = if *link == frame.current { " aria-current=\"page\"" } else { "" };
            let _ = write!(nav, "<li><a href=\"{}\"{mark}>{}</a></li>", encode(link), escape(text));
        }
        nav.push_str("</ul></nav>");
    }
    let (title, site) = (escape(title), escape(&frame.site));
    let suffix = if site.is_empty() || site == title { String::new() } else { format!(" · {site}") };
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{title}{suffix}</title><style>{STYLE}</style></head>\n<body>{nav}{body}</body></html>\n"
    )
}

/// Text as HTML text or attribute value.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// A name as a relative link: all but unreserved characters and slashes percent-encoded.
pub(super) fn encode(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for b in name.bytes() {
        if b.is_ascii_alphanumeric() || b"-._~/".contains(&b) {
            out.push(char::from(b));
        } else {
            let _ = write!(out, "%{b:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::markdown::render;
    use super::*;

    #[test]
    fn a_page_shows_where_it_is() {
        let frame = Frame {
            site: "Docs".into(),
            pages: vec![("./".into(), "Start".into()), ("b c.md".into(), "B & C".into())],
            current: "b c.md".into(),
        };
        let html = document(&frame, &render("# B\n\n## One\n\n## Two\n"));
        for part in [
            "<title>B · Docs</title>",
            "<a href=\"b%20c.md\" aria-current=\"page\">B &amp; C</a>",
            "<a href=\"#two\">Two</a>",
            "<h1 id=\"b\">B</h1>",
        ] {
            assert!(html.contains(part), "{part} in {html}");
        }
    }

    #[test]
    fn names_in_a_listing_are_text_not_markup() {
        let html = listing("/a/", &["<script>.txt".to_owned(), "javascript:x".to_owned()]);
        assert!(html.contains("<a href=\"./%3Cscript%3E.txt\">&lt;script&gt;.txt</a>"), "{html}");
        assert!(html.contains("href=\"./javascript%3Ax\""), "{html}");
    }
}
