//! What the admin API is given of the rest of the node.

mod requests;
mod state;

pub use requests::Requests;
pub use state::{ControlState, UrlInKey};
