//! HTTP caching semantics of a shared cache, as pure functions over header fields.
//!
//! ```text
//!  request fields  --RequestFacts::parse-->  RequestFacts ---------------------------+
//!  target + policy --KeyRule::write-->       key bytes --KeyHasher::hash--> KeyHash  |
//!                                                                                    v
//!  response fields --judge-->  Judgement { verdict, Freshness, Vary, omit }        reuse(Freshness, facts, now)
//!                                 |                                                  |  Fresh | Stale | Revalidate
//!                                 v                                                  v
//!                   storable_fields, VaryNames::key, tags           add_validators -> origin -> update_from_304
//!                                                                                    | failed -> on_error
//! ```
//!
//! A driver looks an object up by [`hash::KeyHash`], then by its [`vary::VaryNames`], and asks [`reuse::reuse`].
//! What is left of the answer is [`conditional::evaluate_at_cache`] and [`range::RangeRequest::select`].
//! Nothing here knows where objects lie, what was purged, or how bytes are moved.

pub mod accept_encoding;
pub mod accept_language;
pub mod age;
pub mod cache_control;
pub mod cache_status;
pub mod conditional;
pub mod cookies;
pub mod decimal;
pub mod etag;
pub mod freshness;
pub mod hash;
pub mod http_date;
pub mod invalidation;
pub mod key;
pub mod lifetime;
pub mod list;
pub mod node_name;
pub mod partial;
pub mod path;
pub mod policy;
pub mod proxy_status;
pub mod quality;
pub mod query;
pub mod range;
pub mod request;
pub mod response;
pub mod reuse;
pub mod seconds;
pub mod span;
pub mod status;
pub mod stored;
pub mod structured;
pub mod surrogate;
pub mod tags;
pub mod target;
pub mod targeted;
#[cfg(test)]
mod testing;
pub mod vary;
pub mod via;

pub use accept_encoding::{AcceptEncoding, parse_coding};
pub use age::Times;
pub use cache_status::{CacheStatus, Forwarded};
pub use conditional::{Precondition, evaluate_at_cache, evaluate_at_origin};

pub use freshness::Freshness;
pub use hash::{KeyHash, KeyHasher};
pub use invalidation::{Invalidation, invalidation};
pub use key::KeyRule;
pub use lifetime::Rule;
pub use path::{AmbiguousPath, canonical_target};
pub use policy::FreshnessPolicy;
pub use proxy_status::{ProxyError, ProxyStatus};
pub use range::{ContentRange, RangeRequest, Selected};
pub use request::{MethodClass, RequestFacts};
pub use response::{Judgement, NotStored, Received, Storable, judge};
pub use reuse::{Failure, Reuse, RevalidateWhy, Stale, StaleWhy, on_error, reuse};
pub use seconds::Seconds;
pub use span::{Span, Spans};
pub use status::{is_heuristically_cacheable, is_stale_if_error, is_understood};
pub use stored::{
    Stored, Update, Updated, add_validators, storable_fields, update_from_304, update_from_head,
};
pub use target::{OwnedTarget, Target};
pub use vary::{Vary, VaryNames};
