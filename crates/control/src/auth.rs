//! Who asks: bearer tokens (RFC 6750) and what they allow.

use crate::problem::Problem;
use crate::wire::Whoami;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use selvedge_rt::Secrets;
use selvedge_types::resource::{Namespace, Text, TextError};
use selvedge_types::token::{Role, Token};
use std::fmt;
use subtle::ConstantTimeEq;

/// What every secret begins with, so that scanners find one that leaked.
const PREFIX: &str = "sv_";

/// A token's secret: 256 random bits. Shown once, never stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// A secret could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot draw randomness for a token")]
pub struct SecretError(#[from] std::io::Error);

impl Secret {
    /// A new one.
    pub fn generate(secrets: &Secrets) -> Result<Self, SecretError> {
        let bytes = secrets.bytes()?;
        Ok(Secret(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))))
    }

    /// The hash to store.
    pub fn hash(&self) -> [u8; 32] {
        hash(&self.0)
    }

    /// The secret itself, to be shown.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<Caller> for Whoami {
    fn from(caller: Caller) -> Self {
        let Caller { token, role, namespace } = caller;
        Whoami { token, role: role.into(), namespace: namespace.map(|namespace| namespace.to_string()) }
    }
}

impl TryFrom<Whoami> for Caller {
    type Error = TextError;

    fn try_from(whoami: Whoami) -> Result<Self, TextError> {
        let Whoami { token, role, namespace } = whoami;
        let namespace = namespace.as_deref().map(Namespace::parse_text).transpose()?;
        Ok(Caller { token, role: role.into(), namespace })
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Who asks, and what they may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The token's name.
    pub(crate) token: String,
    /// What they may do.
    pub(crate) role: Role,
    /// The only namespace they may do it in.
    pub(crate) namespace: Option<Namespace>,
}

impl Caller {
    /// Fails unless the caller has that role at least.
    pub(crate) fn check_role(&self, role: Role) -> Result<(), Problem> {
        let Caller { token, role: has, .. } = self;
        if *has < role {
            return Err(Problem::forbidden(format!(
                "this needs the role {role}; the token {token:?} has {has}"
            )));
        }
        Ok(())
    }

    /// Fails unless the caller may act in `namespace`.
    pub(crate) fn check_namespace(&self, namespace: &Namespace) -> Result<(), Problem> {
        if self.sees(namespace) {
            return Ok(());
        }
        Err(Problem::forbidden(format!("the token {:?} is not good for namespace {namespace}", self.token)))
    }

    /// Fails unless the caller may act on the whole cluster.
    pub(crate) fn check_whole(&self, what: &str) -> Result<(), Problem> {
        match &self.namespace {
            None => Ok(()),
            Some(only) => {
                let token = &self.token;
                Err(Problem::forbidden(format!(
                    "{what}; the token {token:?} is good for namespace {only} alone"
                )))
            }
        }
    }

    /// Whether what is in `namespace` is shown to the caller.
    pub(crate) fn sees(&self, namespace: &Namespace) -> bool {
        self.namespace.as_ref().is_none_or(|only| only == namespace)
    }
}

/// Whether a token is the one whose secret has that hash. Takes as long if not.
pub fn is_token_of(token: &Token, hash: &[u8; 32]) -> bool {
    token.hash.ct_eq(hash).into()
}

/// Finds out who sent `authorization`, and whether they have `role`; `find` gives the token whose secret has a hash.
pub(crate) fn authorize(
    authorization: Option<&[u8]>,
    find: impl FnOnce(&[u8; 32]) -> Option<Token>,
    role: Role,
) -> Result<Caller, Problem> {
    let Some(secret) = authorization.and_then(bearer) else {
        return Err(Problem::unauthorized("this needs a token: send Authorization: Bearer SECRET"));
    };
    let Some(token) = find(&hash(secret)) else {
        return Err(Problem::unauthorized("the token is not known, or was revoked"));
    };
    let caller = Caller { token: token.name, role: token.role, namespace: token.namespace };
    caller.check_role(role)?;
    Ok(caller)
}

pub(crate) fn bearer(authorization: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(authorization).ok()?;
    let (scheme, secret) = text.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
}

pub(crate) fn hash(secret: &str) -> [u8; 32] {
    *blake3::hash(secret.as_bytes()).as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use selvedge_types::UnixMillis;

    fn token(name: &str, role: Role, secret: &Secret) -> Token {
        Token { name: name.into(), role, namespace: None, hash: secret.hash(), created: UnixMillis(0) }
    }

    #[test]
    fn a_known_secret_names_its_bearer() {
        let secret = Secret::generate(&Secrets::System).unwrap();
        let other = Secret::generate(&Secrets::System).unwrap();
        let tokens = [token("ci", Role::Deployer, &secret), token("root", Role::Admin, &other)];
        let header = |scheme: &str, s: &Secret| format!("{scheme} {}", s.reveal()).into_bytes();
        let status = |authorization: Option<&[u8]>, role| {
            let find = |hash: &[u8; 32]| tokens.iter().find(|token| is_token_of(token, hash)).cloned();
            authorize(authorization, find, role).map(|c| c.token).map_err(|p| p.status().as_u16())
        };
        let known = header("Bearer", &secret);
        assert_eq!(status(Some(&known), Role::Viewer), Ok("ci".into()));
        assert_eq!(status(Some(&known), Role::Deployer), Ok("ci".into()));
        assert_eq!(status(Some(&known), Role::Admin), Err(403));
        assert_eq!(status(Some(&header("bearer", &other)), Role::Admin), Ok("root".into()));
        for refused in [&header("Basic", &secret)[..], b"Bearer nonsense", b"Bearer", b"", b"\xff"] {
            assert_eq!(status(Some(refused), Role::Viewer), Err(401));
        }
        assert_eq!(status(None, Role::Viewer), Err(401));
    }

    #[test]
    fn a_namespace_limits_what_is_seen() {
        let name = |n: &str| Namespace::parse_text(n).unwrap();
        let caller = Caller { token: "t".into(), role: Role::Admin, namespace: Some(name("team")) };
        assert!(caller.check_namespace(&name("team")).is_ok());
        assert!(caller.check_namespace(&name("other")).is_err());
        assert!(caller.check_whole("settings belong to all").is_err());
    }

    #[test]
    fn secrets_differ_and_do_not_print() {
        let (a, b) =
            (Secret::generate(&Secrets::System).unwrap(), Secret::generate(&Secrets::System).unwrap());
        assert_ne!(a, b);
        assert!(a.reveal().len() > 40 && a.reveal().starts_with(PREFIX));
        assert_eq!(format!("{a:?}"), "Secret(..)");
    }
}
