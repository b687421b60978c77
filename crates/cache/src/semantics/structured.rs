//! The two shapes of structured fields (RFC 9651) that caching uses: dictionaries and lists of strings.
//!
//! Parsing is strict: one error anywhere voids the whole field, all its lines taken together.

use sfv::visitor::{DictionaryVisitor, EntryVisitor, Ignored, InnerListVisitor, ItemVisitor, ListVisitor};
use sfv::{BareItemFromInput, KeyRef, Parser};
use std::convert::Infallible;

/// How many bytes a structured field may have before it is ignored.
pub const FIELD_BYTES_MAX: usize = 16 * 1024;

/// A dictionary member's value; parameters are dropped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// A Boolean; a key alone is `true`.
    Boolean(bool),
    /// An Integer.
    Integer(i64),
    /// A String or Token.
    Text(String),
    /// Any other type.
    Other,
}

/// The members of the dictionary that these lines make, in order; a repeated key's last value counts
/// (RFC 9651 section 4.2.2). None if there is an error or no member.
pub fn dictionary<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Option<Vec<(String, Value)>> {
    let text = join(lines)?;
    let members = Parser::new(&text).parse_dictionary_with_visitor(Dictionary::default()).ok()?;
    (!members.is_empty()).then_some(members)
}

/// The list of Strings that these lines make; none if there is an error or a member of another type.
pub fn strings<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Option<Vec<String>> {
    let text = join(lines)?;
    let members = Parser::new(&text).parse_list_with_visitor(Strings::default()).ok()?;
    members.into_iter().collect()
}

fn join<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    for (i, line) in lines.enumerate() {
        if i > 0 {
            text.extend_from_slice(b", ");
        }
        text.extend_from_slice(line);
        if text.len() > FIELD_BYTES_MAX {
            return None;
        }
    }
    (!text.is_empty()).then_some(text)
}

#[derive(Default)]
struct Dictionary(Vec<(String, Value)>);

impl<'de> DictionaryVisitor<'de> for Dictionary {
    type Out = Vec<(String, Value)>;
    type Error = Infallible;

    fn entry(&mut self, key: &'de KeyRef) -> Result<impl EntryVisitor<'de>, Infallible> {
        self.0.retain(|(known, _)| known != key.as_str());
        self.0.push((key.as_str().to_owned(), Value::Other));
        Ok(DictionaryValue(self.0.last_mut().map(|(_, value)| value)))
    }

    fn finish(self) -> Result<Self::Out, Infallible> {
        Ok(self.0)
    }
}

struct DictionaryValue<'a>(Option<&'a mut Value>);

impl<'de> EntryVisitor<'de> for DictionaryValue<'_> {
    type Error = Infallible;

    fn item(self) -> Result<impl ItemVisitor<'de>, Infallible> {
        Ok(move |item: BareItemFromInput<'de>| {
            if let Some(slot) = self.0 {
                *slot = value(item);
            }
            Ok::<_, Infallible>(Ignored)
        })
    }

    fn inner_list(self) -> Result<impl InnerListVisitor<'de>, Infallible> {
        Ok(Ignored)
    }
}

fn value(item: BareItemFromInput<'_>) -> Value {
    match item {
        BareItemFromInput::Boolean(b) => Value::Boolean(b),
        BareItemFromInput::Integer(n) => Value::Integer(n.into()),
        BareItemFromInput::String(s) => Value::Text(s.as_str().to_owned()),
        BareItemFromInput::Token(t) => Value::Text(t.as_str().to_owned()),
        _ => Value::Other,
    }
}

#[derive(Default)]
struct Strings(Vec<Option<String>>);

impl<'de> ListVisitor<'de> for Strings {
    type Out = Vec<Option<String>>;
    type Error = Infallible;

    fn entry(&mut self) -> Result<impl EntryVisitor<'de>, Infallible> {
        self.0.push(None);
        Ok(StringMember(self.0.last_mut()))
    }

    fn finish(self) -> Result<Self::Out, Infallible> {
        Ok(self.0)
    }
}

struct StringMember<'a>(Option<&'a mut Option<String>>);

impl<'de> EntryVisitor<'de> for StringMember<'_> {
    type Error = Infallible;

    fn item(self) -> Result<impl ItemVisitor<'de>, Infallible> {
        Ok(move |item: BareItemFromInput<'de>| {
            if let (Some(slot), BareItemFromInput::String(s)) = (self.0, item) {
                *slot = Some(s.as_str().to_owned());
            }
            Ok::<_, Infallible>(Ignored)
        })
    }

    fn inner_list(self) -> Result<impl InnerListVisitor<'de>, Infallible> {
        Ok(Ignored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dictionaries() {
        let parse = |text: &str| dictionary([text.as_bytes()].into_iter());
        let found = parse("a=1, b, c=\"x\", d=tok;p=1, e=1.5, f=(1 2), a=2").unwrap();
        let expected = [
            ("b", Value::Boolean(true)),
            ("c", Value::Text("x".into())),
            ("d", Value::Text("tok".into())),
            ("e", Value::Other),
            ("f", Value::Other),
            ("a", Value::Integer(2)),
        ];
        assert_eq!(found, expected.map(|(k, v)| (k.to_owned(), v)));
        for bad in ["", "a=1, &&&", "A=1", "a =1", "a= 1", "a=1,", "a=100a"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert_eq!(dictionary([&b"a"[..], b"b"].into_iter()).unwrap().len(), 2);
    }

    #[test]
    fn lists_of_strings() {
        let parse = |text: &str| strings([text.as_bytes()].into_iter());
        assert_eq!(parse(r#""a", "B c";x"#).unwrap(), ["a", "B c"]);
        for bad in ["", "a", r#""a", b"#, r#""a", ("b")"#, r#""a" "b""#] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_input_panics(text in prop::collection::vec(any::<u8>(), 0..120)) {
            dictionary([text.as_slice()].into_iter());
            strings([text.as_slice()].into_iter());
        }
    }
}
