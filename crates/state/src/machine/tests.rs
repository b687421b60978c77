//! The state's rules, one by one.

use super::*;
use selvedge_types::{Role, UnixMillis};

fn machine() -> Machine {
    Machine { limits: Limits { stamps: 2, tokens: 2 }, ..Machine::new() }
}

fn manifest(namespace: &str, sites: &[(&str, &str)]) -> Command {
    let mut text = format!("namespace = \"{namespace}\"\n");
    for (name, host) in sites {
        text.push_str(&format!("[site.{name}]\nhosts = [\"{host}\"]\norigin = \"https://o.example.com\"\n"));
    }
    let manifest = Box::new(Manifest::parse("test", &text).unwrap());
    Command::ApplyManifest { manifest, expected: None, may_set: true }
}

fn token(name: &str) -> Command {
    let (role, created) = (Role::Viewer, UnixMillis(5));
    Command::CreateToken(Token { name: name.into(), role, namespace: None, hash: [1; 32], created })
}

fn purge(tag: &str, kind: PurgeKind) -> Command {
    Command::Purge { scope: PurgeScope::Tag { namespace: "default".into(), tag: tag.into() }, kind }
}

fn at(time: u64, command: Command) -> Entry {
    Entry { time: Hlc::from_bits(time), command }
}

fn names(changes: &[Change]) -> Vec<String> {
    let sign = |c: &Change| if c.value.is_some() { "+" } else { "-" };
    changes
        .iter()
        .map(|c| format!("{}{} g{} r{}", sign(c), c.object, c.version.generation, c.revision))
        .collect()
}

#[test]
fn a_manifest_changes_what_differs_and_nothing_else() {
    let mut machine = machine();
    let mut apply = |command| names(&machine.apply(&at(1, command)).unwrap());
    let two = [("a", "a.example.com"), ("b", "b.example.com")];
    assert_eq!(apply(manifest("default", &two)), ["+site default/a g1 r1", "+site default/b g1 r1"]);
    assert!(apply(manifest("default", &two)).is_empty(), "the same again makes no revision");
    let changed = [("a", "a2.example.com"), ("b", "b.example.com")];
    assert_eq!(apply(manifest("default", &changed)), ["+site default/a g2 r2"]);
    assert_eq!(apply(manifest("team", &[("a", "t.example.com")])), ["+site team/a g1 r3"]);
    assert_eq!(apply(manifest("default", &[])), ["-site default/a g3 r4", "-site default/b g2 r4"]);
    assert_eq!(machine.resources().sites.len(), 1);
}

#[test]
fn a_change_that_comes_too_late_or_takes_another_s_host_is_rejected() {
    let mut machine = machine();
    machine.apply(&at(1, manifest("default", &[("a", "a.example.com")]))).unwrap();
    let Command::ApplyManifest { manifest: empty, .. } = manifest("default", &[]) else { unreachable!() };
    let late = Command::ApplyManifest { manifest: empty, expected: Some(Revision(0)), may_set: true };
    let conflict = Rejection::Conflict { expected: Revision(0), current: Revision(1) };
    assert_eq!(machine.apply(&at(2, late)), Err(conflict));
    let taken = machine.apply(&at(3, manifest("team", &[("t", "a.example.com")])));
    assert!(matches!(taken, Err(Rejection::Host(_))), "{taken:?}");
    assert_eq!(machine.revision(), Revision(1));
    assert_eq!(machine.time(), Hlc::from_bits(3), "time goes on with rejected entries, too");
}

#[test]
fn tokens_have_unique_names_and_a_limit() {
    let mut machine = machine();
    let mut apply = |command| machine.apply(&at(1, command)).map(|c| names(&c));
    assert_eq!(apply(token("ci")).unwrap(), ["+token ci g1 r1"]);
    assert!(matches!(apply(token("ci")), Err(Rejection::Exists(_))));
    apply(token("two")).unwrap();
    assert_eq!(apply(token("three")), Err(Rejection::TooMany { what: "tokens", limit: 2 }));
    assert_eq!(apply(Command::RevokeToken { name: "ci".into() }).unwrap(), ["-token ci g2 r3"]);
    assert!(matches!(apply(Command::RevokeToken { name: "ci".into() }), Err(Rejection::NotFound(_))));
    assert_eq!(machine.tokens().len(), 1);
}

#[test]
fn a_scope_has_one_stamp_with_the_latest_times_until_it_expires() {
    let mut machine = machine();
    for (time, tag, kind) in [
        (10, "a", PurgeKind::Hard),
        (20, "a", PurgeKind::Soft),
        (15, "a", PurgeKind::Hard),
        (12, "b", PurgeKind::Soft),
    ] {
        machine.apply(&at(time, purge(tag, kind))).unwrap();
    }
    let times: Vec<_> = machine.stamps().map(|s| (s.hard.to_bits(), s.soft.to_bits())).collect();
    assert_eq!(times, [(15, 20), (0, 12)]);
    let full = machine.apply(&at(30, purge("c", PurgeKind::Hard)));
    assert_eq!(full, Err(Rejection::TooMany { what: "purges in force", limit: 2 }));
    let mut expire = |oldest| {
        let command = Command::ExpireStamps { oldest: Hlc::from_bits(oldest) };
        names(&machine.apply(&at(40, command)).unwrap())
    };
    assert!(expire(12).is_empty(), "an object fetched at the very time is covered");
    assert_eq!(expire(20), ["-purge tag default b g2 r5"]);
    assert_eq!(expire(21), ["-purge tag default a g4 r6"]);
}

#[test]
fn what_was_changed_can_be_read() {
    let mut machine = machine();
    machine.apply(&at(1, manifest("default", &[("a", "a.example.com")]))).unwrap();
    machine.apply(&at(2, token("ci"))).unwrap();
    machine.apply(&at(3, purge("x", PurgeKind::Hard))).unwrap();
    let listed: Vec<_> =
        machine.objects().map(|(name, version, _)| (name.to_string(), version.modified.0)).collect();
    let expected = [("site default/a", 1), ("token ci", 2), ("purge tag default x", 3)];
    assert_eq!(listed, expected.map(|(n, r)| (n.to_string(), r)));
    let missing = ObjectName { kind: Kind::Site, name: "default/zz".into() };
    assert_eq!((machine.get(&missing), machine.version(&missing)), (None, None));
}

#[test]
fn what_is_no_change_to_sites_or_settings_is_no_conflict_with_a_plan() {
    let mut machine = machine();
    machine.apply(&at(1, manifest("default", &[("a", "a.example.com")]))).unwrap();
    machine.apply(&at(2, purge("news", PurgeKind::Hard))).unwrap();
    machine.apply(&at(3, token("t"))).unwrap();
    assert_eq!((machine.revision(), machine.declared()), (Revision(3), Revision(1)));
    let Command::ApplyManifest { manifest: empty, .. } = manifest("default", &[]) else { unreachable!() };
    let planned = Command::ApplyManifest { manifest: empty, expected: Some(Revision(1)), may_set: true };
    assert_eq!(machine.apply(&at(4, planned)).unwrap().len(), 1);
    assert_eq!(machine.declared(), Revision(4), "a site that goes is a change");
}

#[test]
fn settings_are_changed_by_those_who_may_alone() {
    let mut machine = machine();
    let set = |name: &str, may_set| {
        let manifest = Manifest::parse("test", &format!("[settings]\nname = \"{name}\"\n")).unwrap();
        at(1, Command::ApplyManifest { manifest: Box::new(manifest), expected: None, may_set })
    };
    assert_eq!(machine.apply(&set("one", false)), Err(Rejection::Settings));
    assert_eq!(machine.apply(&set("one", true)).unwrap().len(), 1);
    assert_eq!(machine.apply(&set("one", false)), Ok(vec![]), "the same settings change nothing");
}

#[test]
fn the_last_token_that_may_do_everything_stays() {
    let mut machine = machine();
    let root = |name: &str| {
        let (role, created) = (Role::Admin, UnixMillis(5));
        Command::CreateToken(Token { name: name.into(), role, namespace: None, hash: [1; 32], created })
    };
    let revoke = |name: &str| at(2, Command::RevokeToken { name: name.into() });
    machine.apply(&at(1, root("a"))).unwrap();
    machine.apply(&at(1, root("b"))).unwrap();
    machine.apply(&revoke("a")).unwrap();
    assert_eq!(machine.apply(&revoke("b")), Err(Rejection::Last(token_name("b"))));
}
