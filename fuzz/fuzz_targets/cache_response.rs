//! A response from judging to storing, validating and reuse: no panic, and what was forbidden stays forbidden.
#![no_main]

use libfuzzer_sys::fuzz_target;
use selvedge_cache::semantics::policy::ClientDirectives;
use selvedge_cache::semantics::*;
use selvedge_types::{Fields, Method, Scheme, Status, UnixMillis, name};

const NOW: UnixMillis = UnixMillis::from_secs(1_790_000_000);
const TARGET: Target<'static> =
    Target { scheme: Scheme::Http, authority: b"a.example", path_and_query: b"/b/c" };

fuzz_target!(|input: (&[u8], &[u8], &[u8], u16, u32)| {
    let (request, response, update, status, after) = input;
    let read = |wire| Fields::from_wire(wire).ok();
    let (Some(request), Some(response), Some(update)) = (read(request), read(response), read(update)) else {
        return;
    };
    let Some(status) = Status::new(status) else { return };
    let policy = FreshnessPolicy::default();
    let facts = RequestFacts::parse(&Method::Get, &request, ClientDirectives::Honor);
    let times = Times { requested: NOW, responded: NOW };
    let judged =
        judge(Received { request: &facts, target: TARGET, status, fields: &response, times }, &policy);
    assert!(!facts.directives.no_store || !judged.is_storable());
    assert_eq!(Freshness::from_bytes(&judged.freshness.to_bytes()), Some(judged.freshness));

    let later = UnixMillis(NOW.0 + u64::from(after));
    let found = reuse(&judged.freshness, &facts, later);
    if judged.freshness.no_cache {
        assert!(matches!(found, Reuse::Revalidate(_) | Reuse::GatewayTimeout));
        assert!(on_error(&judged.freshness, &facts, later, Failure::Unreachable).is_none());
    }

    let fields = storable_fields(&response, &judged.omit, NOW);
    assert!(!fields.contains(name::CONNECTION) && fields.contains(name::DATE));
    evaluate_at_cache(&request, status, &fields, NOW);
    let stored = Stored { request: &facts, target: TARGET, status, fields: &fields };
    if let Update::Fresh(updated) = update_from_304(stored, &update, times, &policy) {
        assert_eq!(updated.fields.get(name::CONTENT_LENGTH), fields.get(name::CONTENT_LENGTH));
    }
    if let Vary::On(names) = &judged.vary {
        assert_eq!(VaryNames::from_bytes(&names.to_bytes()).as_ref(), Some(names));
        names.key(&request, &KeyHasher::new([0; 32]), &mut Vec::new());
    }
    invalidation(MethodClass::Unsafe, TARGET, status, &response);
    let _ = tags::tags(&response);
});
