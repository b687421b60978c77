//! What a line of the access log says.

use crate::site::{About, Refusal, RequestId};
use selvedge_exchange::{Fetched, Request, Response, Sent, Source};
use selvedge_types::{Method, Scheme, UnixMillis, Version, name};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// A request and what became of it.
#[derive(Debug, Clone)]
pub struct Record {
    /// When its head was complete.
    pub received: UnixMillis,
    /// The client's address; the peer's until the request was routed.
    pub client: IpAddr,
    /// The site that answered, `namespace/name`.
    pub site: Option<Arc<str>>,
    /// The request's id, if it was routed.
    pub id: Option<RequestId>,
    /// Why it was refused, if it was.
    pub refusal: Option<Refusal>,
    /// The method.
    pub method: Method,
    /// `https` if the client's connection was encrypted.
    pub scheme: Scheme,
    /// The version it came in.
    pub version: Version,
    /// The response's status.
    pub status: u16,
    /// Where the response came from.
    pub source: Source,
    /// What came of asking an origin, if one was asked.
    pub fetched: Option<Arc<Fetched>>,
    /// What was sent.
    pub sent: Sent,
    /// From the request's head to the response's end.
    pub took: Duration,
    texts: Texts,
}

/// The record's texts in one allocation: authority, target, Referer, User-Agent.
#[derive(Debug, Clone)]
struct Texts {
    all: Box<[u8]>,
    ends: [u32; 4],
    has: [bool; 4],
}

/// How much of each text is kept, in bytes.
const TEXT_MAX: usize = 8 * 1024;

impl Texts {
    fn new(texts: [Option<&[u8]>; 4]) -> Self {
        let texts = texts.map(|text| text.map(|t| &t[..t.len().min(TEXT_MAX)]));
        let mut all = Vec::with_capacity(texts.iter().map(|t| t.map_or(0, <[u8]>::len)).sum());
        let ends = texts.map(|text| {
            all.extend_from_slice(text.unwrap_or_default());
            // At most four times TEXT_MAX.
            all.len() as u32
        });
        Texts { all: all.into(), ends, has: texts.map(|t| t.is_some()) }
    }

    fn get(&self, i: usize) -> Option<&[u8]> {
        let start = i.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        let end = *self.ends.get(i)?;
        self.has.get(i)?.then(|| self.all.get(start as usize..end as usize))?
    }
}

impl Record {
    /// The beginning of a record, from a request as it came.
    pub(super) fn of(request: &Request) -> Self {
        let fields = &request.fields;
        Record {
            received: request.received,
            client: request.client.addr.ip().to_canonical(),
            site: None,
            id: None,
            refusal: None,
            method: request.method.clone(),
            scheme: request.scheme,
            version: request.version,
            status: 0,
            source: Source::Local,
            fetched: None,
            sent: Sent::default(),
            took: Duration::ZERO,
            texts: Texts::new([
                Some(request.authority.as_bytes()),
                Some(request.target.as_bytes()),
                fields.get(name::REFERER),
                fields.get(name::USER_AGENT),
            ]),
        }
    }

    pub(super) fn routed(&mut self, about: &About) {
        self.client = about.client;
        self.site.clone_from(&about.site);
        self.id = Some(about.id);
        self.refusal = about.refusal;
    }

    pub(super) fn answered(&mut self, response: &Response) {
        self.status = response.status.code();
        self.source = response.source;
        self.fetched.clone_from(&response.fetched);
    }

    /// Host and port as asked for.
    pub fn authority(&self) -> &[u8] {
        self.texts.get(0).unwrap_or_default()
    }

    /// Path and query as asked for.
    pub fn target(&self) -> &[u8] {
        self.texts.get(1).unwrap_or_default()
    }

    /// The Referer field.
    pub fn referer(&self) -> Option<&[u8]> {
        self.texts.get(2)
    }

    /// The User-Agent field.
    pub fn user_agent(&self) -> Option<&[u8]> {
        self.texts.get(3)
    }
}
