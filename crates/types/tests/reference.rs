//! `docs/manifest.md` is made from the manifest's schema; this fails when it is not current.
//!
//! `SELVEDGE_WRITE_DOCS=1 cargo test -p selvedge-types --test reference` writes it anew.

use selvedge_types::manifest::{forms, schema};
use serde_json::Value;
use std::fmt::Write;
use std::path::Path;

const INTRO: &str = include_str!("reference.md");

/// The tables in the order of the page: the key's path, the definition, where keys come from.
const SECTIONS: [(&str, &str); 28] = [
    ("the manifest", ""),
    ("[site.NAME]", "Site"),
    ("origin, [site.NAME.origins.NAME]", "OriginTable"),
    ("targets", "TargetTable"),
    ("retry", "Retry"),
    ("ejection", "Ejection"),
    ("health", "Health"),
    ("tls", "Tls"),
    ("[[site.NAME.route]]", "Route"),
    ("redirect", "Redirect"),
    ("respond", "Respond"),
    ("[[site.NAME.rule]]", "Rule"),
    ("when", "When"),
    ("cache", "CachePolicy"),
    ("cache.key", "CacheKey"),
    ("cache.key.query", "QueryKey"),
    ("cache.bypass", "Bypass"),
    ("request_headers, response_headers", "HeaderChanges"),
    ("rewrite", "Rewrite"),
    ("access", "Access"),
    ("auth", "Auth"),
    ("auth.basic", "BasicAuth"),
    ("auth.bearer", "BearerAuth"),
    ("rate_limit", "RateLimit"),
    ("compress", "Compression"),
    ("[settings]", "Settings"),
    ("settings.cache", "CacheSizes"),
    ("settings.access_log", "AccessLog"),
];
const LAST_SECTIONS: [(&str, &str); 3] =
    [("settings.limits", "Limits"), ("[[settings.listener]]", "Listener"), ("[keyspace.NAME]", "Keyspace")];

#[test]
fn the_reference_page_is_current() {
    let page = page();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/manifest.md");
    if std::env::var_os("SELVEDGE_WRITE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/manifest.md is out of date; see the head of this file for how to write it"
    );
}

#[test]
fn the_reference_page_has_every_definition() {
    let listed: Vec<_> = SECTIONS.iter().chain(&LAST_SECTIONS).map(|(_, name)| *name).collect();
    for (name, node) in schema()["$defs"].as_object().unwrap() {
        assert!(
            node.get("properties").is_none() || listed.contains(&name.as_str()),
            "{name} is not on the page"
        );
    }
}

fn page() -> String {
    let mut out = INTRO.to_owned();
    for (title, name) in SECTIONS.iter().chain(&LAST_SECTIONS) {
        section(title, name, &mut out);
    }
    out.push_str("\n## Forms of values\n\n| form | how it looks |\n|---|---|\n");
    for (name, about) in forms() {
        writeln!(out, "| {} | {} |", words(name), cell(about)).unwrap();
    }
    out
}

fn section(title: &str, name: &str, out: &mut String) {
    let node = if name.is_empty() { schema() } else { &schema()["$defs"][name] };
    let level = if title.contains('[') || title.starts_with("the") { "##" } else { "###" };
    writeln!(out, "\n{level} {}\n\n{}\n", code(title), node["description"].as_str().unwrap_or_default())
        .unwrap();
    out.push_str("| key | value | default | |\n|---|---|---|---|\n");
    let required: Vec<_> =
        node["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let is_policy = |key: &str| {
        ["Site", "Route", "Rule"].iter().all(|d| schema()["$defs"][d]["properties"].get(key).is_some())
    };
    for (key, child) in node["properties"].as_object().into_iter().flatten() {
        if is_policy(key) && (name == "Route" || name == "Rule") {
            continue;
        }
        let default = match child.get("default") {
            _ if required.contains(&key.as_str()) => "required".to_owned(),
            Some(Value::Object(_)) | None => String::new(),
            Some(value) => format!("`{value}`"),
        };
        let about = cell(child["description"].as_str().unwrap_or_default());
        writeln!(out, "| `{key}` | {} | {} | {about} |", cell(&kind(child)), cell(&default)).unwrap();
    }
    if name == "Route" || name == "Rule" {
        out.push_str(
            "\nAnd every policy a site has: `cache`, `request_headers`, `response_headers`, `rewrite`, ",
        );
        out.push_str("`access`, `auth`, `rate_limit`, `upgrade`, `compress`.\n");
    }
}

/// What kind of value a key has, in a few words.
fn kind(node: &Value) -> String {
    if let Some(branches) = node["anyOf"].as_array() {
        let mut kinds: Vec<_> = branches.iter().map(kind).flat_map(|k| split(&k)).collect();
        kinds.dedup();
        return match kinds.as_slice() {
            [one, many] if *many == format!("list of {one}") => format!("{one}, or a list"),
            _ => kinds.join(", or "),
        };
    }
    if let Some(reference) = node["$ref"].as_str() {
        let target = schema().pointer(reference.trim_start_matches('#')).unwrap();
        return if target["anyOf"].is_array() { kind(target) } else { "table".into() };
    }
    let constants: Vec<_> =
        node["oneOf"].as_array().into_iter().flatten().filter_map(|b| b["const"].as_str()).collect();
    if !constants.is_empty() {
        return constants.iter().map(|c| format!("`{c}`")).collect::<Vec<_>>().join(", ");
    }
    let format = node["format"].as_str().filter(|f| !f.starts_with("uint"));
    let name = match (format, node["type"].as_str()) {
        (Some(format), _) => words(format),
        (None, Some("array")) => format!("list of {}", kind(&node["items"])),
        (None, Some("object")) if node["additionalProperties"].is_object() => {
            let names = node["propertyNames"]["format"].as_str().map_or("name".into(), words);
            format!("table: {names} = {}", kind(&node["additionalProperties"]))
        }
        (None, Some("object")) => "table".into(),
        (None, Some("string")) => "text".into(),
        (None, Some("boolean")) => "`true`, `false`".into(),
        (None, Some(other)) => other.to_owned(),
        (None, None) => "value".into(),
    };
    match (node["formatMinimum"].as_str(), node["formatMaximum"].as_str()) {
        (Some(min), Some(max)) => return format!("{name} {min} to {max}"),
        (Some(min), None) => return format!("{name} from {min}"),
        (None, Some(max)) => return format!("{name} up to {max}"),
        (None, None) => {}
    }
    match (node["minimum"].as_f64(), node["maximum"].as_f64()) {
        (Some(min), Some(max)) => format!("{name} {min} to {max}"),
        (Some(min), None) if min > 0.0 => format!("{name} from {min}"),
        _ => name,
    }
}

fn split(kinds: &str) -> Vec<String> {
    kinds.split(", or ").map(str::to_owned).collect()
}

fn words(format: &str) -> String {
    format.replace('-', " ")
}

fn code(title: &str) -> String {
    match title {
        "the manifest" => "The manifest".into(),
        _ => title.split(", ").map(|t| format!("`{t}`")).collect::<Vec<_>>().join(", "),
    }
}

fn cell(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|")
}
