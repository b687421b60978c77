//! The Via field (RFC 9110 section 7.6.3).

use selvedge_types::{FieldError, Fields, Version, name};

/// Notes in a message's fields that it came through here, having been received in `version`.
/// `pseudonym` is a token that names this node or its cluster.
pub fn add_via(fields: &mut Fields, version: Version, pseudonym: &str) -> Result<(), FieldError> {
    let mut value = Vec::with_capacity(4 + pseudonym.len());
    value.extend_from_slice(version.via().as_bytes());
    value.push(b' ');
    value.extend_from_slice(pseudonym.as_bytes());
    fields.add(name::VIA, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_hop_adds_a_line() {
        let mut fields = Fields::from_wire(b"Via: 1.0 fred\r\n").unwrap();
        add_via(&mut fields, Version::Http11, "selvedge").unwrap();
        assert_eq!(fields.joined(name::VIA).unwrap(), b"1.0 fred, 1.1 selvedge");
        assert!(add_via(&mut fields, Version::Http2, "a\r\nb").is_err());
    }
}
