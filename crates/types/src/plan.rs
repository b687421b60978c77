//! The difference between what is and what should be.

mod defaults;

use crate::resource::Resources;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// What has to change to get from one set of resources to another, in the order of their names.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Plan {
    /// The resources that differ.
    pub changes: Vec<ResourceChange>,
}

/// A resource that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceChange {
    /// `keyspace`, `settings` or `site`.
    pub kind: String,
    /// `namespace/name`; empty for the settings.
    pub name: String,
    /// What happens to it.
    pub action: Action,
    /// Its fields that differ, none when it is deleted. Of what is new, those that are not at their defaults.
    pub fields: Vec<FieldChange>,
}

/// What happens to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It is made.
    Create,
    /// It is changed.
    Change,
    /// It is deleted.
    Delete,
}

/// A field that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldChange {
    /// Where it stands in the resource: `cache.default_ttl`, `route[0].path`.
    pub path: String,
    /// Its value before; nothing if it had none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub old: Option<Value>,
    /// Its value after; nothing if it has none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub new: Option<Value>,
}

impl Plan {
    /// What has to change from `old` to `new`.
    pub fn between(old: &Resources, new: &Resources) -> Plan {
        let (old_objects, new_objects) = (objects(old), objects(new));
        let names = old_objects.keys().chain(new_objects.keys().filter(|k| !old_objects.contains_key(k)));
        let mut changes: Vec<ResourceChange> = names
            .filter_map(|key| resource_change(key, old_objects.get(key), new_objects.get(key)))
            .collect();
        changes.sort_by(|a, b| (&a.kind, &a.name).cmp(&(&b.kind, &b.name)));
        Plan { changes }
    }

    /// Whether nothing has to change.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// How many resources are created, changed and deleted.
    pub fn counts(&self) -> (usize, usize, usize) {
        let count = |action| self.changes.iter().filter(|c| c.action == action).count();
        (count(Action::Create), count(Action::Change), count(Action::Delete))
    }
}

type Key = (&'static str, String);

const SITE: &str = "site";
const KEYSPACE: &str = "keyspace";

fn objects(resources: &Resources) -> BTreeMap<Key, Value> {
    let json = |value: Result<Value, _>| value.unwrap_or(Value::Null);
    let sites = resources.sites.iter();
    let sites = sites.map(|(id, site)| ((SITE, id.to_string()), json(serde_json::to_value(site))));
    let keyspaces = resources.keyspaces.iter();
    let keyspaces = keyspaces.map(|(id, k)| ((KEYSPACE, id.to_string()), json(serde_json::to_value(k))));
    let settings = (("settings", String::new()), json(serde_json::to_value(&resources.settings)));
    sites.chain(keyspaces).chain([settings]).collect()
}

fn resource_change(key: &Key, old: Option<&Value>, new: Option<&Value>) -> Option<ResourceChange> {
    let defaults = (key.0 == SITE).then(defaults::of_site);
    let mut fields = Vec::new();
    let action = match (old, new) {
        (Some(old), Some(new)) => {
            compare("", Some(old), Some(new), defaults.as_ref(), &mut fields);
            (!fields.is_empty()).then_some(Action::Change)?
        }
        (None, Some(new)) => {
            compare("", None, Some(new), defaults.as_ref(), &mut fields);
            Action::Create
        }
        (Some(_), None) => Action::Delete,
        (None, None) => return None,
    };
    Some(ResourceChange { kind: key.0.to_owned(), name: key.1.clone(), action, fields })
}

fn compare(
    path: &str,
    old: Option<&Value>,
    new: Option<&Value>,
    defaults: Option<&Value>,
    out: &mut Vec<FieldChange>,
) {
    if old == new {
        return;
    }
    if defaults.is_some() && [(old, new), (new, old)].contains(&(None, defaults)) {
        return;
    }
    let before = out.len();
    compare_parts(path, old, new, defaults, out);
    if out.len() == before {
        // A table of nothing but defaults, which is there all the same; an empty list.
        out.push(FieldChange { path: path.to_owned(), old: old.cloned(), new: new.cloned() });
    }
}

/// Compares what tables and lists hold; nothing else has parts.
fn compare_parts(
    path: &str,
    old: Option<&Value>,
    new: Option<&Value>,
    defaults: Option<&Value>,
    out: &mut Vec<FieldChange>,
) {
    let empty = serde_json::Map::new();
    let table = |v: Option<&'_ Value>| v.is_none_or(Value::is_object);
    if table(old) && table(new) {
        let a = old.and_then(Value::as_object).unwrap_or(&empty);
        let b = new.and_then(Value::as_object).unwrap_or(&empty);
        for key in a.keys().chain(b.keys().filter(|k| !a.contains_key(*k))) {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            compare(&path, a.get(key), b.get(key), defaults::at(defaults, key), out);
        }
        return;
    }
    let tables =
        |v: Option<&Value>| v.is_none_or(|v| v.as_array().is_some_and(|l| l.iter().all(Value::is_object)));
    if tables(old) && tables(new) {
        let (a, b) = (old.and_then(Value::as_array), new.and_then(Value::as_array));
        let longest = a.map_or(0, Vec::len).max(b.map_or(0, Vec::len));
        for i in 0..longest {
            let (a, b) = (a.and_then(|l| l.get(i)), b.and_then(|l| l.get(i)));
            compare(&format!("{path}[{i}]"), a, b, defaults::in_list(defaults), out);
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("no changes\n");
        }
        self.changes.iter().try_for_each(|change| change.fmt(f))?;
        let (create, change, delete) = self.counts();
        if self.changes.iter().any(|change| change.action == Action::Create) {
            f.write_str("what is not shown of a new site is at its default\n")?;
        }
        writeln!(f, "{create} to create, {change} to change, {delete} to delete")
    }
}

impl fmt::Display for ResourceChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.action {
            Action::Create => '+',
            Action::Change => '~',
            Action::Delete => '-',
        };
        let space = if self.name.is_empty() { "" } else { " " };
        writeln!(f, "{sign} {}{space}{}", self.kind, self.name)?;
        for FieldChange { path, old, new } in &self.fields {
            match (old, new) {
                (Some(old), Some(new)) => writeln!(f, "    ~ {path}: {old} -> {new}")?,
                (None, Some(new)) => writeln!(f, "    + {path}: {new}")?,
                (Some(old), None) => writeln!(f, "    - {path}: {old}")?,
                (None, None) => {}
            }
        }
        Ok(())
    }
}
