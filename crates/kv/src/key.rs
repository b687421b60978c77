//! Keys, values and ranges of keys.

use minicbor::decode::{Decoder, Error as DecodeError};
use minicbor::encode::{Encoder, Error as EncodeError, Write};
use minicbor::{Decode, Encode};
use std::borrow::Borrow;
use std::fmt;
use std::ops::{Bound, Deref, RangeBounds};
use std::sync::Arc;

macro_rules! shared_bytes {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $type(Arc<[u8]>);

        impl Deref for $type {
            type Target = [u8];
            fn deref(&self) -> &[u8] {
                &self.0
            }
        }
        impl Borrow<[u8]> for $type {
            fn borrow(&self) -> &[u8] {
                &self.0
            }
        }
        impl From<&[u8]> for $type {
            fn from(bytes: &[u8]) -> Self {
                $type(bytes.into())
            }
        }
        impl From<Vec<u8>> for $type {
            fn from(bytes: Vec<u8>) -> Self {
                $type(bytes.into())
            }
        }
        impl From<&str> for $type {
            fn from(text: &str) -> Self {
                $type(text.as_bytes().into())
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "\"{}\"", self.0.escape_ascii())
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0.escape_ascii())
            }
        }
        impl<C> Encode<C> for $type {
            fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
                e.bytes(&self.0)?.ok()
            }
        }
        impl<'b, C> Decode<'b, C> for $type {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
                Ok($type(d.bytes()?.into()))
            }
        }
    };
}

shared_bytes!(
    /// A key: any bytes but none, ordered as bytes are. Clones share them.
    Key
);
shared_bytes!(
    /// A value: any bytes. Clones share them.
    Value
);

/// Which keys are meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum KeyRange {
    /// One key.
    #[n(0)]
    One(#[n(0)] Key),
    /// The keys from `start` on, up to but not with `end`.
    #[n(1)]
    Span {
        /// The first key; all begin at the empty one.
        #[n(0)]
        start: Key,
        /// The first key no longer meant; none for no end.
        #[n(1)]
        end: Option<Key>,
    },
}

impl KeyRange {
    /// One key.
    pub fn one(key: impl Into<Key>) -> Self {
        KeyRange::One(key.into())
    }

    /// Every key.
    pub fn all() -> Self {
        KeyRange::Span { start: Key::default(), end: None }
    }

    /// The keys from `start` up to but not with `end`.
    pub fn span(start: impl Into<Key>, end: impl Into<Key>) -> Self {
        KeyRange::Span { start: start.into(), end: Some(end.into()) }
    }

    /// The keys that begin with `prefix`.
    pub fn prefix(prefix: impl Into<Key>) -> Self {
        let start = prefix.into();
        // The next key that does not begin so: the last byte that can be raised is raised, the rest cut.
        let kept = start.iter().rposition(|&byte| byte != u8::MAX);
        let end = kept.and_then(|at| {
            let mut end = start.get(..=at)?.to_vec();
            *end.last_mut()? += 1;
            Some(end.into())
        });
        KeyRange::Span { start, end }
    }

    /// Whether a key is meant.
    pub fn contains(&self, key: &[u8]) -> bool {
        match self {
            KeyRange::One(one) => **one == *key,
            KeyRange::Span { start, end } => **start <= *key && end.as_ref().is_none_or(|end| *key < **end),
        }
    }

    /// The first key that may be meant.
    pub(crate) fn start(&self) -> &Key {
        match self {
            KeyRange::One(key) | KeyRange::Span { start: key, .. } => key,
        }
    }

    /// What is left of it from `key` on, to go on with where an answer ended.
    pub fn from_key(&self, key: &Key) -> Self {
        match self {
            KeyRange::One(one) => KeyRange::One(one.clone()),
            KeyRange::Span { start, end } => {
                KeyRange::Span { start: start.clone().max(key.clone()), end: end.clone() }
            }
        }
    }

    /// The bounds as an ordered map takes them; none if no key can be meant.
    pub(crate) fn bounds(&self) -> Option<impl RangeBounds<[u8]>> {
        let (start, end): (&[u8], Bound<&[u8]>) = match self {
            KeyRange::One(key) => (key, Bound::Included(key)),
            KeyRange::Span { start, end: None } => (start, Bound::Unbounded),
            KeyRange::Span { start, end: Some(end) } if start < end => (start, Bound::Excluded(end)),
            KeyRange::Span { .. } => return None,
        };
        Some((Bound::Included(start), end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_where_the_next_one_begins() {
        let cases: [(&[u8], Option<&[u8]>); 5] = [
            (b"a", Some(b"b")),
            (b"a\xff", Some(b"b")),
            (b"a\xfe\xff\xff", Some(b"a\xff")),
            (b"\xff\xff", None),
            (b"", None),
        ];
        for (prefix, end) in cases {
            let expected = KeyRange::Span { start: prefix.into(), end: end.map(Key::from) };
            assert_eq!(KeyRange::prefix(prefix), expected);
            let longer = [prefix, b"\xff\xff"].concat();
            assert!(expected.contains(prefix) && expected.contains(&longer));
        }
        assert!(!KeyRange::prefix("ab").contains(b"ac"));
    }

    #[test]
    fn a_span_that_ends_before_it_begins_holds_nothing() {
        let range = KeyRange::span("b", "a");
        assert!(range.bounds().is_none());
        assert!(!range.contains(b"b") && !range.contains(b"a"));
    }
}
