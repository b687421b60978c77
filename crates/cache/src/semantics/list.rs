//! Comma-separated lists (RFC 9110 section 5.6.1) and their directives, with quoted strings respected.

use selvedge_types::fields::trim;

/// The members of a list field's value, trimmed, empty ones left out.
///
/// A comma inside a quoted string separates nothing. From a quoted string that never ends onwards, every comma
/// separates, so that none hides a `no-store` behind it.
pub fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    Split { rest: Some(value), escapes: true, quotes: true }.map(trim).filter(|m| !m.is_empty())
}

/// As [`members`], for entity tags, in which a backslash is a character like others
/// (RFC 9110 section 8.8.3).
pub fn entity_tags(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    Split { rest: Some(value), escapes: false, quotes: true }.map(trim).filter(|m| !m.is_empty())
}

/// A directive's argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Argument<'a> {
    /// `name=token`
    Token(&'a [u8]),
    /// `name="text"`: the text between the quotes, escapes left as they are.
    Quoted(&'a [u8]),
    /// White space around the `=`, or a quoted string that does not end.
    Malformed,
}

impl<'a> Argument<'a> {
    /// The argument's text in either form (RFC 9111 section 5.2 asks to accept both).
    pub fn text(self) -> Option<&'a [u8]> {
        match self {
            Argument::Token(text) | Argument::Quoted(text) => Some(text),
            Argument::Malformed => None,
        }
    }
}

/// A member of the form `name` or `name=argument`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Directive<'a> {
    /// The name as it came; compare it without case.
    pub name: &'a [u8],
    /// What followed `=`.
    pub argument: Option<Argument<'a>>,
}

impl<'a> Directive<'a> {
    /// Reads one list member.
    pub fn parse(member: &'a [u8]) -> Self {
        let Some(equals) = member.iter().position(|b| *b == b'=') else {
            return Directive { name: member, argument: None };
        };
        let (name, argument) = (&member[..equals], &member[equals + 1..]);
        let clean = trim(name).len() == name.len();
        Directive {
            name: trim(name),
            argument: Some(if clean { unquote(argument) } else { Argument::Malformed }),
        }
    }

    /// Whether the name is `name` in any case.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

fn unquote(argument: &[u8]) -> Argument<'_> {
    match argument {
        [b'"', text @ .., b'"'] => Argument::Quoted(text),
        [] | [b'"' | b' ' | b'\t', ..] => Argument::Malformed,
        token => Argument::Token(token),
    }
}

struct Split<'a> {
    rest: Option<&'a [u8]>,
    escapes: bool,
    quotes: bool,
}

impl<'a> Iterator for Split<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest?;
        let end = self.end_of_member(rest);
        self.rest = rest.get(end + 1..);
        Some(&rest[..end])
    }
}

impl Split<'_> {
    fn end_of_member(&mut self, text: &[u8]) -> usize {
        let (mut quoted, mut escaped) = (false, false);
        for (i, b) in text.iter().enumerate() {
            match b {
                _ if escaped => escaped = false,
                b'\\' if quoted && self.escapes => escaped = true,
                b'"' => quoted = !quoted && self.quotes,
                b',' if !quoted => return i,
                _ => {}
            }
        }
        if quoted {
            self.quotes = false;
            return text.iter().position(|b| *b == b',').unwrap_or(text.len());
        }
        text.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_in_quoted_strings_separate_nothing() {
        for (value, expected) in [
            ("a, b ,c", &["a", "b", "c"][..]),
            (",, a,,", &["a"]),
            ("", &[]),
            (r#"a="x, y", b"#, &[r#"a="x, y""#, "b"]),
            (r#"a="x\", y", b"#, &[r#"a="x\", y""#, "b"]),
            (r#"a="x, b"#, &[r#"a="x"#, "b"]),
            (r#"a, b="x\", c="y", d"#, &["a", r#"b="x\""#, r#"c="y""#, "d"]),
        ] {
            let found: Vec<_> = members(value.as_bytes()).map(|m| std::str::from_utf8(m).unwrap()).collect();
            assert_eq!(found, expected, "{value}");
        }
        assert_eq!(entity_tags(br#""a\", "b""#).count(), 2);
    }

    #[test]
    fn directives_have_tokens_or_quoted_strings_as_arguments() {
        use Argument::*;
        for (member, argument) in [
            ("a", None),
            ("a=1", Some(Token(b"1"))),
            ("a=\"1\"", Some(Quoted(b"1"))),
            ("a=\"\"", Some(Quoted(b""))),
            ("a=", Some(Malformed)),
            ("a =1", Some(Malformed)),
            ("a= 1", Some(Malformed)),
            ("a=\"", Some(Malformed)),
            ("a=\"1", Some(Malformed)),
        ] {
            let directive = Directive::parse(member.as_bytes());
            assert!(directive.is("A"));
            assert_eq!(directive.argument, argument, "{member}");
        }
    }
}
