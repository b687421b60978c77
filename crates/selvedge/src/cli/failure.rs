//! How a command ends, and how it says what went wrong: what, where, and what to do next.

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, SourceCode};
use std::error::Error;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

/// The longest line of a text that is shown, in bytes.
const SHOWN_LINE_BYTES_MAX: usize = 1000;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: done. With `plan --detailed-exitcode`: no change.
    Done,
    /// 1: failed.
    Failed,
    /// 2: wrong usage. With `plan --detailed-exitcode`: there are changes.
    Usage,
    /// 3: the outcome is unknown: the request was sent, and no answer came.
    Unknown,
    /// 4: no quorum, or the node cannot be reached.
    Unreachable,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Unknown => 3,
            Exit::Unreachable => 4,
        })
    }
}

/// Why a command did not do what it was asked for.
#[derive(Debug)]
pub struct Failure(Box<Parts>);

#[derive(Debug)]
struct Parts {
    exit: Exit,
    what: String,
    why: Option<Box<dyn Error + Send + Sync>>,
    next: Option<String>,
    source_code: Option<miette::NamedSource<String>>,
    labels: Vec<LabeledSpan>,
    related: Vec<Failure>,
}

impl Failure {
    /// A failure that ends the process with `exit`, and what failed, in words.
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Failure(Box::new(Parts {
            exit,
            what: what.into(),
            why: None,
            next: None,
            source_code: None,
            labels: Vec::new(),
            related: Vec::new(),
        }))
    }

    /// A failure of the command itself (exit code 1).
    pub fn failed(what: impl Into<String>) -> Self {
        Self::new(Exit::Failed, what)
    }

    /// A failure of usage (exit code 2).
    pub fn usage(what: impl Into<String>) -> Self {
        Self::new(Exit::Usage, what)
    }

    /// The cause.
    pub fn because(mut self, why: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.0.why = Some(why.into());
        self
    }

    /// What to do next.
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.0.next = Some(next.into());
        self
    }

    /// The place in a text that it is about. Text whose lines are too long to be shown is left out.
    pub fn at(mut self, file: &str, text: &str, span: std::ops::Range<usize>, label: &str) -> Self {
        if let Some(place) = unshowable(text, span.start) {
            self.0.what = format!("{file}:{place}: {}", self.0.what);
            return self;
        }
        self.0.source_code = Some(miette::NamedSource::new(file, text.to_owned()));
        self.0.labels = vec![LabeledSpan::new_with_span(Some(label.to_owned()), span)];
        self
    }

    /// Further failures that came with it.
    pub fn with(mut self, related: Vec<Failure>) -> Self {
        self.0.related = related;
        self
    }

    /// The exit code it ends the process with.
    pub fn exit(&self) -> Exit {
        self.0.exit
    }

    /// Prints it to standard error; colours only on a terminal and without `NO_COLOR`.
    pub(super) fn report(&self) -> ExitCode {
        if !self.0.what.is_empty() {
            // There is nowhere to report a failing standard error to.
            let _ = io::stderr().lock().write_all(self.text().as_bytes());
        }
        self.0.exit.into()
    }

    /// What is printed.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        match self.handler().render_report(&mut text, self) {
            Ok(()) => text,
            Err(_) => format!("error: {}\n", self.0.what),
        }
    }

    fn handler(&self) -> GraphicalReportHandler {
        let terminal = io::stderr().is_terminal();
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        let theme = if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let handler = GraphicalReportHandler::new_themed(theme).with_links(false);
        if terminal { handler } else { handler.with_width(100) }
    }
}

/// `LINE:COLUMN` of a place that cannot be shown: the report indents by columns, which a long line has too many of.
fn unshowable(text: &str, at: usize) -> Option<String> {
    let bytes = text.as_bytes();
    let at = at.min(bytes.len());
    let begin = bytes[..at].iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1);
    // What is shown beside the line itself: the one before it and the one after.
    let before = bytes[..begin.saturating_sub(1)].iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1);
    let longest = bytes[before..].split(|b| *b == b'\n').take(4).map(<[u8]>::len).max().unwrap_or(0);
    let line = bytes[..begin].iter().filter(|b| **b == b'\n').count() + 1;
    (longest > SHOWN_LINE_BYTES_MAX).then(|| format!("{line}:{}", at - begin + 1))
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.what)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.why.as_ref().map(|why| why.as_ref() as &(dyn Error + 'static))
    }
}

impl Diagnostic for Failure {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.0.next.as_ref().map(|next| Box::new(next) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.0.source_code.as_ref().map(|s| s as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        (!self.0.labels.is_empty())
            .then(|| Box::new(self.0.labels.iter().cloned()) as Box<dyn Iterator<Item = _>>)
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        let related = self.0.related.iter().map(|f| f as &dyn Diagnostic);
        (!self.0.related.is_empty()).then(|| Box::new(related) as Box<dyn Iterator<Item = _>>)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_in_a_line_too_long_to_be_shown_says_where_it_is() {
        let text = format!("a = 1\nb = {}", "[".repeat(100_000));
        let failure = Failure::failed("too deep").at("m.toml", &text, 90_000..90_001, "here");
        assert_eq!(failure.to_string(), "m.toml:2:89995: too deep");
        let mut report = String::new();
        failure.handler().render_report(&mut report, &failure).unwrap();
        assert!(report.contains("m.toml:2:89995"), "{report}");
        let short = Failure::failed("no").at("m.toml", "a = 1\nb = [\n", 10..11, "here");
        assert_eq!(short.to_string(), "no");
    }
}
