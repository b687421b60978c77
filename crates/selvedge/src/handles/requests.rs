//! The access log's live tail, as the API follows it.

use selvedge_control::handles::{Answer, RequestLine, RequestLines, RequestLog};
use selvedge_gateway::access_log::{AccessLog, Tail, TailItem};
use selvedge_types::resource::{Namespace, SiteId, Text};
use serde::Deserialize;
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many clients may follow at once.
const FOLLOWERS_MAX: usize = 16;

/// Follows an access log. Clones count their followers together.
#[derive(Clone)]
pub struct Requests {
    log: AccessLog,
    followers: Arc<AtomicUsize>,
}

impl Requests {
    /// The live tail of `log`.
    pub fn of(log: AccessLog) -> Self {
        Requests { log, followers: Arc::default() }
    }
}

impl RequestLog for Requests {
    fn follow(&self) -> Option<Box<dyn RequestLines>> {
        let room = |n| (n < FOLLOWERS_MAX).then_some(n + 1);
        self.followers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).ok()?;
        Some(Box::new(Lines { tail: self.log.follow(), followers: self.followers.clone() }))
    }
}

struct Lines {
    tail: Tail,
    followers: Arc<AtomicUsize>,
}

impl RequestLines for Lines {
    fn next(&mut self) -> Answer<'_, Option<RequestLine>> {
        Box::pin(async {
            Some(match self.tail.next().await? {
                TailItem::Missed(count) => RequestLine::Missed(count),
                TailItem::Line(json) => {
                    RequestLine::Entry { namespace: namespace_of(&json), json: json.as_ref().to_owned() }
                }
            })
        })
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.followers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whose site a line is about.
fn namespace_of(json: &str) -> Option<Namespace> {
    #[derive(Deserialize)]
    struct Line<'a> {
        #[serde(borrow)]
        site: Option<Cow<'a, str>>,
    }
    let line: Line<'_> = serde_json::from_str(json).ok()?;
    SiteId::parse_text(&line.site?).ok().map(|id| id.namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_belongs_to_its_site() {
        let of = |json| namespace_of(json).map(|n| n.to_string());
        assert_eq!(of("{\"site\":\"team/docs\",\"x\":1}").as_deref(), Some("team"));
        assert_eq!(of("{\"site\":\"team\\/docs\"}").as_deref(), Some("team"));
        assert_eq!(of("{\"x\":1}"), None);
        assert_eq!(of("nonsense"), None);
    }
}
