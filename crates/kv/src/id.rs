//! Numbers that the store gives out. None is given twice.

use minicbor::{Decode, Encode};
use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
        #[cbor(transparent)]
        pub struct $type(#[n(0)] pub u64);

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// A keyspace, for as long as it exists: one made later under the same name has another number.
    KeyspaceNumber
);
number!(
    /// A lease of a keyspace; never 0.
    LeaseId
);
number!(
    /// A client's session.
    SessionId
);
number!(
    /// A command's number in its session, counted up by the client.
    Sequence
);
