//! Between foca and the wire: the bytes foca makes and reads, and what it wants done.
//!
//! foca never sees the network. Its messages have a fixed layout here, never smaller than their form on the
//! wire, so that what fits into foca's limit fits into a datagram.

use crate::identity::Identity;
use crate::limits::GOSSIP_BYTES_MAX;
use crate::wire::{Item, Message, Swim, Update, Word};
use bytes::{Buf, BufMut};
use foca::{
    BroadcastHandler, Codec, Header, Incarnation, Invalidates, Member, Notification, Runtime, State, Timer,
};
use selvedge_types::NodeKey;
use selvedge_types::resource::PopName;
use std::time::Duration;

const IDENTITY_BYTES: usize = 40;
/// 43 are used; an update takes up to 48 bytes on the wire.
const MEMBER_BYTES: usize = 48;

/// Updates that foca reads of one message, after a head of at most 126 bytes.
pub(crate) const UPDATES_FIT: usize = (GOSSIP_BYTES_MAX - 126) / MEMBER_BYTES;

/// Bytes that foca did not make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not bytes of this layout")]
pub(crate) struct LayoutError;

/// The layout of foca's messages inside the process.
pub(crate) struct Layout;

impl Codec<Identity> for Layout {
    type Error = LayoutError;

    fn encode_header(&mut self, header: &Header<Identity>, mut to: impl BufMut) -> Result<(), LayoutError> {
        put_identity(&mut to, &header.src);
        to.put_u16(header.src_incarnation);
        put_identity(&mut to, &header.dst);
        let (kind, number, other) = split(&header.message);
        to.put_u8(kind);
        to.put_u8(number);
        if let Some(other) = other {
            put_identity(&mut to, other);
        }
        Ok(())
    }

    fn decode_header(&mut self, mut from: impl Buf) -> Result<Header<Identity>, LayoutError> {
        let src = get_identity(&mut from)?;
        let src_incarnation = from.try_get_u16().map_err(|_| LayoutError)?;
        let dst = get_identity(&mut from)?;
        let kind = from.try_get_u8().map_err(|_| LayoutError)?;
        let number = from.try_get_u8().map_err(|_| LayoutError)?;
        let message = join(kind, number, || get_identity(&mut from))?;
        Ok(Header { src, src_incarnation, dst, message })
    }

    fn encode_member(&mut self, member: &Member<Identity>, mut to: impl BufMut) -> Result<(), LayoutError> {
        if to.remaining_mut() < MEMBER_BYTES {
            return Err(LayoutError);
        }
        put_identity(&mut to, member.id());
        to.put_u16(member.incarnation());
        to.put_u8(match member.state() {
            State::Alive => 0,
            State::Suspect => 1,
            State::Down => 2,
        });
        to.put_bytes(0, MEMBER_BYTES - IDENTITY_BYTES - 3);
        Ok(())
    }

    fn decode_member(&mut self, mut from: impl Buf) -> Result<Member<Identity>, LayoutError> {
        let id = get_identity(&mut from)?;
        let incarnation = from.try_get_u16().map_err(|_| LayoutError)?;
        let state = match from.try_get_u8() {
            Ok(0) => State::Alive,
            Ok(1) => State::Suspect,
            Ok(2) => State::Down,
            _ => return Err(LayoutError),
        };
        let padding = MEMBER_BYTES - IDENTITY_BYTES - 3;
        if from.remaining() < padding {
            return Err(LayoutError);
        }
        from.advance(padding);
        Ok(Member::new(id, incarnation, state))
    }
}

fn put_identity(to: &mut impl BufMut, identity: &Identity) {
    to.put_slice(identity.node.as_bytes());
    to.put_u64(identity.generation);
}

fn get_identity(from: &mut impl Buf) -> Result<Identity, LayoutError> {
    let mut node = [0; 32];
    from.try_copy_to_slice(&mut node).map_err(|_| LayoutError)?;
    let generation = from.try_get_u64().map_err(|_| LayoutError)?;
    Ok(Identity::new(NodeKey::from_bytes(node), generation))
}

fn split(message: &foca::Message<Identity>) -> (u8, u8, Option<&Identity>) {
    use foca::Message as M;
    match message {
        M::Ping(n) => (0, *n, None),
        M::Ack(n) => (1, *n, None),
        M::PingReq { target, probe_number } => (2, *probe_number, Some(target)),
        M::IndirectPing { origin, probe_number } => (3, *probe_number, Some(origin)),
        M::IndirectAck { target, probe_number } => (4, *probe_number, Some(target)),
        M::ForwardedAck { origin, probe_number } => (5, *probe_number, Some(origin)),
        M::Announce => (6, 0, None),
        M::Feed => (7, 0, None),
        M::Gossip => (8, 0, None),
        M::TurnUndead => (9, 0, None),
        M::Broadcast => (10, 0, None),
    }
}

fn join(
    kind: u8,
    probe_number: u8,
    mut other: impl FnMut() -> Result<Identity, LayoutError>,
) -> Result<foca::Message<Identity>, LayoutError> {
    use foca::Message as M;
    Ok(match kind {
        0 => M::Ping(probe_number),
        1 => M::Ack(probe_number),
        2 => M::PingReq { target: other()?, probe_number },
        3 => M::IndirectPing { origin: other()?, probe_number },
        4 => M::IndirectAck { target: other()?, probe_number },
        5 => M::ForwardedAck { origin: other()?, probe_number },
        6 => M::Announce,
        7 => M::Feed,
        8 => M::Gossip,
        9 => M::TurnUndead,
        10 => M::Broadcast,
        _ => return Err(LayoutError),
    })
}

impl Message {
    fn to_foca(self) -> foca::Message<Identity> {
        use foca::Message as M;
        match self {
            Message::Ping(n) => M::Ping(n),
            Message::Ack(n) => M::Ack(n),
            Message::PingReq(target, probe_number) => M::PingReq { target, probe_number },
            Message::IndirectPing(origin, probe_number) => M::IndirectPing { origin, probe_number },
            Message::IndirectAck(target, probe_number) => M::IndirectAck { target, probe_number },
            Message::ForwardedAck(origin, probe_number) => M::ForwardedAck { origin, probe_number },
            Message::Announce => M::Announce,
            Message::Feed => M::Feed,
            Message::Gossip => M::Gossip,
            Message::TurnUndead => M::TurnUndead,
        }
    }

    fn of_foca(message: foca::Message<Identity>) -> Self {
        use foca::Message as M;
        match message {
            M::Ping(n) => Message::Ping(n),
            M::Ack(n) => Message::Ack(n),
            M::PingReq { target, probe_number } => Message::PingReq(target, probe_number),
            M::IndirectPing { origin, probe_number } => Message::IndirectPing(origin, probe_number),
            M::IndirectAck { target, probe_number } => Message::IndirectAck(target, probe_number),
            M::ForwardedAck { origin, probe_number } => Message::ForwardedAck(origin, probe_number),
            M::Announce => Message::Announce,
            M::Feed => Message::Feed,
            M::Gossip | M::Broadcast => Message::Gossip,
            M::TurnUndead => Message::TurnUndead,
        }
    }
}

impl Update {
    pub(crate) fn to_foca(self) -> Member<Identity> {
        let state = match self.word {
            Word::Alive => State::Alive,
            Word::Suspect => State::Suspect,
            Word::Down => State::Down,
        };
        Member::new(self.member, self.incarnation, state)
    }

    pub(crate) fn of_foca(member: &Member<Identity>) -> Self {
        let word = match member.state() {
            State::Alive => Word::Alive,
            State::Suspect => Word::Suspect,
            State::Down => Word::Down,
        };
        Update { member: *member.id(), incarnation: member.incarnation(), word }
    }
}

/// A frame's message and updates as foca reads them. Its items are not for foca.
pub(crate) fn to_foca(from: NodeKey, to: NodeKey, swim: &Swim) -> Vec<u8> {
    let header = Header {
        src: Identity::new(from, swim.from.0),
        src_incarnation: swim.from.1,
        dst: Identity::new(to, swim.to),
        message: swim.message.to_foca(),
    };
    let mut bytes = Vec::with_capacity(GOSSIP_BYTES_MAX);
    let _cannot_fail = Layout.encode_header(&header, &mut bytes);
    if !swim.updates.is_empty() {
        bytes.put_u16(swim.updates.len() as u16);
        for update in &swim.updates {
            let _cannot_fail = Layout.encode_member(&update.to_foca(), &mut bytes);
        }
    }
    bytes
}

/// What foca wants sent, taken apart.
pub(crate) struct Sent {
    pub(crate) to: Identity,
    pub(crate) incarnation: Incarnation,
    pub(crate) generation: u64,
    pub(crate) message: Message,
    pub(crate) updates: Vec<Update>,
    pub(crate) items: Vec<Item>,
}

/// Reads what foca made.
pub(crate) fn of_foca(mut bytes: &[u8]) -> Result<Sent, LayoutError> {
    let header = Layout.decode_header(&mut bytes)?;
    let announces = matches!(header.message, foca::Message::Announce | foca::Message::TurnUndead);
    let mut sent = Sent {
        to: header.dst,
        incarnation: header.src_incarnation,
        generation: header.src.generation,
        message: Message::of_foca(header.message),
        updates: Vec::new(),
        items: Vec::new(),
    };
    if announces || bytes.is_empty() {
        return Ok(sent);
    }
    for _ in 0..bytes.try_get_u16().map_err(|_| LayoutError)? {
        sent.updates.push(Update::of_foca(&Layout.decode_member(&mut bytes)?));
    }
    while let Ok(length) = bytes.try_get_u16() {
        let (item, rest) = bytes.split_at_checked(usize::from(length)).ok_or(LayoutError)?;
        sent.items.push(minicbor::decode(item).map_err(|_| LayoutError)?);
        bytes = rest;
    }
    Ok(sent)
}

/// What news are about: later ones about the same replace those that wait.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Accusation(NodeKey, NodeKey),
    Record(NodeKey),
    Digest(PopName),
    Reach(PopName),
}

impl Invalidates for Subject {
    fn invalidates(&self, other: &Self) -> bool {
        self == other
    }
}

/// Takes every item that this node has decided to pass on.
pub(crate) struct PassOn;

impl BroadcastHandler<Identity> for PassOn {
    type Key = Subject;
    type Error = LayoutError;

    fn receive_item(&mut self, data: &[u8], _: Option<&Identity>) -> Result<Option<Subject>, LayoutError> {
        let item = minicbor::decode(data).map_err(|_| LayoutError)?;
        Ok(Some(match item {
            Item::Accusation(accused, _, by) => Subject::Accusation(accused.node, by),
            Item::Record(record) => Subject::Record(record.identity.node),
            Item::Digest(digest) => Subject::Digest(digest.pop),
            Item::Reach(pop, _) => Subject::Reach(pop),
        }))
    }
}

/// What foca wants done, in its order.
pub(crate) enum Effect {
    Send(Vec<u8>),
    After(Timer<Identity>, Duration),
    Touched(NodeKey),
    Renewed(Identity),
    Active,
    Idle,
}

/// Collects what foca wants done.
#[derive(Default)]
pub(crate) struct Effects(pub(crate) Vec<Effect>);

impl Runtime<Identity> for Effects {
    fn notify(&mut self, notification: Notification<'_, Identity>) {
        self.0.push(match notification {
            Notification::MemberUp(id) | Notification::MemberDown(id) | Notification::Rename(_, id) => {
                Effect::Touched(id.node)
            }
            Notification::Active => Effect::Active,
            // A defunct node renews itself at once or has left: nothing to do.
            Notification::Idle | Notification::Defunct => Effect::Idle,
            Notification::Rejoin(id) => Effect::Renewed(*id),
        });
    }

    fn send_to(&mut self, _: Identity, data: &[u8]) {
        self.0.push(Effect::Send(data.to_vec()));
    }

    fn submit_after(&mut self, timer: Timer<Identity>, after: Duration) {
        self.0.push(Effect::After(timer, after));
    }
}
