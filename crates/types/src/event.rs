//! What happens to a node and its cluster that people want to know afterwards.
//!
//! An [`Event`] is one of a closed list. What is kept and sent of it is a [`Record`], whose kind is a text: so a
//! node shows those of a later version too.

mod record;
#[cfg(test)]
mod tests;

pub use record::Record;

use crate::resource::{Namespace, PopName};
use crate::{Hlc, HlcError, NodeKey};
use std::collections::BTreeSet;
use std::time::Duration;

/// The longest text of a record, in bytes; the rest is cut off.
pub const TEXT_BYTES_MAX: usize = 512;
/// The longest subject, in bytes; the rest is cut off.
pub const SUBJECT_BYTES_MAX: usize = 256;
/// How far apart two nodes may tell of the same.
pub const SAME_WITHIN: Duration = Duration::from_secs(60);

/// One life of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// Which node.
    pub node: NodeKey,
    /// Which of its lives: higher with each start.
    pub generation: u64,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// This node began.
    Started {
        /// The version of its program.
        version: String,
    },
    /// This node ends.
    Stopping,
    /// This node's process gave its data directory to its successor.
    HandedOver,
    /// A node was let into the cluster.
    Joined {
        /// Which.
        node: NodeKey,
        /// The revision that says so.
        revision: u64,
    },
    /// A node was taken out of the cluster.
    Removed {
        /// Which.
        node: NodeKey,
        /// The revision that says so.
        revision: u64,
    },
    /// A node is to take no new work, or takes it again.
    Drained {
        /// Which.
        node: NodeKey,
        /// Which of the two.
        draining: bool,
        /// The revision that says so.
        revision: u64,
    },
    /// What a namespace declares was changed.
    Applied {
        /// Which.
        namespace: Namespace,
        /// What of it.
        what: String,
        /// The revision that it is since.
        revision: u64,
    },
    /// The settings were changed.
    Settings {
        /// The revision that they are since.
        revision: u64,
    },
    /// Something was purged.
    Purged {
        /// Whose; none if that is not known.
        namespace: Option<Namespace>,
        /// What.
        scope: String,
        /// Whether it may still be served while it is fetched anew.
        soft: bool,
        /// The revision that says so.
        revision: u64,
    },
    /// The node took over what others had decided meanwhile.
    CaughtUp {
        /// Up to where.
        revision: u64,
    },
    /// A node of the PoP is there for the first time.
    Met(Life),
    /// A node of the PoP that was known is there again, or in a new life.
    Returned(Life),
    /// A node of the PoP did not answer somebody.
    Suspected(Life),
    /// It has shown that it is there.
    Cleared(Life),
    /// A node of the PoP failed, or cannot be reached.
    Failed(Life),
    /// A node of the PoP left of its own accord.
    Left(Life),
    /// A PoP cannot be reached.
    PopLost(PopName),
    /// A PoP can be reached again.
    PopFound(PopName),
    /// This node speaks for its PoP from now on, or no more.
    Delegate(bool),
    /// Others took this node for gone; it goes on as that generation.
    Renewed(u64),
    /// This node slept that long.
    Stalled(Duration),
    /// A node's timestamp was too far ahead and was refused; its message was not.
    ClockRefused {
        /// Whose.
        node: NodeKey,
        /// How far it was ahead.
        error: HlcError,
    },
    /// A node leads the control group.
    Leads {
        /// Which.
        node: NodeKey,
        /// Since which term.
        term: u64,
    },
    /// This node hears of no leader.
    NoLeader,
    /// Others vote.
    Voters {
        /// Their names.
        voters: BTreeSet<String>,
        /// In which term.
        term: u64,
    },
    /// Something that the node needs fails, or works again.
    Fault {
        /// What.
        what: Fault,
        /// Why it fails; none when it works again.
        why: Option<String>,
    },
}

/// What may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// There is room on the disk.
    DiskSpace,
    /// The control state takes changes on this node.
    State,
    /// The end of the log is whole.
    Log,
    /// The cache's disk is written to.
    CacheDisk,
    /// What is declared works on this node.
    Configuration,
    /// The others know this node.
    Removed,
}

impl Fault {
    const fn subject(self) -> &'static str {
        match self {
            Fault::DiskSpace => "disk space",
            Fault::State => "control state",
            Fault::Log => "log",
            Fault::CacheDisk => "cache disk",
            Fault::Configuration => "configuration",
            Fault::Removed => "cluster",
        }
    }
}

/// The kinds of events, as they are written.
pub const KINDS: [&str; 28] = [
    "started",
    "stopping",
    "handed-over",
    "joined",
    "removed",
    "drained",
    "undrained",
    "applied",
    "settings",
    "purged",
    "caught-up",
    "up",
    "back",
    "suspected",
    "cleared",
    "failed",
    "left",
    "pop-lost",
    "pop-found",
    "delegate",
    "renewed",
    "stalled",
    "clock-refused",
    "leader",
    "no-leader",
    "voters",
    "fault",
    "recovered",
];

impl Event {
    /// What kind of event it is.
    pub const fn kind(&self) -> &'static str {
        match self {
            Event::Started { .. } => "started",
            Event::Stopping => "stopping",
            Event::HandedOver => "handed-over",
            Event::Joined { .. } => "joined",
            Event::Removed { .. } => "removed",
            Event::Drained { draining: true, .. } => "drained",
            Event::Drained { draining: false, .. } => "undrained",
            Event::Applied { .. } => "applied",
            Event::Settings { .. } => "settings",
            Event::Purged { .. } => "purged",
            Event::CaughtUp { .. } => "caught-up",
            Event::Met(_) => "up",
            Event::Returned(_) => "back",
            Event::Suspected(_) => "suspected",
            Event::Cleared(_) => "cleared",
            Event::Failed(_) => "failed",
            Event::Left(_) => "left",
            Event::PopLost(_) => "pop-lost",
            Event::PopFound(_) => "pop-found",
            Event::Delegate(_) => "delegate",
            Event::Renewed(_) => "renewed",
            Event::Stalled(_) => "stalled",
            Event::ClockRefused { .. } => "clock-refused",
            Event::Leads { .. } => "leader",
            Event::NoLeader => "no-leader",
            Event::Voters { .. } => "voters",
            Event::Fault { why: Some(_), .. } => "fault",
            Event::Fault { why: None, .. } => "recovered",
        }
    }

    /// The node that it is about, if it is one other than the one that tells.
    pub const fn node(&self) -> Option<NodeKey> {
        match self {
            Event::Joined { node, .. }
            | Event::Removed { node, .. }
            | Event::Drained { node, .. }
            | Event::ClockRefused { node, .. }
            | Event::Leads { node, .. } => Some(*node),
            Event::Met(life)
            | Event::Returned(life)
            | Event::Suspected(life)
            | Event::Cleared(life)
            | Event::Failed(life)
            | Event::Left(life) => Some(life.node),
            Event::Started { .. }
            | Event::Stopping
            | Event::HandedOver
            | Event::Applied { .. }
            | Event::Settings { .. }
            | Event::Purged { .. }
            | Event::CaughtUp { .. }
            | Event::PopLost(_)
            | Event::PopFound(_)
            | Event::Delegate(_)
            | Event::Renewed(_)
            | Event::Stalled(_)
            | Event::NoLeader
            | Event::Voters { .. }
            | Event::Fault { .. } => None,
        }
    }

    /// The revision of the control state that it is of.
    pub const fn revision(&self) -> Option<u64> {
        match self {
            Event::Joined { revision, .. }
            | Event::Removed { revision, .. }
            | Event::Drained { revision, .. }
            | Event::Applied { revision, .. }
            | Event::Settings { revision }
            | Event::Purged { revision, .. }
            | Event::CaughtUp { revision } => Some(*revision),
            _ => None,
        }
    }

    /// The event as it is kept: `name` is that of the node that it is about.
    pub fn record(self, at: Hlc, name: Option<String>) -> Record {
        let text = cut(self.text(), TEXT_BYTES_MAX);
        let subject = name.unwrap_or_else(|| self.subject());
        Record {
            at,
            kind: self.kind().to_owned(),
            node: self.node(),
            subject: cut(subject, SUBJECT_BYTES_MAX),
            namespace: self.namespace().map(ToString::to_string),
            number: self.number(),
            warns: self.warns(),
            text,
        }
    }

    fn subject(&self) -> String {
        match self {
            Event::Applied { namespace, .. } => namespace.to_string(),
            Event::Purged { scope, .. } => scope.clone(),
            Event::PopLost(pop) | Event::PopFound(pop) => pop.to_string(),
            Event::Voters { voters, .. } => voters.iter().map(String::as_str).collect::<Vec<_>>().join(","),
            Event::Fault { what, .. } => what.subject().to_owned(),
            _ => String::new(),
        }
    }

    const fn namespace(&self) -> Option<&Namespace> {
        match self {
            Event::Applied { namespace, .. } => Some(namespace),
            Event::Purged { namespace, .. } => namespace.as_ref(),
            _ => None,
        }
    }

    const fn number(&self) -> Option<u64> {
        match self {
            Event::Met(life)
            | Event::Returned(life)
            | Event::Suspected(life)
            | Event::Cleared(life)
            | Event::Failed(life)
            | Event::Left(life) => Some(life.generation),
            Event::Leads { term, .. } | Event::Voters { term, .. } => Some(*term),
            _ => self.revision(),
        }
    }

    const fn warns(&self) -> bool {
        matches!(
            self,
            Event::Suspected(_)
                | Event::Failed(_)
                | Event::PopLost(_)
                | Event::Renewed(_)
                | Event::Stalled(_)
                | Event::ClockRefused { .. }
                | Event::NoLeader
                | Event::Fault { why: Some(_), .. }
        )
    }

    fn text(&self) -> String {
        match self {
            Event::Started { version } => format!("version {version}"),
            Event::Stopping => "this node stops".into(),
            Event::HandedOver => "this process gave its data directory to its successor".into(),
            Event::Joined { revision, .. } => format!("was let in, revision {revision}"),
            Event::Removed { revision, .. } => format!("was taken out of the cluster, revision {revision}"),
            Event::Drained { draining: true, revision, .. } => {
                format!("is to take no new work, revision {revision}")
            }
            Event::Drained { draining: false, revision, .. } => {
                format!("takes work again, revision {revision}")
            }
            Event::Applied { what, revision, .. } => format!("revision {revision}: {what}"),
            Event::Settings { revision } => format!("revision {revision}: the settings were changed"),
            Event::Purged { soft: false, revision, .. } => format!("revision {revision}"),
            Event::Purged { soft: true, revision, .. } => format!("revision {revision}: stale from now on"),
            Event::CaughtUp { revision } => {
                format!("took over what the others had decided, up to revision {revision}")
            }
            Event::Met(_) => "is there".into(),
            Event::Returned(_) => "is back".into(),
            Event::Suspected(_) => "does not answer".into(),
            Event::Cleared(_) => "answers again".into(),
            Event::Failed(_) => "is gone: it failed, or cannot be reached".into(),
            Event::Left(_) => "left of its own accord".into(),
            Event::PopLost(_) => "the PoP cannot be reached".into(),
            Event::PopFound(_) => "the PoP can be reached".into(),
            Event::Delegate(true) => "this node speaks for its PoP".into(),
            Event::Delegate(false) => "this node speaks for its PoP no more".into(),
            Event::Renewed(generation) => {
                format!("others took this node for gone; it goes on as generation {generation}")
            }
            Event::Stalled(time) => format!("this node stood still for {} ms", time.as_millis()),
            Event::ClockRefused { error, .. } => {
                format!("its clock is too far ahead, or this node's is behind: {error}")
            }
            Event::Leads { term, .. } => format!("leads the voters, term {term}"),
            Event::NoLeader => "no leader is known: too few voters can be reached".into(),
            Event::Voters { term, .. } => format!("these vote, term {term}"),
            Event::Fault { why: Some(why), .. } => why.clone(),
            Event::Fault { what, why: None } => match what {
                Fault::DiskSpace => "there is space again",
                Fault::State => "takes changes again",
                Fault::Log => "whole again",
                Fault::CacheDisk => "written again",
                Fault::Configuration => "all works as declared",
                Fault::Removed => "the others know this node",
            }
            .into(),
        }
    }
}

fn cut(mut text: String, max: usize) -> String {
    text.truncate(text.floor_char_boundary(max));
    text
}
