//! The control state in memory: what the store's keyspace of it holds, read once and kept up by every change.

use crate::codec::{CodecError, decode_key, decode_value};
use crate::node::{ClusterRecord, NodeRecord};
use crate::object::{Change, Kind, ObjectName, Stamp, Value, Version};
use selvedge_kv::{KeyRange, KeyspaceNumber, Range, Record, Store};
use selvedge_mesh::ticket::TicketRecord;
use selvedge_types::resource::{Resources, Settings, Site};
use selvedge_types::{NodeKey, Revision, Snapshot, Token};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A key that holds nothing and is put with every change of a sort, so that its revision guards them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Changes of sites or settings.
    Declared,
    /// Changes of tokens.
    Tokens,
    /// Nodes that come, go, or are named otherwise.
    Nodes,
    /// Of an edge node's state: up to which revision of the cluster's it is. The number is what it holds.
    Mirrored,
}

impl Mark {
    /// Its key: no object's begins so.
    pub(crate) const fn key(self) -> [u8; 2] {
        match self {
            Mark::Declared => [u8::MAX, 0],
            Mark::Tokens => [u8::MAX, 1],
            Mark::Nodes => [u8::MAX, 2],
            Mark::Mirrored => [u8::MAX, 3],
        }
    }

    fn of_key(key: &[u8]) -> Option<Mark> {
        [Mark::Declared, Mark::Tokens, Mark::Nodes, Mark::Mirrored].into_iter().find(|mark| mark.key() == key)
    }
}

/// The control state as of a revision.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    revision: Revision,
    declared: Revision,
    tokens_changed: Revision,
    resources: Arc<Resources>,
    tokens: BTreeMap<String, Token>,
    stamps: BTreeMap<String, Stamp>,
    nodes_changed: Revision,
    mirrored: Revision,
    nodes: BTreeMap<NodeKey, NodeRecord>,
    tickets: BTreeMap<NodeKey, TicketRecord>,
    cluster: Option<ClusterRecord>,
    versions: BTreeMap<ObjectName, Version>,
}

impl View {
    /// Reads everything; what cannot be read is named beside it.
    pub(crate) fn read(store: &Store, keyspace: Option<KeyspaceNumber>) -> (View, Vec<CodecError>) {
        let (mut view, mut unreadable) = (View::default(), Vec::new());
        let mut keys = keyspace.map(|_| KeyRange::all());
        while let (Some(number), Some(range)) = (keyspace, keys.take()) {
            // The keyspace is there, and a range of what is there now is never refused.
            let Ok(page) = store.range(number, &Range::of(range.clone())) else { break };
            for found in page.records {
                let record = Record {
                    value: found.value,
                    created: found.created,
                    version: found.version,
                    lease: found.lease,
                };
                unreadable.extend(view.take(&found.key, found.modified, Some(&record)).err());
            }
            keys = page.next.map(|next| range.from_key(&next));
        }
        view.revision = store.revision();
        (view, unreadable)
    }

    /// Takes one key as a revision left it; says what that changed.
    pub(crate) fn take(
        &mut self,
        key: &[u8],
        revision: Revision,
        record: Option<&Record>,
    ) -> Result<Option<Change>, CodecError> {
        self.revision = self.revision.max(revision);
        if let Some(mark) = Mark::of_key(key) {
            let number = record.and_then(|record| Some(u64::from_be_bytes(*record.value.first_chunk()?)));
            *self.mark_mut(mark) = match (mark, number) {
                (Mark::Mirrored, number) => Revision(number.unwrap_or_default()),
                (Mark::Declared | Mark::Tokens | Mark::Nodes, _) => revision,
            };
            return Ok(None);
        }
        let object = decode_key(key)?;
        let value = match record {
            Some(record) => {
                let version =
                    Version { generation: record.version, created: record.created, modified: revision };
                Some((version, decode_value(object.kind, &record.value)?))
            }
            None => None,
        };
        let change = Change { revision, object, value };
        self.take_over(&change);
        Ok(Some(change))
    }

    fn take_over(&mut self, change: &Change) {
        let Change { object, value, .. } = change;
        match value {
            Some((version, _)) => drop(self.versions.insert(object.clone(), *version)),
            None => drop(self.versions.remove(object)),
        }
        let value = value.as_ref().map(|(_, value)| value);
        match (object.kind, value) {
            (Kind::Token, Some(Value::Token(token))) => {
                drop(self.tokens.insert(object.name.clone(), token.clone()))
            }
            (Kind::Token, _) => drop(self.tokens.remove(&object.name)),
            (Kind::Stamp, Some(Value::Stamp(stamp))) => {
                drop(self.stamps.insert(object.name.clone(), stamp.clone()))
            }
            (Kind::Stamp, _) => drop(self.stamps.remove(&object.name)),
            (Kind::Site, value) => {
                let Some(id) = object.site_id() else { return };
                let sites = &mut Arc::make_mut(&mut self.resources).sites;
                match value {
                    Some(Value::Site(site)) => drop(sites.insert(id, Site::clone(site))),
                    _ => drop(sites.remove(&id)),
                }
            }
            (Kind::Keyspace, value) => {
                let Some(id) = object.keyspace_id() else { return };
                let keyspaces = &mut Arc::make_mut(&mut self.resources).keyspaces;
                match value {
                    Some(Value::Keyspace(keyspace)) => drop(keyspaces.insert(id, keyspace.clone())),
                    _ => drop(keyspaces.remove(&id)),
                }
            }
            (Kind::Node, value) => {
                let Some(key) = object.node_key() else { return };
                match value {
                    Some(Value::Node(record)) => drop(self.nodes.insert(key, record.clone())),
                    _ => drop(self.nodes.remove(&key)),
                }
            }
            (Kind::Ticket, value) => {
                let Some(key) = object.node_key() else { return };
                match value {
                    Some(Value::Ticket(record)) => drop(self.tickets.insert(key, record.clone())),
                    _ => drop(self.tickets.remove(&key)),
                }
            }
            (Kind::Cluster, Some(Value::Cluster(record))) => self.cluster = Some(record.clone()),
            (Kind::Cluster, _) => self.cluster = None,
            (Kind::Settings, Some(Value::Settings(settings))) => {
                Arc::make_mut(&mut self.resources).settings = Settings::clone(settings);
            }
            (Kind::Settings, _) => Arc::make_mut(&mut self.resources).settings = Settings::default(),
        }
    }

    /// What is otherwise than in an older view.
    pub(crate) fn changes_since(&self, older: &View) -> Vec<Change> {
        let gone = older.versions.keys().filter(|name| !self.versions.contains_key(*name));
        let gone = gone.map(|name| Change { revision: self.revision, object: name.clone(), value: None });
        let new = self.versions.iter().filter(|(name, version)| older.versions.get(*name) != Some(version));
        let new = new.filter_map(|(name, version)| {
            let value = Some((*version, self.get(name)?));
            Some(Change { revision: version.modified, object: name.clone(), value })
        });
        gone.chain(new).collect()
    }

    fn mark_mut(&mut self, mark: Mark) -> &mut Revision {
        match mark {
            Mark::Declared => &mut self.declared,
            Mark::Tokens => &mut self.tokens_changed,
            Mark::Nodes => &mut self.nodes_changed,
            Mark::Mirrored => &mut self.mirrored,
        }
    }

    /// When a mark was last put; 0 for never.
    pub(crate) fn mark(&self, mark: Mark) -> Revision {
        match mark {
            Mark::Declared => self.declared,
            Mark::Tokens => self.tokens_changed,
            Mark::Nodes => self.nodes_changed,
            Mark::Mirrored => self.mirrored,
        }
    }

    /// The number of the last change seen.
    pub(crate) fn revision(&self) -> Revision {
        self.revision
    }

    /// All sites and the settings.
    pub(crate) fn resources(&self) -> &Arc<Resources> {
        &self.resources
    }

    /// The version of an object; none if it is not there.
    pub(crate) fn version(&self, object: &ObjectName) -> Option<Version> {
        self.versions.get(object).copied()
    }

    /// The tokens, by name.
    pub(crate) fn tokens(&self) -> &BTreeMap<String, Token> {
        &self.tokens
    }

    /// The purges in force, by name.
    pub(crate) fn stamps(&self) -> &BTreeMap<String, Stamp> {
        &self.stamps
    }

    /// The nodes, by key.
    pub(crate) fn nodes(&self) -> &BTreeMap<NodeKey, NodeRecord> {
        &self.nodes
    }

    /// The tickets, by key.
    pub(crate) fn tickets(&self) -> &BTreeMap<NodeKey, TicketRecord> {
        &self.tickets
    }

    /// The cluster, once it is founded.
    pub(crate) fn cluster(&self) -> Option<&ClusterRecord> {
        self.cluster.as_ref()
    }

    /// What an object holds; none if it is not there.
    pub(crate) fn get(&self, object: &ObjectName) -> Option<Value> {
        self.versions.get(object)?;
        match object.kind {
            Kind::Settings => Some(Value::Settings(Arc::new(self.resources.settings.clone()))),
            Kind::Site => {
                let site = self.resources.sites.get(&object.site_id()?)?;
                Some(Value::Site(Arc::new(site.clone())))
            }
            Kind::Token => self.tokens.get(&object.name).cloned().map(Value::Token),
            Kind::Stamp => self.stamps.get(&object.name).cloned().map(Value::Stamp),
            Kind::Node => self.nodes.get(&object.node_key()?).cloned().map(Value::Node),
            Kind::Ticket => self.tickets.get(&object.node_key()?).cloned().map(Value::Ticket),
            Kind::Cluster => self.cluster.clone().map(Value::Cluster),
            Kind::Keyspace => {
                self.resources.keyspaces.get(&object.keyspace_id()?).cloned().map(Value::Keyspace)
            }
        }
    }

    /// All objects, in the order of their names.
    pub(crate) fn objects(&self) -> impl Iterator<Item = (ObjectName, Version, Value)> + '_ {
        self.versions.iter().filter_map(|(name, version)| Some((name.clone(), *version, self.get(name)?)))
    }

    /// What the data plane goes by.
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.revision, Resources::clone(&self.resources))
    }
}
