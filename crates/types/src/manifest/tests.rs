use super::*;
use crate::resource::*;
use serde_json::Value;
use std::collections::BTreeSet;

const FIRST: &str = include_str!("../../../../examples/first.toml");
const FULL: &str = include_str!("../../../../examples/full.toml");

/// A site that is right, with `extra` after it.
fn site(extra: &str) -> String {
    format!("[site.a]\nhosts = [\"a.example\"]\norigin = \"http://o.example\"\n{extra}")
}

fn only_site(text: &str) -> Site {
    let manifest = Manifest::parse("m.toml", text).unwrap_or_else(|e| panic!("{e}"));
    manifest.sites.into_values().next().expect("a site")
}

/// The text a span covers, the message and the help of each error.
fn errors(text: &str) -> Vec<(String, String, String)> {
    let errors = Manifest::parse("m.toml", text).expect_err(text).0;
    errors.into_iter().map(|e| (text[e.span].to_owned(), e.message, e.help)).collect()
}

#[test]
fn the_examples_are_right() {
    let first = Manifest::parse("first.toml", FIRST).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(first.sites.len(), 1);
    assert_eq!(first.settings, None);
    let full = Manifest::parse("full.toml", FULL).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(full.sites.len(), 2);
}

#[test]
fn the_full_example_shows_every_key_of_the_schema() {
    let document: toml::Table = FULL.parse().unwrap();
    let mut shown = BTreeSet::new();
    mark("Manifest", schema(), &serde_json::to_value(document).unwrap(), &mut shown);
    // Keys that only repeat what is shown elsewhere in the same words.
    let policies = ["cache", "request_headers", "response_headers", "rewrite", "access", "auth"];
    let policies = policies.into_iter().chain(["rate_limit", "compress"]);
    let repeated: Vec<_> = policies
        .flat_map(|p| [format!("Site.{p}"), format!("Route.{p}"), format!("Rule.{p}")])
        .filter(|key| !shown.contains(key))
        .collect();
    let mut missing = Vec::new();
    let definitions = schema()["$defs"].as_object().unwrap().iter();
    for (name, node) in definitions.map(|(n, d)| (n.as_str(), d)).chain([("Manifest", schema())]) {
        for key in node["properties"].as_object().into_iter().flat_map(|p| p.keys()) {
            missing.push(format!("{name}.{key}"));
        }
    }
    missing.retain(|key| !shown.contains(key) && !repeated.contains(key));
    assert_eq!(missing, Vec::<String>::new());
}

/// Notes every key in `value` as `Definition.key`.
fn mark(name: &str, node: &Value, value: &Value, shown: &mut BTreeSet<String>) {
    let name = node["$ref"].as_str().and_then(|r| r.rsplit('/').next()).unwrap_or(name);
    let node = schema::resolve(schema(), node);
    for branch in node["anyOf"].as_array().into_iter().flatten() {
        mark(name, branch, value, shown);
    }
    for (key, child) in value.as_object().into_iter().flatten() {
        match (node["properties"].get(key), node["additionalProperties"].is_object()) {
            (Some(node), _) => {
                shown.insert(format!("{name}.{key}"));
                mark("", node, child, shown);
            }
            (None, true) => mark("", &node["additionalProperties"], child, shown),
            (None, false) => {}
        }
    }
    value.as_array().into_iter().flatten().for_each(|item| mark("", &node["items"], item, shown));
}

#[test]
fn every_reference_and_form_in_the_schema_is_known() {
    fn walk(node: &Value) {
        if let Some(reference) = node.get("$ref").and_then(Value::as_str) {
            let target = schema().pointer(reference.trim_start_matches('#')).expect(reference);
            assert!(target.get("$ref").is_none(), "{reference} leads on");
        }
        if let Some(format) = node.get("format").and_then(Value::as_str) {
            assert!(formats::find(format).is_some() || format.starts_with("uint"), "{format}");
        }
        let children = node.as_object().into_iter().flatten().filter(|(key, _)| *key != "default");
        children.for_each(|(_, child)| walk(child));
        node.as_array().into_iter().flatten().for_each(walk);
    }
    walk(schema());
}

#[test]
fn short_and_long_forms_mean_the_same() {
    let long = only_site(
        "[site.a]\nhosts = [\"a.example\"]\n[site.a.origin]\ntargets = [{ url = \"http://o.example\", weight = 1 }]",
    );
    for short in [
        "[site.a]\nhosts = \"a.example\"\norigin = \"http://o.example\"",
        "[site.a]\nhosts = \"A.example.\"\norigin = [\"http://o.example/\"]",
        "[site.a]\nhosts = [\"a.example\"]\norigin = { targets = \"http://o.example\" }",
    ] {
        assert_eq!(only_site(short), long, "{short}");
    }
}

#[test]
fn values_become_typed_once() {
    let site = only_site(&site(
        "cache = { ttl = \"1h30m\", status_ttl = { 404 = \"10s\", 4xx = \"1s\" }, slice = \"2MiB\" }\n\
         rate_limit = { rate = \"10/m\" }\n\
         [[site.a.route]]\npath = \"/api/*\"\nto = \"origin\"\nmethods = [\"GET\"]",
    ));
    let cache = &site.policies.cache;
    assert_eq!(cache.ttl, Some(Period::from_secs(5400)));
    assert_eq!(cache.slice, Some(ByteSize::mib(2)));
    assert_eq!(cache.status_ttl(404), Some(Period::from_secs(10)));
    assert_eq!(cache.status_ttl(410), Some(Period::from_secs(1)));
    assert_eq!(cache.status_ttl(500), None);
    assert_eq!(site.policies.rate_limit[0].by, RateKey::Client);
    assert_eq!(site.policies.rate_limit[0].status, 429);
    assert_eq!(site.route[0].to, Some(Destination::Origin(OriginName::default())));
}

#[test]
fn errors_name_the_place_the_cause_and_the_remedy() {
    let cases = [
        // Keys.
        (site("cach = {}"), "cach", "`cach` is not a key of `site.a`", "did you mean `cache`?"),
        (site("cache = { defualt_ttl = \"1s\" }"), "defualt_ttl", "not a key of `site.a.cache`", "`default_ttl`"),
        (site("zzz = 1"), "zzz", "`zzz` is not a key", "known are `hosts`"),
        ("[service.api]\nrun = 1".into(), "service", "not available in this version", "keyspaces alone"),
        ("[service.a]".into(), "service", "not available in this version", "leave the section out"),
        ("[keyspace.a]\nconsistency = \"eventual\"".into(), "\"eventual\"", "not there in this version", "`strong`"),
        ("[keyspace.a]".into(), "[keyspace.a]", "`keyspace.a.consistency` is missing", "consistency = ..."),
        ("[keyspace.A]\nconsistency = \"strong\"".into(), "A", "not a name for a keyspace", "lowercase"),
        ("namespace = \"selvedge\"".into(), "namespace", "kept for the system", "another name"),
        ("[sites.a]".into(), "sites", "not a key of a manifest", "did you mean `site`?"),
        ("[site.A]\nhosts = \"a\"\norigin = \"http://o\"".into(), "A", "not a name for a site", "lowercase"),
        (site("hosts = \"b\""), "hosts", "duplicate key", "toml.io"),
        // Types.
        (site("cache = 5"), "5", "`site.a.cache` may not be an integer", "write a table"),
        (site("force_https = \"yes\""), "\"yes\"", "may not be a string", "`true` or `false`"),
        (site("tls = { cert = \"a\" }"), "{ cert = \"a\" }", "`site.a.tls.key` is missing", "key = ..."),
        // Forms.
        (site("cache = { ttl = \"30\" }"), "\"30\"", "`30` is not a span of time", "`30s`"),
        (site("max_body = \"5 potatoes\""), "\"5 potatoes\"", "not a number of bytes", "`64MiB`"),
        (site("access = { allow = [\"10.0.0.1/8\"] }"), "\"10.0.0.1/8\"", "bits set", "`10.0.0.0/8`"),
        (
            "[site.a]\nhosts = [\"https://a\"]\norigin = \"http://o\"".into(),
            "\"https://a\"",
            "not a host",
            "leave out the scheme",
        ),
        (
            "[site.a]\nhosts = [\"a\"]\norigin = \"o.example\"".into(),
            "\"o.example\"",
            "not an origin's address",
            "http://o.example",
        ),
        (site("[[site.a.route]]\npath = \"api\""), "\"api\"", "not a path pattern", "begin it with `/`"),
        (site("cache = { status_ttl = { 999 = \"1s\" } }"), "999", "`999` is not a status", "100 to 599"),
        (site("request_headers = { set = { Host = \"x\" } }"), "Host", "may not be changed", "`host` in `origin`"),
        (site("response_headers = { set = { X = \"{hots}\" } }"), "\"{hots}\"", "`{hots}`", "{host}"),
        (
            site("auth = { bearer = { tokens = \"hunter2\" } }"),
            "\"hunter2\"",
            "may not stand in a manifest",
            "env:NAME",
        ),
        (site("compress = { codings = [\"brotli\"] }"), "\"brotli\"", "not possible", "`br`"),
        (site("rate_limit = { rate = \"10\" }"), "\"10\"", "not a rate", "`100/s`"),
        (site("rate_limit = { rate = \"10/s\", status = 200 }"), "200", "out of range", "400 to 599"),
        // Parts that must fit each other.
        ("[site.a]\norigin = \"http://o\"".into(), "a", "answers to no host", "hosts"),
        ("[site.a]\nhosts = \"a\"".into(), "a", "neither an origin nor routes", "origin"),
        ("[site.a]\nhosts = \"a\"\norigin = []".into(), "origin", "has no server", "targets"),
        (site("[[site.a.route]]\npath = \"/\"\nto = \"origin:x\""), "to", "no origin `x`", "[site.NAME.origins.x]"),
        (
            site("[[site.a.route]]\npath = \"/\"\nto = \"service:api\""),
            "\"service:api\"",
            "services are not available",
            "origin:NAME",
        ),
        (
            site("[[site.a.route]]\npath = \"/\"\nto = \"origin\"\nredirect = { location = \"/\" }"),
            "[[site.a.route]]\n",
            "a route has one of",
            "leave the others out",
        ),
        (
            site("[[site.a.route]]\npath = \"/\"\nredirect = { status = 304, location = \"/\" }"),
            "status",
            "304 is not the status of a redirect",
            "301",
        ),
        (
            site("[[site.a.route]]\npath = \"/\"\nredirect = { location = \"javascript:x\" }"),
            "location",
            "not a URL",
            "https://",
        ),
        (site("[[site.a.rule]]\nwhen = {}\ncache = {}"), "[[site.a.rule]]\n", "no condition", "add a condition"),
        (
            site("[[site.a.rule]]\nwhen = { status = 404 }\ncache = { key = {} }"),
            "[[site.a.rule]]\n",
            "`cache.key` cannot wait",
            "condition one on the request",
        ),
        (site("cache = { min_ttl = \"2s\", max_ttl = \"1s\" }"), "min_ttl", "is over `max_ttl`", "swap"),
        (site("cache = { slice = \"1KiB\" }"), "\"1KiB\"", "out of range", "from `16KiB` to `64MiB`"),
        (site("cache = { tags = [\"a b\"] }"), "tags", "`a b` is not a tag", "spaces"),
        (site("auth = {}"), "auth", "lets nobody in", "users"),
        (site("rewrite = { to = \"x\" }"), "to", "not a path", "begin it with `/`"),
        (
            "[site.a]\nhosts = \"a\"\n[site.a.origin]\ntargets = \"http://o\"\nidle_timeout = \"0s\"".into(),
            "\"0s\"",
            "out of range",
            "at least `10ms`",
        ),
        (
            "[site.a]\nhosts = \"x\"\norigin = \"http://o\"\n[site.b]\nhosts = [\"y\", \"x\"]\norigin = \"http://o\"".into(),
            "\"x\"",
            "`x` already belongs to the site `a`",
            "leave it out",
        ),
        ("[settings]\nname = \"a b\"".into(), "name", "not a token", "letters"),
        ("[settings.cache]\ndisk = \"64KiB\"".into(), "disk", "too small", "at least `1MiB`"),
    ];
    for (text, span, message, help) in cases {
        let found = errors(&text);
        let fits = |e: &(String, String, String)| {
            (e.0 == span || e.0 == span.trim_end()) && e.1.contains(message) && e.2.contains(help)
        };
        assert!(
            found.iter().any(fits),
            "{text}\n expected {span:?}, {message:?}, {help:?}\n found {found:#?}"
        );
    }
}

#[test]
fn sizes_and_times_have_bounds() {
    let settings = |line: &str| format!("[settings.limits]\n{line}\n{}", site(""));
    for (text, remedy) in [
        (settings("header_bytes = \"64GiB\""), "from `1KiB` to `1MiB`"),
        (settings("header_bytes = \"0B\""), "from `1KiB` to `1MiB`"),
        (settings("uri_bytes = \"0B\""), "from `64B` to `1MiB`"),
        (settings("trailer_bytes = \"2MiB\""), "at most `1MiB`"),
        (settings("idle_timeout = \"9ms\""), "at least `10ms`"),
        (settings("drain_timeout = \"0s\""), "at least `10ms`"),
        (site("cache = { slice = \"64GiB\" }"), "from `16KiB` to `64MiB`"),
        (format!("[settings.cache]\nram = \"1KiB\"\n{}", site("")), "at least `1MiB`"),
    ] {
        let found = errors(&text);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(format!("{found:?}").contains("out of range"), "{found:?}");
        assert!(format!("{found:?}").contains(remedy), "{found:?}");
    }
    for text in [settings("header_bytes = \"1MiB\""), settings("total_timeout = \"10ms\"")] {
        assert!(Manifest::parse("m.toml", &text).is_ok(), "{text}");
    }
}

#[test]
fn all_errors_come_together_in_the_order_of_the_text() {
    let text = "[site.a]\nhosts = [\"a b\", \"c\"]\norigin = \"o\"\ncach = 1\ncache = { ttl = 5 }";
    let errors = Manifest::parse("m.toml", text).unwrap_err();
    let lines: Vec<_> = errors.0.iter().map(|e| (e.line, e.column)).collect();
    assert_eq!(lines, [(2, 10), (3, 10), (4, 1), (5, 17)]);
    assert!(errors.to_string().starts_with("m.toml:2:10: `a b` is not a host\n  help: "));
}

#[test]
fn broken_syntax_is_reported_with_its_place() {
    let errors = Manifest::parse("m.toml", "[site.a\nhosts = ").unwrap_err().0;
    assert_eq!(errors[0].line, 1);
    assert!(!errors[0].message.is_empty());
}

#[test]
fn applying_replaces_the_sites_of_the_namespace_alone() {
    let parse = |text: &str| Manifest::parse("m", text).unwrap();
    let now = parse(&site("")).apply_to(&Resources::default(), &Permissions::ALL).unwrap();
    let other = format!("namespace = \"team\"\n{}", site("").replace("a.example", "b.example"));
    let both = parse(&other).apply_to(&now, &Permissions::ALL).unwrap();
    let ids = |r: &Resources| r.sites.keys().map(SiteId::to_string).collect::<Vec<_>>();
    assert_eq!(ids(&both), ["default/a", "team/a"]);
    let renamed = parse(&site("").replace("site.a", "site.z")).apply_to(&both, &Permissions::ALL).unwrap();
    assert_eq!(ids(&renamed), ["default/z", "team/a"]);
    let taken =
        parse(&format!("namespace = \"team\"\n{}", site(""))).apply_to(&now, &Permissions::ALL).unwrap_err();
    assert!(taken.to_string().contains("already belongs to the site `default/a`"));
    let settings =
        parse("[settings]\nname = \"edge\"").apply_to(&Resources::default(), &Permissions::ALL).unwrap();
    assert_eq!(parse(&other).apply_to(&settings, &Permissions::ALL).unwrap().settings.name, "edge");
}

#[test]
fn an_answer_without_content_has_no_body() {
    for status in [204, 205, 304] {
        let route = |body: &str| {
            site(&format!("[[site.a.route]]\npath = \"/\"\nrespond = {{ status = {status}{body} }}\n"))
        };
        assert!(Manifest::parse("m.toml", &route("")).is_ok());
        let found = errors(&route(", body = \"x\""));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, "body");
        assert!(found[0].1.contains("has no content"), "{found:?}");
    }
}

mod hostile {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            let _ = Manifest::parse("m", &text);
        }

        #[test]
        fn a_damaged_manifest_is_read_or_refused(at in 0..FULL.len(), byte in 32u8..127, cut in any::<bool>()) {
            let mut bytes = FULL.as_bytes().to_vec();
            if cut { bytes.truncate(at) } else { bytes[at] = byte }
            if let Ok(text) = String::from_utf8(bytes)
                && let Err(errors) = Manifest::parse("m", &text) {
                for error in errors.0 {
                    prop_assert!(text.get(error.span).is_some());
                }
            }
        }

        #[test]
        fn globs_agree_with_a_slow_reference(pattern in "[ab*]{0,8}", text in "[ab]{0,10}") {
            fn slow(p: &[u8], t: &[u8]) -> bool {
                match (p.split_first(), t.split_first()) {
                    (None, None) => true,
                    (Some((b'*', p)), _) => (0..=t.len()).any(|i| slow(p, &t[i..])),
                    (Some((a, p)), Some((b, t))) => a == b && slow(p, t),
                    _ => false,
                }
            }
            let (p, t) = (pattern.as_bytes(), text.as_bytes());
            prop_assert_eq!(glob_matches(p, t), slow(p, t));
        }

        #[test]
        fn quantities_survive_their_text(ms in 0..3_000_000_000_000u64, bytes in 0..=i64::MAX as u64) {
            let period = Period::from_millis(ms);
            prop_assert_eq!(Period::parse_text(&period.to_string()).unwrap(), period);
            let size = ByteSize::bytes(bytes);
            prop_assert_eq!(ByteSize::parse_text(&size.to_string()).unwrap(), size);
        }

        #[test]
        fn templates_survive_their_text(text in "[a-z{}/]{0,20}") {
            if let Ok(template) = Template::parse_text(&text) {
                prop_assert_eq!(Template::parse_text(&template.to_string()).unwrap(), template);
            }
        }
    }
}

#[test]
fn the_access_logs_file_is_a_new_name_in_the_data_directory() {
    let with = |path: &str| format!("[settings]\naccess_log = {{ to = \"file\", path = {path:?} }}\n");
    let misplaced =
        ["", "../x.log", "/tmp/x.log", "a/b.log", ".hidden", "identity.new", "pid.17", "joined.1"];
    for path in misplaced.into_iter().chain(DATA_NAMES) {
        let found = errors(&with(path));
        assert_eq!(found.len(), 1, "{path}: {found:?}");
        assert_eq!(found[0].0, "path", "the error shows where");
    }
    for path in ["access.log", "state-of-things", "pids"] {
        assert!(Manifest::parse("m.toml", &with(path)).is_ok(), "{path}");
    }
}
