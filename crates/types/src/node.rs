//! Who is who between nodes: a node is its public key, a cluster is a number drawn when it is made.

use minicbor::{Decode, Encode};
use std::fmt;
use std::str::FromStr;

/// A node: its Ed25519 public key (RFC 8032), 32 bytes. Whether they are a point of the curve is checked
/// where a signature or a handshake is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct NodeKey(#[cbor(n(0), with = "minicbor::bytes")] [u8; 32]);

/// A cluster: 16 random bytes, drawn when it is made and again when it is restored from a backup.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct ClusterId(#[cbor(n(0), with = "minicbor::bytes")] [u8; 16]);

/// A text that is not the hexadecimal form of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not {digits} hexadecimal digits")]
pub struct IdError {
    /// How many digits there must be.
    pub digits: usize,
}

macro_rules! id {
    ($type:ident, $bytes:literal) => {
        impl $type {
            /// The id with these bytes.
            pub const fn from_bytes(bytes: [u8; $bytes]) -> Self {
                $type(bytes)
            }

            /// The bytes.
            pub const fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        /// The first ten digits, as in logs.
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().take(5).try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl FromStr for $type {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let mut bytes = [0; $bytes];
                read_hex(text, &mut bytes).map(|()| $type(bytes))
            }
        }
    };
}

id!(NodeKey, 32);
id!(ClusterId, 16);

fn read_hex(text: &str, bytes: &mut [u8]) -> Result<(), IdError> {
    let error = IdError { digits: bytes.len() * 2 };
    if text.len() != error.digits {
        return Err(error);
    }
    let mut digits = text.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()).ok_or(error));
    for byte in bytes {
        let (high, low) = (digits.next().ok_or(error)??, digits.next().ok_or(error)??);
        *byte = high << 4 | low;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_again(key: [u8; 32], id: [u8; 16]) {
            let (key, id) = (NodeKey::from_bytes(key), ClusterId::from_bytes(id));
            prop_assert_eq!(key.to_string().parse(), Ok(key));
            prop_assert_eq!(id.to_string().parse(), Ok(id));
            prop_assert_eq!(minicbor::decode::<NodeKey>(&minicbor::to_vec(key).unwrap()).unwrap(), key);
        }

        #[test]
        fn no_text_makes_reading_panic(text: String) {
            let _ = text.parse::<NodeKey>();
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for text in ["", "zz", &"0".repeat(63), &"0".repeat(65), &"g".repeat(64), &"\u{e9}".repeat(32)] {
            assert_eq!(text.parse::<NodeKey>(), Err(IdError { digits: 64 }), "{text}");
        }
    }
}
