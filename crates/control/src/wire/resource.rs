//! Declared resources and changes to them.

use selvedge_types::manifest::ManifestError;
use selvedge_types::plan;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// A site.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SiteResource {
    /// Who owns it.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// How often it was changed.
    pub generation: u64,
    /// The revision of its last change.
    pub revision: u64,
    /// What it is, as under `site.NAME` in a manifest (see `/v1/schema`).
    #[schema(value_type = Object)]
    pub spec: Value,
}

/// The cluster's settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SettingsResource {
    /// The control state's revision.
    pub revision: u64,
    /// As under `settings` in a manifest (see `/v1/schema`), defaults included.
    #[schema(value_type = Object)]
    pub spec: Value,
}

/// What applying a manifest would change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Plan {
    /// The revision it was compared with.
    pub revision: u64,
    /// The changes; none if all is as declared.
    pub changes: Vec<Change>,
}

/// What applying a manifest changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Applied {
    /// The revision that holds it; the former one if nothing changed.
    pub revision: u64,
    /// The changes.
    pub changes: Vec<Change>,
    /// What of the declared configuration does not work on the node that answers. Only told to those who see the
    /// whole cluster.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// A change to one resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Change {
    /// `keyspace`, `settings` or `site`.
    pub kind: String,
    /// `namespace/name`; empty for settings.
    pub name: String,
    /// What happens to it.
    pub action: Action,
    /// What changes in it. Of what is new, fields at their defaults are left out.
    pub fields: Vec<FieldChange>,
}

/// What happens to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It is made.
    Create,
    /// It is changed.
    Change,
    /// It is deleted.
    Delete,
}

/// A changed part of a resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FieldChange {
    /// Where, as in `cache.default_ttl`.
    pub path: String,
    /// What it was; absent if it was not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object)]
    pub old: Option<Value>,
    /// What it will be; absent if it will not be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object)]
    pub new: Option<Value>,
}

impl From<plan::ResourceChange> for Change {
    fn from(change: plan::ResourceChange) -> Self {
        let field = |f: plan::FieldChange| FieldChange { path: f.path, old: f.old, new: f.new };
        Change {
            kind: change.kind,
            name: change.name,
            action: match change.action {
                plan::Action::Create => Action::Create,
                plan::Action::Change => Action::Change,
                plan::Action::Delete => Action::Delete,
            },
            fields: change.fields.into_iter().map(field).collect(),
        }
    }
}

impl From<Change> for plan::ResourceChange {
    fn from(change: Change) -> Self {
        let field = |f: FieldChange| plan::FieldChange { path: f.path, old: f.old, new: f.new };
        plan::ResourceChange {
            kind: change.kind,
            name: change.name,
            action: match change.action {
                Action::Create => plan::Action::Create,
                Action::Change => plan::Action::Change,
                Action::Delete => plan::Action::Delete,
            },
            fields: change.fields.into_iter().map(field).collect(),
        }
    }
}

/// One thing that is wrong with a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ManifestProblem {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The key meant; empty for errors of syntax.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: String,
}

impl From<&ManifestError> for ManifestProblem {
    fn from(error: &ManifestError) -> Self {
        ManifestProblem {
            line: error.line,
            column: error.column,
            path: error.path.clone(),
            message: error.message.clone(),
            help: error.help.clone(),
        }
    }
}
