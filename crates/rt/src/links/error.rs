//! Why a link or a stream does not work.

use std::fmt;

/// What an end says when it closes a link or breaks off a stream.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Code(pub u32);

impl Code {
    /// Nothing is wrong: the end has no more use for it.
    pub const DONE: Code = Code(0);
    /// The answer or the question is no longer wanted.
    pub const CANCELLED: Code = Code(1);
    /// The peer is not, or no longer, one of the cluster.
    pub const REFUSED: Code = Code(2);
    /// A limit is reached: try later.
    pub const OVERLOADED: Code = Code(3);
    /// What was sent breaks the protocol.
    pub const MALFORMED: Code = Code(4);
    /// Another link replaces this one.
    pub const REPLACED: Code = Code(5);
    /// The process or the machine stops.
    pub const STOPPING: Code = Code(6);
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Code::DONE => f.write_str("done"),
            Code::CANCELLED => f.write_str("cancelled"),
            Code::REFUSED => f.write_str("not a member of the cluster"),
            Code::OVERLOADED => f.write_str("overloaded"),
            Code::MALFORMED => f.write_str("protocol broken"),
            Code::REPLACED => f.write_str("replaced by another link"),
            Code::STOPPING => f.write_str("stopping"),
            Code(other) => write!(f, "code {other}"),
        }
    }
}

/// Why a link or a stream does not work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// This node does not know the peer.
    #[error("the node is not among this cluster's; has it joined, or was it removed?")]
    Unknown,
    /// The peer does not answer at any known address.
    #[error("the node does not answer at any of its {addresses} known addresses")]
    Unreachable {
        /// How many are known.
        addresses: usize,
    },
    /// The peer answers and lets nobody with this node's key in.
    #[error("the node refuses this one: {0}")]
    Refused(Code),
    /// The peer speaks no protocol in common, or is of another cluster.
    #[error("the node is of another cluster, or its version has no protocol in common with this one")]
    NoProtocol,
    /// The other end closed the link.
    #[error("the other end closed the link: {0}")]
    ClosedByPeer(Code),
    /// This end closed the link.
    #[error("this end closed the link: {0}")]
    Closed(Code),
    /// Nothing was heard from the peer for too long, or it has lost the link.
    #[error("nothing more is heard from the node")]
    Lost,
    /// The peer will send no more in this stream.
    #[error("the sender broke the stream off: {0}")]
    Reset(Code),
    /// The peer will read no more of this stream.
    #[error("the reader wants no more of the stream: {0}")]
    Stopped(Code),
    /// This end has finished or broken off the stream.
    #[error("the stream has ended")]
    Ended,
    /// A datagram is too large.
    #[error("a datagram of {bytes} bytes is larger than the {max} that fit", max = super::DATAGRAM_BYTES_MAX)]
    DatagramTooLarge {
        /// Its size.
        bytes: usize,
    },
}

impl LinkError {
    /// Whether the link itself is over, and not one stream of it.
    pub const fn is_of_the_link(&self) -> bool {
        match self {
            LinkError::Unknown
            | LinkError::Unreachable { .. }
            | LinkError::Refused(_)
            | LinkError::NoProtocol
            | LinkError::ClosedByPeer(_)
            | LinkError::Closed(_)
            | LinkError::Lost => true,
            LinkError::Reset(_)
            | LinkError::Stopped(_)
            | LinkError::Ended
            | LinkError::DatagramTooLarge { .. } => false,
        }
    }
}
