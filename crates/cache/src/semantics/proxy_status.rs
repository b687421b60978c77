//! The Proxy-Status field (RFC 9209), on errors that are made here because the origin could not be used.

use super::decimal::push_decimal;
use super::node_name::{push_node_name, push_string};
use selvedge_types::Status;

macro_rules! errors {
    ($($variant:ident $token:literal $status:literal $about:literal;)*) => {
        /// What went wrong between this proxy and the origin, or in it (RFC 9209 section 2.3).
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum ProxyError {
            $(#[doc = $about] $variant,)*
        }

        impl ProxyError {
            /// Every error.
            pub const ALL: &[ProxyError] = &[$(ProxyError::$variant),*];

            /// The token on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(ProxyError::$variant => $token,)* }
            }

            /// The status that the RFC recommends for it.
            pub const fn status(self) -> Status {
                let code: Option<Status> = match self { $(ProxyError::$variant => Status::new($status),)* };
                match code {
                    Some(status) => status,
                    None => Status::BAD_GATEWAY,
                }
            }

            /// The error in words.
            pub const fn describe(self) -> &'static str {
                match self { $(ProxyError::$variant => $about,)* }
            }
        }
    };
}

errors! {
    DnsTimeout "dns_timeout" 504 "The origin's name was not resolved in time.";
    DnsError "dns_error" 502 "The origin's name could not be resolved.";
    DestinationNotFound "destination_not_found" 500 "No origin is configured for the request.";
    DestinationUnavailable "destination_unavailable" 503 "The origin is taken for down.";
    DestinationIpProhibited "destination_ip_prohibited" 502 "The origin's address may not be connected to.";
    DestinationIpUnroutable "destination_ip_unroutable" 502 "There is no route to the origin.";
    ConnectionRefused "connection_refused" 502 "The origin refused the connection.";
    ConnectionTerminated "connection_terminated" 502 "The connection ended before the response was complete.";
    ConnectionTimeout "connection_timeout" 504 "The connection was not made in time.";
    ConnectionReadTimeout "connection_read_timeout" 504 "The origin did not send in time.";
    ConnectionWriteTimeout "connection_write_timeout" 504 "The origin did not take data in time.";
    ConnectionLimitReached "connection_limit_reached" 503 "The limit on connections to the origin is reached.";
    TlsProtocolError "tls_protocol_error" 502 "TLS with the origin failed.";
    TlsCertificateError "tls_certificate_error" 502 "The origin's certificate could not be verified.";
    TlsAlertReceived "tls_alert_received" 502 "The origin sent a TLS alert.";
    HttpRequestError "http_request_error" 400 "The request is in error and was not sent on.";
    HttpRequestDenied "http_request_denied" 403 "The request is denied by policy.";
    HttpResponseIncomplete "http_response_incomplete" 502 "The origin's response was cut off.";
    HttpResponseHeaderSectionSize "http_response_header_section_size" 502 "The origin's header section is too large.";
    HttpResponseHeaderSize "http_response_header_size" 502 "A header line of the origin is too large.";
    HttpResponseBodySize "http_response_body_size" 502 "The origin's body is too large.";
    HttpResponseTrailerSectionSize "http_response_trailer_section_size" 502 "The origin's trailer section is too large.";
    HttpResponseTrailerSize "http_response_trailer_size" 502 "A trailer line of the origin is too large.";
    HttpResponseTransferCoding "http_response_transfer_coding" 502 "The origin's transfer coding could not be decoded.";
    HttpResponseContentCoding "http_response_content_coding" 502 "The origin's content coding could not be decoded.";
    HttpResponseTimeout "http_response_timeout" 504 "The origin did not complete its response in time.";
    HttpUpgradeFailed "http_upgrade_failed" 502 "Switching protocols with the origin failed.";
    HttpProtocolError "http_protocol_error" 502 "The origin broke the protocol.";
    ProxyInternalResponse "proxy_internal_response" 502 "The response was made here.";
    ProxyInternalError "proxy_internal_error" 500 "This proxy failed.";
    ProxyConfigurationError "proxy_configuration_error" 500 "This proxy is configured wrongly.";
    ProxyLoopDetected "proxy_loop_detected" 502 "The request came through here before.";
}

/// What is said about a response that was made here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProxyStatus<'a> {
    /// What went wrong.
    pub error: ProxyError,
    /// The origin's status, if it sent one.
    pub received_status: Option<Status>,
    /// More in words; holds no secrets, clients see it.
    pub details: Option<&'a str>,
}

impl ProxyStatus<'_> {
    /// Appends the list member to put into the response, `node` naming this proxy.
    pub fn write(&self, node: &str, out: &mut Vec<u8>) {
        push_node_name(out, node);
        out.extend_from_slice(b"; error=");
        out.extend_from_slice(self.error.as_str().as_bytes());
        if let Some(status) = self.received_status {
            out.extend_from_slice(b"; received-status=");
            push_decimal(out, u64::from(status.code()));
        }
        if let Some(details) = self.details {
            out.extend_from_slice(b"; details=");
            push_string(out, details);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_written() {
        let mut status =
            ProxyStatus { error: ProxyError::ConnectionTimeout, received_status: None, details: None };
        let mut out = Vec::new();
        status.write("edge 1", &mut out);
        assert_eq!(out, br#""edge 1"; error=connection_timeout"#);
        status.received_status = Some(Status::OK);
        status.details = Some("after 3 s");
        out.clear();
        status.write("selvedge", &mut out);
        assert_eq!(out, br#"selvedge; error=connection_timeout; received-status=200; details="after 3 s""#);
    }

    #[test]
    fn every_error_has_a_token_and_an_error_status() {
        for error in ProxyError::ALL {
            assert!(sfv::TokenRef::from_str(error.as_str()).is_ok(), "{error:?}");
            assert!(error.status().code() >= 400, "{error:?}");
        }
    }
}
