//! Manifests: text that declares what should be, read once into typed resources.
//!
//! A manifest declares all sites of one namespace and, if it says so, the settings of the whole cluster.
//! Reading has three steps: TOML's syntax, then every key, type and form against the schema that the
//! resource types give, then what parts must be to each other. All errors of a step are reported
//! together, each with file, line, column, span and remedy.
//!
//! Not here: reading files, and resolving secrets.

mod check;
mod error;
mod formats;
mod locate;
mod permissions;
mod schema;
mod shape;

pub use check::{DATA_NAMES, MAX_HOSTS, MAX_KEYSPACES, MAX_ROUTES, MAX_SITES, MAX_TARGETS, is_data_name};
pub use error::{ManifestError, ManifestErrors};
pub use formats::forms;
pub use permissions::{ApplyError, Permissions};
pub use schema::schema;

use crate::resource::{
    HostPattern, Keyspace, KeyspaceId, KeyspaceName, Namespace, Resources, Settings, Site, SiteId, SiteName,
};
use error::{Problem, Reporter};
use schema::ManifestForm;
use serde::Deserialize;
use std::collections::BTreeMap;
use toml::de::DeTable;

/// The largest manifest, in bytes.
pub const MAX_MANIFEST_BYTES: usize = 16 << 20;

/// What a manifest declares.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Manifest {
    /// Who owns the sites.
    pub namespace: Namespace,
    /// What holds for all; nothing if the manifest does not say.
    pub settings: Option<Settings>,
    /// The sites, by name.
    pub sites: BTreeMap<SiteName, Site>,
    /// The keyspaces, by name.
    pub keyspaces: BTreeMap<KeyspaceName, Keyspace>,
}

impl Manifest {
    /// Reads a manifest. `file` is its name in errors.
    ///
    /// # Errors
    /// Everything that is wrong, at most 50 things, in the order of the text.
    pub fn parse(file: &str, text: &str) -> Result<Manifest, ManifestErrors> {
        let mut reporter = Reporter::new(file, text);
        let manifest = read(text, &mut reporter);
        reporter.finish(manifest)
    }

    /// The resources as they are after this manifest: its namespace's sites and keyspaces are those it declares, the
    /// settings are its own if it has any, all else stays.
    ///
    /// # Errors
    /// A host that belongs to a site of another namespace, or what is not `permitted`.
    pub fn apply_to(&self, now: &Resources, permitted: &Permissions) -> Result<Resources, ApplyError> {
        let others = now.sites.iter().filter(|(id, _)| id.namespace != self.namespace);
        let mut sites: BTreeMap<SiteId, Site> = others.map(|(id, site)| (id.clone(), site.clone())).collect();
        let mut owners: BTreeMap<HostPattern, SiteId> = BTreeMap::new();
        for (id, site) in &sites {
            owners.extend(site.hosts.iter().map(|host| (host.clone(), id.clone())));
        }
        for (name, site) in &self.sites {
            let id = SiteId { namespace: self.namespace.clone(), name: name.clone() };
            if let Some((host, owner)) = site.hosts.iter().find_map(|h| owners.get_key_value(h)) {
                let (host, owner) = (host.clone(), owner.clone());
                return Err(if permitted.any_host {
                    ApplyError::Host { host, site: id, owner }
                } else {
                    ApplyError::ForeignHost { host, site: id }
                });
            }
            sites.insert(id, site.clone());
        }
        let settings = self.settings.clone().unwrap_or_else(|| now.settings.clone());
        let others = now.keyspaces.iter().filter(|(id, _)| id.namespace != self.namespace);
        let others = others.map(|(id, keyspace)| (id.clone(), keyspace.clone()));
        let own = self.keyspaces.iter().map(|(name, keyspace)| {
            (KeyspaceId { namespace: self.namespace.clone(), name: name.clone() }, keyspace.clone())
        });
        let next = Resources { settings, sites, keyspaces: others.chain(own).collect() };
        permissions::check(self, now, &next, permitted)?;
        Ok(next)
    }
}

fn read(text: &str, reporter: &mut Reporter<'_>) -> Option<Manifest> {
    if text.len() > MAX_MANIFEST_BYTES {
        let message = format!("the manifest is larger than {MAX_MANIFEST_BYTES} bytes");
        reporter.report(Problem::new(0..0, "", message, "split it by namespace"));
        return None;
    }
    let (document, syntax) = DeTable::parse_recoverable(text);
    for error in &syntax {
        let span = error.span().unwrap_or(0..0);
        reporter.report(Problem::new(span, "", error.message(), "see https://toml.io for the syntax"));
    }
    if !reporter.is_clean() {
        return None;
    }
    shape::check(document.get_ref(), reporter);
    if !reporter.is_clean() {
        return None;
    }
    let form = match ManifestForm::deserialize(toml::Deserializer::from(document.clone())) {
        Ok(form) => form,
        Err(error) => {
            let span = error.span().unwrap_or(0..0);
            reporter.report(Problem::new(span, "", error.message(), "see `selvedge schema`"));
            return None;
        }
    };
    let manifest = Manifest {
        namespace: form.namespace,
        settings: form.settings,
        sites: form.site,
        keyspaces: form.keyspace,
    };
    check::check(&manifest, document.get_ref(), reporter);
    Some(manifest)
}

#[cfg(test)]
mod tests;
