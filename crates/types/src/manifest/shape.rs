//! Compares a TOML document with the schema: keys, types, forms and ranges.
//!
//! It reports everything that is wrong, each with its place; what passes can be deserialised.

use super::error::{Problem, Reporter, nearest};
use super::{formats, schema};
use crate::resource::{ByteSize, Period, StatusRange, Text};
use serde_json::Value;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Kinds of resources that manifests of later versions will hold.
const LATER: [&str; 6] = ["service", "job", "task", "topic", "function", "quota"];

/// Reports everything in `table` that the manifest's schema does not allow.
pub(super) fn check(table: &DeTable<'_>, reporter: &mut Reporter<'_>) {
    let root = schema::schema();
    Walk { root, reporter }.table(table, root, "", 0..0);
}

struct Walk<'a, 'b> {
    root: &'a Value,
    reporter: &'a mut Reporter<'b>,
}

impl<'a> Walk<'a, '_> {
    fn value(&mut self, value: &Spanned<DeValue<'_>>, node: &'a Value, path: &str) {
        let span = value.span();
        let Some(node) = self.branch(value.get_ref(), node) else {
            let found = value.get_ref().type_str();
            let message = format!("`{path}` may not be {} {found}", article(found));
            self.reporter.report(Problem::new(span, path, message, format!("write {}", self.expected(node))));
            return;
        };
        match value.get_ref() {
            DeValue::String(text) => self.text(text, node, path, span),
            DeValue::Integer(n) => {
                let n = i64::from_str_radix(n.as_str(), n.radix()).ok();
                self.integer(n, node, path, span);
            }
            DeValue::Array(items) => {
                let item = node.get("items").unwrap_or(&Value::Null);
                for (i, value) in items.iter().enumerate() {
                    self.value(value, item, &format!("{path}[{i}]"));
                }
            }
            DeValue::Table(table) => self.table(table, node, path, span),
            DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {}
        }
    }

    fn table(&mut self, table: &DeTable<'_>, node: &'a Value, path: &str, span: Range<usize>) {
        let known = node.get("properties").and_then(Value::as_object);
        let others = node.get("additionalProperties").filter(|o| o.is_object());
        let names = node.pointer("/propertyNames/format").and_then(Value::as_str);
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            let here = join(path, name);
            match (known.and_then(|k| k.get(name)), others) {
                (Some(node), _) => self.value(value, node, &here),
                (None, Some(node)) => {
                    self.form(names, name, &here, key.span());
                    self.value(value, node, &here);
                }
                (None, None) => self.unknown_key(name, node, path, key.span()),
            }
        }
        let required = node.get("required").and_then(Value::as_array);
        for name in required.into_iter().flatten().filter_map(Value::as_str) {
            if !table.contains_key(name) {
                let message = format!("`{}` is missing", join(path, name));
                let form = known.and_then(|k| k.get(name)).map_or_else(String::new, |n| self.expected(n));
                let help = format!("add `{name} = ...`: {form}");
                self.report(Problem::new(span.clone(), path, message, help).label("in this table"));
            }
        }
    }

    fn unknown_key(&mut self, name: &str, node: &'a Value, path: &str, span: Range<usize>) {
        let known = node.get("properties").and_then(Value::as_object);
        let known: Vec<&str> = known.into_iter().flat_map(|k| k.keys()).map(String::as_str).collect();
        let place = if path.is_empty() { "a manifest".into() } else { format!("`{path}`") };
        let (message, help) = if path.is_empty() && LATER.contains(&name) {
            let help = "leave the section out; this version has sites and keyspaces alone";
            (format!("`{name}` is not available in this version"), help.into())
        } else if let Some(near) = nearest(name, known.iter().copied()) {
            (format!("`{name}` is not a key of {place}"), format!("did you mean `{near}`?"))
        } else {
            (format!("`{name}` is not a key of {place}"), format!("known are {}", list(&known)))
        };
        self.report(Problem::new(span, join(path, name), message, help).label("unknown key"));
    }

    fn text(&mut self, text: &str, node: &'a Value, path: &str, span: Range<usize>) {
        let choices = choices(node);
        if !choices.is_empty() && !choices.contains(&text) {
            let help = match nearest(text, choices.iter().copied()) {
                Some(near) => format!("did you mean `{near}`? Possible are {}", list(&choices)),
                None => format!("possible are {}", list(&choices)),
            };
            let message = format!("`{text}` is not possible for `{path}`");
            return self.report(Problem::new(span, path, message, help));
        }
        self.form(node.get("format").and_then(Value::as_str), text, path, span.clone());
        self.bounds(text, node, path, span);
    }

    fn form(&mut self, format: Option<&str>, text: &str, path: &str, span: Range<usize>) {
        let Some(format) = format.and_then(formats::find) else { return };
        if let Err(error) = (format.check)(text) {
            self.report(Problem::new(span, path, error.message, error.help));
        }
    }

    /// Holds a size or a span of time to the least and the greatest that the schema allows.
    fn bounds(&mut self, text: &str, node: &'a Value, path: &str, span: Range<usize>) {
        let bound = |key| node.get(key).and_then(Value::as_str);
        let (min, max) = (bound("formatMinimum"), bound("formatMaximum"));
        let format = node.get("format").and_then(Value::as_str);
        let read = |text| quantity(format, text);
        let Some(amount) = read(text) else { return };
        let is_within = min.and_then(read).is_none_or(|min| amount >= min)
            && max.and_then(read).is_none_or(|max| amount <= max);
        if is_within {
            return;
        }
        let help = match (min, max) {
            (Some(min), Some(max)) => format!("write from `{min}` to `{max}`"),
            (Some(min), None) => format!("write at least `{min}`"),
            (None, max) => format!("write at most `{}`", max.unwrap_or_default()),
        };
        self.report(Problem::new(span, path, format!("`{path}` is out of range"), help));
    }

    fn integer(&mut self, n: Option<i64>, node: &'a Value, path: &str, span: Range<usize>) {
        if node.get("format").and_then(Value::as_str) == Some(StatusRange::FORMAT) {
            return self.form(Some(StatusRange::FORMAT), &n.unwrap_or(-1).to_string(), path, span);
        }
        let bound = |name| node.get(name).and_then(Value::as_f64).map(|f| f as i64);
        let (min, max) = (bound("minimum").unwrap_or(i64::MIN), bound("maximum").unwrap_or(i64::MAX));
        let max = max.min(widest(node.get("format").and_then(Value::as_str)));
        if !n.is_some_and(|n| (min..=max).contains(&n)) {
            let help = format!("write a whole number from {min} to {max}");
            self.report(Problem::new(span, path, format!("`{path}` is out of range"), help));
        }
    }

    /// The part of the schema that a value of this type is held to, if there is one.
    fn branch(&self, value: &DeValue<'_>, node: &'a Value) -> Option<&'a Value> {
        let node = schema::resolve(self.root, node);
        if let Some(branches) = node.get("anyOf").or_else(|| node.get("oneOf")).and_then(Value::as_array) {
            return branches.iter().find_map(|b| self.branch(value, b)).map(|b| {
                // A choice between constants is told by all of its branches.
                if b.get("const").is_some() { node } else { b }
            });
        }
        if node.get("const").is_some() {
            return value.is_str().then_some(node);
        }
        let admits = |t: &str| match value {
            DeValue::String(_) => t == "string",
            DeValue::Integer(_) => t == "integer" || t == "number",
            DeValue::Float(_) => t == "number",
            DeValue::Boolean(_) => t == "boolean",
            DeValue::Datetime(_) => false,
            DeValue::Array(_) => t == "array",
            DeValue::Table(_) => t == "object",
        };
        types(node).any(admits).then_some(node)
    }

    /// What may stand at `node`, in words.
    fn expected(&self, node: &'a Value) -> String {
        let node = schema::resolve(self.root, node);
        let choices = choices(node);
        if !choices.is_empty() {
            return format!("one of {}", list(&choices));
        }
        if let Some(branches) = node.get("anyOf").and_then(Value::as_array) {
            let words: Vec<_> = branches.iter().map(|b| self.expected(b)).collect();
            return words.join(", or ");
        }
        if let Some(format) = node.get("format").and_then(Value::as_str).and_then(formats::find) {
            return format.about.to_owned();
        }
        match types(node).next() {
            Some("array") => node
                .get("items")
                .map_or("a list".into(), |item| format!("a list, each {}", self.expected(item))),
            Some("object") => "a table".into(),
            Some("integer") => "a whole number".into(),
            Some("boolean") => "`true` or `false`".into(),
            Some("string") => "a text".into(),
            _ => "another value".into(),
        }
    }

    fn report(&mut self, problem: Problem) {
        self.reporter.report(problem);
    }
}

/// What a text of such a form amounts to: bytes, or milliseconds.
fn quantity(format: Option<&str>, text: &str) -> Option<u64> {
    match format? {
        ByteSize::FORMAT => ByteSize::parse_text(text).ok().map(ByteSize::get),
        Period::FORMAT => Period::parse_text(text).ok().map(Period::as_millis),
        _ => None,
    }
}

fn types(node: &Value) -> impl Iterator<Item = &str> {
    let types = node.get("type");
    let many = types.and_then(Value::as_array).into_iter().flatten();
    types.filter(|t| t.is_string()).into_iter().chain(many).filter_map(Value::as_str)
}

fn choices(node: &Value) -> Vec<&str> {
    let named = node.get("enum").and_then(Value::as_array).into_iter().flatten();
    let branches = node.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    let constants = branches.chain([node]).filter_map(|b| b.get("const"));
    let in_branches = node.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    let named_there = in_branches.filter_map(|b| b.get("enum")?.as_array()).flatten();
    named.chain(constants).chain(named_there).filter_map(Value::as_str).collect()
}

/// The largest number that a schema's integer format holds.
fn widest(format: Option<&str>) -> i64 {
    match format {
        Some("uint8") => u8::MAX.into(),
        Some("uint16") => u16::MAX.into(),
        Some("uint32") => u32::MAX.into(),
        _ => i64::MAX,
    }
}

fn join(path: &str, key: &str) -> String {
    let bare = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    let key = if !key.is_empty() && key.bytes().all(bare) { key.to_owned() } else { format!("{key:?}") };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

fn list(names: &[&str]) -> String {
    names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")
}

fn article(noun: &str) -> &'static str {
    if noun.starts_with(['a', 'e', 'i', 'o']) { "an" } else { "a" }
}
