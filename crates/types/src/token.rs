//! Who may use the admin API: tokens, kept as hashes only.

use crate::resource::Namespace;
use crate::time::UnixMillis;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a token's bearer may do. Each role may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Look at everything but tokens.
    Viewer,
    /// Change sites and purge caches.
    Deployer,
    /// Change settings and tokens.
    Admin,
}

impl Role {
    /// The role's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Deployer => "deployer",
            Role::Admin => "admin",
        }
    }

    /// The role with that name.
    pub fn parse(text: &str) -> Option<Role> {
        [Role::Viewer, Role::Deployer, Role::Admin].into_iter().find(|role| role.as_str() == text)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A token as it is stored: enough to recognise the secret, not to know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Its name, unique in a cluster.
    pub name: String,
    /// What its bearer may do.
    pub role: Role,
    /// The only namespace it is good for; none for all.
    pub namespace: Option<Namespace>,
    /// The BLAKE3 hash of the secret, which is 256 random bits: no salt or stretching is needed.
    pub hash: [u8; 32],
    /// When it was made.
    pub created: UnixMillis,
}
