//! Conditions of rules, ready to be asked.

use super::parameters::parameters;
use super::pattern::Matcher;
use selvedge_cache::semantics::cookies::cookies;
use selvedge_exchange::Request;
use selvedge_types::resource::{FieldName, Glob, StatusRange, When};
use selvedge_types::{Fields, Method, Status, name};

/// What a rule asks of a request.
#[derive(Debug)]
pub(super) struct RequestCondition {
    paths: Vec<Matcher>,
    methods: Vec<Method>,
    hosts: Vec<Glob>,
    headers: Vec<(FieldName, Glob)>,
    cookies: Vec<(String, Glob)>,
    query: Vec<(String, Glob)>,
}

impl RequestCondition {
    pub(super) fn new(when: &When) -> Self {
        fn pairs<K: Clone>(map: &std::collections::BTreeMap<K, Glob>) -> Vec<(K, Glob)> {
            map.iter().map(|(k, g)| (k.clone(), g.clone())).collect()
        }
        RequestCondition {
            paths: when.path.iter().map(Matcher::new).collect(),
            methods: when.method.to_vec(),
            hosts: when.host.to_vec(),
            headers: pairs(&when.header),
            cookies: pairs(&when.cookie),
            query: pairs(&when.query),
        }
    }

    /// Whether it asks nothing of a request.
    pub(super) fn is_empty(&self) -> bool {
        self.paths.is_empty()
            && self.methods.is_empty()
            && self.hosts.is_empty()
            && self.headers.is_empty()
            && self.cookies.is_empty()
            && self.query.is_empty()
    }

    /// Whether `request`, whose normal path is `path`, is meant.
    pub(super) fn holds(&self, request: &Request, path: &[u8]) -> bool {
        fits(&self.paths, |matcher| matcher.matches(path))
            && fits(&self.methods, |method| *method == request.method)
            && fits(&self.hosts, |glob| glob.matches(request.host().as_bytes()))
            && self.headers.iter().all(|(name, glob)| has_header(&request.fields, name, glob))
            && self.cookies.iter().all(|(wanted, glob)| {
                cookies(&request.fields).any(|(n, v)| n == wanted.as_bytes() && glob.matches(v))
            })
            && self.query.iter().all(|(wanted, glob)| {
                let query = request.query().unwrap_or_default();
                parameters(query).any(|(n, v)| *n == *wanted.as_bytes() && glob.matches(&v))
            })
    }
}

/// What a rule asks of a response.
#[derive(Debug)]
pub(super) struct ResponseCondition {
    statuses: Vec<StatusRange>,
    content_types: Vec<Glob>,
    headers: Vec<(FieldName, Glob)>,
}

impl ResponseCondition {
    pub(super) fn new(when: &When) -> Self {
        ResponseCondition {
            statuses: when.status.to_vec(),
            content_types: when.content_type.to_vec(),
            headers: when.response_header.iter().map(|(n, g)| (n.clone(), g.clone())).collect(),
        }
    }

    /// Whether a response with that status and fields is meant.
    pub(super) fn holds(&self, status: Status, fields: &Fields) -> bool {
        fits(&self.statuses, |range| range.contains(status.code()))
            && (self.content_types.is_empty() || self.has_type(fields))
            && self.headers.iter().all(|(name, glob)| has_header(fields, name, glob))
    }

    fn has_type(&self, fields: &Fields) -> bool {
        let Some(value) = fields.get(name::CONTENT_TYPE) else { return false };
        let media = value.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
        let media = media.to_ascii_lowercase();
        self.content_types.iter().any(|glob| glob.matches(&media))
    }
}

/// Whether one of `wanted` holds, or nothing is wanted.
fn fits<T>(wanted: &[T], holds: impl Fn(&T) -> bool) -> bool {
    wanted.is_empty() || wanted.iter().any(holds)
}

fn has_header(fields: &Fields, name: &FieldName, glob: &Glob) -> bool {
    fields.get_all_named(name.as_str().as_bytes()).any(|value| glob.matches(value))
}
