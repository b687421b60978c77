//! Why a fetch failed: for which reason, on which side, and whether trying again could help.

use selvedge_types::Status;
use std::fmt;

/// The reason, as one of the error types of Proxy-Status (RFC 9209 section 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FetchErrorKind {
    /// Looking the origin's name up took too long.
    DnsTimeout,
    /// The origin's name could not be looked up, or has no address.
    DnsError,
    /// The group has no endpoint.
    DestinationUnavailable,
    /// There is no route to the address.
    DestinationIpUnroutable,
    /// The origin refused the connection.
    ConnectionRefused,
    /// The connection ended before any byte of an answer.
    ConnectionTerminated,
    /// Connecting, with TLS, took too long.
    ConnectionTimeout,
    /// The origin took none of the request's bytes for too long.
    ConnectionWriteTimeout,
    /// As many requests wait for a connection, or wait as long, as is allowed.
    ConnectionLimitReached,
    /// TLS failed.
    TlsProtocolError,
    /// The origin's certificate is not valid for it.
    TlsCertificateError,
    /// The origin sent a TLS alert.
    TlsAlertReceived,
    /// The request's own content broke off or is malformed.
    HttpRequestError,
    /// The connection ended within the head of the answer.
    HttpResponseIncomplete,
    /// The head of the answer is larger than is allowed.
    HttpResponseHeaderSectionSize,
    /// The head of the answer took too long.
    HttpResponseTimeout,
    /// The origin switched protocols unasked, or could not.
    HttpUpgradeFailed,
    /// The answer breaks HTTP.
    HttpProtocolError,
    /// The request cannot be sent as it is.
    ProxyInternalError,
}

impl FetchErrorKind {
    /// The token in Proxy-Status (RFC 9209 section 2.3).
    pub fn proxy_status(self) -> &'static str {
        use FetchErrorKind::*;
        match self {
            DnsTimeout => "dns_timeout",
            DnsError => "dns_error",
            DestinationUnavailable => "destination_unavailable",
            DestinationIpUnroutable => "destination_ip_unroutable",
            ConnectionRefused => "connection_refused",
            ConnectionTerminated => "connection_terminated",
            ConnectionTimeout => "connection_timeout",
            ConnectionWriteTimeout => "connection_write_timeout",
            ConnectionLimitReached => "connection_limit_reached",
            TlsProtocolError => "tls_protocol_error",
            TlsCertificateError => "tls_certificate_error",
            TlsAlertReceived => "tls_alert_received",
            HttpRequestError => "http_request_error",
            HttpResponseIncomplete => "http_response_incomplete",
            HttpResponseHeaderSectionSize => "http_response_header_section_size",
            HttpResponseTimeout => "http_response_timeout",
            HttpUpgradeFailed => "http_upgrade_failed",
            HttpProtocolError => "http_protocol_error",
            ProxyInternalError => "proxy_internal_error",
        }
    }

    /// The status to answer with (RFC 9209 section 2.3 recommends them).
    pub fn status(self) -> Status {
        use FetchErrorKind::*;
        match self {
            DnsTimeout | ConnectionTimeout | ConnectionWriteTimeout | HttpResponseTimeout => {
                Status::GATEWAY_TIMEOUT
            }
            DestinationUnavailable | ConnectionLimitReached => Status::SERVICE_UNAVAILABLE,
            HttpRequestError => Status::BAD_REQUEST,
            ProxyInternalError => Status::new(500).unwrap_or(Status::BAD_GATEWAY),
            _ => Status::BAD_GATEWAY,
        }
    }

    /// Whose fault it is.
    pub fn side(self) -> Side {
        use FetchErrorKind::*;
        match self {
            HttpRequestError => Side::Client,
            ConnectionLimitReached | ProxyInternalError => Side::Gateway,
            _ => Side::Origin,
        }
    }
}

/// Where an error has its cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// With the client that sent the request.
    Client,
    /// Here.
    Gateway,
    /// With the origin, or on the way to it.
    Origin,
}

/// How far a request had come when it failed, which decides whether it may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The origin cannot have acted on it: it was not sent, or the origin said that it did not look at it.
    Unsent,
    /// Sent over a connection used before, which turned out to be closed.
    Stale,
    /// Sent, but there was no answer.
    Unanswered,
    /// Sent, and the answer did not come in time or was malformed.
    Answered,
}

/// Why a fetch failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchError {
    /// The reason.
    pub kind: FetchErrorKind,
    /// How far the request came.
    pub stage: Stage,
    /// The endpoint that the last try went to, if one was chosen.
    pub endpoint: Option<String>,
    /// What happened, in words.
    pub detail: String,
}

impl FetchError {
    pub(super) fn new(kind: FetchErrorKind, stage: Stage, detail: impl Into<String>) -> Self {
        FetchError { kind, stage, endpoint: None, detail: detail.into() }
    }

    /// Whether the same request might succeed a little later. What was tried again already was not enough.
    pub fn may_pass(&self) -> bool {
        self.kind.side() != Side::Client && self.kind != FetchErrorKind::ProxyInternalError
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.endpoint {
            Some(endpoint) => write!(f, "origin {endpoint}: {}", self.detail),
            None => f.write_str(&self.detail),
        }
    }
}

impl std::error::Error for FetchError {}
