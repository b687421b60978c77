//! Responses that the gateway makes itself.

use super::forwarded::Identity;
use super::request_id::RequestId;
use selvedge_cache::semantics::{ProxyError, ProxyStatus};
use selvedge_exchange::{Body, Response};
use selvedge_types::resource::Respond;
use selvedge_types::{FieldError, Status, name};

/// Why a request is not passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// No site answers to the host: 421.
    UnknownHost,
    /// The client's address may not ask: 403.
    Address,
    /// Credentials are missing or wrong: 401.
    Credentials,
    /// Too many requests came: 429, or as configured.
    Rate,
    /// The content is too large: 413.
    BodyTooLarge,
    /// As many requests as may be are being answered: 503.
    Busy,
    /// It came through here before: 508.
    Loop,
    /// The method is one for another kind of server: 405.
    Method,
    /// Its path can be read in more than one way: 400.
    Path,
    /// It expects what cannot be met: 417.
    Expectation,
    /// No origin is configured for it: 404.
    NoOrigin,
    /// The header section became too large by what was added: 431.
    HeaderTooLarge,
}

impl Refusal {
    /// A word for it, in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Refusal::UnknownHost => "unknown_host",
            Refusal::Address => "address",
            Refusal::Credentials => "credentials",
            Refusal::Rate => "rate",
            Refusal::BodyTooLarge => "body_too_large",
            Refusal::Busy => "busy",
            Refusal::Loop => "loop",
            Refusal::Method => "method",
            Refusal::Path => "path",
            Refusal::Expectation => "expectation",
            Refusal::NoOrigin => "no_origin",
            Refusal::HeaderTooLarge => "header_too_large",
        }
    }

    const fn code(self) -> u16 {
        match self {
            Refusal::UnknownHost => 421,
            Refusal::Address => 403,
            Refusal::Credentials => 401,
            Refusal::Rate => 429,
            Refusal::BodyTooLarge => 413,
            Refusal::Busy => 503,
            Refusal::Loop => 508,
            Refusal::Method => 405,
            Refusal::Path => 400,
            Refusal::Expectation => 417,
            Refusal::NoOrigin => 404,
            Refusal::HeaderTooLarge => 431,
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Refusal::UnknownHost => "No site answers to this host here.",
            Refusal::Address => "This address may not ask for it.",
            Refusal::Credentials => "Credentials are needed.",
            Refusal::Rate => "Too many requests. Try again later.",
            Refusal::BodyTooLarge => "The request's content is too large.",
            Refusal::Busy => "Too many requests are being answered. Try again soon.",
            Refusal::Loop => "The request came through here before.",
            Refusal::Method => "This method is not possible here.",
            Refusal::Path => "The path has a dot segment that servers read differently.",
            Refusal::Expectation => "The expectation cannot be met.",
            Refusal::NoOrigin => "Nothing answers here.",
            Refusal::HeaderTooLarge => "The request's header is too large.",
        }
    }

    const fn proxy_error(self) -> ProxyError {
        match self {
            Refusal::UnknownHost | Refusal::NoOrigin => ProxyError::DestinationNotFound,
            Refusal::Address | Refusal::Credentials | Refusal::Rate | Refusal::Busy => {
                ProxyError::HttpRequestDenied
            }
            Refusal::Loop => ProxyError::ProxyLoopDetected,
            Refusal::BodyTooLarge
            | Refusal::Method
            | Refusal::Path
            | Refusal::Expectation
            | Refusal::HeaderTooLarge => ProxyError::HttpRequestError,
        }
    }

    /// The response that says so, with Proxy-Status (RFC 9209) and the request's id.
    pub(super) fn response(self, identity: &Identity, id: RequestId) -> Response {
        let status = Status::new(self.code()).unwrap_or(Status::BAD_REQUEST);
        let mut response = Response::text(status, format!("{}\n", self.text()));
        let mut member = Vec::new();
        let error = self.proxy_error();
        ProxyStatus { error, received_status: None, details: None }.write(&identity.name, &mut member);
        let fields = &mut response.fields;
        let told = fields
            .add(name::PROXY_STATUS, member)
            .and_then(|()| fields.add(name::CACHE_CONTROL, "no-store"))
            .and_then(|()| fields.add(name::X_REQUEST_ID, id.to_string()))
            .and_then(|()| if self == Refusal::Method { fields.add(name::ALLOW, ALLOW) } else { Ok(()) });
        // These values are always valid; without them the status still says enough.
        debug_assert_eq!(told, Ok(()));
        response
    }
}

const ALLOW: &str = "GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH";

/// What the gateway itself can do, for OPTIONS that ends here (RFC 9110 section 9.3.7).
pub(super) fn options() -> Result<Response, FieldError> {
    let mut response = Response::new(Status::new(204).unwrap_or(Status::OK));
    response.fields.add(name::ALLOW, ALLOW)?;
    Ok(response)
}

/// A redirect (RFC 9110 section 15.4).
pub(super) fn redirect(status: u16, location: &str) -> Result<Response, FieldError> {
    let status = Status::new(status).unwrap_or(Status::NOT_FOUND);
    let mut response = Response::text(status, format!("See {location}\n"));
    response.fields.add(name::LOCATION, on_this_host(location).as_bytes())?;
    Ok(response)
}

/// A path that begins with two slashes would lead to another host; one is enough.
fn on_this_host(location: &str) -> std::borrow::Cow<'_, str> {
    match location.strip_prefix('/') {
        Some(rest) if rest.starts_with(['/', '\\']) => {
            format!("/{}", rest.trim_start_matches(['/', '\\'])).into()
        }
        _ => location.into(),
    }
}

/// A fixed response.
pub(super) fn fixed(respond: &Respond) -> Result<Response, FieldError> {
    let mut response = Response::new(Status::new(respond.status).unwrap_or(Status::OK));
    response.fields.add(name::CONTENT_TYPE, &respond.content_type)?;
    response.body = Body::from(bytes::Bytes::from(respond.body.clone()));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_to_a_path_stays_on_its_host() {
        for (location, expected) in [
            ("/a", "/a"),
            ("//evil.example/x", "/evil.example/x"),
            ("/\\evil.example", "/evil.example"),
            ("///x", "/x"),
            ("https://a.example//x", "https://a.example//x"),
        ] {
            let response = redirect(302, location).unwrap();
            assert_eq!(response.fields.get_str(name::LOCATION), Some(expected));
        }
        assert!(redirect(302, "/a\r\nX: 1").is_err());
    }

    #[test]
    fn a_refusal_says_why() {
        let identity = Identity { name: "selvedge".into(), cluster: "c1".into() };
        let id = super::super::request_id::RequestIds::new(1, 2).draw();
        let response = Refusal::Loop.response(&identity, id);
        assert_eq!(response.status.code(), 508);
        assert_eq!(response.fields.get_str(name::PROXY_STATUS), Some("selvedge; error=proxy_loop_detected"));
        assert_eq!(response.fields.get_str(name::X_REQUEST_ID), Some(id.to_string().as_str()));
    }
}
