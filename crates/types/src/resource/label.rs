//! Names of namespaces, sites, keyspaces and origins.

use super::text::{Text, TextError, text_value};
use std::fmt;

const MAX_LABEL: usize = 63;

fn check_label(what: &str, text: &str) -> Result<Box<str>, TextError> {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    let starts = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if starts && text.len() <= MAX_LABEL && text.bytes().all(fits) {
        return Ok(text.into());
    }
    Err(TextError::new(
        format!("`{text}` is not a name for {what}"),
        format!(
            "use 1 to {MAX_LABEL} lowercase letters, digits, `-` and `_`, beginning with a letter or digit"
        ),
    ))
}

macro_rules! label {
    ($(#[$doc:meta])* $type:ident, $format:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Box<str>);

        impl $type {
            /// The name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl Text for $type {
            const FORMAT: &'static str = $format;
            const ABOUT: &'static str = "1 to 63 lowercase letters, digits, `-` and `_`";
            fn parse_text(text: &str) -> Result<Self, TextError> {
                check_label($what, text).map($type)
            }
        }
        text_value!($type);
    };
}

label!(
    /// A tenant's name: owns sites; `default` when unnamed.
    Namespace, "namespace", "a namespace"
);
label!(
    /// A site's name, unique in its namespace.
    SiteName, "site-name", "a site"
);
label!(
    /// The name of an API token, unique in the cluster.
    TokenName, "token-name", "a token"
);
label!(
    /// A keyspace's name, unique in its namespace.
    KeyspaceName, "keyspace-name", "a keyspace"
);
label!(
    /// The name of a group of origin servers, unique in its site.
    OriginName, "origin-name", "an origin"
);

label!(
    /// The name of a point of presence: nodes near each other, one failure domain.
    PopName, "pop-name", "a PoP"
);
label!(
    /// The name of a region: PoPs that share a part of the world.
    RegionName, "region-name", "a region"
);

impl Default for Namespace {
    fn default() -> Self {
        Namespace("default".into())
    }
}

impl Default for PopName {
    fn default() -> Self {
        PopName("default".into())
    }
}

impl Default for RegionName {
    fn default() -> Self {
        RegionName("default".into())
    }
}

impl Namespace {
    /// The namespace of what the cluster keeps for itself: no tenant's.
    pub const SYSTEM: &'static str = "selvedge";

    /// Whether it is kept for the system.
    pub fn is_systems(&self) -> bool {
        *self.0 == *Self::SYSTEM
    }
}

impl OriginName {
    /// The name of the group that a site's `origin` key describes.
    pub const DEFAULT: &'static str = "default";
}

impl Default for OriginName {
    fn default() -> Self {
        OriginName(Self::DEFAULT.into())
    }
}

/// A name together with the namespace that it is unique in.
macro_rules! owned_label {
    ($(#[$doc:meta])* $type:ident, $name:ident, $format:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type {
            /// Who owns it.
            pub namespace: Namespace,
            /// Its name there.
            pub name: $name,
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}/{}", self.namespace, self.name)
            }
        }
        impl Text for $type {
            const FORMAT: &'static str = $format;
            const ABOUT: &'static str = "`namespace/name`, or `name` in the namespace `default`";
            fn parse_text(text: &str) -> Result<Self, TextError> {
                let (namespace, name) = match text.split_once('/') {
                    Some((namespace, name)) => (Namespace::parse_text(namespace)?, name),
                    None => (Namespace::default(), text),
                };
                Ok($type { namespace, name: $name::parse_text(name)? })
            }
        }
        text_value!($type);
    };
}

owned_label!(
    /// A site among all sites of a cluster; written `namespace/name`.
    SiteId, SiteName, "site-id"
);
owned_label!(
    /// A keyspace among all keyspaces of a cluster; written `namespace/name`.
    KeyspaceId, KeyspaceName, "keyspace-id"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_lowercase() {
        for good in ["a", "docs", "a-b_c9", "9lives"] {
            assert_eq!(SiteName::parse_text(good).unwrap().as_str(), good);
        }
        let long = "a".repeat(64);
        for bad in ["", "-a", "A", "a.b", "a/b", "ü", long.as_str()] {
            assert!(SiteName::parse_text(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_site_id_without_namespace_is_in_the_default_one() {
        assert_eq!(SiteId::parse_text("docs").unwrap().to_string(), "default/docs");
        assert_eq!(SiteId::parse_text("team/docs").unwrap().to_string(), "team/docs");
        assert!(SiteId::parse_text("a/b/c").is_err());
    }
}
