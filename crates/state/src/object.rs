//! What the control state is made of: objects, each with a kind, a name, a version and what it holds.

use crate::node::{ClusterRecord, NodeRecord};
use selvedge_cache::stamps::PurgeScope;
use selvedge_mesh::ticket::TicketRecord;
use selvedge_types::resource::{Keyspace, KeyspaceId, Settings, Site, SiteId};
use selvedge_types::{Hlc, NodeKey, Revision, Token};
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
    /// A node that was let in.
    Node,
    /// A ticket by which nodes are let in.
    Ticket,
    /// The cluster.
    Cluster,
    /// A keyspace, as it is declared.
    Keyspace,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Kind; 8] = [
        Kind::Settings,
        Kind::Site,
        Kind::Token,
        Kind::Stamp,
        Kind::Node,
        Kind::Ticket,
        Kind::Cluster,
        Kind::Keyspace,
    ];
}

/// An object's name among all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// Its kind.
    pub kind: Kind,
    /// Its name: `namespace/name` of a site or keyspace, the key of a node or ticket, empty for the settings and the cluster.
    pub name: String,
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Settings => "settings",
            Kind::Site => "site",
            Kind::Token => "token",
            Kind::Stamp => "purge",
            Kind::Node => "node",
            Kind::Ticket => "ticket",
            Kind::Cluster => "cluster",
            Kind::Keyspace => "keyspace",
        };
        let space = if self.name.is_empty() { "" } else { " " };
        write!(f, "{kind}{space}{}", self.name)
    }
}

impl ObjectName {
    /// That of the settings.
    pub(crate) fn settings() -> Self {
        ObjectName { kind: Kind::Settings, name: String::new() }
    }

    /// That of a site.
    pub(crate) fn site(id: &SiteId) -> Self {
        ObjectName { kind: Kind::Site, name: id.to_string() }
    }

    /// That of a keyspace.
    pub(crate) fn keyspace(id: &KeyspaceId) -> Self {
        ObjectName { kind: Kind::Keyspace, name: id.to_string() }
    }

    /// That of the cluster.
    pub(crate) fn cluster() -> Self {
        ObjectName { kind: Kind::Cluster, name: String::new() }
    }

    /// That of a node.
    pub(crate) fn node(key: &NodeKey) -> Self {
        ObjectName { kind: Kind::Node, name: key.to_string() }
    }

    /// That of a ticket.
    pub(crate) fn ticket(key: &NodeKey) -> Self {
        ObjectName { kind: Kind::Ticket, name: key.to_string() }
    }

    /// The key that it names, if it is a node's or a ticket's.
    pub(crate) fn node_key(&self) -> Option<NodeKey> {
        self.name.parse().ok()
    }

    /// That of a token.
    pub(crate) fn token(name: &str) -> Self {
        ObjectName { kind: Kind::Token, name: name.to_owned() }
    }

    /// That of a purge: one for each scope. No part can pass for another, since the owner has no space in it.
    pub(crate) fn stamp(scope: &PurgeScope) -> Self {
        let name = match scope {
            PurgeScope::Site { site } => format!("site {site}"),
            PurgeScope::Prefix { site, path } => format!("prefix {site} {path}"),
            PurgeScope::Url { site, uri } => format!("url {site} {uri}"),
            PurgeScope::Tag { namespace, tag } => format!("tag {namespace} {tag}"),
        };
        ObjectName { kind: Kind::Stamp, name }
    }

    /// The site that it names, if it is one's.
    pub(crate) fn site_id(&self) -> Option<SiteId> {
        use selvedge_types::resource::Text;
        if self.kind == Kind::Site { SiteId::parse_text(&self.name).ok() } else { None }
    }

    /// The keyspace that it names, if it is one's.
    pub(crate) fn keyspace_id(&self) -> Option<KeyspaceId> {
        use selvedge_types::resource::Text;
        if self.kind == Kind::Keyspace { KeyspaceId::parse_text(&self.name).ok() } else { None }
    }
}

/// Which version of an object something is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// How often it was changed since it was made, from 1.
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
    /// A node.
    Node(NodeRecord),
    /// A ticket.
    Ticket(TicketRecord),
    /// The cluster.
    Cluster(ClusterRecord),
    /// A keyspace.
    Keyspace(Keyspace),
}

/// One object as one revision left it.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The revision.
    pub revision: Revision,
    /// Which object.
    pub object: ObjectName,
    /// What it is now, and which version of it; none if it is gone.
    pub value: Option<(Version, Value)>,
}
