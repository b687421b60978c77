//! HTTP/2 messages to ours and back (RFC 9113 section 8), as strictly as HTTP/1.1's.

use super::connection::{Front, Link};
use super::counters::Cause;
use super::date::with_date;
use super::http1::error_response;
use bytes::Bytes;
use h2::RecvStream;
use http::header::{HeaderName, HeaderValue};
use selvedge_exchange::{Body, BodyError, BodyStream, Frame, Request, Response};
use selvedge_http1::{Authority, Target, is_look_alike};
use selvedge_rt::Deadline;
use selvedge_types::{Fields, Method, Name, Status, Version, name};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::time::Instant;

/// Why a request is not given to the handler: what it is answered with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refusal {
    code: u16,
    text: &'static str,
}

impl Refusal {
    pub(crate) fn cause(self) -> Cause {
        match self.code {
            413 => Cause::ContentTooLarge,
            421 => Cause::Misdirected,
            _ => Cause::BadRequest,
        }
    }

    pub(crate) fn response(self) -> Response {
        error_response(Status::new(self.code).unwrap_or(Status::BAD_REQUEST), self.text)
    }
}

fn refusal(code: u16, text: &'static str) -> Refusal {
    Refusal { code, text }
}

/// Whether someone wants the content of a client that waits for 100 before it sends it
/// (RFC 9110 section 10.1.1).
#[derive(Debug, Default)]
pub(crate) struct Consent(Mutex<Wanted>);

#[derive(Debug, Default)]
struct Wanted {
    is_wanted: bool,
    waiter: Option<Waker>,
}

impl Consent {
    /// Ready once the content is wanted.
    pub(crate) fn poll_wanted(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut wanted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if wanted.is_wanted {
            return Poll::Ready(());
        }
        wanted.waiter = Some(cx.waker().clone());
        Poll::Pending
    }

    fn give(&self) {
        let mut wanted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        wanted.is_wanted = true;
        if let Some(waiter) = wanted.waiter.take() {
            drop(wanted);
            waiter.wake();
        }
    }
}

/// Checks a request; the request, and the consent that its client waits for.
pub(crate) fn read_request(
    parts: &http::request::Parts,
    content: RecvStream,
    link: &Link,
) -> Result<(Request, Option<Arc<Consent>>), Refusal> {
    let limits = &link.options.heads;
    let method = Method::parse(parts.method.as_str().as_bytes()).ok_or_else(|| refusal(400, "bad method"))?;
    if method == Method::Connect {
        return Err(refusal(405, "this is no forward proxy"));
    }
    if parts.headers.len() > limits.field_lines_max {
        return Err(refusal(431, "the request has too many fields"));
    }
    read_scheme(&parts.uri)?;
    let authority = read_authority(parts)?;
    if link.certificate.as_ref().is_some_and(|ours| !ours.covers(authority.host())) {
        return Err(refusal(421, "the connection's certificate is not for this host"));
    }
    let target = read_target(&method, &parts.uri, limits.target_bytes_max)?;
    let Checked(fields) = read_fields(&parts.headers)?;
    let expects_continue = !content.is_end_stream() && fields.has_member(name::EXPECT, "100-continue");
    let consent = expects_continue.then(Arc::default);
    let body = read_body(&method, &fields, content, consent.clone(), link)?;
    let request = Request {
        method,
        scheme: link.scheme,
        authority: authority.into_string(),
        target,
        version: Version::Http2,
        fields,
        body,
        client: link.client,
        received: link.front.clock.wall(),
    };
    Ok((request, consent))
}

/// `:authority`, else Host; the same if both are there (RFC 9113 section 8.3.1).
fn read_authority(parts: &http::request::Parts) -> Result<Authority, Refusal> {
    let parse = |text: &[u8]| Authority::parse(text).ok_or_else(|| refusal(400, "the authority is invalid"));
    let named = parts.uri.authority().map(|named| parse(named.as_str().as_bytes())).transpose()?;
    let mut hosts = parts.headers.get_all(http::header::HOST).iter();
    let host = hosts.next().map(|host| parse(host.as_bytes())).transpose()?;
    match (named, host, hosts.next()) {
        (Some(named), Some(host), None) if named == host => Ok(named),
        (Some(one), None, None) | (None, Some(one), None) => Ok(one),
        _ => Err(refusal(400, "the authority is missing, or Host contradicts it")),
    }
}

/// RFC 9113 section 8.3.1 allows any scheme. Whether it is that of the connection is not asked: what stands before us
/// may have ended TLS.
fn read_scheme(uri: &http::Uri) -> Result<(), Refusal> {
    match uri.scheme_str() {
        None | Some("http" | "https") => Ok(()),
        Some(_) => Err(refusal(400, "the scheme is neither http nor https")),
    }
}

fn read_target(method: &Method, uri: &http::Uri, bytes_max: usize) -> Result<String, Refusal> {
    // RFC 9113 section 8.3.1: without a path it is malformed.
    let given = uri.path_and_query().filter(|_| !uri.path().is_empty());
    let text = given.ok_or_else(|| refusal(400, "the path is missing"))?.as_str();
    if text.len() > bytes_max {
        return Err(refusal(414, "the request target is too long"));
    }
    let target = Target::parse(method, text.as_bytes()).ok().filter(|target| target.authority.is_none());
    let target = target.ok_or_else(|| refusal(400, "the request target is malformed"))?;
    Ok(target.path_and_query.into())
}

/// Fields that passed the check.
struct Checked(Fields);

fn read_fields(headers: &http::HeaderMap) -> Result<Checked, Refusal> {
    let malformed = |_| refusal(400, "a field is malformed");
    // RFC 9110 section 8.6 allows to fold equal ones; as in HTTP/1.1, whoever sends several is not trusted to count.
    if headers.get_all(http::header::CONTENT_LENGTH).iter().nth(1).is_some() {
        return Err(refusal(400, "Content-Length is given more than once"));
    }
    let mut fields = Fields::with_capacity(headers.len() + 4, 512);
    for (name, value) in headers {
        let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
        if is_look_alike(name) && !name.eq_ignore_ascii_case(b"content-length") {
            return Err(refusal(400, "a field name resembles one that frames the message"));
        }
        // RFC 9113 section 8.2.1: no white space around a value.
        if selvedge_types::fields::trim(value).len() != value.len() {
            return Err(refusal(400, "a field is malformed"));
        }
        if !matches!(Name::find(name), Some(name::HOST | name::COOKIE)) {
            fields.append(name, value).map_err(malformed)?;
        }
    }
    // RFC 9113 section 8.2.3: a cookie may come in pieces.
    let mut crumbs = headers.get_all(http::header::COOKIE).iter().map(HeaderValue::as_bytes);
    if let Some(first) = crumbs.next() {
        let cookie = crumbs.fold(first.to_vec(), |mut all, crumb| {
            all.extend_from_slice(b"; ");
            all.extend_from_slice(crumb);
            all
        });
        fields.add(name::COOKIE, cookie).map_err(malformed)?;
    }
    Ok(Checked(fields))
}

fn read_body(
    method: &Method,
    fields: &Fields,
    content: RecvStream,
    consent: Option<Arc<Consent>>,
    link: &Link,
) -> Result<Body, Refusal> {
    if content.is_end_stream() {
        return Ok(Body::Empty);
    }
    if matches!(method, Method::Get | Method::Head | Method::Trace) {
        return Err(refusal(400, "the method takes no content"));
    }
    let limit = link.options.connections.request_content_bytes_max;
    let length = fields.get_str(name::CONTENT_LENGTH).and_then(|text| text.parse().ok());
    if length.is_some_and(|length: u64| length > limit) {
        return Err(refusal(413, "the content is larger than is allowed"));
    }
    let patience = link.options.timeouts.body_read;
    let body = Http2Body {
        content,
        consent,
        length,
        taken: 0,
        left: limit,
        limit,
        patience,
        timer: None,
        is_over: false,
    };
    Ok(Body::Stream(Box::new(body)))
}

/// A request's content. What was taken is given back to the client's window at the next call, so that a slow
/// reader slows the client down.
struct Http2Body {
    content: RecvStream,
    /// Still to be given.
    consent: Option<Arc<Consent>>,
    length: Option<u64>,
    taken: usize,
    left: u64,
    limit: u64,
    patience: Duration,
    timer: Option<Deadline>,
    is_over: bool,
}

impl Http2Body {
    fn poll_inner(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        if let Some(consent) = self.consent.take() {
            consent.give();
        }
        // Fails only on a stream that is gone, which the next read says.
        let _ = self.content.flow_control().release_capacity(std::mem::take(&mut self.taken));
        loop {
            match ready!(self.content.poll_data(cx)) {
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(data)) => {
                    self.taken = data.len();
                    let left = self.left.checked_sub(data.len() as u64);
                    let Some(left) = left else {
                        return Poll::Ready(Some(Err(BodyError::TooLarge { limit: self.limit })));
                    };
                    self.left = left;
                    return Poll::Ready(Some(Ok(Frame::Data(data))));
                }
                Some(Err(_)) => return Poll::Ready(Some(Err(BodyError::Incomplete))),
                None => break,
            }
        }
        self.is_over = true;
        Poll::Ready(match ready!(self.content.poll_trailers(cx)) {
            Ok(Some(trailers)) => Some(read_trailers(&trailers).map(Frame::Trailers)),
            Ok(None) => None,
            Err(_) => Some(Err(BodyError::Incomplete)),
        })
    }
}

fn read_trailers(trailers: &http::HeaderMap) -> Result<Fields, BodyError> {
    let malformed = BodyError::Malformed("a trailer field is malformed");
    match read_fields(trailers) {
        Ok(Checked(mut fields)) => {
            selvedge_http1::drop_forbidden_trailers(&mut fields);
            Ok(fields)
        }
        Err(_) => Err(malformed),
    }
}

impl BodyStream for Http2Body {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        match self.poll_inner(cx) {
            Poll::Ready(frame) => {
                self.timer = None;
                Poll::Ready(frame)
            }
            Poll::Pending => {
                let patience = self.patience;
                let timer = self.timer.get_or_insert_with(|| Deadline::at(Instant::now() + patience));
                timer.poll_passed(cx).map(|()| Some(Err(BodyError::TimedOut)))
            }
        }
    }

    fn length(&self) -> Option<u64> {
        self.length
    }
}

/// A response's head. `length` is that of its content, if it has some and it is known.
pub(crate) fn write_head(response: &Response, length: Option<u64>, front: &Front) -> http::Response<()> {
    let mut head = http::Response::new(());
    *head.status_mut() = status_of(response.status);
    let headers = head.headers_mut();
    let keeps_length = response.status == Status::NOT_MODIFIED || length.is_none();
    copy_fields(&response.fields, headers, |known| known == name::CONTENT_LENGTH && !keeps_length);
    if response.status.code() == 204 {
        headers.remove(http::header::CONTENT_LENGTH);
    }
    if let Some(length) = length {
        headers.insert(http::header::CONTENT_LENGTH, length.into());
    }
    if !headers.contains_key(http::header::DATE) {
        let date = with_date(front.clock.wall(), |date| date.and_then(|d| HeaderValue::from_str(d).ok()));
        headers.extend(date.map(|date| (http::header::DATE, date)));
    }
    head
}

/// An interim response's head, without content.
pub(crate) fn write_interim(status: Status, fields: &Fields) -> http::Response<()> {
    let mut head = http::Response::new(());
    *head.status_mut() = status_of(status);
    copy_fields(fields, head.headers_mut(), |known| known == name::CONTENT_LENGTH);
    head
}

/// Trailers as HTTP/2 sends them.
pub(crate) fn write_trailers(fields: &Fields) -> http::HeaderMap {
    let mut allowed = fields.clone();
    selvedge_http1::drop_forbidden_trailers(&mut allowed);
    let mut headers = http::HeaderMap::new();
    copy_fields(&allowed, &mut headers, |_| false);
    headers
}

fn status_of(status: Status) -> http::StatusCode {
    http::StatusCode::from_u16(status.code()).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR)
}

/// Copies fields, without those of an HTTP/1.1 connection (RFC 9113 section 8.2.2) and those that `drops` names.
/// All values share one buffer.
fn copy_fields(fields: &Fields, headers: &mut http::HeaderMap, drops: impl Fn(Name) -> bool) {
    let mut wire = Vec::with_capacity(fields.wire_len());
    fields.write_wire(&mut wire);
    let wire = Bytes::from(wire);
    headers.reserve(fields.len() + 2);
    let mut at = 0;
    for (known, name, value) in fields.iter_known() {
        let start = at + name.len() + 2;
        at = start + value.len() + 2;
        if known.is_some_and(|known| is_of_connection(known) || drops(known)) {
            continue;
        }
        let value = HeaderValue::from_maybe_shared(wire.slice(start..at - 2));
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), value) {
            headers.append(name, value);
        }
    }
}

fn is_of_connection(known: Name) -> bool {
    use name::*;
    matches!(known, CONNECTION | KEEP_ALIVE | PROXY_CONNECTION | TRANSFER_ENCODING | UPGRADE | TE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;
    use proptest::prelude::*;

    fn parts(uri: &str, headers: HeaderMap) -> Option<http::request::Parts> {
        let mut parts = http::Request::builder().uri(uri).body(()).ok()?.into_parts().0;
        parts.headers = headers;
        Some(parts)
    }

    proptest! {
        /// What HTTP/2 lets pass can go on as HTTP/1.1: nothing in it ends a line, frames the message or is a second
        /// authority.
        #[test]
        fn what_is_taken_can_be_written_as_http1(
            fields in prop::collection::vec(("[a-zA-Z_-]{1,18}", prop::collection::vec(any::<u8>(), 0..12)), 0..6),
            named in "[a-zA-Z0-9.:@/ -]{0,12}",
            target in "[ -~]{0,20}",
        ) {
            let mut headers = HeaderMap::new();
            for (name, value) in &fields {
                if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_bytes(value)) {
                    headers.append(name, value);
                }
            }
            let Some(parts) = parts(&format!("http://{named}/{target}"), headers) else { return Ok(()) };
            if let Ok(Checked(taken)) = read_fields(&parts.headers) {
                for (name, value) in taken.iter() {
                    prop_assert!(!name.is_empty());
                    prop_assert!(!value.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)), "{value:?}");
                }
                prop_assert!(!taken.contains(name::HOST) && !taken.contains(name::TRANSFER_ENCODING));
            }
            if let Ok(target) = read_target(&Method::Get, &parts.uri, 1000) {
                prop_assert!(target.starts_with('/') && target.bytes().all(|b| b.is_ascii_graphic()), "{target:?}");
            }
            if let Ok(authority) = read_authority(&parts) {
                let text = authority.into_string();
                prop_assert!(!text.is_empty() && !text.contains(['@', '/', ' ']), "{text:?}");
            }
        }
    }
}
