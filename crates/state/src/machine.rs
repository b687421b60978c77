//! The state itself, in memory: entries in, changes out, the same on every node.
//!
//! No clock, no randomness, no order of a hash: what an entry does follows from it and the state before.

use crate::command::{Command, Entry};
use selvedge_cache::stamps::{PurgeKind, PurgeScope};
use selvedge_types::manifest::HostConflict;
use selvedge_types::resource::{Resources, Settings, Site, SiteId};
use selvedge_types::{Hlc, Manifest, Revision, Role, Token};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// What kind of object something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// What holds for the whole cluster.
    Settings,
    /// A site.
    Site,
    /// A token of the API.
    Token,
    /// A purge.
    Stamp,
}

/// An object's name among all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// Its kind.
    pub kind: Kind,
    /// Its name: `namespace/name` of a site, empty for the settings.
    pub name: String,
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Settings => "settings",
            Kind::Site => "site",
            Kind::Token => "token",
            Kind::Stamp => "purge",
        };
        let space = if self.name.is_empty() { "" } else { " " };
        write!(f, "{kind}{space}{}", self.name)
    }
}

/// Which version of an object something is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// How often it was changed, from 1.
    pub generation: u64,
    /// The revision that made it.
    pub created: Revision,
    /// The revision of its last change.
    pub modified: Revision,
}

/// A purge in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// What it covers.
    pub scope: PurgeScope,
    /// What was fetched up to then is gone.
    pub hard: Hlc,
    /// What was fetched up to then is stale.
    pub soft: Hlc,
}

/// What an object holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// The settings.
    Settings(Arc<Settings>),
    /// A site.
    Site(Arc<Site>),
    /// A token.
    Token(Token),
    /// A purge.
    Stamp(Stamp),
}

/// One object as one revision left it.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The revision.
    pub revision: Revision,
    /// Which object.
    pub object: ObjectName,
    /// Its version now; that of its end if it is gone.
    pub version: Version,
    /// What it holds now; none if it is gone.
    pub value: Option<Value>,
}

/// Why a command changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Another change came first.
    #[error("revision {expected} was expected, but {current} is the last change; look again and retry")]
    Conflict {
        /// What was expected.
        expected: Revision,
        /// The revision of the last change to sites or settings.
        current: Revision,
    },
    /// The manifest has other settings, and whoever applies it may not change them.
    #[error(
        "the manifest changes settings, which belong to the whole cluster: that needs an admin's token for all namespaces"
    )]
    Settings,
    /// Nobody could make tokens any more.
    #[error("{0} is the last token that may do everything; make another one first")]
    Last(ObjectName),
    /// Two sites of different namespaces claim one host.
    #[error(transparent)]
    Host(#[from] HostConflict),
    /// It is there already.
    #[error("{0} exists already; choose another name")]
    Exists(ObjectName),
    /// It is not there.
    #[error("{0} does not exist")]
    NotFound(ObjectName),
    /// There are as many as there may be.
    #[error("there are {limit} {what} already, as many as there may be; remove some first")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        limit: usize,
    },
}

/// How much the state takes. What an entry does follows from these, too: they are the same on every node,
/// whatever its configuration.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Purges in force; further ones are rejected until some expire.
    stamps: usize,
    /// Tokens.
    tokens: usize,
}

const LIMITS: Limits = Limits { stamps: 1_000_000, tokens: 10_000 };

/// The state.
#[derive(Clone, Debug)]
pub struct Machine {
    limits: Limits,
    revision: Revision,
    /// That of the last change to sites or settings.
    declared: Revision,
    time: Hlc,
    resources: Arc<Resources>,
    tokens: BTreeMap<String, Token>,
    stamps: BTreeMap<String, Stamp>,
    versions: BTreeMap<ObjectName, Version>,
}

impl Machine {
    /// The state before everything.
    pub fn new() -> Self {
        Machine {
            limits: LIMITS,
            revision: Revision::default(),
            declared: Revision::default(),
            time: Hlc::ZERO,
            resources: Arc::default(),
            tokens: BTreeMap::new(),
            stamps: BTreeMap::new(),
            versions: BTreeMap::new(),
        }
    }

    /// Does what an entry says: the changes, all of one new revision. An entry that changes nothing, or is
    /// rejected, makes no revision.
    pub fn apply(&mut self, entry: &Entry) -> Result<Vec<Change>, Rejection> {
        self.time = self.time.max(entry.time);
        let values = match &entry.command {
            Command::ApplyManifest { manifest, expected, may_set } => {
                self.manifest_values(manifest, *expected, *may_set)?
            }
            Command::CreateToken(token) => self.new_token(token)?,
            Command::RevokeToken { name } => self.old_token(name)?,
            Command::Purge { scope, kind } => self.stamp(scope, *kind, entry.time)?,
            Command::ExpireStamps { oldest } => self.expired(*oldest),
        };
        if values.is_empty() {
            return Ok(Vec::new());
        }
        let revision = Revision(self.revision.0 + 1);
        let changes: Vec<Change> =
            values.into_iter().map(|(object, value)| self.change(revision, object, value)).collect();
        changes.iter().for_each(|change| self.take_over(change));
        Ok(changes)
    }

    /// Takes a change over as it is, such as one read from the tables.
    pub(crate) fn take_over(&mut self, change: &Change) {
        let Change { revision, object, version, value } = change;
        self.revision = self.revision.max(*revision);
        if matches!(object.kind, Kind::Site | Kind::Settings) {
            self.declared = self.declared.max(*revision);
        }
        match value {
            Some(_) => self.versions.insert(object.clone(), *version),
            None => self.versions.remove(object),
        };
        match (object.kind, value) {
            (Kind::Token, Some(Value::Token(token))) => {
                drop(self.tokens.insert(object.name.clone(), token.clone()))
            }
            (Kind::Token, _) => drop(self.tokens.remove(&object.name)),
            (Kind::Stamp, Some(Value::Stamp(stamp))) => {
                drop(self.stamps.insert(object.name.clone(), stamp.clone()))
            }
            (Kind::Stamp, _) => drop(self.stamps.remove(&object.name)),
            (Kind::Site, Some(Value::Site(site))) => {
                if let Some(id) = site_id(&object.name) {
                    Arc::make_mut(&mut self.resources).sites.insert(id, Site::clone(site));
                }
            }
            (Kind::Site, _) => {
                if let Some(id) = site_id(&object.name) {
                    Arc::make_mut(&mut self.resources).sites.remove(&id);
                }
            }
            (Kind::Settings, Some(Value::Settings(settings))) => {
                Arc::make_mut(&mut self.resources).settings = Settings::clone(settings);
            }
            (Kind::Settings, _) => Arc::make_mut(&mut self.resources).settings = Settings::default(),
        }
    }

    /// Sets revisions and time as they were kept beside the objects.
    pub(crate) fn resume(&mut self, revision: Revision, declared: Revision, time: Hlc) {
        self.revision = self.revision.max(revision);
        self.declared = self.declared.max(declared);
        self.time = self.time.max(time);
    }

    /// The number of the last change.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The number of the last change to sites or settings: what a manifest is compared with.
    pub fn declared(&self) -> Revision {
        self.declared
    }

    /// The latest time of an entry.
    pub fn time(&self) -> Hlc {
        self.time
    }

    /// All sites and the settings.
    pub fn resources(&self) -> &Arc<Resources> {
        &self.resources
    }

    /// The version of an object; none if it is not there.
    pub fn version(&self, object: &ObjectName) -> Option<Version> {
        self.versions.get(object).copied()
    }

    /// The tokens, by name.
    pub fn tokens(&self) -> impl ExactSizeIterator<Item = &Token> {
        self.tokens.values()
    }

    /// The purges in force.
    pub fn stamps(&self) -> impl ExactSizeIterator<Item = &Stamp> {
        self.stamps.values()
    }

    /// What an object holds; none if it is not there.
    pub fn get(&self, object: &ObjectName) -> Option<Value> {
        self.versions.get(object)?;
        match object.kind {
            Kind::Settings => Some(Value::Settings(Arc::new(self.resources.settings.clone()))),
            Kind::Site => {
                let site = self.resources.sites.get(&site_id(&object.name)?)?;
                Some(Value::Site(Arc::new(site.clone())))
            }
            Kind::Token => self.tokens.get(&object.name).cloned().map(Value::Token),
            Kind::Stamp => self.stamps.get(&object.name).cloned().map(Value::Stamp),
        }
    }

    /// All objects, in the order of their names.
    pub(crate) fn objects(&self) -> impl Iterator<Item = (ObjectName, Version, Value)> + '_ {
        self.versions.iter().filter_map(|(name, version)| Some((name.clone(), *version, self.get(name)?)))
    }

    fn change(&self, revision: Revision, object: ObjectName, value: Option<Value>) -> Change {
        let former = self.version(&object);
        let version = Version {
            generation: former.map_or(0, |v| v.generation) + 1,
            created: former.map_or(revision, |v| v.created),
            modified: revision,
        };
        Change { revision, object, version, value }
    }

    fn manifest_values(
        &self,
        manifest: &Manifest,
        expected: Option<Revision>,
        may_set: bool,
    ) -> Result<Vec<(ObjectName, Option<Value>)>, Rejection> {
        if let Some(expected) = expected.filter(|e| *e != self.declared) {
            return Err(Rejection::Conflict { expected, current: self.declared });
        }
        let now = &self.resources;
        let next = manifest.apply_to(now)?;
        let mut values = Vec::new();
        if next.settings != now.settings {
            if !may_set {
                return Err(Rejection::Settings);
            }
            let name = ObjectName { kind: Kind::Settings, name: String::new() };
            values.push((name, Some(Value::Settings(Arc::new(next.settings.clone())))));
        }
        for id in now.sites.keys().filter(|id| !next.sites.contains_key(*id)) {
            values.push((site_name(id), None));
        }
        for (id, site) in next.sites {
            if now.sites.get(&id) != Some(&site) {
                values.push((site_name(&id), Some(Value::Site(Arc::new(site)))));
            }
        }
        Ok(values)
    }

    fn new_token(&self, token: &Token) -> Result<Vec<(ObjectName, Option<Value>)>, Rejection> {
        let object = token_name(&token.name);
        if self.tokens.contains_key(&token.name) {
            return Err(Rejection::Exists(object));
        }
        if self.tokens.len() >= self.limits.tokens {
            return Err(Rejection::TooMany { what: "tokens", limit: self.limits.tokens });
        }
        Ok(vec![(object, Some(Value::Token(token.clone())))])
    }

    fn old_token(&self, name: &str) -> Result<Vec<(ObjectName, Option<Value>)>, Rejection> {
        let object = token_name(name);
        let Some(token) = self.tokens.get(name) else { return Err(Rejection::NotFound(object)) };
        let is_root = |token: &Token| token.role == Role::Admin && token.namespace.is_none();
        let roots = self.tokens.values().filter(|t| is_root(t)).count();
        if is_root(token) && roots == 1 { Err(Rejection::Last(object)) } else { Ok(vec![(object, None)]) }
    }

    fn stamp(
        &self,
        scope: &PurgeScope,
        kind: PurgeKind,
        at: Hlc,
    ) -> Result<Vec<(ObjectName, Option<Value>)>, Rejection> {
        let object = stamp_name(scope);
        let former = self.stamps.get(&object.name);
        if former.is_none() && self.stamps.len() >= self.limits.stamps {
            return Err(Rejection::TooMany { what: "purges in force", limit: self.limits.stamps });
        }
        let mut stamp =
            former.cloned().unwrap_or(Stamp { scope: scope.clone(), hard: Hlc::ZERO, soft: Hlc::ZERO });
        match kind {
            PurgeKind::Hard => stamp.hard = stamp.hard.max(at),
            PurgeKind::Soft => stamp.soft = stamp.soft.max(at),
        }
        Ok(vec![(object, Some(Value::Stamp(stamp)))])
    }

    fn expired(&self, oldest: Hlc) -> Vec<(ObjectName, Option<Value>)> {
        let expired = self.stamps.iter().filter(|(_, s)| s.hard.max(s.soft) < oldest);
        expired.map(|(name, _)| (ObjectName { kind: Kind::Stamp, name: name.clone() }, None)).collect()
    }
}

impl Default for Machine {
    fn default() -> Self {
        Machine::new()
    }
}

/// The name of a site's object.
pub(crate) fn site_name(id: &SiteId) -> ObjectName {
    ObjectName { kind: Kind::Site, name: id.to_string() }
}

fn site_id(name: &str) -> Option<SiteId> {
    use selvedge_types::resource::Text;
    SiteId::parse_text(name).ok()
}

fn token_name(name: &str) -> ObjectName {
    ObjectName { kind: Kind::Token, name: name.to_owned() }
}

/// One name for each scope: no part can pass for another, since the owner has no space in it.
fn stamp_name(scope: &PurgeScope) -> ObjectName {
    let name = match scope {
        PurgeScope::Site { site } => format!("site {site}"),
        PurgeScope::Prefix { site, path } => format!("prefix {site} {path}"),
        PurgeScope::Url { site, uri } => format!("url {site} {uri}"),
        PurgeScope::Tag { namespace, tag } => format!("tag {namespace} {tag}"),
    };
    ObjectName { kind: Kind::Stamp, name }
}

#[cfg(test)]
mod tests;
