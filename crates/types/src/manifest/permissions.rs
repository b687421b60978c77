//! What applying a manifest may do to what is there, and why one may not.

use super::Manifest;
use crate::resource::{HostPattern, KeyspaceId, Namespace, Resources, SiteId};

/// What an apply may do, beside changing the sites and keyspaces of the manifest's own namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Permissions {
    /// Change the settings, which hold for the whole cluster.
    pub settings: bool,
    /// Take any host that is free. Without it: none below another namespace's wildcard, no wildcard above another
    /// namespace's host or over a whole top-level domain, and not `*`.
    pub any_host: bool,
    /// Delete all sites of the namespace by declaring none.
    pub delete_all: bool,
    /// Delete keyspaces that are not declared any more, with all that they hold.
    pub delete_keyspaces: bool,
}

impl Permissions {
    /// Everything.
    pub const ALL: Permissions =
        Permissions { settings: true, any_host: true, delete_all: true, delete_keyspaces: true };
}

/// Why a manifest is not applied. Nothing is changed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// It has other settings.
    #[error(
        "the manifest changes settings, which belong to the whole cluster: that needs an admin's token for all namespaces"
    )]
    Settings,
    /// It leaves keyspaces out.
    #[error(
        "the manifest leaves out the keyspaces {names}: applying it would delete them with all that they hold; nothing \
         was changed; declare them, or say `delete_keyspaces=true` (`selvedge apply --delete-keyspaces`) if that is meant"
    )]
    Keyspaces {
        /// Which.
        names: String,
    },
    /// It declares no site, which is more often a generator's failure than a wish to delete everything.
    #[error(
        "the manifest declares no site: applying it would delete all sites of the namespace {namespace} ({sites}); \
         nothing was changed; say `delete_all=true` (`selvedge apply --delete-all`) if that is meant"
    )]
    NoSites {
        /// Whose.
        namespace: Namespace,
        /// How many there are.
        sites: usize,
    },
    /// A host has an owner in another namespace.
    #[error(
        "`{host}` of the site `{site}` already belongs to the site `{owner}`; leave it out of one of the two"
    )]
    Host {
        /// The host.
        host: HostPattern,
        /// The site that asks for it.
        site: SiteId,
        /// The site that has it.
        owner: SiteId,
    },
    /// A host is not for the namespace to take. Does not tell whether it is another's.
    #[error(
        "`{host}` of the site `{site}` is not for this namespace alone to take: it is another's, may be, or covers \
         what is; leave it out, or have it declared with a token for the whole cluster"
    )]
    ForeignHost {
        /// The host.
        host: HostPattern,
        /// The site that asks for it.
        site: SiteId,
    },
}

/// Checks that `next`, which is `now` after `manifest`, is no more than what is permitted.
pub(super) fn check(
    manifest: &Manifest,
    now: &Resources,
    next: &Resources,
    permitted: &Permissions,
) -> Result<(), ApplyError> {
    if next.settings != now.settings && !permitted.settings {
        return Err(ApplyError::Settings);
    }
    if manifest.sites.is_empty() && !permitted.delete_all {
        let sites = now.sites.keys().filter(|id| id.namespace == manifest.namespace).count();
        if sites > 0 {
            return Err(ApplyError::NoSites { namespace: manifest.namespace.clone(), sites });
        }
    }
    let is_gone = |id: &&KeyspaceId| !next.keyspaces.contains_key(*id);
    let gone: Vec<String> = now.keyspaces.keys().filter(is_gone).map(ToString::to_string).collect();
    if !gone.is_empty() && !permitted.delete_keyspaces {
        return Err(ApplyError::Keyspaces { names: gone.join(", ") });
    }
    if permitted.any_host { Ok(()) } else { check_hosts(manifest, now) }
}

fn check_hosts(manifest: &Manifest, now: &Resources) -> Result<(), ApplyError> {
    let of = |is_own: bool| {
        let sites = now.sites.iter().filter(move |(id, _)| (id.namespace == manifest.namespace) == is_own);
        sites.flat_map(|(_, site)| site.hosts.iter())
    };
    let is_foreign = |host: &HostPattern| match host {
        HostPattern::Any => true,
        HostPattern::Exact(name) => of(false).any(|other| is_within(name, other)),
        HostPattern::Below(domain) => {
            !domain.contains('.') || of(false).any(|other| is_within(domain, other) || is_above(host, other))
        }
    };
    for (name, site) in &manifest.sites {
        // What it has it keeps.
        let mut taken = site.hosts.iter().filter(|host| !of(true).any(|own| own == *host));
        if let Some(host) = taken.find(|host| is_foreign(host)) {
            let site = SiteId { namespace: manifest.namespace.clone(), name: name.clone() };
            return Err(ApplyError::ForeignHost { host: host.clone(), site });
        }
    }
    Ok(())
}

/// Whether a name lies below another's wildcard. What `*` answers to is anybody's to declare.
fn is_within(name: &str, other: &HostPattern) -> bool {
    matches!(other, HostPattern::Below(_)) && other.matches(name)
}

/// Whether a wildcard covers another's host, or all below it.
fn is_above(wildcard: &HostPattern, other: &HostPattern) -> bool {
    match other {
        HostPattern::Exact(name) | HostPattern::Below(name) => wildcard.matches(name),
        HostPattern::Any => false,
    }
}
