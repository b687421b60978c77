//! Names and values of header fields, and changes to them.

use super::template::Template;
use super::text::{OneOrMany, Text, TextError, text_value};
use crate::fields::is_token;
use crate::message::Method;
use std::collections::BTreeMap;
use std::fmt;

/// A field name (RFC 9110 section 5.1), kept as written, compared without case.
#[derive(Debug, Clone, Eq)]
pub struct FieldName(Box<str>);

impl FieldName {
    /// The name as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
    fn folded(&self) -> impl Iterator<Item = u8> + '_ {
        self.0.bytes().map(|b| b.to_ascii_lowercase())
    }
}

impl PartialEq for FieldName {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}
impl PartialOrd for FieldName {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for FieldName {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.folded().cmp(other.folded())
    }
}

impl fmt::Display for FieldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Text for FieldName {
    const FORMAT: &'static str = "field-name";
    const ABOUT: &'static str = "the name of a header field, such as `X-Frame-Options`";
    fn parse_text(text: &str) -> Result<Self, TextError> {
        if is_token(text.as_bytes()) && text.len() <= 256 {
            return Ok(FieldName(text.into()));
        }
        let help = "use letters, digits and `-`, as in `X-Frame-Options`";
        Err(TextError::new(format!("`{text}` is not a header name"), help))
    }
}
text_value!(FieldName);

/// Fields that decide how a message is framed or where it goes; a manifest may not change them.
const UNTOUCHABLE: [&str; 10] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

/// The name of a field that a manifest may set, add or remove: any but those that frame a message.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MutableField(FieldName);

impl MutableField {
    /// The name as written.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for MutableField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Text for MutableField {
    const FORMAT: &'static str = "changeable-field-name";
    const ABOUT: &'static str = "the name of a header field, but not one that frames a message";
    fn parse_text(text: &str) -> Result<Self, TextError> {
        let name = FieldName::parse_text(text)?;
        if UNTOUCHABLE.iter().any(|n| n.eq_ignore_ascii_case(text)) {
            let help =
                "the gateway writes it itself; to choose the Host an origin sees, use `host` in `origin`";
            return Err(TextError::new(format!("`{text}` may not be changed"), help));
        }
        Ok(MutableField(name))
    }
}
text_value!(MutableField);

/// Changes to a message's header section, done in this order: remove, set, add.
#[derive(
    Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(default)]
pub struct HeaderChanges {
    /// Fields to drop, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<MutableField>,
    /// Fields to set, in place of all of that name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("propertyNames" = { "format": "changeable-field-name" }))]
    pub set: BTreeMap<MutableField, Template>,
    /// Field lines to add after those there.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("propertyNames" = { "format": "changeable-field-name" }))]
    pub add: BTreeMap<MutableField, OneOrMany<Template>>,
}

impl HeaderChanges {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }
}

impl Text for Method {
    const FORMAT: &'static str = "method";
    const ABOUT: &'static str = "a request method, such as `GET`";
    fn parse_text(text: &str) -> Result<Self, TextError> {
        let help = "methods are written in capitals: `GET`, `POST`";
        match Method::parse(text.as_bytes()) {
            Some(method) if !text.bytes().any(|b| b.is_ascii_lowercase()) => Ok(method),
            _ => Err(TextError::new(format!("`{text}` is not a method"), help)),
        }
    }
}
text_value!(Method);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_compare_without_case() {
        let name = |t| FieldName::parse_text(t).unwrap();
        assert_eq!(name("X-A"), name("x-a"));
        assert!(name("X-A") < name("x-b"));
        assert!(FieldName::parse_text("X A").is_err());
    }

    #[test]
    fn framing_fields_may_not_be_changed() {
        for bad in ["Host", "content-length", "Transfer-Encoding", "CONNECTION"] {
            assert!(MutableField::parse_text(bad).unwrap_err().message.contains("may not be changed"));
        }
        assert!(MutableField::parse_text("Server").is_ok());
    }
}
