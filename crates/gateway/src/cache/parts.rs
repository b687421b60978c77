//! Responses of which only a part is stored: storing 206s, serving from them, fetching what is missing
//! (RFC 9111 sections 3.3 and 3.4).

use super::fill::{NewResponse, Order};
use super::keep::slice_key;
use super::object::{Content, Layout, Object, Slice, Stored};
use super::origin::Origin;
use super::{Ask, Inner};
use bytes::Bytes;
use selvedge_cache::semantics::partial::ask_for_span;
use selvedge_cache::semantics::stored::{Stored as StoredView, Update, may_combine, update_from_206};
use selvedge_cache::semantics::{ContentRange, KeyHash, RangeRequest, RequestFacts, Selected, Span, Times};
use selvedge_exchange::{Body, BodyError, Client, Frame, Request, Response};
use selvedge_types::{Fields, Hlc, Method, Scheme, Status, UnixMillis, Version, name};
use std::sync::Arc;

/// How many slices of a response are looked for before it is answered from; absent ones behind them are
/// fetched when they are reached.
const LOOK_AHEAD_SLICES: u64 = 64;

/// How to fetch what is missing of a stored response.
pub(crate) struct Refetch {
    request: Outline,
    pub(crate) origin: Arc<dyn Origin>,
    pub(crate) object: Arc<Object>,
    pub(crate) key: KeyHash,
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
    pub(crate) fn new(ask: &Ask, object: &Arc<Object>, key: KeyHash) -> Arc<Self> {
        Arc::new(Refetch {
            request: Outline::of(&ask.request),
            origin: ask.origin.clone(),
            object: object.clone(),
            key,
        })
    }

    /// For a response that is still on its way, should some of it be forgotten before all have read it; none if it
    /// is not kept in slices, or is of unknown length.
    pub(crate) fn of_new(order: &Order, new: &NewResponse) -> Option<Arc<Self>> {
        let (id, length) = (new.content_id?, new.length?);
        let slice_bytes = new.rules.slice_bytes.max(1);
        if length <= slice_bytes {
            return None;
        }
        let mut fields = Vec::with_capacity(new.fields.wire_len());
        new.fields.write_wire(&mut fields);
        let object = Object {
            fields: fields.into(),
            content: Content::Sliced(Layout { id, length, slice_bytes }),
            freshness: new.freshness,
            fetched: Hlc::from_bits(id),
            content_id: id,
            labels: Box::default(),
            status: new.status,
        };
        Some(Arc::new(Refetch {
            request: Outline::of(&order.request),
            origin: order.origin.clone(),
            object: Arc::new(object),
            key: new.key,
        }))
    }
}

/// Cuts content that begins anywhere into pieces of slices.
pub(crate) struct PartKeeper {
    inner: Arc<Inner>,
    key: KeyHash,
    layout: Layout,
    current: Vec<u8>,
    start: u64,
    /// Where the part ends, as it says.
    end: u64,
}

impl PartKeeper {
    pub(crate) fn new(inner: Arc<Inner>, key: KeyHash, layout: Layout, span: Span) -> Self {
        PartKeeper { inner, key, layout, current: Vec::new(), start: span.start(), end: span.end() }
    }

    pub(crate) fn push(&mut self, mut data: &[u8]) {
        if self.start + (self.current.len() + data.len()) as u64 > self.end {
            // More than the part was to have: nothing of what is left can be trusted.
            self.current.clear();
            self.end = self.start;
            return;
        }
        while !data.is_empty() {
            let at = self.start + self.current.len() as u64;
            let room = self.layout.slice_bytes - at % self.layout.slice_bytes;
            let (now, later) = data.split_at(usize::try_from(room).unwrap_or(usize::MAX).min(data.len()));
            self.current.extend_from_slice(now);
            if now.len() as u64 == room {
                self.keep_piece();
            }
            data = later;
        }
    }

    /// Keeps what was collected; any contiguous piece is of use.
    pub(crate) fn keep_piece(&mut self) {
        if self.current.is_empty() {
            return;
        }
        let bytes = Bytes::from(std::mem::take(&mut self.current).into_boxed_slice());
        let piece = Slice { start: self.start, bytes };
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
        mut object: Object,
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
                self.combined(order, &known, response, length, times, object.fetched)
            }
            _ => None,
        };
        let layout = match known {
            Some((layout, updated)) => {
                object = updated;
                layout
            }
            None => Layout { id: object.content_id, length, slice_bytes: order.rules.slice_bytes.max(1) },
        };
        object.content = Content::Sliced(layout);
        object.status = Status::OK;
        self.put(key, Stored::Object(Arc::new(object)));
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
    ) -> Option<(Layout, Object)> {
        let Content::Sliced(layout) = known.content else { return None };
        let fields = known.fields().ok().filter(|_| layout.length == length)?;
        let view = StoredView {
            request: &order.facts,
            target: super::target_of(&order.request),
            status: Status::OK,
            fields: &fields,
        };
        match update_from_206(view, &response.fields, times, &order.rules.freshness) {
            Update::Fresh(updated) => {
                let wire = without_range(updated.fields.clone());
                Some((layout, known.freshened(wire, updated.judgement.freshness, started)))
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

    /// Fetches a stretch of a stored response, keeps it and returns it. An error means that the origin has
    /// another representation now, or failed.
    pub(crate) async fn fetch_span(self: &Arc<Self>, from: &Refetch, span: Span) -> Result<Bytes, BodyError> {
        const CHANGED: BodyError = BodyError::Gone("the origin has another version of it now");
        let Content::Sliced(layout) = from.object.content else { return Err(CHANGED) };
        let stored = from.object.fields().map_err(|_| CHANGED)?;
        let mut request = from.request.to_get();
        let now = self.clock.wall();
        if !ask_for_span(&mut request.fields, &stored, span, Some(layout.length), now) {
            return Err(BodyError::Gone("a part of it is gone and it has no strong validator"));
        }
        let response = from.origin.fetch(request, None).await;
        let mut response = response.map_err(|_| BodyError::Incomplete)?;
        let range = response.fields.get(name::CONTENT_RANGE).and_then(ContentRange::parse);
        let fits = response.status == Status::PARTIAL_CONTENT
            && range.is_some_and(|r| r.span.start() == span.start() && r.length == Some(layout.length))
            && may_combine(&stored, &response.fields, now);
        if !fits {
            self.forget(from.key);
            return Err(CHANGED);
        }
        let mut all = Vec::with_capacity(usize::try_from(span.len()).unwrap_or(0));
        while let Some(frame) = response.body.frame().await {
            if let Frame::Data(data) = frame? {
                all.extend_from_slice(&data);
            }
            if all.len() as u64 > span.len() {
                return Err(BodyError::Malformed("the origin sent more than it was asked for"));
            }
        }
        let mut keeper = PartKeeper::new(self.clone(), from.key, layout, span);
        keeper.push(&all);
        Ok(all.into())
    }
}

/// Fields of a stored representation, without what told of one part.
pub(crate) fn without_range(mut fields: Fields) -> Box<[u8]> {
    fields.remove(name::CONTENT_RANGE);
    fields.remove(name::CONTENT_LENGTH);
    let mut wire = Vec::with_capacity(fields.wire_len());
    fields.write_wire(&mut wire);
    wire.into()
}

impl Slice {
    /// Both as one piece, if they touch or overlap; else none if the other is to replace this.
    fn joined(&self, other: &Slice) -> Option<Slice> {
        let (first, second) = if self.start <= other.start { (self, other) } else { (other, self) };
        if second.start > first.end() {
            return (self.bytes.len() > other.bytes.len())
                .then(|| Slice { start: self.start, bytes: self.bytes.clone() });
        }
        let mut bytes = Vec::with_capacity(first.bytes.len() + second.bytes.len());
        bytes.extend_from_slice(&first.bytes);
        if second.end() > first.end() {
            let known = usize::try_from(first.end() - second.start).unwrap_or(0);
            bytes.extend_from_slice(&second.bytes[known..]);
        }
        Some(Slice { start: first.start, bytes: bytes.into() })
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
        Slice { start, bytes: Bytes::from_static(text.as_bytes()) }
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
