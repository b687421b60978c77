//! JSON values as YAML 1.2, block style. Strings are quoted unless they can mean nothing but themselves.

use serde_json::Value;

/// The value as a YAML document that ends with a line feed.
pub(super) fn to_string(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => write_block(value, 0, &mut out),
        Value::Array(list) if !list.is_empty() => write_block(value, 0, &mut out),
        scalar => out.push_str(&(inline(scalar) + "\n")),
    }
    out
}

fn write_block(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(map) => {
            for (key, item) in map {
                out.push_str(&" ".repeat(indent));
                out.push_str(&string(key));
                out.push(':');
                write_item(item, indent + 2, out);
            }
        }
        Value::Array(list) => list.iter().for_each(|item| write_element(item, indent, out)),
        scalar => out.push_str(&inline(scalar)),
    }
}

fn write_item(item: &Value, indent: usize, out: &mut String) {
    if is_block(item) {
        out.push('\n');
        write_block(item, indent, out);
    } else {
        out.push_str(&format!(" {}\n", inline(item)));
    }
}

fn write_element(item: &Value, indent: usize, out: &mut String) {
    out.push_str(&format!("{}- ", " ".repeat(indent)));
    if !is_block(item) {
        out.push_str(&(inline(item) + "\n"));
        return;
    }
    let mut inner = String::new();
    write_block(item, indent + 2, &mut inner);
    out.push_str(inner.trim_start_matches(' '));
}

fn is_block(value: &Value) -> bool {
    match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(list) => !list.is_empty(),
        _ => false,
    }
}

fn inline(value: &Value) -> String {
    match value {
        Value::String(text) => string(text),
        other => other.to_string(),
    }
}

fn string(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && !text.ends_with([' ', ':'])
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./ :@+=".contains(c))
        && !text.contains(": ")
        && !is_keyword(text);
    // A JSON string is a YAML double-quoted scalar.
    if plain { text.to_owned() } else { Value::String(text.to_owned()).to_string() }
}

/// Words that some YAML reader or other takes for a value of another type.
fn is_keyword(text: &str) -> bool {
    let words = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    words.iter().any(|w| text.eq_ignore_ascii_case(w))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_printed_as_blocks() {
        let value = json!({
            "name": "docs", "hits": 12, "ratio": 0.5, "none": null, "empty": [], "nothing": {},
            "sites": [{"a": "x y", "b": [1, 2]}, "plain"],
            "odd": ["yes", "1.5", "a: b", "", "-x", "two\nlines", "http://h:1/p", "*"],
        });
        let expected = concat!(
            "name: docs\nhits: 12\nratio: 0.5\nnone: null\nempty: []\nnothing: {}\n",
            "sites:\n  - a: x y\n    b:\n      - 1\n      - 2\n  - plain\n",
            "odd:\n  - \"yes\"\n  - \"1.5\"\n  - \"a: b\"\n  - \"\"\n  - \"-x\"\n",
            "  - \"two\\nlines\"\n  - http://h:1/p\n  - \"*\"\n",
        );
        assert_eq!(to_string(&value), expected);
    }

    #[test]
    fn a_scalar_is_a_document() {
        assert_eq!(to_string(&json!("on")), "\"on\"\n");
        assert_eq!(to_string(&json!([])), "[]\n");
    }
}
