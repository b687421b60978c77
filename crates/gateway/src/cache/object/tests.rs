use super::*;
use selvedge_cache::semantics::{FreshnessPolicy, MethodClass, Received, RequestFacts, Target, Times, judge};
use selvedge_types::Scheme;

/// A response with such fields and content.
fn draft(fields: &str, content: &[u8], labels: &[ScopeHash]) -> Draft {
    let now = UnixMillis::from_secs(1_800_000_000);
    let parsed = Fields::from_wire(fields.as_bytes()).unwrap();
    let received = Received {
        request: &RequestFacts::plain(MethodClass::Get),
        target: Target { scheme: Scheme::Http, authority: b"a", path_and_query: b"/" },
        status: Status::OK,
        fields: &parsed,
        times: Times { requested: now, responded: now },
    };
    Draft {
        fields: parsed.pack(),
        content: Content::Whole(content.into()),
        freshness: judge(received, &FreshnessPolicy::default()).freshness,
        fetched: Hlc::from_bits(7),
        content_id: 7,
        labels: labels.into(),
        status: Status::OK,
    }
}

#[test]
fn a_response_has_its_labels_fields_and_content_apart() {
    let labels = [ScopeHash(1), ScopeHash(u128::MAX)];
    let object = draft("Cache-Control: max-age=60\r\n", b"content", &labels).store();
    assert_eq!(object.fields().unwrap(), Fields::from_wire(b"Cache-Control: max-age=60\r\n").unwrap());
    assert_eq!(object.labels().collect::<Vec<_>>(), labels);
    assert_eq!(object.body(), "content");
    assert_eq!((object.length(), object.layout()), (7, None));
}

#[test]
fn content_in_slices_is_elsewhere() {
    let layout = Layout { id: 7, length: 1 << 40, slice_bytes: 1 << 20 };
    let content = Content::sliced(layout);
    let object = Draft { content, ..draft("", b"", &[]) }.store();
    assert_eq!((object.length(), object.layout()), (1 << 40, Some(layout)));
    assert!(object.body().is_empty());
}

#[test]
fn content_outlives_the_object_that_it_is_sent_from() {
    let object = draft("", b"content", &[]).store();
    let body = object.body();
    drop(object);
    assert_eq!(body.slice(3..), "tent");
}

#[test]
fn freshening_keeps_content_and_labels() {
    let before = draft("ETag: \"a\"\r\n", b"content", &[ScopeHash(3)]).store();
    let fields = Fields::from_wire(b"ETag: \"b\"\r\n").unwrap();
    let after = before.freshened(fields.pack(), before.freshness, Hlc::from_bits(8)).store();
    assert_eq!((after.fields().unwrap(), after.body()), (fields, before.body()));
    assert_eq!((after.fetched, after.content_id), (Hlc::from_bits(8), before.content_id));
    assert!(after.labels().eq(before.labels()));
}

#[test]
fn other_facts_share_the_content_and_fields_stay() {
    let before = draft("ETag: \"a\"\r\n", b"content", &[ScopeHash(3)]).store();
    let stale = before.freshness.made_stale(UnixMillis::from_secs(1_800_000_001));
    let after = before.with(stale).with(stale);
    assert_eq!(after.freshness, stale);
    assert_eq!((after.packed(), after.length()), (before.packed(), 7));
    assert_eq!(after.body().as_ptr(), before.body().as_ptr());
    assert!(after.labels().eq(before.labels()));
}

/// What the index says is what the race measures: 300 bytes at most, the disk tier's index included.
#[test]
fn a_small_response_takes_few_bytes_beside_its_fields_and_content() {
    const DISK_INDEX_BYTES: usize = 36;
    let fields = format!("X-Fields: {}\r\n", "x".repeat(186));
    let stored = Stored::Object(draft(&fields, &[b'x'; 1024], &[]).store());
    let beside = stored.cost() as usize - fields.len() - 1024;
    assert!(beside + DISK_INDEX_BYTES <= 280, "{beside}");
    assert_eq!((size_of::<Facts>(), size_of::<Stored>()), (80, 16));
}

#[test]
fn allocations_are_counted_as_large_as_they_are() {
    for (bytes, expect) in [
        (0, 0),
        (1, 16),
        (16, 16),
        (17, 32),
        (64, 64),
        (65, 80),
        (96, 96),
        (129, 160),
        (1024, 1024),
        (1025, 1280),
    ] {
        assert_eq!(allocated(bytes), expect, "{bytes}");
    }
}
