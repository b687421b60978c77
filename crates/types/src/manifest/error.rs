//! What is wrong with a manifest, and where.

use std::fmt;
use std::ops::Range;

/// One thing that is wrong with a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestError {
    /// The file, as the caller named it.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The bytes meant, from the file's beginning.
    pub span: Range<usize>,
    /// The key meant, such as `site.docs.cache.ttl`; empty for errors of syntax.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// A few words for beside the span.
    pub label: String,
    /// What to do about it.
    pub help: String,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        if !self.help.is_empty() {
            write!(f, "\n  help: {}", self.help)?;
        }
        Ok(())
    }
}

impl std::error::Error for ManifestError {}

/// Everything that is wrong with a manifest, in the order of the file. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestErrors(pub Vec<ManifestError>);

impl fmt::Display for ManifestErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            write!(f, "{}{error}", if i == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for ManifestErrors {}

/// Collects errors while a manifest is read.
pub(super) struct Reporter<'a> {
    file: &'a str,
    text: &'a str,
    errors: Vec<ManifestError>,
}

/// How many errors are reported at once.
const MAX_ERRORS: usize = 50;

impl<'a> Reporter<'a> {
    pub(super) fn new(file: &'a str, text: &'a str) -> Self {
        Reporter { file, text, errors: Vec::new() }
    }

    /// Adds an error.
    pub(super) fn report(&mut self, error: Problem) {
        if self.errors.len() >= MAX_ERRORS {
            return;
        }
        let start = floor_boundary(self.text, error.span.start);
        let before = self.text.get(..start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        self.errors.push(ManifestError {
            file: self.file.to_owned(),
            line: before.bytes().filter(|b| *b == b'\n').count() + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
            span: start..floor_boundary(self.text, error.span.end).max(start),
            path: error.path,
            message: error.message,
            label: error.label,
            help: error.help,
        });
    }

    pub(super) fn is_clean(&self) -> bool {
        self.errors.is_empty()
    }

    /// The value, if nothing was reported.
    pub(super) fn finish<T>(mut self, value: Option<T>) -> Result<T, ManifestErrors> {
        match value {
            Some(value) if self.errors.is_empty() => Ok(value),
            _ => {
                if self.errors.is_empty() {
                    self.report(Problem::new(0..0, "", "the manifest could not be read", ""));
                }
                self.errors.sort_by_key(|e| e.span.start);
                Err(ManifestErrors(self.errors))
            }
        }
    }
}

/// An error before its line is known.
pub(super) struct Problem {
    span: Range<usize>,
    path: String,
    message: String,
    label: String,
    help: String,
}

impl Problem {
    pub(super) fn new(
        span: Range<usize>,
        path: impl Into<String>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        let label = "here".into();
        Problem { span, path: path.into(), message: message.into(), label, help: help.into() }
    }

    pub(super) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }
}

fn floor_boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0)
}

/// The nearest of `known` to what was written, if it is near enough to be meant.
pub(super) fn nearest<'a>(written: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |k: &&str| strsim::damerau_levenshtein(written, k);
    known.min_by_key(distance).filter(|k| distance(k) <= 1 + k.len().max(written.len()) / 4)
}
