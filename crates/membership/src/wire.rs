//! What goes over the network: frames, CBOR with numbered fields (RFC 8949), one to a datagram.
//!
//! A number is never used again. A later version may add fields, which this one skips; a kind of message that
//! it does not know is an error. A frame is read and checked as a whole before anything of it is used.

use crate::coordinate::Coordinate;
use crate::digest::Digest;
use crate::identity::Identity;
use crate::limits::{DATAGRAM_BYTES_MAX, ITEMS_MAX, UPDATES_MAX};
use crate::record::{Load, Record};
use minicbor::{Decode, Decoder, Encode};
use selvedge_types::resource::PopName;
use selvedge_types::{ClusterId, Hlc, NodeKey};

/// The format of frames.
pub const FORMAT: u16 = 1;

/// Why a datagram was refused. Nothing of it was used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A later version sent it.
    #[error("frame of format {0}, but this version knows {FORMAT}; run the newer version here too")]
    Format(u16),
    /// It belongs to another cluster.
    #[error(
        "frame of cluster {theirs}, but this node is of {ours}; check which ticket the sender joined with"
    )]
    Cluster {
        /// The sender's.
        theirs: ClusterId,
        /// This node's.
        ours: ClusterId,
    },
    /// It is not what any version sends.
    #[error("not a frame: {0}; the sender runs something else, or the link damages data")]
    Form(String),
    /// It is for another PoP's pool.
    #[error("frame for another PoP than `{0}`; check the name of the PoP that the sender was started with")]
    Pop(PopName),
    /// It is larger than any frame may be.
    #[error("datagram of {0} bytes, more than {DATAGRAM_BYTES_MAX}; the sender runs something else")]
    Size(usize),
    /// Its sender was removed from the cluster.
    #[error("the sender was removed from this cluster; it can come back with a new key and a new ticket")]
    Removed,
    /// Its sender claims to be the receiver.
    #[error("the sender uses this node's own key; one of the two must get a new one")]
    OwnKey,
}

impl FrameError {
    pub(crate) fn form(error: impl std::fmt::Display) -> Self {
        FrameError::Form(error.to_string())
    }
}

/// A frame: who, when, what.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub(crate) struct Frame {
    #[n(0)]
    pub(crate) format: u16,
    #[n(1)]
    pub(crate) cluster: ClusterId,
    #[n(2)]
    pub(crate) hlc: Hlc,
    #[n(3)]
    pub(crate) body: Body,
}

/// What a frame is for.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub(crate) enum Body {
    /// The protocol of a pool.
    #[n(0)]
    Swim(#[n(0)] Swim),
    /// A wish for a page of a table.
    #[n(1)]
    Ask(#[n(0)] Ask),
    /// The page.
    #[n(2)]
    Page(#[n(0)] Page),
    /// A wish to ping somebody arrived: whoever hears this knows that its own link works.
    #[n(3)]
    Heard(#[n(0)] Scope),
}

/// Which pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub(crate) enum Scope {
    /// A PoP's: with the checksum of its name.
    #[n(0)]
    Pop(#[n(0)] u32),
    /// The delegates'.
    #[n(1)]
    World,
}

impl Scope {
    pub(crate) fn of(pop: &PopName) -> Self {
        // FNV-1a: only tells mistaken addresses from right ones.
        let hash = |h: u32, b: u8| (h ^ u32::from(b)).wrapping_mul(0x0100_0193);
        Scope::Pop(pop.as_str().bytes().fold(0x811c_9dc5, hash))
    }
}

/// A message of SWIM. The keys of sender and receiver are the link's.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub(crate) struct Swim {
    #[n(0)]
    pub(crate) scope: Scope,
    /// The sender's generation and incarnation.
    #[n(1)]
    pub(crate) from: (u64, u16),
    /// The receiver's generation, as the sender knows it.
    #[n(2)]
    pub(crate) to: u64,
    #[n(3)]
    pub(crate) message: Message,
    #[n(4)]
    pub(crate) updates: Vec<Update>,
    #[n(5)]
    pub(crate) items: Vec<Item>,
    #[n(6)]
    pub(crate) load: Load,
    /// The sender's, with answers to pings.
    #[n(7)]
    pub(crate) coordinate: Option<Coordinate>,
    /// How many PoPs the sender knows: who knows fewer asks it.
    #[n(8)]
    pub(crate) pops: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) enum Message {
    #[n(0)]
    Ping(#[n(0)] u8),
    #[n(1)]
    Ack(#[n(0)] u8),
    #[n(2)]
    PingReq(#[n(0)] Identity, #[n(1)] u8),
    #[n(3)]
    IndirectPing(#[n(0)] Identity, #[n(1)] u8),
    #[n(4)]
    IndirectAck(#[n(0)] Identity, #[n(1)] u8),
    #[n(5)]
    ForwardedAck(#[n(0)] Identity, #[n(1)] u8),
    #[n(6)]
    Announce,
    #[n(7)]
    Feed,
    #[n(8)]
    Gossip,
    #[n(9)]
    TurnUndead,
}

/// What is said of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub(crate) enum Word {
    #[n(0)]
    Alive,
    #[n(1)]
    Suspect,
    #[n(2)]
    Down,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Update {
    #[n(0)]
    pub(crate) member: Identity,
    #[n(1)]
    pub(crate) incarnation: u16,
    #[n(2)]
    pub(crate) word: Word,
}

/// News that members pass on.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub(crate) enum Item {
    /// A probe of `by` failed.
    #[n(0)]
    Accusation(#[n(0)] Identity, #[n(1)] u16, #[n(2)] NodeKey),
    #[n(1)]
    Record(#[n(0)] Record),
    #[n(2)]
    Digest(#[n(0)] Digest),
    #[n(3)]
    Reach(#[cbor(n(0), with = "name")] PopName, #[n(1)] Reach),
}

/// Whether a PoP can be reached, by the first delegate of the PoP that asks itself so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Reach {
    #[n(0)]
    pub(crate) stamp: Hlc,
    #[n(1)]
    pub(crate) reachable: bool,
}

/// A wish for what comes after a key of a table.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) enum Ask {
    #[n(0)]
    Members(#[n(0)] Scope, #[n(1)] Option<NodeKey>),
    #[n(1)]
    Pops(#[cbor(n(0), with = "maybe_name")] Option<PopName>),
}

/// A part of a table. `whole` says that nothing comes after it.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub(crate) enum Page {
    #[n(0)]
    Members {
        #[n(0)]
        scope: Scope,
        #[n(1)]
        rows: Vec<Row>,
        #[n(2)]
        whole: bool,
    },
    #[n(1)]
    Pops {
        #[n(0)]
        rows: Vec<PopRow>,
        #[n(1)]
        whole: bool,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Row {
    #[n(0)]
    pub(crate) update: Update,
    #[n(1)]
    pub(crate) record: Option<Record>,
    #[n(2)]
    pub(crate) load: Load,
}

#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub(crate) struct PopRow {
    #[n(0)]
    pub(crate) digest: Digest,
    #[n(1)]
    pub(crate) reach: Option<Reach>,
}

impl Frame {
    pub(crate) fn encode(&self) -> Vec<u8> {
        to_bytes(self)
    }

    /// Reads and checks a frame. Never panics.
    pub(crate) fn decode(bytes: &[u8], cluster: ClusterId) -> Result<Self, FrameError> {
        if bytes.len() > DATAGRAM_BYTES_MAX {
            return Err(FrameError::Size(bytes.len()));
        }
        check_head(bytes, cluster)?;
        let mut decoder = Decoder::new(bytes);
        let frame: Frame = decoder.decode().map_err(FrameError::form)?;
        if decoder.position() != bytes.len() {
            return Err(FrameError::form("more bytes than one frame has"));
        }
        if frame.is_sound() { Ok(frame) } else { Err(FrameError::form("more than a frame may hold")) }
    }

    fn is_sound(&self) -> bool {
        match &self.body {
            Body::Swim(swim) => {
                swim.updates.len() <= UPDATES_MAX
                    && swim.items.len() <= ITEMS_MAX
                    && swim.items.iter().all(Item::is_sound)
            }
            Body::Page(Page::Members { rows, .. }) => {
                rows.len() <= UPDATES_MAX && rows.iter().all(Row::is_sound)
            }
            Body::Page(Page::Pops { rows, .. }) => rows.iter().all(|row| row.digest.is_sound()),
            Body::Ask(_) | Body::Heard(_) => true,
        }
    }
}

impl Item {
    fn is_sound(&self) -> bool {
        match self {
            Item::Record(record) => record.is_sound(),
            Item::Digest(digest) => digest.is_sound(),
            Item::Accusation(..) | Item::Reach(..) => true,
        }
    }
}

impl Row {
    fn is_sound(&self) -> bool {
        let same = |record: &Record| record.is_sound() && record.identity == self.update.member;
        self.record.as_ref().is_none_or(same)
    }
}

/// Format and cluster come first, whatever the rest is.
fn check_head(bytes: &[u8], ours: ClusterId) -> Result<(), FrameError> {
    let mut decoder = Decoder::new(bytes);
    let format = decoder.array().and_then(|_| decoder.u16()).map_err(FrameError::form)?;
    if format != FORMAT {
        return Err(FrameError::Format(format));
    }
    let theirs: ClusterId = decoder.decode().map_err(FrameError::form)?;
    if theirs == ours { Ok(()) } else { Err(FrameError::Cluster { theirs, ours }) }
}

pub(crate) fn to_bytes<T: Encode<()>>(value: &T) -> Vec<u8> {
    // Writing to memory cannot fail, and no type here refuses to be encoded.
    minicbor::to_vec(value).expect("encoding into memory")
}

/// Names as text.
pub(crate) mod name {
    use minicbor::decode::{Decoder, Error as DecodeError};
    use minicbor::encode::{Encoder, Error as EncodeError, Write};
    use selvedge_types::resource::Text;

    pub(crate) fn encode<T: Text, C, W: Write>(
        value: &T,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        e.str(&value.to_string())?.ok()
    }

    pub(crate) fn decode<T: Text, C>(d: &mut Decoder<'_>, _: &mut C) -> Result<T, DecodeError> {
        T::parse_text(d.str()?).map_err(DecodeError::message)
    }
}

/// Names as text, or nothing as null.
mod maybe_name {
    use super::name;
    use minicbor::data::Type;
    use minicbor::decode::{Decoder, Error as DecodeError};
    use minicbor::encode::{Encoder, Error as EncodeError, Write};
    use selvedge_types::resource::Text;

    pub(super) fn encode<T: Text, C, W: Write>(
        value: &Option<T>,
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        match value {
            Some(value) => name::encode(value, e, ctx),
            None => e.null()?.ok(),
        }
    }

    pub(super) fn decode<T: Text, C>(d: &mut Decoder<'_>, ctx: &mut C) -> Result<Option<T>, DecodeError> {
        if d.datatype()? == Type::Null {
            return d.null().map(|()| None);
        }
        name::decode(d, ctx).map(Some)
    }
}
