//! What QUIC's and iroh's errors mean for a link.

use super::registry::Said;
use iroh::endpoint::{
    ConnectError, ConnectWithOptsError, ConnectingError, ConnectionError, ReadError, TransportErrorCode,
    VarInt, WriteError,
};
use selvedge_rt::links::{Code, LinkError};

/// TLS's alert `no_application_protocol` (RFC 7301, section 3.2).
const NO_APPLICATION_PROTOCOL: u8 = 120;

pub(super) fn code(number: VarInt) -> Code {
    Code(u32::try_from(number.into_inner()).unwrap_or(u32::MAX))
}

/// Why a link is over; `said` is what this end said.
pub(super) fn link_error(error: &ConnectionError, said: Option<&Said>) -> LinkError {
    match error {
        ConnectionError::ApplicationClosed(close) => LinkError::ClosedByPeer(code(close.error_code)),
        // Whatever becomes of a connection that this end closed.
        _ if said.is_some_and(|said| said.get().is_some()) => {
            LinkError::Closed(said.and_then(|said| said.get().copied()).unwrap_or(Code::DONE))
        }
        ConnectionError::LocallyClosed => LinkError::Closed(Code::DONE),
        ConnectionError::ConnectionClosed(close) if close.error_code == refused() => {
            LinkError::Refused(Code::OVERLOADED)
        }
        ConnectionError::ConnectionClosed(close)
            if close.error_code == TransportErrorCode::crypto(NO_APPLICATION_PROTOCOL) =>
        {
            LinkError::NoProtocol
        }
        ConnectionError::VersionMismatch => LinkError::NoProtocol,
        ConnectionError::ConnectionClosed(_)
        | ConnectionError::TransportError(_)
        | ConnectionError::Reset
        | ConnectionError::TimedOut
        | ConnectionError::CidsExhausted => LinkError::Lost,
    }
}

fn refused() -> TransportErrorCode {
    TransportErrorCode::CONNECTION_REFUSED
}

/// Why a link was not made.
pub(super) fn connect_error(error: &ConnectError, addresses: usize) -> LinkError {
    let unreachable = LinkError::Unreachable { addresses };
    let of_link = |error: &ConnectionError| match link_error(error, None) {
        LinkError::ClosedByPeer(code) => LinkError::Refused(code),
        LinkError::Lost => unreachable.clone(),
        other => other,
    };
    match error {
        ConnectError::Connection { source, .. } => of_link(source),
        ConnectError::Connecting { source: ConnectingError::ConnectionError { source, .. }, .. } => {
            of_link(source)
        }
        ConnectError::Connect { source: ConnectWithOptsError::EndpointClosed { .. }, .. } => {
            LinkError::Closed(Code::STOPPING)
        }
        _ => unreachable,
    }
}

pub(super) fn write_error(error: WriteError, said: &Said) -> LinkError {
    match error {
        WriteError::Stopped(number) => LinkError::Stopped(code(number)),
        WriteError::ConnectionLost(error) => link_error(&error, Some(said)),
        WriteError::ClosedStream | WriteError::ZeroRttRejected => LinkError::Ended,
    }
}

pub(super) fn read_error(error: ReadError, said: &Said) -> LinkError {
    match error {
        ReadError::Reset(number) => LinkError::Reset(code(number)),
        ReadError::ConnectionLost(error) => link_error(&error, Some(said)),
        ReadError::ClosedStream | ReadError::ZeroRttRejected => LinkError::Ended,
    }
}
