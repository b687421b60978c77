//! The manifest's JSON Schema, made from the resource types.
//!
//! It is what the parser goes by, so the two cannot differ.

use crate::resource::{Keyspace, KeyspaceName, Namespace, Settings, Site, SiteName};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// A manifest: what should be.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(title = "Selvedge manifest")]
pub(super) struct ManifestForm {
    /// Who owns what is declared. All sites of this namespace that are not in the manifest are deleted; its
    /// keyspaces only if that is said. `selvedge` is kept for the system.
    pub(super) namespace: Namespace,
    /// What holds for every node and site. Without it, the settings stay as they are.
    pub(super) settings: Option<Settings>,
    /// The sites, by name.
    #[schemars(extend("propertyNames" = { "format": "site-name" }))]
    pub(super) site: BTreeMap<SiteName, Site>,
    /// The keyspaces, by name.
    #[schemars(extend("propertyNames" = { "format": "keyspace-name" }))]
    pub(super) keyspace: BTreeMap<KeyspaceName, Keyspace>,
}

/// The manifest's JSON Schema (draft 2020-12).
pub fn schema() -> &'static Value {
    static SCHEMA: OnceLock<Value> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let generator = SchemaSettings::draft2020_12().into_generator();
        let mut schema = generator.into_root_schema_for::<ManifestForm>().to_value();
        tidy(&mut schema);
        schema
    })
}

/// TOML has no null, and a key that is not known is an error: says both in the schema.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Object(object) => {
            drop_null(object);
            if object.contains_key("properties") && !object.contains_key("additionalProperties") {
                object.insert("additionalProperties".into(), Value::Bool(false));
            }
            object.iter_mut().filter(|(key, _)| *key != "default").for_each(|(_, value)| tidy(value));
        }
        _ => {}
    }
}

fn drop_null(object: &mut Map<String, Value>) {
    if object.get("default").is_some_and(Value::is_null) {
        object.shift_remove("default");
    }
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|t| t != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".into(), only);
        }
    }
    let Some(Value::Array(branches)) = object.get_mut("anyOf") else { return };
    branches.retain(|branch| branch.get("type").is_none_or(|t| t != "null"));
    if let [Value::Object(only)] = branches.as_slice() {
        let only = only.clone();
        object.shift_remove("anyOf");
        only.into_iter().for_each(|(key, value)| {
            object.entry(key).or_insert(value);
        });
    }
}

/// What a `$ref` in `root` stands for, or `node` itself.
pub(super) fn resolve<'a>(root: &'a Value, node: &'a Value) -> &'a Value {
    node.get("$ref")
        .and_then(Value::as_str)
        .and_then(|path| path.strip_prefix('#'))
        .and_then(|pointer| root.pointer(pointer))
        .unwrap_or(node)
}
