//! What a manifest may leave out of a site.

use crate::resource::{CacheKey, Health, OriginTable, RateKey, Respond, Site, access, site};
use serde::Serialize;
use serde_json::{Value, json};

/// The name that stands for any key of a table whose keys the manifest chooses.
const ANY: &str = "*";
/// A key that no table has.
const OPTIONAL: &str = "?";

/// The defaults of a site's fields, as the site is printed. One element stands for all of a list.
pub(super) fn of_site() -> Value {
    let mut origin = optional(OriginTable::default());
    merge(&mut origin, json!({ "targets": [{ "weight": 1 }], "health": optional(Health::default()) }));
    let policies = json!({
        "cache": { "key": optional(CacheKey::default()) },
        "auth": { OPTIONAL: true, "forward": false, "basic": { "realm": access::default_realm() } },
        "rate_limit": [{ "by": value(RateKey::default()), "status": access::too_many() }],
    });
    let mut route = policies.clone();
    let own = json!({ "redirect": { "status": site::found() }, "respond": optional(Respond::default()) });
    merge(&mut route, own);
    let mut site = value(Site::default());
    merge(&mut site, policies.clone());
    merge(
        &mut site,
        json!({ "origin": origin, "origins": { ANY: origin }, "route": [route], "rule": [policies] }),
    );
    site
}

/// As a table that is not there unless it is written, and so never is as if left out.
fn optional(of: impl Serialize) -> Value {
    let mut table = value(of);
    merge(&mut table, json!({ OPTIONAL: true }));
    table
}

/// The defaults of what stands at `key` of a table that has `defaults`.
pub(super) fn at<'a>(defaults: Option<&'a Value>, key: &str) -> Option<&'a Value> {
    let table = defaults?.as_object()?;
    table.get(key).or_else(|| table.get(ANY))
}

/// The defaults of each element of a list that has `defaults`.
pub(super) fn in_list(defaults: Option<&Value>) -> Option<&Value> {
    defaults?.as_array()?.first()
}

fn merge(into: &mut Value, more: Value) {
    if let (Value::Object(into), Value::Object(more)) = (into, more) {
        into.extend(more);
    }
}

fn value(of: impl Serialize) -> Value {
    // The resources' own types are always printable.
    serde_json::to_value(of).unwrap_or(Value::Null)
}
