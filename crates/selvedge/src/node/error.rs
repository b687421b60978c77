//! Why a node cannot be.

use super::identity::IdentityError;
use selvedge_control::SecretError;
use selvedge_gateway::front::CertificateError;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a node could not be built.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Another process has the data directory, or it cannot be used.
    #[error("the data directory {path} cannot be used: {source}")]
    Data {
        /// Where it is.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// Its identity cannot be read or made.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Its key cannot be read or made.
    #[error(transparent)]
    NodeKey(#[from] selvedge_mesh::IdentityError),
    /// Its mesh cannot be reached.
    #[error(transparent)]
    Mesh(#[from] selvedge_mesh::BindError),
    /// The machine gives no randomness.
    #[error("the machine gives no randomness: {0}")]
    Randomness(String),
    /// The cluster did not let it in.
    #[error("{0}")]
    Join(String),
    /// An address cannot be listened on.
    #[error("cannot listen on {addr} for {what}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What for.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] CertificateError),
    /// No first token could be made.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The control state cannot be opened, and there is nothing else to serve by.
    #[error("the control state cannot be opened, and there is no snapshot to serve by: {0}")]
    State(String),
    /// The first token could not be written down.
    #[error("the first token could not be written to the control state: {0}")]
    FirstToken(String),
    /// It begins with a backup that cannot be used.
    #[error("{} cannot be restored", path.display())]
    Backup {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: selvedge_state::BackupError,
    },
    /// It was to begin with a backup, and was cut off.
    #[error("a restore into this data directory was cut off; repeat it: `selvedge up --new --restore FILE`")]
    HalfRestored,
    /// Threads cannot be started.
    #[error("the data plane's threads cannot be started: {0}")]
    Threads(io::Error),
}

impl NodeError {
    pub(super) fn data(disk: &selvedge_rt::Disk, source: io::Error) -> Self {
        NodeError::Data { path: disk.display().to_string(), source }
    }
}

/// An error with all its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
