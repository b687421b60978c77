//! How often the limits of the settings were met.

use crate::{Counter, Family};

/// Counts in `selvedge_limit_reached_total`, by the limit's name in `settings.limits`. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct LimitCounters(Family<[(&'static str, &'static str); 1], Counter>);

impl LimitCounters {
    /// Something met the limit of that name and was refused, cut or done another way.
    pub fn reached(&self, limit: &'static str) {
        self.0.get_or_create(&[("limit", limit)]).inc();
    }

    pub(crate) fn family(&self) -> Family<[(&'static str, &'static str); 1], Counter> {
        self.0.clone()
    }
}
