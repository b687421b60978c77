//! Finds the bytes of a manifest that a key or an element of a list stands in.

use std::ops::Range;
use toml::de::{DeTable, DeValue};

/// A step from a table or a list to what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

impl Step {
    /// The steps as one path: `site.docs.route[1].path`.
    pub(super) fn path(steps: &[Step]) -> String {
        steps.iter().fold(String::new(), |path, step| match step {
            Step::Key(key) if path.is_empty() => key.clone(),
            Step::Key(key) => format!("{path}.{key}"),
            Step::Index(i) => format!("{path}[{i}]"),
        })
    }
}

/// The span of the last step that is there; a list of one may be written as its element.
pub(super) fn locate(table: &DeTable<'_>, steps: &[Step]) -> Range<usize> {
    let mut here: Option<&DeValue<'_>> = None;
    let mut span = 0..0;
    for step in steps {
        match (step, here) {
            (Step::Key(name), None) => match table.get_key_value(name.as_str()) {
                Some((key, value)) => (span, here) = (key.span(), Some(value.get_ref())),
                None => break,
            },
            (Step::Key(name), Some(DeValue::Table(table))) => match table.get_key_value(name.as_str()) {
                Some((key, value)) => (span, here) = (key.span(), Some(value.get_ref())),
                None => break,
            },
            (Step::Index(i), Some(DeValue::Array(items))) => match items.get(*i) {
                Some(item) => (span, here) = (item.span(), Some(item.get_ref())),
                None => break,
            },
            _ => break,
        }
    }
    span
}
