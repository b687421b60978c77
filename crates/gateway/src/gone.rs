//! When to forget what was counted of something that is no more.

use std::collections::BTreeMap;
use std::time::Duration;

/// How long what was counted of a site or an origin is kept after it was last declared: long enough to be scraped, and
/// for one that comes back to go on where it was.
pub(crate) const GRACE: Duration = Duration::from_secs(3600);

/// Since when things are gone, by name.
#[derive(Debug, Default)]
pub(crate) struct Gone(BTreeMap<String, Duration>);

impl Gone {
    /// Looks at all that are known, and says which of them have been out of use for [`GRACE`]: these are forgotten
    /// here, too.
    pub(crate) fn look<'a>(
        &mut self,
        known: impl Iterator<Item = (&'a String, bool)>,
        now: Duration,
    ) -> Vec<String> {
        let mut over = Vec::new();
        for (name, in_use) in known {
            if in_use {
                self.0.remove(name);
            } else if now.saturating_sub(*self.0.entry(name.clone()).or_insert(now)) >= GRACE {
                self.0.remove(name);
                over.push(name.clone());
            }
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_for_long_is_told_once_and_what_comes_back_is_not() {
        let (one, two) = ("one".to_string(), "two".to_string());
        let mut gone = Gone::default();
        let at = Duration::from_secs(5);
        assert!(gone.look([(&one, false), (&two, false)].into_iter(), at).is_empty());
        assert!(gone.look([(&one, false), (&two, true)].into_iter(), at + GRACE / 2).is_empty());
        assert_eq!(gone.look([(&one, false), (&two, false)].into_iter(), at + GRACE), ["one"]);
        assert_eq!(gone.look([(&two, false)].into_iter(), at + GRACE * 2), ["two"]);
        assert!(gone.0.is_empty());
    }
}
