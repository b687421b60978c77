//! Names of nodes and other short texts, written as structured-field Tokens or Strings (RFC 9651 section 3.3).

use selvedge_types::fields::is_token_byte;

/// Appends `text` as a Token if it can be one, else as a String.
pub fn push_node_name(out: &mut Vec<u8>, text: &str) {
    if is_token(text.as_bytes()) {
        out.extend_from_slice(text.as_bytes());
    } else {
        push_string(out, text);
    }
}

/// Whether `text` is an sf-token: a letter or `*`, then characters of names, `:` and `/`.
fn is_token(text: &[u8]) -> bool {
    let starts = text.first().is_some_and(|b| b.is_ascii_alphabetic() || *b == b'*');
    starts && text.iter().all(|b| is_token_byte(*b) || matches!(b, b':' | b'/'))
}

/// Appends `text` as a String; what a String cannot hold becomes `?`.
pub fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend([b'\\', c as u8]),
            ' '..='~' => out.push(c as u8),
            _ => out.push(b'?'),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_token_where_possible_else_a_string() {
        for (text, expected) in [
            ("selvedge", "selvedge"),
            ("edge-1.example", "edge-1.example"),
            ("edge 1", "\"edge 1\""),
            ("1edge", "\"1edge\""),
            ("", "\"\""),
            ("ä\"", "\"?\\\"\""),
        ] {
            let mut out = Vec::new();
            push_node_name(&mut out, text);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    proptest! {
        #[test]
        fn what_is_a_token_is_what_parsers_take_for_one(text in "[a-c*:/!~1. \"]{0,4}|\\PC{0,4}") {
            prop_assert_eq!(is_token(text.as_bytes()), sfv::TokenRef::from_str(&text).is_ok());
        }

        #[test]
        fn what_is_written_can_be_read(text: String) {
            let mut out = Vec::new();
            push_node_name(&mut out, &text);
            prop_assert!(sfv::Parser::new(&out).parse_item_with_visitor(sfv::visitor::Ignored).is_ok());
        }
    }
}
