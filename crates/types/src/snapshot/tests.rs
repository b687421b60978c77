use super::*;
use crate::manifest::{Manifest, Permissions};
use crate::plan::{Action, Plan, ResourceChange};
use crate::resource::*;
use proptest::prelude::*;

const FULL: &str = include_str!("../../../../examples/full.toml");

fn full() -> Resources {
    Manifest::parse("full", FULL).unwrap().apply_to(&Resources::default(), &Permissions::ALL).unwrap()
}

#[test]
fn a_snapshot_survives_its_bytes() {
    let snapshot = Snapshot::new(Revision(7), full());
    let bytes = snapshot.encode().unwrap();
    assert_eq!(&bytes[..6], b"SLVS\0\x01");
    assert_eq!(Snapshot::decode(&bytes).unwrap(), snapshot);
    let empty = Snapshot::default();
    assert_eq!(Snapshot::decode(&empty.encode().unwrap()).unwrap(), empty);
}

#[test]
fn resources_survive_json_as_well() {
    let json = serde_json::to_string(&full()).unwrap();
    assert_eq!(serde_json::from_str::<Resources>(&json).unwrap(), full());
}

#[test]
fn keys_of_a_later_version_are_left_out_and_missing_ones_have_their_default() {
    let body = serde_json::json!({
        "revision": 3,
        "settings": { "name": "edge", "colour": "blue" },
        "sites": { "default/a": { "hosts": ["a"], "origin": "http://o", "shape": { "round": [1, 2] } } },
        "moons": [1, { "x": 2 }],
    });
    let mut bytes = b"SLVS\0\x01".to_vec();
    bytes.extend(minicbor_serde::to_vec(&body).unwrap());
    let snapshot = Snapshot::decode(&bytes).unwrap();
    assert_eq!((snapshot.revision, snapshot.settings.name.as_str()), (Revision(3), "edge"));
    assert_eq!(snapshot.settings.limits, Limits::default());
    assert_eq!(snapshot.sites.len(), 1);
}

#[test]
fn what_is_not_a_snapshot_is_refused_with_its_reason() {
    let good = Snapshot::default().encode().unwrap();
    let mut deep = b"SLVS\0\x01".to_vec();
    deep.extend(vec![0x81; 1_000_000]);
    let mut endless = b"SLVS\0\x01".to_vec();
    endless.extend(vec![0x9f; 1_000_000]);
    let mut later = good.clone();
    later[5] = 9;
    for (bytes, reason) in [
        (b"".to_vec(), "not a snapshot"),
        (b"SLVS".to_vec(), "not a snapshot"),
        (later, "format 9"),
        (deep, "nested deeper"),
        (endless, "nested deeper"),
        (good[..good.len() - 1].to_vec(), "damaged"),
        (b"SLVS\0\x01\xa0".to_vec(), "damaged"),
    ] {
        let error = Snapshot::decode(&bytes).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}

/// What a plan shows of a new site, as a manifest would have it.
fn shown(change: &ResourceChange) -> serde_json::Value {
    let mut shown = serde_json::json!({});
    for field in &change.fields {
        let path = field.path.replace('[', ".[").replace(']', "");
        let mut at = &mut shown;
        for part in path.split('.') {
            at = match part.strip_prefix('[').map(|index| index.parse::<usize>().unwrap()) {
                Some(index) => {
                    if at.is_null() {
                        *at = serde_json::json!([]);
                    }
                    let list = at.as_array_mut().unwrap();
                    list.resize(list.len().max(index + 1), serde_json::Value::Null);
                    &mut list[index]
                }
                None => &mut at[part],
            };
        }
        *at = field.new.clone().unwrap();
    }
    shown
}

#[test]
fn what_a_plan_leaves_out_of_a_new_site_is_what_a_manifest_may_leave_out() {
    for site in full().sites.values() {
        let mut all = Resources::default();
        all.sites.insert(SiteId::parse_text("a").unwrap(), site.clone());
        let plan = Plan::between(&Resources::default(), &all);
        let text = shown(&plan.changes[0]);
        let again: Site = serde_json::from_value(text.clone()).unwrap_or_else(|e| panic!("{e}: {text}"));
        assert_eq!(&again, site);
        assert_eq!(Plan::between(&all, &Resources::default()).counts(), (0, 0, 1));
    }
    let text = "[site.a]\nhosts = [\"a.example\"]\norigin = \"http://b\"\n[site.a.origins.c]\ntargets = \"http://c\"\n\
                health = {}\n[site.a.cache]\nkey = {}\n[site.a.compress]\ncodings = []\n";
    let all =
        Manifest::parse("small", text).unwrap().apply_to(&Resources::default(), &Permissions::ALL).unwrap();
    let plan = Plan::between(&Resources::default(), &all);
    let paths: Vec<_> = plan.changes[0].fields.iter().map(|field| field.path.as_str()).collect();
    let expected = [
        "hosts",
        "origin.targets[0].url",
        "origins.c.targets[0].url",
        "origins.c.health",
        "cache.key",
        "compress.codings",
    ];
    assert_eq!(paths, expected);
}

#[test]
fn a_plan_names_what_differs() {
    let old = full();
    assert!(Plan::between(&old, &old).is_empty());
    let mut new = old.clone();
    let docs = SiteId::parse_text("docs").unwrap();
    let shop = SiteId::parse_text("shop").unwrap();
    let extra = SiteId::parse_text("extra").unwrap();
    let docs = new.sites.remove(&docs).unwrap();
    new.sites.insert(extra, docs);
    new.settings.name = "edge".into();
    let site = new.sites.get_mut(&shop).unwrap();
    site.policies.cache.default_ttl = Some(Period::from_secs(9));
    site.policies.cache.min_ttl = None;
    site.route[0].path = OneOrMany(vec![PathPattern::parse_text("/x").unwrap()]);
    let plan = Plan::between(&old, &new);
    assert_eq!(plan.counts(), (1, 2, 1));
    let text = plan.to_string();
    for line in [
        "~ settings\n    ~ name: \"selvedge\" -> \"edge\"\n",
        "- site default/docs\n",
        "+ site default/extra\n    + hosts: [\"docs.example.com\"]\n",
        "    ~ cache.default_ttl: \"2m\" -> \"9s\"\n    - cache.min_ttl: \"1s\"\n",
        "    ~ route[0].path: [\"/old/*\",\"/older/*\"] -> [\"/x\"]\n",
        "1 to create, 2 to change, 1 to delete\n",
    ] {
        assert!(text.contains(line), "{line}\nnot in\n{text}");
    }
    assert_eq!(plan.changes.iter().filter(|c| c.action == Action::Delete).count(), 1);
}

/// Sites with any mix of the parts that have forms of their own.
fn sites() -> impl Strategy<Value = Site> {
    let period = (0..10_000_000u64).prop_map(Period::from_millis);
    let cache = (
        proptest::option::of(period.clone()),
        proptest::option::of(any::<bool>()),
        proptest::collection::btree_map((100..500u16, 0..99u16), period, 0..3),
        proptest::collection::vec("[a-z]{1,5}", 0..3),
    )
        .prop_map(|(ttl, enabled, status, tags)| CachePolicy {
            ttl,
            enabled,
            status_ttl: status
                .into_iter()
                .filter_map(|((a, n), t)| Some((StatusRange::new(a, a + n)?, t)))
                .collect(),
            tags,
            ..CachePolicy::default()
        });
    let host = prop_oneof![Just("*".to_owned()), "[a-z]{1,9}\\.example", "\\*\\.[a-z]{1,9}\\.example"];
    let route = ("/[a-z*]{0,7}", proptest::option::of("/[a-z{}]{0,9}")).prop_map(|(path, location)| Route {
        path: PathPattern::parse_text(&path).into_iter().collect(),
        methods: vec![crate::Method::Get],
        to: None,
        redirect: location
            .and_then(|l| Template::parse_text(&l).ok())
            .map(|location| Redirect { status: 301, location }),
        respond: None,
        policies: Policies::default(),
    });
    (proptest::collection::vec(host, 0..3), cache, proptest::collection::vec(route, 0..4), any::<bool>())
        .prop_map(|(hosts, cache, route, force_https)| Site {
            hosts: hosts.iter().filter_map(|h| HostPattern::parse_text(h).ok()).collect(),
            origin: Some(Origin::of(TargetUrl::parse_text("http://127.0.0.1:1"))),
            policies: Policies { cache, ..Policies::default() },
            route,
            force_https,
            ..Site::default()
        })
}

proptest! {
    #[test]
    fn any_site_survives_its_bytes(site in sites(), revision in any::<u64>()) {
        let mut snapshot = Snapshot { revision: Revision(revision), ..Snapshot::default() };
        snapshot.sites.insert(SiteId::parse_text("a").unwrap(), site);
        prop_assert_eq!(Snapshot::decode(&snapshot.encode().unwrap()).unwrap(), snapshot);
    }

    #[test]
    fn damaged_bytes_are_read_or_refused(at in any::<usize>(), byte in any::<u8>(), cut in any::<bool>()) {
        let mut bytes = Snapshot::new(Revision(1), full()).encode().unwrap();
        let at = at % bytes.len();
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        let _ = Snapshot::decode(&bytes);
    }

    #[test]
    fn any_bytes_are_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = b"SLVS\0\x01".to_vec();
        bytes.extend(body);
        let _ = Snapshot::decode(&bytes);
    }
}
