//! Answers from what is stored or on its way: conditions, ranges, codings, and the fields that tell of it.

use super::Inner;
use super::fill::{Answer, NewResponse};
use super::flight::{Next, Seat};
use super::held::{Hold, PIECE};
use super::keep::spread;
use super::memory::derived;
use super::object::{Layout, Object, Slice, Stored};
use super::parts::Refetch;
use super::pass::hide_directions;
use super::rules::{CacheRules, CompressRules};
use super::sliced::{Lies, StoredBody};
use crate::compress::{compress, compressed};
use bytes::Bytes;
use selvedge_cache::semantics::conditional::{if_range_holds, not_modified_fields};
use selvedge_cache::semantics::decimal::push_decimal;
use selvedge_cache::semantics::etag::Validators;
use selvedge_cache::semantics::partial::{Multipart, part_fields, unsatisfiable_fields};
use selvedge_cache::semantics::{
    AcceptEncoding, CacheStatus, ContentRange, KeyHash, Precondition, RangeRequest, RequestFacts, Selected,
    Span, evaluate_at_cache,
};
use selvedge_exchange::{Body, BodyError, BodyStream, Frame, Response, Source};
use selvedge_types::resource::Coding;
use selvedge_types::{FieldError, Fields, Method, Status, UnixMillis, name};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// A request, as far as an answer depends on it.
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) fields: Fields,
    pub(crate) facts: RequestFacts,
    pub(crate) rules: Arc<CacheRules>,
    pub(crate) now: UnixMillis,
    /// How to fetch what is missing of a response in slices; made when there may be need of it.
    pub(crate) refetch: Option<Arc<Refetch>>,
}

/// How an answer came about.
#[derive(Clone, Copy)]
pub(crate) struct How<'a> {
    pub(crate) status: CacheStatus<'a>,
    pub(crate) age: Option<Duration>,
    pub(crate) source: Source,
}

/// An answer that is ready, or that needs content recoded first.
pub(crate) enum Served {
    Ready(Response),
    /// The stored content is to be compressed; then the request is served again.
    Compress {
        coding: Coding,
        key: KeyHash,
        content: Bytes,
    },
}

/// The answer to a request for a range, or the place that was not needed for one.
enum Ranged {
    Some(Response),
    None(Option<Hold>),
}

/// There is no place for another large response.
pub(crate) struct NoMemory;

/// What is done when the answer's content has to be recoded.
pub(crate) enum Recode {
    /// Whoever asks is told to have it done.
    Ask,
    /// It was done, or cannot be: then the content is sent as it is stored.
    Done(Option<Bytes>),
}

impl Inner {
    /// An answer from a stored response.
    pub(crate) fn serve(
        self: &Arc<Self>,
        object: &Object,
        key: KeyHash,
        asked: &Asked,
        how: How<'_>,
        recode: Recode,
    ) -> Result<Served, FieldError> {
        let mut fields = object.fields()?;
        let coding = self.coding_for(object, &mut fields, asked)?;
        if asked.facts.conditional
            && evaluate_at_cache(&asked.fields, object.status, &fields, object.freshness.born)
                == Precondition::NotModified
        {
            return finished(not_modified(&fields, coding)?, asked, how).map(Served::Ready);
        }
        let Ok(place) = self.place_for(object, asked) else {
            return Ok(Served::Ready(self.no_memory(&asked.rules.cache_name)));
        };
        let response = self.serve_range((object, key), &fields, asked, place)?;
        let place = match response {
            Ranged::Some(response) => return finished(response, asked, how).map(Served::Ready),
            Ranged::None(place) => place,
        };
        let mut response = Response::new(object.status);
        response.fields = fields;
        response.body = match coding {
            None => match Span::new(0, object.length()) {
                Some(all) => self.body_of(object, key, all, asked, place),
                None => Body::Empty,
            },
            Some(coding) => {
                let coded_key = coded_key(key, object.content_id, coding);
                let coded = match (self.memory.get(coded_key), recode) {
                    (Some(coded @ Stored::Slice(_)), _) => {
                        Some(self.body_in_one(coded, coded_key, object.content_id, place))
                    }
                    (_, Recode::Done(coded)) => coded.map(|coded| self.counted(coded)),
                    (_, Recode::Ask) => {
                        return Ok(Served::Compress { coding, key: coded_key, content: object.body() });
                    }
                };
                match coded {
                    Some(coded) => {
                        mark_coded(&mut response.fields, coding)?;
                        coded
                    }
                    None => self.counted(object.body()),
                }
            }
        };
        set_head_length(&mut response, asked)?;
        finished(response, asked, how).map(Served::Ready)
    }

    /// The coding that the answer should have, if it is to be coded here; notes that answers vary on it.
    fn coding_for(
        &self,
        object: &Object,
        fields: &mut Fields,
        asked: &Asked,
    ) -> Result<Option<Coding>, FieldError> {
        if object.freshness.no_transform
            || !is_compressible(&asked.rules.compress, object.status, fields, Some(object.length()))
        {
            return Ok(None);
        }
        add_vary_accept_encoding(fields)?;
        if asked.facts.range || object.layout().is_some() {
            return Ok(None);
        }
        Ok(wanted_coding(&asked.rules.compress, &asked.fields))
    }

    /// Stored content in a coding: as it is on disk, or compressed once for all who want it, off the data
    /// plane's threads, and kept.
    pub(crate) async fn compressed(&self, coding: Coding, key: KeyHash, content: Bytes) -> Option<Bytes> {
        self.codings.run(key, self.compress(coding, key, content)).await
    }

    async fn compress(&self, coding: Coding, key: KeyHash, content: Bytes) -> Option<Bytes> {
        if let Some(at) = self.on_disk(key)
            && let Some(Stored::Slice(coded)) = self.read_disk(key, at).await
        {
            return Some(coded.bytes.clone());
        }
        match self.tasks.blocking("compress", move || compress(coding, &content)).await {
            Ok(Ok(bytes)) => {
                self.put(key, Stored::Slice(Arc::new(Slice::new(0, bytes.clone()))));
                Some(bytes)
            }
            Ok(Err(error)) | Err(error) => {
                tracing::warn!(%error, coding = coding.as_str(), "content not compressed");
                None
            }
        }
    }

    /// The answer to a request for a range, if it is one that can be given.
    fn serve_range(
        self: &Arc<Self>,
        (object, key): (&Object, KeyHash),
        fields: &Fields,
        asked: &Asked,
        place: Option<Hold>,
    ) -> Result<Ranged, FieldError> {
        if !asked.facts.range || asked.method != Method::Get || !object.status.is_success() {
            return Ok(Ranged::None(place));
        }
        if !if_range_holds(&asked.fields, &Validators::of(fields, asked.now), asked.now) {
            return Ok(Ranged::None(place));
        }
        let Some(range) = RangeRequest::of(&asked.fields) else { return Ok(Ranged::None(place)) };
        let length = object.length();
        match range.select(length) {
            Selected::Whole => Ok(Ranged::None(place)),
            Selected::Unsatisfiable => {
                let mut response = Response::new(Status::RANGE_NOT_SATISFIABLE);
                response.fields = unsatisfiable_fields(fields, length)?;
                Ok(Ranged::Some(response))
            }
            Selected::One(span) => {
                let mut response = Response::new(Status::PARTIAL_CONTENT);
                response.fields = part_fields(fields, ContentRange { span, length: Some(length) })?;
                response.body = self.body_of(object, key, span, asked, place);
                Ok(Ranged::Some(response))
            }
            Selected::Many(spans) => {
                let boundary = u128::from(spread(object.content_id)) << 64 | u128::from(spread(asked.now.0));
                let plan = Multipart::new(&spans, length, fields.get(name::CONTENT_TYPE), boundary);
                let mut response = Response::new(Status::PARTIAL_CONTENT);
                response.fields = plan.fields(fields)?;
                let bodies = spans.iter().map(|span| self.body_of(object, key, *span, asked, None)).collect();
                response.body = Body::Stream(Box::new(Parts::new(plan, bodies, place)));
                Ok(Ranged::Some(response))
            }
        }
    }

    /// The content of a stored response in `span`.
    fn body_of(
        self: &Arc<Self>,
        object: &Object,
        key: KeyHash,
        span: Span,
        asked: &Asked,
        place: Option<Hold>,
    ) -> Body {
        match object.layout() {
            Some(layout) => {
                let (lies, refetch) = (Lies::Sliced(layout), asked.refetch.clone());
                StoredBody::new(self.clone(), key, lies, span, refetch, place).into_body()
            }
            None if object.length() > PIECE && self.held.is_scarce() => {
                let lies = Lies::Whole(object.content_id);
                StoredBody::new(self.clone(), key, lies, span, None, place).into_body()
            }
            None => {
                let length = usize::try_from(object.length()).unwrap_or(usize::MAX);
                let end = usize::try_from(span.end()).unwrap_or(length).min(length);
                let start = usize::try_from(span.start()).unwrap_or(end).min(end);
                Body::from(match object.length() > PIECE {
                    true => self.held.pin(Stored::Object(object.clone()), start..end),
                    false => object.body().slice(start..end),
                })
            }
        }
    }

    /// All of the content of a stored slice that is not one of several.
    fn body_in_one(self: &Arc<Self>, slice: Stored, key: KeyHash, id: u64, place: Option<Hold>) -> Body {
        let length = slice.content().len();
        match Span::new(0, length as u64) {
            Some(all) if all.len() > PIECE && self.held.is_scarce() => {
                StoredBody::new(self.clone(), key, Lies::Whole(id), all, None, place).into_body()
            }
            _ => Body::from(self.held.pin(slice, 0..length)),
        }
    }

    /// Content that is not that of something stored, or of which that is not known.
    fn counted(&self, content: Bytes) -> Body {
        Body::from(if content.len() as u64 > PIECE { self.held.count(content) } else { content })
    }

    /// A place for an answer with the content of a stored response, if it needs one: what is in memory in one piece
    /// does not while memory is not scarce. An error if there is none.
    fn place_for(&self, object: &Object, asked: &Asked) -> Result<Option<Hold>, NoMemory> {
        let is_read_bit_by_bit = object.layout().is_some() || self.held.is_scarce();
        if object.length() <= PIECE || !is_read_bit_by_bit || asked.method != Method::Get {
            return Ok(None);
        }
        self.held.admit().map(Some).ok_or(NoMemory)
    }

    /// An answer from a fetch that is under way, to the one who asked for it (`lead`) or one who waited; `reader`
    /// stands at its beginning.
    pub(crate) fn serve_new(
        self: &Arc<Self>,
        new: &NewResponse,
        seat: Seat<Answer>,
        asked: &Asked,
        how: How<'_>,
        lead: bool,
    ) -> Result<Response, FieldError> {
        let mut fields = new.own_fields.as_ref().filter(|_| lead).unwrap_or(&new.fields).clone();
        let mut coding = None;
        // What is kept in slices is sent as it is, from the first answer on: its ranges are those of one form.
        if !new.freshness.no_transform
            && new.length.is_none_or(|length| length <= new.rules.slice_bytes)
            && is_compressible(&new.rules.compress, new.status, &fields, new.length)
        {
            add_vary_accept_encoding(&mut fields)?;
            coding = wanted_coding(&new.rules.compress, &asked.fields);
        }
        if asked.facts.conditional
            && evaluate_at_cache(&asked.fields, new.status, &fields, new.freshness.born)
                == Precondition::NotModified
        {
            return finished(not_modified(&fields, coding)?, asked, how);
        }
        let is_large = new.is_large() && asked.method == Method::Get;
        let place = if is_large { self.held.admit() } else { None };
        if is_large && place.is_none() {
            return Ok(self.no_memory(&asked.rules.cache_name));
        }
        let mut response = Response::new(new.status);
        response.fields = fields;
        let reader = Following {
            reader: seat,
            inner: self.clone(),
            key: new.key,
            layout: new.layout(),
            refetch: asked.refetch.clone(),
            behind: None,
            length: new.length,
            _place: place,
        };
        response.body = Body::Stream(Box::new(reader));
        if let Some(coding) = coding {
            encode(&mut response, coding)?;
        }
        finished(response, asked, how)
    }
}

/// Compresses a response that only passes, if the rules and the client want that.
pub(crate) fn compress_passing(
    response: &mut Response,
    request: &Fields,
    rules: &CacheRules,
) -> Result<(), FieldError> {
    let no_transform = response.fields.has_member(name::CACHE_CONTROL, "no-transform");
    let length = response.body.length();
    if no_transform || !is_compressible(&rules.compress, response.status, &response.fields, length) {
        return Ok(());
    }
    add_vary_accept_encoding(&mut response.fields)?;
    match wanted_coding(&rules.compress, request) {
        Some(coding) => encode(response, coding),
        None => Ok(()),
    }
}

fn encode(response: &mut Response, coding: Coding) -> Result<(), FieldError> {
    let body = std::mem::take(&mut response.body);
    match compressed(coding, body) {
        Ok(body) => response.body = body,
        // Only memory can be short; the content is gone with the attempt.
        Err(_) => return Err(FieldError::TooLarge),
    }
    mark_coded(&mut response.fields, coding)
}

/// The answer to a condition that holds; the representation would have been sent in that coding.
fn not_modified(fields: &Fields, coding: Option<Coding>) -> Result<Response, FieldError> {
    let mut response = Response::new(Status::NOT_MODIFIED);
    response.fields = not_modified_fields(fields);
    if coding.is_some() {
        weaken_etag(&mut response.fields)?;
    }
    Ok(response)
}

/// Adds what every answer from the cache carries, and takes off what clients are not to see.
fn finished(mut response: Response, asked: &Asked, how: How<'_>) -> Result<Response, FieldError> {
    let mut text = Vec::with_capacity(64);
    if let Some(age) = how.age {
        push_decimal(&mut text, age.as_secs());
        response.fields.set(name::AGE, &text)?;
        text.clear();
    }
    how.status.write(&asked.rules.cache_name, &mut text);
    response.fields.add(name::CACHE_STATUS, &text)?;
    hide_directions(&mut response.fields, &asked.rules);
    response.source = how.source;
    Ok(response)
}

/// HEAD has no content to count: says how much GET would have.
fn set_head_length(response: &mut Response, asked: &Asked) -> Result<(), FieldError> {
    match response.body.length() {
        Some(length) if asked.method == Method::Head => {
            let mut text = Vec::with_capacity(20);
            push_decimal(&mut text, length);
            response.fields.set(name::CONTENT_LENGTH, text)
        }
        _ => Ok(()),
    }
}

fn is_compressible(rules: &CompressRules, status: Status, fields: &Fields, length: Option<u64>) -> bool {
    !rules.codings.is_empty()
        && status.code() != 206
        && !status.has_no_content()
        && !fields.contains(name::CONTENT_ENCODING)
        && rules.fits(fields.get(name::CONTENT_TYPE), length)
}

fn wanted_coding(rules: &CompressRules, request: &Fields) -> Option<Coding> {
    let accepted = request.contains(name::ACCEPT_ENCODING).then(|| AcceptEncoding::of(request))?;
    accepted.best(&rules.codings)
}

fn add_vary_accept_encoding(fields: &mut Fields) -> Result<(), FieldError> {
    if fields.has_member(name::VARY, "accept-encoding") || fields.has_member(name::VARY, "*") {
        return Ok(());
    }
    fields.add(name::VARY, "Accept-Encoding")
}

fn mark_coded(fields: &mut Fields, coding: Coding) -> Result<(), FieldError> {
    fields.remove(name::CONTENT_LENGTH);
    fields.remove(name::ACCEPT_RANGES);
    weaken_etag(fields)?;
    fields.set(name::CONTENT_ENCODING, coding.as_str())
}

/// The coded bytes are others: only the meaning is the same (RFC 9110 section 8.8.1).
fn weaken_etag(fields: &mut Fields) -> Result<(), FieldError> {
    let weak = match fields.get(name::ETAG) {
        Some(tag) if !tag.starts_with(b"W/") => [b"W/", tag].concat(),
        _ => return Ok(()),
    };
    fields.set(name::ETAG, weak)
}

/// The key of stored content in a coding made here.
fn coded_key(key: KeyHash, content_id: u64, coding: Coding) -> KeyHash {
    derived(key, spread(content_id ^ spread(u64::MAX - coding as u64)))
}

/// Follows a flight, and reads what it forgot from the slices that were stored.
struct Following {
    reader: Seat<Answer>,
    inner: Arc<Inner>,
    key: KeyHash,
    /// How it is stored, if it is.
    layout: Option<Layout>,
    /// How to fetch what was stored and is not any more.
    refetch: Option<Arc<Refetch>>,
    /// The slice that is being read.
    behind: Option<StoredBody>,
    length: Option<u64>,
    _place: Option<Hold>,
}

impl Following {
    /// What was stored at the reader's place.
    fn poll_stored(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let at = self.reader.offset();
        if self.behind.as_ref().is_none_or(|behind| behind.at() != at) {
            self.behind = self.slice_at(at);
        }
        let Some(behind) = &mut self.behind else { return Poll::Ready(None) };
        match ready!(behind.poll_frame(cx)) {
            Some(Ok(Frame::Data(data))) => {
                self.reader.skip_to(at + data.len() as u64);
                Poll::Ready(Some(data))
            }
            None => {
                // That slice is at its end.
                self.behind = self.slice_at(at);
                self.poll_stored(cx)
            }
            Some(_) => Poll::Ready(None),
        }
    }

    /// The rest of the slice at that place.
    fn slice_at(&self, at: u64) -> Option<StoredBody> {
        let mut layout = self.layout?;
        // Of content of unknown length this much is known to be there.
        layout.length = self.length.unwrap_or_else(|| self.reader.flight().end());
        let end = (at / layout.slice_bytes + 1).saturating_mul(layout.slice_bytes).min(layout.length);
        let (rest, lies) = (Span::new(at, end)?, Lies::Sliced(layout));
        Some(StoredBody::new(self.inner.clone(), self.key, lies, rest, self.refetch.clone(), None))
    }
}

impl BodyStream for Following {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        Poll::Ready(match ready!(self.reader.poll_next(cx)) {
            Next::Data(data) => Some(Ok(Frame::Data(data))),
            Next::End(None) => None,
            Next::End(Some(trailers)) => Some(Ok(Frame::Trailers(trailers))),
            Next::Failed(error) => Some(Err(error)),
            Next::Forgotten => match ready!(self.poll_stored(cx)) {
                Some(data) => Some(Ok(Frame::Data(data))),
                None => Some(Err(BodyError::Gone("this reader fell too far behind"))),
            },
        })
    }

    fn length(&self) -> Option<u64> {
        self.length
    }
}

/// A multipart/byteranges body.
struct Parts {
    plan: Multipart,
    bodies: Vec<Body>,
    /// Which part is under way, and whether its head was sent.
    part: usize,
    begun: bool,
    ended: bool,
    _place: Option<Hold>,
}

impl Parts {
    fn new(plan: Multipart, bodies: Vec<Body>, place: Option<Hold>) -> Self {
        Parts { plan, bodies, part: 0, begun: false, ended: false, _place: place }
    }
}

impl BodyStream for Parts {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        while let (Some((head, _)), Some(body)) =
            (self.plan.parts.get(self.part), self.bodies.get_mut(self.part))
        {
            if !self.begun {
                self.begun = true;
                return Poll::Ready(Some(Ok(Frame::Data(Bytes::copy_from_slice(head)))));
            }
            match ready!(body.poll_frame(cx)) {
                Some(Ok(Frame::Data(data))) => return Poll::Ready(Some(Ok(Frame::Data(data)))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(Frame::Trailers(_))) | None => {
                    self.part += 1;
                    self.begun = false;
                }
            }
        }
        if self.ended {
            return Poll::Ready(None);
        }
        self.ended = true;
        Poll::Ready(Some(Ok(Frame::Data(Bytes::copy_from_slice(&self.plan.end)))))
    }

    fn length(&self) -> Option<u64> {
        Some(self.plan.content_length())
    }
}
