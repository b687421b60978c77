//! Short ways to write requests, responses and verdicts in tests.

use super::*;
use selvedge_types::{Fields, Method, Scheme, Status, UnixMillis};

/// When the responses in tests arrive.
pub(super) const NOW: UnixMillis = UnixMillis::from_secs(1_790_000_000);

/// What the requests in tests ask for.
pub(super) const TARGET: Target<'static> =
    Target { scheme: Scheme::Https, authority: b"a.example", path_and_query: b"/x" };

/// Fields from lines that end in `|`; `{-60}` stands for the date a minute before [`NOW`].
pub(super) fn fields(text: &str) -> Fields {
    let mut wire = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (offset, tail) = after.split_once('}').expect("a closing brace");
        let offset: i64 = offset.parse().expect("an offset in seconds");
        let date = http_date::write(at(offset));
        wire += before;
        wire += std::str::from_utf8(&date).expect("a date");
        rest = tail;
    }
    Fields::from_wire((wire + rest).replace('|', "\r\n").as_bytes()).expect("valid fields")
}

/// That many seconds after [`NOW`].
pub(super) fn at(secs: i64) -> UnixMillis {
    UnixMillis(NOW.0.saturating_add_signed(secs * 1000))
}

/// The facts of a request such as `GET Cache-Control: no-cache|`.
pub(super) fn request(text: &str) -> RequestFacts {
    let (method, lines) = text.split_once(' ').unwrap_or((text, ""));
    let method = Method::parse(method.as_bytes()).expect("a method");
    RequestFacts::parse(&method, &fields(lines), policy::ClientDirectives::Honor)
}

/// The verdict on a response such as `200 Cache-Control: max-age=1|` that arrives [`NOW`].
pub(super) fn judged(asked: &str, response: &str, policy: &FreshnessPolicy) -> Judgement {
    let (status, lines) = response.split_once(' ').unwrap_or((response, ""));
    let status = Status::new(status.parse().expect("a status")).expect("a status");
    let times = Times { requested: NOW, responded: NOW };
    let facts = request(asked);
    judge(Received { request: &facts, target: TARGET, status, fields: &fields(lines), times }, policy)
}
