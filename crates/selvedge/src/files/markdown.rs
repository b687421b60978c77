//! Markdown to HTML: the title, the headings and the content of a page.

use pulldown_cmark::{CowStr, Event, HeadingLevel, LinkType, Options, Parser, Tag, TagEnd, html};
use std::collections::BTreeMap;
use std::fmt::Write;

/// A rendered document.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Document {
    /// The text of the first heading of level 1.
    pub(super) title: Option<String>,
    /// Headings of level 2, in order.
    pub(super) sections: Vec<Section>,
    /// The content, as HTML.
    pub(super) html: String,
    /// Links to other Markdown files beside this one: file name and text, in order, each once.
    pub(super) links: Vec<(String, String)>,
}

/// A heading of level 2.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Section {
    /// The fragment that leads to it.
    pub(super) id: String,
    /// Its text.
    pub(super) text: String,
}

/// Renders CommonMark with tables, footnotes, strike-through and task lists.
pub(super) fn render(markdown: &str) -> Document {
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS;
    let mut document = Document::default();
    let mut ids = BTreeMap::new();
    let mut events: Vec<Event<'_>> = Parser::new_ext(markdown, options).collect();
    collect_links(&events, &mut document.links);
    let mut start = None;
    for at in 0..events.len() {
        match events.get(at) {
            Some(Event::Start(Tag::Heading { .. })) => start = Some(at),
            Some(Event::End(TagEnd::Heading(level))) => {
                let (level, first) = (*level, start.take().unwrap_or(at));
                let text = text_of(events.get(first..at).unwrap_or_default());
                let id = unique_id(&text, &mut ids);
                if let Some(Event::Start(Tag::Heading { id: slot, .. })) = events.get_mut(first) {
                    *slot = Some(CowStr::from(id.clone()));
                }
                document.note_heading(level, id, text);
            }
            _ => {}
        }
    }
    html::push_html(&mut document.html, events.into_iter());
    document
}

impl Document {
    fn note_heading(&mut self, level: HeadingLevel, id: String, text: String) {
        match level {
            HeadingLevel::H1 if self.title.is_none() => self.title = Some(text),
            HeadingLevel::H2 => self.sections.push(Section { id, text }),
            _ => {}
        }
    }
}

fn text_of(events: &[Event<'_>]) -> String {
    let mut all = String::new();
    for event in events {
        if let Event::Text(text) | Event::Code(text) = event {
            all.push_str(text);
        }
    }
    all
}

fn unique_id(text: &str, seen: &mut BTreeMap<String, usize>) -> String {
    let mut id = String::with_capacity(text.len());
    for c in text.chars().flat_map(char::to_lowercase) {
        match c {
            c if c.is_alphanumeric() => id.push(c),
            ' ' | '-' | '_' if !id.ends_with('-') => id.push('-'),
            _ => {}
        }
    }
    let count = seen.entry(id.clone()).or_default();
    *count += 1;
    if *count > 1 {
        // Writing to a string cannot fail.
        let _ = write!(id, "-{count}");
    }
    id
}

fn collect_links(events: &[Event<'_>], links: &mut Vec<(String, String)>) {
    let mut open: Option<(String, usize)> = None;
    for (at, event) in events.iter().enumerate() {
        match event {
            Event::Start(Tag::Link {
                link_type: LinkType::Inline | LinkType::Reference, dest_url, ..
            }) => {
                let file = dest_url.split('#').next().unwrap_or_default();
                open = (file.ends_with(".md") && !file.contains('/')).then(|| (file.to_owned(), at));
            }
            Event::End(TagEnd::Link) => {
                let Some((file, from)) = open.take() else { continue };
                if !links.iter().any(|(f, _)| *f == file) {
                    links.push((file, text_of(events.get(from..at).unwrap_or_default())));
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_a_title_sections_and_links() {
        let page =
            render("# The *title*\n\n[One](one.md#x), [far](https://x.y/z.md)\n\n## A `b` c\n\n## A b c\n");
        assert_eq!(page.title.as_deref(), Some("The title"));
        let ids: Vec<_> = page.sections.iter().map(|s| (s.id.as_str(), s.text.as_str())).collect();
        assert_eq!(ids, [("a-b-c", "A b c"), ("a-b-c-2", "A b c")]);
        assert_eq!(page.links, [("one.md".to_owned(), "One".to_owned())]);
        assert!(page.html.contains("<h2 id=\"a-b-c-2\">A b c</h2>"), "{}", page.html);
    }

    #[test]
    fn tables_and_code_are_rendered_and_escaped() {
        let page = render("| a |\n|---|\n| b |\n\n```toml\n<x>\n```\n");
        assert!(page.html.contains("<td>b</td>"), "{}", page.html);
        assert!(page.html.contains("<code class=\"language-toml\">&lt;x&gt;"), "{}", page.html);
    }
}
