//! What the API and its clients send each other, in JSON. Unknown members are ignored by both sides.

mod cache;
mod cluster;
mod kv;
mod node;
mod resource;
mod token;

pub use cache::{CacheStats, Entry, InspectRequest, Inspection, PurgeRequest, Purged, Rule, SiteStats, Tier};
pub use cluster::{
    ChooseLeader, ChooseVoters, ClusterNode, CreateTicket, NewTicket, NodeAddresses, PopInfo, RolloutNode,
    TicketInfo, TicketRole, Voters,
};
pub use kv::{
    Bytes, KeyspaceResource, KvCall, KvChanged, KvCompact, KvCompare, KvDelete, KvEnd, KvEvent, KvGrant,
    KvKeys, KvLease, KvLeaseInfo, KvOp, KvOpDone, KvPair, KvPut, KvRange, KvRead, KvSession, KvTarget, KvTxn,
    KvTxnDone, KvWatch, KvWatched,
};
pub use node::{Check, DiskStatus, MachineStatus, NetworkStatus, NodeInfo, PressureStatus, Ready, Status};
pub use resource::{
    Action, Applied, Change, FieldChange, ManifestProblem, Plan, SettingsResource, SiteResource,
};
pub use token::{CreateToken, NewToken, RoleName, TokenInfo, Whoami};
