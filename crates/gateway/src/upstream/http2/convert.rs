//! Heads between our form and that of `http`.

use crate::upstream::outgoing::Outgoing;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Request, Uri};
use selvedge_http1::drop_forbidden_trailers;
use selvedge_types::{FieldError, Fields, name};

/// The head of a request for `h2`; an error says what cannot be sent.
pub(super) fn request_of(outgoing: &Outgoing<'_>) -> Result<Request<()>, http::Error> {
    let uri = Uri::builder()
        .scheme(outgoing.scheme.as_str())
        .authority(outgoing.authority)
        .path_and_query(path_of(outgoing.target)?)
        .build()?;
    let mut request = Request::builder().method(outgoing.method.as_str()).uri(uri).body(())?;
    *request.headers_mut() = headers_of(outgoing.fields)?;
    if outgoing.wants_trailers {
        request.headers_mut().insert(http::header::TE, HeaderValue::from_static("trailers"));
    }
    Ok(request)
}

/// Some bytes that browsers send unencoded are not taken by `http`: they are percent-encoded, which says the
/// same (RFC 3986 section 2.1).
fn path_of(target: &str) -> Result<PathAndQuery, http::Error> {
    if let Ok(path) = PathAndQuery::try_from(target) {
        return Ok(path);
    }
    let mut encoded = String::with_capacity(target.len() + 16);
    for c in target.chars() {
        match c {
            '<' | '>' | '`' | '"' | '\\' | '^' | '{' | '}' | '|' => {
                encoded.push_str(&format!("%{:02X}", c as u32))
            }
            c => encoded.push(c),
        }
    }
    Ok(PathAndQuery::try_from(encoded)?)
}

/// The fields for `h2`, without Host, which `:authority` stands for.
pub(super) fn headers_of(fields: &Fields) -> Result<HeaderMap, http::Error> {
    let mut headers = HeaderMap::with_capacity(fields.len());
    for (known, name, value) in fields.iter_known() {
        if known != Some(name::HOST) {
            headers.append(HeaderName::from_bytes(name)?, HeaderValue::from_bytes(value)?);
        }
    }
    Ok(headers)
}

/// The fields that `h2` received.
pub(super) fn fields_of(headers: &HeaderMap) -> Result<Fields, FieldError> {
    let bytes = headers.iter().map(|(n, v)| n.as_str().len() + v.len() + 4).sum();
    let mut fields = Fields::with_capacity(headers.len(), bytes);
    for (name, value) in headers {
        fields.append(name.as_str().as_bytes(), value.as_bytes())?;
    }
    Ok(fields)
}

/// The trailers that `h2` received, without what does not belong there (RFC 9110 section 6.5.1).
pub(super) fn trailers_of(headers: &HeaderMap) -> Result<Fields, FieldError> {
    let mut fields = fields_of(headers)?;
    drop_forbidden_trailers(&mut fields);
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailers_frame_route_and_set_nothing() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("x-sum", "1"), ("set-cookie", "a=1"), ("age", "3"), ("content-length", "9")] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        assert_eq!(trailers_of(&headers).unwrap(), Fields::from_wire(b"x-sum: 1\r\n").unwrap());
    }
}
