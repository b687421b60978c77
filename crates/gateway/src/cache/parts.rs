//! Responses of which only a part is stored: storing 206s, serving from them, fetching what is missing
//! (RFC 9111 sections 3.3 and 3.4).

use super::fill::{NewResponse, Order};
use super::held::{Gathered, PIECE};
use super::keep::{key_with_credentials, slice_key, spread};
use super::memory::derived;
use super::object::{Content, Draft, Layout, Object, Slice, Stored};
use super::origin::{FetchFailure, Origin};
use super::{Ask, Inner};
use bytes::Bytes;
use selvedge_cache::semantics::partial::ask_for_span;
use selvedge_cache::semantics::stored::{Stored as StoredView, Update, may_combine, update_from_206};
use selvedge_cache::semantics::{
    ContentRange, KeyHash, ProxyError, RangeRequest, RequestFacts, Selected, Span, Times,
};
use selvedge_exchange::{Body, BodyError, Client, Frame, Request, Response};
use selvedge_types::{Fields, Hlc, Method, Scheme, Status, UnixMillis, Version, name};
use std::sync::Arc;

/// How many slices of a response are looked for before it is answered from; absent ones behind them are
/// fetched when they are reached.
const LOOK_AHEAD_SLICES: u64 = 64;

/// How to fetch what is missing of a response that is kept in slices.
pub(crate) struct Refetch {
    request: Outline,
    origin: Arc<dyn Origin>,
    represented: Represented,
    layout: Layout,
    /// The representation's length, once that is known.
    length: Option<u64>,
    key: KeyHash,
}

/// The response of which something is missing.
enum Represented {
    Stored(Object),
    /// It is being fetched; its fields.
    New(Fields),
}

impl Represented {
    fn fields(&self) -> Result<Fields, Missing> {
        match self {
            Represented::Stored(object) => object.fields().map_err(|_| Missing::Changed),
            Represented::New(fields) => Ok(fields.clone()),
        }
    }
}

/// A request without its content.
struct Outline {
    scheme: Scheme,
    authority: String,
    target: String,
    version: Version,
    fields: Fields,
    client: Client,
    received: UnixMillis,
}

impl Outline {
    fn of(request: &Request) -> Self {
        Outline {
            scheme: request.scheme,
            authority: request.authority.clone(),
            target: request.target.clone(),
            version: request.version,
            fields: request.fields.clone(),
            client: request.client,
            received: request.received,
        }
    }

    fn to_get(&self) -> Request {
        Request {
            method: Method::Get,
            scheme: self.scheme,
            authority: self.authority.clone(),
            target: self.target.clone(),
            version: self.version,
            fields: self.fields.clone(),
            body: Body::Empty,
            client: self.client,
            received: self.received,
        }
    }
}

impl Refetch {
    /// Of a stored response, for one who asks for it; none if it is stored in one piece.
    pub(crate) fn of_stored(ask: &Ask, object: &Object, key: KeyHash) -> Option<Arc<Self>> {
        let layout = object.layout()?;
        Some(Arc::new(Refetch {
            request: Outline::of(&ask.request),
            origin: ask.origin.clone(),
            represented: Represented::Stored(object.clone()),
            layout,
            length: Some(layout.length),
            key,
        }))
    }

    /// Of a response that is being fetched, for one who ordered it; none if it is not kept.
    pub(crate) fn of_new(order: &Order, new: &NewResponse) -> Option<Arc<Self>> {
        Some(Arc::new(Refetch {
            request: Outline::of(&order.request),
            origin: order.origin.clone(),
            represented: Represented::New(new.fields.clone()),
            layout: new.layout()?,
            length: new.length,
            key: new.key,
        }))
    }
}

/// Why a stretch of a stored response could not be had.
#[derive(Clone, Debug)]
pub(crate) enum Missing {
    /// The origin has another representation now, or none that can be told to be the same. What was stored is
    /// forgotten.
    Changed,
    /// The origin failed, which says nothing of what is stored.
    Failed(FetchFailure),
}

impl From<Missing> for BodyError {
    fn from(missing: Missing) -> Self {
        match missing {
            Missing::Changed => BodyError::Gone("the origin has another version of it now"),
            Missing::Failed(_) => BodyError::Incomplete,
        }
    }
}

/// Cuts content that begins anywhere into pieces of slices.
pub(crate) struct PartKeeper {
    inner: Arc<Inner>,
    key: KeyHash,
    layout: Layout,
    current: Gathered,
    start: u64,
    /// Where the part ends.
    end: u64,
}

impl PartKeeper {
    pub(crate) fn new(inner: Arc<Inner>, key: KeyHash, layout: Layout, span: Span) -> Self {
        let current = Gathered::new(&inner.held);
        PartKeeper { inner, key, layout, current, start: span.start(), end: span.end() }
    }

    /// Whether all of the part has come.
    pub(crate) fn is_complete(&self) -> bool {
        self.start + self.current.len() as u64 == self.end
    }

    /// Takes content; an error if it goes beyond the part, of which what came before is kept.
    pub(crate) fn push(&mut self, mut data: Bytes) -> Result<(), BodyError> {
        if (self.start + (self.current.len() + data.len()) as u64) > self.end {
            return Err(BodyError::Malformed("more content than the Content-Range says"));
        }
        while !data.is_empty() {
            let at = self.start + self.current.len() as u64;
            let room = self.layout.slice_bytes - at % self.layout.slice_bytes;
            let now = data.split_to(usize::try_from(room).unwrap_or(usize::MAX).min(data.len()));
            let is_last = now.len() as u64 == room;
            self.current.push(now);
            if is_last || (self.current.len() as u64 >= PIECE && self.inner.held.is_scarce()) {
                self.keep_piece();
            }
        }
        Ok(())
    }

    /// Keeps what was collected; any contiguous piece is of use.
    pub(crate) fn keep_piece(&mut self) {
        if self.current.len() == 0 {
            return;
        }
        let piece = Slice::new(self.start, self.current.take().into());
        self.start = piece.end();
        let key = slice_key(self.key, self.layout.id, piece.start / self.layout.slice_bytes);
        let joined = match self.inner.memory.get(key) {
            Some(Stored::Slice(known)) => known.joined(&piece),
            _ => None,
        };
        self.inner.put(key, Stored::Slice(Arc::new(joined.unwrap_or(piece))));
    }
}

impl Drop for PartKeeper {
    fn drop(&mut self) {
        self.keep_piece();
    }
}

impl Inner {
    /// Prepares to keep a 206 as it passes.
    pub(crate) fn keep_part(
        self: &Arc<Self>,
        order: &Order,
        response: &Response,
        mut draft: Draft,
        key: KeyHash,
        range: ContentRange,
        times: Times,
    ) -> Option<PartKeeper> {
        let length = range.length?;
        if length > order.rules.object_bytes_max {
            return None;
        }
        let known = match self.memory.get(key) {
            Some(Stored::Object(known)) => {
                self.combined(order, &known, response, length, times, draft.fetched)
            }
            _ => None,
        };
        let layout = match known {
            Some((layout, updated)) => {
                draft = updated;
                layout
            }
            None => Layout { id: draft.content_id, length, slice_bytes: order.rules.slice_bytes.max(1) },
        };
        draft.content = Content::sliced(layout);
        draft.status = Status::OK;
        self.put(key, Stored::Object(draft.store()));
        Some(PartKeeper::new(self.clone(), key, layout, range.span))
    }

    /// The stored response with the fields of a 206 of the same representation.
    fn combined(
        &self,
        order: &Order,
        known: &Object,
        response: &Response,
        length: u64,
        times: Times,
        started: Hlc,
    ) -> Option<(Layout, Draft)> {
        let layout = known.layout()?;
        let fields = known.fields().ok().filter(|_| layout.length == length)?;
        let view = StoredView {
            request: &order.facts,
            target: super::target_of(&order.request),
            status: Status::OK,
            fields: &fields,
        };
        match update_from_206(view, &response.fields, times, &order.rules.freshness) {
            Update::Fresh(updated) => {
                let fields = without_range(updated.fields.clone());
                Some((layout, known.freshened(fields, updated.judgement.freshness, started)))
            }
            Update::Mismatch => None,
        }
    }

    /// The first stretch that is not stored of what a request asks for.
    pub(crate) fn first_missing(
        &self,
        key: KeyHash,
        layout: Layout,
        request: &Fields,
        facts: &RequestFacts,
    ) -> Option<Span> {
        let whole = Span::new(0, layout.length)?;
        let wanted = match RangeRequest::of(request).filter(|_| facts.range).map(|r| r.select(layout.length))
        {
            Some(Selected::One(span)) => vec![span],
            Some(Selected::Many(spans)) => spans,
            Some(Selected::Unsatisfiable) => Vec::new(),
            Some(Selected::Whole) | None => vec![whole],
        };
        wanted.into_iter().find_map(|span| self.missing_in(key, layout, span))
    }

    fn missing_in(&self, key: KeyHash, layout: Layout, span: Span) -> Option<Span> {
        let first = span.start() / layout.slice_bytes;
        let last = (span.end() - 1) / layout.slice_bytes;
        for index in first..=last.min(first.saturating_add(LOOK_AHEAD_SLICES)) {
            let slice =
                Span::new(index * layout.slice_bytes, (index + 1).saturating_mul(layout.slice_bytes))?;
            let wanted = slice.intersection(span)?;
            let slice_key = slice_key(key, layout.id, index);
            match self.memory.peek(slice_key) {
                Some(Stored::Slice(stored)) => {
                    if let Some(gap) = stored.gap_in(wanted) {
                        return Some(gap);
                    }
                }
                _ if self.on_disk(slice_key).is_some() => {}
                // All of the slice is fetched, for those who come after.
                _ => return slice.intersection(Span::new(0, layout.length)?),
            }
        }
        None
    }

    /// Fetches a stretch of a stored response once for all who lack it, keeps it and returns it.
    pub(crate) async fn fetch_span(self: &Arc<Self>, from: &Refetch, span: Span) -> Result<Bytes, Missing> {
        let layout = from.layout;
        let salt = spread(layout.id ^ spread(span.start()) ^ spread(!span.end()));
        let has_credentials = from.request.fields.contains(name::AUTHORIZATION);
        let key = if has_credentials { key_with_credentials(from.key) } else { from.key };
        let fetched = self.stretches.run(derived(key, salt), self.fetch_stretch(from, layout, span));
        let outcome = fetched.await;
        match &outcome {
            Ok(_) => {}
            // What others get may be what it was.
            Err(Missing::Changed) if has_credentials => {}
            Err(Missing::Changed) => self.forget(from.key),
            Err(Missing::Failed(failure)) => self.metrics.origin_failed(failure.proxy_error),
        }
        outcome
    }

    async fn fetch_stretch(
        self: &Arc<Self>,
        from: &Refetch,
        layout: Layout,
        span: Span,
    ) -> Result<Bytes, Missing> {
        let stored = from.represented.fields()?;
        let mut request = from.request.to_get();
        let now = self.clock.wall();
        if !ask_for_span(&mut request.fields, &stored, span, from.length, now) {
            // Without a strong validator nothing tells that it is the same.
            return Err(Missing::Changed);
        }
        let mut response = from.origin.fetch(request, None).await.map_err(Missing::Failed)?;
        if response.status.is_server_error() {
            return Err(Missing::Failed(broken(format!("the origin answered {}", response.status.code()))));
        }
        let range = response.fields.get(name::CONTENT_RANGE).and_then(ContentRange::parse);
        let fits = response.status == Status::PARTIAL_CONTENT
            && range.is_some_and(|r| r.span == span && (from.length.is_none() || r.length == from.length))
            && may_combine(&stored, &response.fields, now);
        if !fits {
            return Err(Missing::Changed);
        }
        let _collecting = self.held.hold(span.len());
        let whole = whole(&mut response.body, span).await;
        let all = self.held.count(whole.map_err(|e| Missing::Failed(broken(e.to_string())))?);
        let mut keeper = PartKeeper::new(self.clone(), from.key, layout, span);
        // It has just the length of the span.
        let _ = keeper.push(all.clone());
        Ok(all)
    }
}

/// All of a part's content, which must be as long as the part.
async fn whole(body: &mut Body, span: Span) -> Result<Bytes, BodyError> {
    let mut all = Vec::with_capacity(usize::try_from(span.len()).unwrap_or(0));
    while let Some(frame) = body.frame().await {
        if let Frame::Data(data) = frame? {
            all.extend_from_slice(&data);
        }
        if all.len() as u64 > span.len() {
            return Err(BodyError::Malformed("the origin sent more than it was asked for"));
        }
    }
    if all.len() as u64 == span.len() { Ok(all.into()) } else { Err(BodyError::Incomplete) }
}

fn broken(detail: String) -> FetchFailure {
    FetchFailure::new(ProxyError::HttpResponseIncomplete, detail)
}

/// Fields of a stored representation, packed, without what told of one part.
pub(crate) fn without_range(mut fields: Fields) -> Box<[u8]> {
    fields.remove(name::CONTENT_RANGE);
    fields.remove(name::CONTENT_LENGTH);
    fields.pack()
}

impl Slice {
    /// Both as one piece, if they touch or overlap; else none if the other is to replace this.
    fn joined(&self, other: &Slice) -> Option<Slice> {
        let (first, second) = if self.start <= other.start { (self, other) } else { (other, self) };
        if second.start > first.end() {
            return (self.bytes.len() > other.bytes.len())
                .then(|| Slice::new(self.start, self.bytes.clone()));
        }
        let mut bytes = Vec::with_capacity(first.bytes.len() + second.bytes.len());
        bytes.extend_from_slice(&first.bytes);
        if second.end() > first.end() {
            let known = usize::try_from(first.end() - second.start).unwrap_or(0);
            bytes.extend_from_slice(&second.bytes[known..]);
        }
        Some(Slice::new(first.start, bytes.into()))
    }

    /// What of `wanted` it lacks: from the first byte that it does not have to the end of `wanted`.
    fn gap_in(&self, wanted: Span) -> Option<Span> {
        if wanted.start() < self.start {
            return Some(wanted);
        }
        Span::new(wanted.start().max(self.end()), wanted.end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(start: u64, text: &'static str) -> Slice {
        Slice::new(start, Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn pieces_that_touch_become_one_and_others_do_not() {
        for (a, b, expect) in [
            (slice(0, "abc"), slice(3, "de"), Some((0, "abcde"))),
            (slice(3, "de"), slice(0, "abc"), Some((0, "abcde"))),
            (slice(0, "abc"), slice(1, "b"), Some((0, "abc"))),
            (slice(2, "cd"), slice(1, "bcde"), Some((1, "bcde"))),
            (slice(0, "abc"), slice(5, "f"), Some((0, "abc"))),
            (slice(5, "f"), slice(0, "abc"), None),
        ] {
            let joined = a.joined(&b).map(|s| (s.start, s.bytes));
            assert_eq!(joined, expect.map(|(start, text)| (start, Bytes::from(text))));
        }
    }

    #[test]
    fn a_gap_is_what_is_asked_for_and_not_there() {
        let have = slice(10, "0123456789");
        let span = |a, b| Span::new(a, b).unwrap();
        assert_eq!(have.gap_in(span(12, 20)), None);
        assert_eq!(have.gap_in(span(12, 25)), Some(span(20, 25)));
        assert_eq!(have.gap_in(span(5, 15)), Some(span(5, 15)));
        assert_eq!(have.gap_in(span(30, 40)), Some(span(30, 40)));
    }
}
