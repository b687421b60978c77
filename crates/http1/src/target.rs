//! Request targets (RFC 9112 section 3.2).

use crate::authority::Authority;
use crate::error::RequestError;
use selvedge_types::{Method, Scheme};

/// The form a request target came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetForm {
    /// `/path?query`
    Origin,
    /// `http://host/path?query`, with its scheme
    Absolute(Scheme),
    /// `host:port`, for CONNECT alone
    Authority,
    /// `*`, for OPTIONS alone
    Asterisk,
}

/// A checked request target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The form it came in.
    pub form: TargetForm,
    /// Path and query as they came, percent-encoding untouched: starts with `/`, or is `*`, or is empty for
    /// CONNECT. Holds visible ASCII alone, and no `#`.
    pub path_and_query: Box<str>,
    /// The authority, where the form has one.
    pub authority: Option<Authority>,
}

impl Target {
    /// Checks a target against its method.
    pub fn parse(method: &Method, text: &[u8]) -> Result<Target, RequestError> {
        if !text.iter().all(|b| is_target_byte(*b)) {
            return Err(RequestError::Target);
        }
        let text = std::str::from_utf8(text).map_err(|_| RequestError::Target)?;
        if *method == Method::Connect {
            return Self::parse_connect(text);
        }
        if text.starts_with('/') {
            let form = TargetForm::Origin;
            return Ok(Target { form, path_and_query: text.into(), authority: None });
        }
        if text == "*" && *method == Method::Options {
            let form = TargetForm::Asterisk;
            return Ok(Target { form, path_and_query: text.into(), authority: None });
        }
        Self::parse_absolute(method, text)
    }

    fn parse_connect(text: &str) -> Result<Target, RequestError> {
        let authority = Authority::parse(text.as_bytes()).ok_or(RequestError::Target)?;
        if authority.port().is_none() {
            return Err(RequestError::Target);
        }
        let form = TargetForm::Authority;
        Ok(Target { form, path_and_query: "".into(), authority: Some(authority) })
    }

    fn parse_absolute(method: &Method, text: &str) -> Result<Target, RequestError> {
        let (scheme, rest) = text.split_once("://").ok_or(RequestError::Target)?;
        let scheme = match scheme {
            s if s.eq_ignore_ascii_case("http") => Scheme::Http,
            s if s.eq_ignore_ascii_case("https") => Scheme::Https,
            _ => return Err(RequestError::Target),
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end).ok_or(RequestError::Target)?;
        let authority = Authority::parse(authority.as_bytes()).ok_or(RequestError::Target)?;
        let path_and_query = match path {
            "" if *method == Method::Options => "*".into(),
            "" => "/".into(),
            query if query.starts_with('?') => format!("/{query}").into(),
            path => path.into(),
        };
        Ok(Target { form: TargetForm::Absolute(scheme), path_and_query, authority: Some(authority) })
    }
}

/// Visible ASCII without `#`: wider than RFC 3986, because browsers send `|`, `"` and the like unencoded.
fn is_target_byte(b: u8) -> bool {
    b.is_ascii_graphic() && b != b'#'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_split_into_authority_and_path() {
        use TargetForm::*;
        for (method, text, form, path, authority) in [
            (Method::Get, "/", Origin, "/", None),
            (Method::Get, "/a?b=%zz|\"", Origin, "/a?b=%zz|\"", None),
            (Method::Get, "//a", Origin, "//a", None),
            (Method::Get, "http://A.example/x?y", Absolute(Scheme::Http), "/x?y", Some("a.example")),
            (Method::Get, "HTTPS://a.example:1", Absolute(Scheme::Https), "/", Some("a.example:1")),
            (Method::Get, "http://a.example?q", Absolute(Scheme::Http), "/?q", Some("a.example")),
            (Method::Options, "*", Asterisk, "*", None),
            (Method::Options, "http://a.example", Absolute(Scheme::Http), "*", Some("a.example")),
            (Method::Connect, "a.example:443", Authority, "", Some("a.example:443")),
        ] {
            let target = Target::parse(&method, text.as_bytes()).unwrap();
            assert_eq!((target.form, &*target.path_and_query), (form, path), "{text}");
            assert_eq!(target.authority.as_ref().map(super::Authority::as_str), authority, "{text}");
        }
    }

    #[test]
    fn what_fits_no_form_is_refused() {
        for (method, text) in [
            (Method::Get, "*"),
            (Method::Get, "a"),
            (Method::Get, "/a#b"),
            (Method::Get, "/\u{e4}"),
            (Method::Get, "ftp://a.example/"),
            (Method::Get, "http:///"),
            (Method::Get, "http://user@a.example/"),
            (Method::Get, "a.example:443"),
            (Method::Connect, "/"),
            (Method::Connect, "a.example"),
            (Method::Connect, "a.example:"),
            (Method::Connect, "http://a.example:1/"),
        ] {
            assert_eq!(Target::parse(&method, text.as_bytes()), Err(RequestError::Target), "{text}");
        }
    }
}
