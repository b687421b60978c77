//! Tokens.

use selvedge_types::token::{Role, Token};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a token's bearer may do; each role may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RoleName {
    /// Look at everything but tokens.
    Viewer,
    /// Change sites and purge caches.
    Deployer,
    /// Change settings and tokens.
    Admin,
}

impl From<Role> for RoleName {
    fn from(role: Role) -> Self {
        match role {
            Role::Viewer => RoleName::Viewer,
            Role::Deployer => RoleName::Deployer,
            Role::Admin => RoleName::Admin,
        }
    }
}

impl From<RoleName> for Role {
    fn from(role: RoleName) -> Self {
        match role {
            RoleName::Viewer => Role::Viewer,
            RoleName::Deployer => Role::Deployer,
            RoleName::Admin => Role::Admin,
        }
    }
}

/// What a token allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Whoami {
    /// Its name.
    pub token: String,
    /// What its bearer may do.
    pub role: RoleName,
    /// The only namespace in which they may do it; none for all.
    #[serde(default)]
    pub namespace: Option<String>,
}

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenInfo {
    /// Its name.
    pub name: String,
    /// What its bearer may do.
    pub role: RoleName,
    /// The only namespace it is good for; none for all.
    pub namespace: Option<String>,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
}

impl From<&Token> for TokenInfo {
    fn from(token: &Token) -> Self {
        TokenInfo {
            name: token.name.clone(),
            role: token.role.into(),
            namespace: token.namespace.as_ref().map(ToString::to_string),
            created_ms: token.created.0,
        }
    }
}

/// A token to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateToken {
    /// Its name: 1 to 63 lowercase letters, digits, `-` and `_`.
    pub name: String,
    /// What its bearer may do.
    pub role: RoleName,
    /// The only namespace it is good for; none for all.
    #[serde(default)]
    pub namespace: Option<String>,
}

/// A token that was made, with its secret, which is told this once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewToken {
    /// The token.
    #[serde(flatten)]
    pub token: TokenInfo,
    /// The secret: send it as `Authorization: Bearer SECRET`.
    pub secret: String,
}
