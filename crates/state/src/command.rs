//! What can be asked of the control state.

use selvedge_cache::stamps::{PurgeKind, PurgeScope};
use selvedge_types::{Hlc, Manifest, Revision, Token};

/// A change to the control state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Makes the sites of a namespace, and the settings if it has any, what the manifest declares.
    ApplyManifest {
        /// What is declared.
        manifest: Box<Manifest>,
        /// The revision of the last change to sites or settings must be this one; none for any.
        expected: Option<Revision>,
        /// Whether whoever asks may change the settings; else a manifest with other settings is rejected.
        may_set: bool,
    },
    /// Adds a token.
    CreateToken(Token),
    /// Removes the token of that name.
    RevokeToken {
        /// Its name.
        name: String,
    },
    /// Says that what was fetched before now is gone or stale.
    Purge {
        /// What it covers.
        scope: PurgeScope,
        /// Gone or stale.
        kind: PurgeKind,
    },
    /// Drops the purge stamps that no object can be covered by any more.
    ExpireStamps {
        /// When the fetch of the oldest object began.
        oldest: Hlc,
    },
}
