//! The state's rules, one by one, over a store.

use super::*;
use crate::group::VoterId;
use crate::node::{ClusterRecord, NodeRecord, Serves};
use crate::object::{Change, Kind};
use selvedge_kv::{Answer, Entry, KeyspaceNumber, Limits as StoreLimits, Store};
use selvedge_mesh::ticket::{
    ClusterKey, Contact, NodeRole, TicketError, TicketOffer, TicketProblem, TicketRecord,
};
use selvedge_types::resource::{KeyspaceId, Text};
use selvedge_types::{ApplyError, ClusterId, NodeKey, Permissions, UnixMillis};

const FEW: Limits = Limits { stamps: 2, tokens: 2, tickets: 2, nodes: 3 };

/// A store and the view that follows it.
struct World {
    store: Store,
    keyspace: KeyspaceNumber,
    view: View,
}

impl World {
    fn new() -> Self {
        let mut store = Store::new(StoreLimits::default());
        let name = KeyspaceId::parse_text("control").unwrap();
        let command = selvedge_kv::Command::DeclareKeyspace { name, quota_bytes: 1 << 30 };
        store.apply(&Entry { time: Hlc::ZERO, call: None, command });
        World { store, keyspace: KeyspaceNumber(1), view: View::default() }
    }

    fn plan(&self, time: u64, command: &Command) -> Result<Plan, Rejection> {
        plan(&self.view, command, Hlc::from_bits(time), &FEW)
    }

    /// Does what was planned; none if something came between.
    fn execute(&mut self, plan: &Plan) -> Option<Vec<Change>> {
        let command = selvedge_kv::Command::Txn { keyspace: self.keyspace, txn: plan.txn().unwrap() };
        let outcome = self.store.apply(&Entry { time: Hlc::ZERO, call: None, command });
        let Ok(Answer::Txn(answer)) = outcome.answer else { panic!("{:?}", outcome.answer) };
        let changes = outcome.changes.iter().filter_map(|change| {
            self.view.take(&change.key, change.position.revision, change.record.as_ref()).unwrap()
        });
        let changes = changes.collect();
        answer.succeeded.then_some(changes)
    }

    fn apply(&mut self, time: u64, command: Command) -> Result<Vec<Change>, Rejection> {
        let plan = self.plan(time, &command)?;
        if plan.is_empty() { Ok(Vec::new()) } else { Ok(self.execute(&plan).expect("nothing came between")) }
    }
}

fn manifest(namespace: &str, sites: &[(&str, &str)]) -> Command {
    let mut text = format!("namespace = \"{namespace}\"\n");
    for (name, host) in sites {
        text.push_str(&format!("[site.{name}]\nhosts = [\"{host}\"]\norigin = \"https://o.example.com\"\n"));
    }
    let manifest = Box::new(Manifest::parse("test", &text).unwrap());
    Command::ApplyManifest { manifest, expected: None, permitted: Permissions::ALL }
}

fn token(name: &str) -> Command {
    let (role, created) = (Role::Viewer, UnixMillis(5));
    Command::CreateToken(Token { name: name.into(), role, namespace: None, hash: [1; 32], created })
}

fn purge(tag: &str, kind: PurgeKind) -> Command {
    Command::Purge { scope: PurgeScope::Tag { namespace: "default".into(), tag: tag.into() }, kind }
}

fn names(changes: &[Change]) -> Vec<String> {
    let sign = |c: &Change| if c.value.is_some() { "+" } else { "-" };
    let generation = |c: &Change| c.value.as_ref().map_or(0, |(version, _)| version.generation);
    changes.iter().map(|c| format!("{}{} g{} r{}", sign(c), c.object, generation(c), c.revision)).collect()
}

#[test]
fn a_manifest_changes_what_differs_and_nothing_else() {
    let mut world = World::new();
    let mut apply = |command| names(&world.apply(1, command).unwrap());
    let two = [("a", "a.example.com"), ("b", "b.example.com")];
    assert_eq!(apply(manifest("default", &two)), ["+site default/a g1 r2", "+site default/b g1 r2"]);
    assert!(apply(manifest("default", &two)).is_empty(), "the same again makes no revision");
    let changed = [("a", "a2.example.com"), ("b", "b.example.com")];
    assert_eq!(apply(manifest("default", &changed)), ["+site default/a g2 r3"]);
    assert_eq!(apply(manifest("team", &[("a", "t.example.com")])), ["+site team/a g1 r4"]);
    assert_eq!(apply(manifest("default", &[])), ["-site default/a g0 r5", "-site default/b g0 r5"]);
    assert_eq!(world.view.resources().sites.len(), 1);
}

#[test]
fn a_change_that_comes_too_late_or_takes_another_s_host_is_rejected() {
    let mut world = World::new();
    world.apply(1, manifest("default", &[("a", "a.example.com")])).unwrap();
    let Command::ApplyManifest { manifest: empty, .. } = manifest("default", &[]) else { unreachable!() };
    let late =
        Command::ApplyManifest { manifest: empty, expected: Some(Revision(0)), permitted: Permissions::ALL };
    let conflict = Rejection::Conflict { expected: Revision(0), current: Revision(2) };
    assert_eq!(world.apply(2, late), Err(conflict));
    let taken = world.apply(3, manifest("team", &[("t", "a.example.com")]));
    assert!(matches!(taken, Err(Rejection::Manifest(ApplyError::Host { .. }))), "{taken:?}");
    assert_eq!(world.store.revision(), Revision(2));
}

#[test]
fn tokens_have_unique_names_and_a_limit() {
    let mut world = World::new();
    let mut apply = |command| world.apply(1, command).map(|c| names(&c));
    assert_eq!(apply(token("ci")).unwrap(), ["+token ci g1 r2"]);
    assert!(matches!(apply(token("ci")), Err(Rejection::Exists(_))));
    apply(token("two")).unwrap();
    assert_eq!(apply(token("three")), Err(Rejection::TooMany { what: "tokens", limit: 2 }));
    assert_eq!(apply(Command::RevokeToken { name: "ci".into() }).unwrap(), ["-token ci g0 r4"]);
    assert!(matches!(apply(Command::RevokeToken { name: "ci".into() }), Err(Rejection::NotFound(_))));
    assert_eq!(world.view.tokens().len(), 1);
}

#[test]
fn a_scope_has_one_stamp_with_the_latest_times_until_it_expires() {
    let mut world = World::new();
    for (time, tag, kind) in [
        (10, "a", PurgeKind::Hard),
        (20, "a", PurgeKind::Soft),
        (15, "a", PurgeKind::Hard),
        (12, "b", PurgeKind::Soft),
    ] {
        world.apply(time, purge(tag, kind)).unwrap();
    }
    let times: Vec<_> = world.view.stamps().values().map(|s| (s.hard.to_bits(), s.soft.to_bits())).collect();
    assert_eq!(times, [(15, 20), (0, 12)]);
    let full = world.apply(30, purge("c", PurgeKind::Hard));
    assert_eq!(full, Err(Rejection::TooMany { what: "purges in force", limit: 2 }));
    let mut expire = |oldest| {
        let command = Command::ExpireStamps { oldest: Hlc::from_bits(oldest) };
        names(&world.apply(40, command).unwrap())
    };
    assert!(expire(12).is_empty(), "an object fetched at the very time is covered");
    assert_eq!(expire(20), ["-purge tag default b g0 r6"]);
    assert_eq!(expire(21), ["-purge tag default a g0 r7"]);
}

#[test]
fn what_was_changed_can_be_read() {
    let mut world = World::new();
    world.apply(1, manifest("default", &[("a", "a.example.com")])).unwrap();
    world.apply(2, token("ci")).unwrap();
    world.apply(3, purge("x", PurgeKind::Hard)).unwrap();
    let listed: Vec<_> =
        world.view.objects().map(|(name, version, _)| (name.to_string(), version.modified.0)).collect();
    let expected = [("site default/a", 2), ("token ci", 3), ("purge tag default x", 4)];
    assert_eq!(listed, expected.map(|(n, r)| (n.to_string(), r)));
    let missing = ObjectName { kind: Kind::Site, name: "default/zz".into() };
    assert_eq!((world.view.get(&missing), world.view.version(&missing)), (None, None));
}

#[test]
fn what_is_no_change_to_sites_or_settings_is_no_conflict_with_a_plan() {
    let mut world = World::new();
    world.apply(1, manifest("default", &[("a", "a.example.com")])).unwrap();
    world.apply(2, purge("news", PurgeKind::Hard)).unwrap();
    world.apply(3, token("t")).unwrap();
    assert_eq!((world.view.revision(), world.view.mark(Mark::Declared)), (Revision(4), Revision(2)));
    let Command::ApplyManifest { manifest: empty, .. } = manifest("default", &[]) else { unreachable!() };
    let planned =
        Command::ApplyManifest { manifest: empty, expected: Some(Revision(2)), permitted: Permissions::ALL };
    assert_eq!(world.apply(4, planned).unwrap().len(), 1);
    assert_eq!(world.view.mark(Mark::Declared), Revision(5), "a site that goes is a change");
}

#[test]
fn what_may_not_be_deleted_or_taken_is_safe_also_when_it_was_declared_unseen() {
    let mut world = World::new();
    let alone = |command| {
        let Command::ApplyManifest { manifest, expected, .. } = command else { unreachable!() };
        Command::ApplyManifest { manifest, expected, permitted: Permissions::default() }
    };
    world.apply(1, manifest("team", &[("t", "t.example")])).unwrap();
    let commands = [
        alone(manifest("default", &[])),
        alone(manifest("team", &[("t", "t.example"), ("b", "b.a.example")])),
    ];
    let plans = commands.each_ref().map(|command| world.plan(2, command).unwrap());
    world.apply(3, manifest("default", &[("a", "*.a.example")])).unwrap();
    for (plan, command) in plans.iter().zip(&commands) {
        assert!(plan.is_empty() || world.execute(plan).is_none(), "what was planned before does not count");
        let refused = world.plan(4, command);
        assert!(
            matches!(
                refused,
                Err(Rejection::Manifest(
                    ApplyError::NoSites { sites: 1, .. } | ApplyError::ForeignHost { .. }
                ))
            ),
            "{refused:?}"
        );
    }
}

#[test]
fn settings_are_changed_by_those_who_may_alone() {
    let mut world = World::new();
    let set = |name: &str, settings| {
        let manifest = Manifest::parse("test", &format!("[settings]\nname = \"{name}\"\n")).unwrap();
        Command::ApplyManifest {
            manifest: Box::new(manifest),
            expected: None,
            permitted: Permissions { settings, ..Permissions::ALL },
        }
    };
    assert_eq!(world.apply(1, set("one", false)), Err(Rejection::Manifest(ApplyError::Settings)));
    assert_eq!(world.apply(1, set("one", true)).unwrap().len(), 1);
    assert_eq!(world.apply(1, set("one", false)), Ok(vec![]), "the same settings change nothing");
}

#[test]
fn the_last_token_that_may_do_everything_stays() {
    let mut world = World::new();
    let root = |name: &str| {
        let (role, created) = (Role::Admin, UnixMillis(5));
        Command::CreateToken(Token { name: name.into(), role, namespace: None, hash: [1; 32], created })
    };
    let revoke = |name: &str| Command::RevokeToken { name: name.into() };
    world.apply(1, root("a")).unwrap();
    world.apply(1, root("b")).unwrap();
    world.apply(2, revoke("a")).unwrap();
    assert_eq!(world.apply(2, revoke("b")), Err(Rejection::Last(ObjectName::token("b"))));
}

#[test]
fn what_another_changed_meanwhile_is_not_overwritten() {
    let mut world = World::new();
    for (first, second) in [
        (manifest("default", &[("a", "a.example.com")]), manifest("default", &[("b", "b.example.com")])),
        (token("ci"), token("other")),
        (purge("x", PurgeKind::Hard), purge("x", PurgeKind::Soft)),
    ] {
        let (first, second) = (world.plan(1, &first).unwrap(), world.plan(2, &second).unwrap());
        assert!(world.execute(&first).is_some() && first.is_done(&world.view));
        assert!(world.execute(&second).is_none() && !second.is_done(&world.view));
    }
}

#[test]
fn purges_of_different_scopes_do_not_hinder_each_other() {
    let mut world = World::new();
    let plans = ["a", "b"].map(|tag| world.plan(1, &purge(tag, PurgeKind::Hard)).unwrap());
    assert!(plans.iter().all(|plan| world.execute(plan).is_some()));
}

#[test]
fn a_view_that_is_read_anew_is_the_one_that_followed() {
    let mut world = World::new();
    world.apply(1, manifest("default", &[("a", "a.example.com"), ("b", "b.example.com")])).unwrap();
    world.apply(2, token("ci")).unwrap();
    let before = world.view.clone();
    world.apply(3, manifest("default", &[("a", "other.example.com")])).unwrap();
    let (read, unreadable) = View::read(&world.store, Some(world.keyspace));
    assert!(unreadable.is_empty());
    assert_eq!((read.revision(), read.mark(Mark::Declared)), (Revision(4), Revision(4)));
    assert_eq!(read.objects().collect::<Vec<_>>(), world.view.objects().collect::<Vec<_>>());
    let changes = read.changes_since(&before);
    assert_eq!(names(&changes), ["-site default/b g0 r4", "+site default/a g2 r4"]);
}

const TTL: std::time::Duration = std::time::Duration::from_secs(60);

fn ticket(uses: u32, seed: u8) -> TicketRecord {
    let offer = TicketOffer {
        cluster: ClusterId::from_bytes([1; 16]),
        role: NodeRole::Voter,
        uses,
        ttl: TTL,
        now: UnixMillis(1_000),
        contacts: vec![Contact { key: NodeKey::from_bytes([9; 32]), addresses: Vec::new() }],
    };
    ClusterKey::from_seed([1; 32]).issue(&offer, [seed; 32]).unwrap().1
}

fn node(number: u8, name: &str) -> Box<NodeRecord> {
    Box::new(NodeRecord {
        key: NodeKey::from_bytes([number; 32]),
        name: name.into(),
        pop: "ams".into(),
        region: "eu".into(),
        role: NodeRole::Edge,
        voter: None,
        mesh: Vec::new(),
        serves: Serves::default(),
        version: "1".into(),
        joined: UnixMillis(0),
        draining: true,
    })
}

fn admit(ticket: &TicketRecord, node: Box<NodeRecord>, at: u64) -> Command {
    Command::Admit { ticket: ticket.grant.key, node, at: UnixMillis(at) }
}

fn founded() -> World {
    let mut world = World::new();
    let cluster = ClusterRecord { seed: [1; 32], created: UnixMillis(1), voters: Vec::new() };
    let found = Command::Found { cluster: cluster.clone(), node: node(1, "one") };
    assert_eq!(world.apply(1, found.clone()).unwrap().len(), 2);
    assert!(world.apply(1, found).unwrap().is_empty(), "there is one");
    assert_eq!(world.view.cluster(), Some(&cluster));
    world
}

#[test]
fn a_ticket_lets_in_as_many_nodes_as_it_says_each_of_its_own_name() {
    let mut world = founded();
    let record = ticket(2, 1);
    world.apply(1, Command::IssueTicket(record.clone())).unwrap();
    assert!(matches!(world.apply(1, admit(&record, node(2, "one"), 2_000)), Err(Rejection::NameTaken(_))));
    world.apply(1, admit(&record, node(2, "two"), 2_000)).unwrap();
    let two = &world.view.nodes()[&NodeKey::from_bytes([2; 32])];
    assert_eq!((two.role, two.joined, two.draining), (NodeRole::Voter, UnixMillis(2_000), false));
    assert!(world.apply(1, admit(&record, node(2, "two"), 3_000)).unwrap().is_empty(), "asked again");
    world.apply(1, admit(&record, node(3, "three"), 3_000)).unwrap();
    let full = world.apply(1, admit(&record, node(4, "four"), 3_000));
    assert!(matches!(
        full,
        Err(Rejection::Ticket(TicketError::Unusable { problem: TicketProblem::UsedUp, .. }))
    ));
}

#[test]
fn a_ticket_that_is_over_revoked_or_unknown_lets_nobody_in() {
    let mut world = founded();
    let (late, revoked, unknown) = (ticket(1, 1), ticket(1, 2), ticket(1, 3));
    for record in [&late, &revoked] {
        world.apply(1, Command::IssueTicket(record.clone())).unwrap();
    }
    assert!(matches!(world.apply(1, Command::IssueTicket(unknown.clone())), Err(Rejection::TooMany { .. })));
    world.apply(1, Command::RevokeTicket { key: revoked.grant.key }).unwrap();
    for (record, at, expected) in [
        (&late, 61_000, TicketProblem::Expired),
        (&revoked, 2_000, TicketProblem::Revoked),
        (&unknown, 2_000, TicketProblem::Unknown),
    ] {
        let refused = world.apply(1, admit(record, node(2, "two"), at));
        let Err(Rejection::Ticket(TicketError::Unusable { problem, .. })) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(problem, expected);
    }
}

#[test]
fn a_node_that_was_removed_does_not_come_back_by_its_ticket() {
    let mut world = founded();
    let record = ticket(5, 1);
    world.apply(1, Command::IssueTicket(record.clone())).unwrap();
    world.apply(1, admit(&record, node(2, "two"), 2_000)).unwrap();
    let remove = |name: &str| Command::RemoveNode { name: name.into() };
    assert_eq!(names(&world.apply(1, remove("two")).unwrap()).len(), 1);
    assert!(matches!(world.apply(1, remove("two")), Err(Rejection::NoNode(_))));
    assert!(matches!(world.apply(1, remove("one")), Err(Rejection::LastNode(_))));
    assert!(matches!(world.apply(1, admit(&record, node(2, "two"), 2_000)), Err(Rejection::Ticket(_))));
    assert!(matches!(world.apply(1, Command::UpdateNode(node(2, "two"))), Err(Rejection::NotFound(_))));
}

#[test]
fn what_a_node_says_of_itself_changes_neither_its_role_nor_that_it_is_drained() {
    let mut world = founded();
    let record = ticket(5, 1);
    world.apply(1, Command::IssueTicket(record.clone())).unwrap();
    world.apply(1, admit(&record, node(2, "two"), 2_000)).unwrap();
    let drain = |draining| Command::DrainNode { name: "two".into(), draining };
    world.apply(1, drain(true)).unwrap();
    assert!(world.apply(1, drain(true)).unwrap().is_empty());
    let said = NodeRecord { version: "2".into(), draining: false, ..*node(2, "zwei") };
    world.apply(1, Command::UpdateNode(Box::new(said.clone()))).unwrap();
    assert!(world.apply(1, Command::UpdateNode(Box::new(said))).unwrap().is_empty());
    let two = &world.view.nodes()[&NodeKey::from_bytes([2; 32])];
    assert_eq!((two.name.as_str(), two.role, two.draining), ("zwei", NodeRole::Voter, true));
    assert!(matches!(world.apply(1, Command::UpdateNode(node(2, "one"))), Err(Rejection::NameTaken(_))));
}

#[test]
fn voters_are_chosen_among_nodes_that_can_vote_in_odd_numbers() {
    let mut world = founded();
    let record = ticket(5, 1);
    world.apply(1, Command::IssueTicket(record.clone())).unwrap();
    world.apply(1, admit(&record, node(2, "two"), 2_000)).unwrap();
    let choose =
        |names: &[&str]| Command::ChooseVoters { names: names.iter().map(ToString::to_string).collect() };
    for names in [&["two"][..], &["one"], &["two", "two", "two"], &["nobody"]] {
        assert!(world.apply(1, choose(names)).is_err(), "{names:?}");
    }
    let ready = NodeRecord { voter: Some(VoterId(2)), ..*node(2, "two") };
    world.apply(1, Command::UpdateNode(Box::new(ready))).unwrap();
    world.apply(1, choose(&["two"])).unwrap();
    assert_eq!(world.view.cluster().unwrap().voters, [NodeKey::from_bytes([2; 32])]);
    world.apply(1, Command::RemoveNode { name: "two".into() }).unwrap();
    assert!(world.view.cluster().unwrap().voters.is_empty());
}

#[test]
fn a_keyspace_goes_only_if_that_is_said() {
    let declare = |text: &str, delete_keyspaces| {
        let manifest = Box::new(Manifest::parse("m", text).unwrap());
        let permitted = Permissions { delete_keyspaces, ..Permissions::ALL };
        Command::ApplyManifest { manifest, expected: None, permitted }
    };
    let mut world = World::new();
    world.apply(1, declare("[keyspace.a]\nconsistency = \"strong\"\n", false)).unwrap();
    assert_eq!(world.view.resources().keyspaces.len(), 1);
    let refused = world.apply(2, declare("", false));
    assert_eq!(refused, Err(Rejection::Manifest(ApplyError::Keyspaces { names: "default/a".into() })));
    assert_eq!(world.apply(3, declare("namespace = \"other\"", false)), Ok(Vec::new()));
    assert_eq!(world.apply(4, declare("", true)).unwrap().len(), 1);
    assert!(world.view.resources().keyspaces.is_empty());
}
