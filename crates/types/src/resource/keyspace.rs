//! Keyspaces: named key-value state that programs share.

use super::quantity::ByteSize;
use super::text::{Text, TextError, text_value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A keyspace: keys and values that the cluster keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Keyspace {
    /// What reads and writes are promised. Fixed once the keyspace is made.
    pub consistency: Consistency,
    /// What keys, values and their history may take on each node that keeps them, in memory and on disk. Writes
    /// beyond it are refused.
    #[serde(default = "default_quota")]
    #[schemars(extend("formatMinimum" = "1MiB", "formatMaximum" = "8GiB"))]
    pub quota: ByteSize,
}

fn default_quota() -> ByteSize {
    ByteSize::gib(1)
}

/// What reads and writes of a keyspace are promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Consistency {
    /// One order of all changes, agreed on by a majority; refused when there is none.
    Strong,
}

impl fmt::Display for Consistency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Consistency::Strong => "strong",
        })
    }
}

impl Text for Consistency {
    const FORMAT: &'static str = "consistency";
    const ABOUT: &'static str = "`strong`: one order of all changes, agreed on by a majority";
    fn parse_text(text: &str) -> Result<Self, TextError> {
        let help = "write `strong`: reads and writes are linearizable, and refused without a majority";
        match text {
            "strong" => Ok(Consistency::Strong),
            "eventual" => Err(TextError::new(
                "keyspaces with `eventual` consistency are not there in this version",
                help,
            )),
            _ => Err(TextError::new(format!("`{text}` is not a consistency"), help)),
        }
    }
}
text_value!(Consistency);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consistency_that_is_not_there_yet_is_named_as_such() {
        assert_eq!(Consistency::parse_text("strong"), Ok(Consistency::Strong));
        let error = Consistency::parse_text("eventual").unwrap_err();
        assert!(error.message.contains("not there in this version"), "{error}");
        assert!(Consistency::parse_text("weak").unwrap_err().message.contains("`weak`"));
    }
}
