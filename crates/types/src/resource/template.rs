//! Texts with parts of the request in them, for redirects, rewrites and header values.

use super::text::{Text, TextError, text_value};
use std::fmt;

/// A part of the request that a template can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Variable {
    /// `{host}`: the requested host, without port.
    Host,
    /// `{path}`: the path as sent, without the query.
    Path,
    /// `{query}`: the query without `?`, empty if there is none.
    Query,
    /// `{uri}`: the path and, if there is one, `?` and the query.
    Uri,
    /// `{rest}`: what the last `*` of the route's path pattern matched.
    Rest,
    /// `{scheme}`: `http` or `https`.
    Scheme,
    /// `{method}`: the method.
    Method,
    /// `{client}`: the client's address.
    Client,
    /// `{request_id}`: the request's id.
    RequestId,
    /// `{site}`: the site's name.
    Site,
}

impl Variable {
    const ALL: [(&'static str, Variable); 10] = [
        ("host", Variable::Host),
        ("path", Variable::Path),
        ("query", Variable::Query),
        ("uri", Variable::Uri),
        ("rest", Variable::Rest),
        ("scheme", Variable::Scheme),
        ("method", Variable::Method),
        ("client", Variable::Client),
        ("request_id", Variable::RequestId),
        ("site", Variable::Site),
    ];

    /// The name it has between braces.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, v)| *v == self).map_or("", |(n, _)| n)
    }
}

/// A piece of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Text as it stands.
    Text(Box<str>),
    /// A part of the request.
    Variable(Variable),
}

/// A text in which `{name}` stands for a part of the request; `{{` and `}}` are braces.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Template(Vec<Part>);

impl Template {
    /// The pieces, in order.
    pub fn parts(&self) -> &[Part] {
        &self.0
    }
    /// The text, if the request has no part in it.
    pub fn as_literal(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }
    /// Whether it holds `variable`.
    pub fn uses(&self, variable: Variable) -> bool {
        self.0.contains(&Part::Variable(variable))
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(&text.replace('{', "{{").replace('}', "}}")),
            Part::Variable(v) => write!(f, "{{{}}}", v.name()),
        })
    }
}

impl Text for Template {
    const FORMAT: &'static str = "template";
    const ABOUT: &'static str = "a text in which `{host}`, `{path}`, `{query}`, `{uri}`, `{rest}`, `{scheme}`, `{method}`, `{client}`, `{request_id}` and `{site}` stand for parts of the request; `{{` and `}}` are braces";
    fn parse_text(text: &str) -> Result<Self, TextError> {
        if text.bytes().any(|b| b < b' ' && b != b'\t' || b == 0x7f) {
            return Err(TextError::new("the text holds a control character", "leave it out"));
        }
        let (mut parts, mut literal, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            literal.push_str(before);
            if let Some(tail) = from.strip_prefix("{{").or_else(|| from.strip_prefix("}}")) {
                literal.push_str(&from[..1]);
                rest = tail;
                continue;
            }
            let inner = from.strip_prefix('{').and_then(|f| f.split_once('}'));
            let Some((name, tail)) = inner else {
                let help = "write `{{` or `}}` for a brace";
                return Err(TextError::new(format!("`{text}` has a brace without its partner"), help));
            };
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal).into()));
            }
            parts.push(Part::Variable(find_variable(name)?));
            rest = tail;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal.into()));
        }
        Ok(Template(parts))
    }
}
text_value!(Template);

fn find_variable(name: &str) -> Result<Variable, TextError> {
    if let Some((_, variable)) = Variable::ALL.iter().find(|(n, _)| *n == name) {
        return Ok(*variable);
    }
    let names: Vec<_> = Variable::ALL.iter().map(|(n, _)| format!("{{{n}}}")).collect();
    let help = format!("known are {}; write `{{{{` for a brace", names.join(", "));
    Err(TextError::new(format!("`{{{name}}}` is not a part of a request"), help))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_read_and_write() {
        for text in ["", "plain", "https://{host}{uri}", "{{x}}", "a{path}b{query}", "{rest}"] {
            assert_eq!(Template::parse_text(text).unwrap().to_string(), text);
        }
        let parsed = Template::parse_text("a{{{host}}}").unwrap();
        assert_eq!(
            parsed.parts(),
            [Part::Text("a{".into()), Part::Variable(Variable::Host), Part::Text("}".into())]
        );
        for bad in ["{", "}", "{host", "a}", "{nope}", "{}", "a\nb"] {
            assert!(Template::parse_text(bad).is_err(), "{bad}");
        }
    }
}
