use super::*;
use proptest::prelude::*;
use std::sync::LazyLock;

const CLUSTER: ClusterId = ClusterId::from_bytes([3; 16]);
const NOW: UnixMillis = UnixMillis(1_000_000);

fn key() -> ClusterKey {
    ClusterKey::from_seed([1; 32])
}

fn offer() -> TicketOffer {
    let addresses = vec![SocketAddr::from(([192, 0, 2, 1], 7071)), SocketAddr::from(([0; 16], 7071))];
    TicketOffer {
        cluster: CLUSTER,
        role: NodeRole::Voter,
        uses: 1,
        ttl: TTL,
        now: NOW,
        contacts: vec![Contact { key: node(9), addresses }],
    }
}

fn issue(offer: &TicketOffer) -> (Ticket, TicketRecord) {
    key().issue(offer, [7; 32]).unwrap()
}

fn node(n: u8) -> NodeKey {
    NodeKey::from_bytes([n; 32])
}

fn problem(result: Result<impl fmt::Debug, TicketError>) -> Option<TicketProblem> {
    match result {
        Err(TicketError::Unusable { problem, .. }) => Some(problem),
        _ => None,
    }
}

#[test]
fn a_ticket_lets_one_node_in_and_no_other() {
    let (ticket, mut record) = issue(&offer());
    let claim = Claim::decode(&ticket.claim(node(1)).encode()).unwrap();
    claim.check(&key().public(), CLUSTER, NOW).unwrap();
    assert_eq!(record.redeem(claim.node, NOW), Ok(NodeRole::Voter));
    // It did not hear the answer and asks again, maybe too late for others.
    assert_eq!(record.redeem(claim.node, NOW.plus(TTL * 2)), Ok(NodeRole::Voter));
    assert_eq!(problem(record.redeem(node(2), NOW)), Some(TicketProblem::UsedUp));
    assert_eq!(record.used_by, [node(1)]);
}

#[test]
fn a_ticket_for_three_lets_three_in() {
    let (_, mut record) = issue(&TicketOffer { uses: 3, role: NodeRole::Edge, ..offer() });
    for n in [1, 2, 1, 3] {
        assert_eq!(record.redeem(node(n), NOW), Ok(NodeRole::Edge));
    }
    assert_eq!(problem(record.redeem(node(4), NOW)), Some(TicketProblem::UsedUp));
}

#[test]
fn a_ticket_ends_with_its_time_or_when_it_is_taken_back() {
    let (ticket, mut record) = issue(&offer());
    let (last, over) = (UnixMillis(NOW.plus(TTL).0 - 1), NOW.plus(TTL));
    let check = |now| ticket.claim(node(1)).check(&key().public(), CLUSTER, now);
    assert_eq!((check(last), record.usable(last)), (Ok(()), Ok(())));
    assert_eq!(problem(check(over)), Some(TicketProblem::Expired));
    assert_eq!(problem(record.redeem(node(1), over)), Some(TicketProblem::Expired));
    record.redeem(node(1), NOW).unwrap();
    record.revoke();
    for n in [1, 2] {
        assert_eq!(problem(record.redeem(node(n), NOW)), Some(TicketProblem::Revoked));
    }
}

#[test]
fn a_claim_is_good_for_its_cluster_and_its_node_alone() {
    let (ticket, _) = issue(&offer());
    let claim = ticket.claim(node(1));
    let other_key = ClusterKey::from_seed([2; 32]).public();
    assert_eq!(problem(claim.check(&other_key, CLUSTER, NOW)), Some(TicketProblem::Forged));
    let other = ClusterId::from_bytes([4; 16]);
    assert_eq!(problem(claim.check(&key().public(), other, NOW)), Some(TicketProblem::OtherCluster));
    let mut stolen = claim.clone();
    stolen.node = node(2);
    assert_eq!(problem(stolen.check(&key().public(), CLUSTER, NOW)), Some(TicketProblem::NotHeld));
    for forged in [
        Grant { role: NodeRole::Edge, ..claim.grant.clone() },
        Grant { uses: 1000, ..claim.grant.clone() },
        Grant { expires: UnixMillis(u64::MAX), ..claim.grant.clone() },
        Grant { key: node(8), ..claim.grant.clone() },
    ] {
        let mut claim = claim.clone();
        claim.grant = forged;
        assert_eq!(problem(claim.check(&key().public(), CLUSTER, NOW)), Some(TicketProblem::Forged));
    }
}

#[test]
fn offers_beyond_the_limits_are_refused() {
    let none = TicketOffer { contacts: Vec::new(), ..offer() };
    let many = TicketOffer { contacts: vec![offer().contacts[0].clone(); CONTACTS_MAX + 1], ..offer() };
    let long = TicketOffer { ttl: TTL_MAX + Duration::from_secs(1), ..offer() };
    let no_use = TicketOffer { uses: 0, ..offer() };
    for wrong in [none, many, long, no_use, TicketOffer { uses: USES_MAX + 1, ..offer() }] {
        assert!(matches!(key().issue(&wrong, [7; 32]), Err(TicketError::Limit { .. })), "{wrong:?}");
    }
}

#[test]
fn a_text_names_its_format_and_says_what_is_wrong_with_it() {
    let text = issue(&offer()).0.to_string();
    assert!(text.starts_with("slvt1_") && text.len() < 600, "{} bytes: {text}", text.len());
    let broken = format!("  {}\n {}\n", &text[..80], &text[80..]);
    assert_eq!(broken.parse::<Ticket>().unwrap().grant(), issue(&offer()).0.grant());
    let later = text.replace("slvt1", "slvt2");
    assert_eq!(later.parse::<Ticket>().unwrap_err(), TicketError::Format(2));
    assert_eq!(text[..text.len() - 1].parse::<Ticket>().unwrap_err(), TicketError::Damaged);
    for other in ["", "slvt", "slvt1", "slvtx_abc", "hello", &"x".repeat(100_000)] {
        assert_eq!(other.parse::<Ticket>().unwrap_err(), TicketError::NotATicket);
    }
}

#[test]
fn nothing_but_the_text_shows_the_secret() {
    let (ticket, record) = issue(&offer());
    let seed = ticket.secret.to_bytes();
    assert!(!record.encode().windows(32).any(|window| window == seed));
    assert!(!ticket.claim(node(1)).encode().windows(32).any(|window| window == seed));
    assert!(!format!("{ticket:?} {:?}", key()).contains("07, 07"));
    assert_eq!(ticket.identity().key(), record.grant.key);
}

proptest! {
    // Signatures take their time without optimisation.
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn what_is_written_is_read_again(
        seed: [u8; 32], cluster: [u8; 16], uses in 1..=USES_MAX, secs in 1..=TTL_MAX.as_secs(), edge: bool,
        contacts in prop::collection::vec(
            (any::<[u8; 32]>(), prop::collection::vec(any::<SocketAddr>(), 0..=ADDRESSES_MAX)), 1..=CONTACTS_MAX),
    ) {
        let plain = |mut address: SocketAddr| {
            if let SocketAddr::V6(v6) = &mut address {
                // They mean something on one machine alone.
                v6.set_flowinfo(0);
                v6.set_scope_id(0);
            }
            address
        };
        let contacts: Vec<Contact> = contacts.into_iter().map(|(key, addresses)| Contact {
            key: NodeKey::from_bytes(key), addresses: addresses.into_iter().map(plain).collect(),
        }).collect();
        let role = if edge { NodeRole::Edge } else { NodeRole::Voter };
        let offer = TicketOffer {
            cluster: ClusterId::from_bytes(cluster), role, uses, ttl: Duration::from_secs(secs), now: NOW, contacts,
        };
        let (ticket, record) = key().issue(&offer, seed).unwrap();
        let text = ticket.to_string();
        prop_assert!(text.len() <= TEXT_BYTES_MAX);
        let read: Ticket = text.parse().unwrap();
        prop_assert_eq!(read.grant(), ticket.grant());
        prop_assert_eq!(read.contacts(), &offer.contacts[..]);
        prop_assert_eq!(TicketRecord::decode(&record.encode()).unwrap(), record);
        prop_assert_eq!(read.claim(node(1)).check(&key().public(), offer.cluster, NOW), Ok(()));
    }
}

proptest! {
    #[test]
    fn a_changed_character_is_noticed(at in 6..400usize, to in "[A-Za-z0-9_-]") {
        static TEXT: LazyLock<String> = LazyLock::new(|| issue(&offer()).0.to_string());
        let text = &*TEXT;
        let at = at.min(text.len() - 1);
        let changed = format!("{}{to}{}", &text[..at], &text[at + 1..]);
        prop_assert!(changed == *text || changed.parse::<Ticket>().is_err());
    }

    #[test]
    fn no_bytes_make_reading_panic(bytes: Vec<u8>, text: String) {
        let _ = (TicketRecord::decode(&bytes), Claim::decode(&bytes), text.parse::<Ticket>());
        let _ = format!("slvt1_{}", base64::Engine::encode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, &bytes))
            .parse::<Ticket>();
    }
}
