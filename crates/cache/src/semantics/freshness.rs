//! How long a stored response is fresh, and how long it may be served after that: 32 bytes beside each object.

use super::age::{Times, initial_age_ms};
use super::cache_control::ResponseDirectives;
use super::lifetime::{Rule, lifetime};
use super::policy::FreshnessPolicy;
use super::seconds::Seconds;
use super::targeted::DirectiveSource;
use selvedge_types::{Fields, Status, UnixMillis, name};
use std::time::Duration;

/// The facts on which reuse of a stored response is decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Freshness {
    /// When its age was zero, by this node's wall clock.
    pub born: UnixMillis,
    /// Its age when it arrived, whole seconds; the least it can be, should the clock go back.
    pub initial_age: Seconds,
    /// Up to which age it is fresh.
    pub lifetime: Seconds,
    /// For how long after that it may be served while it is revalidated.
    pub stale_while_revalidate: Seconds,
    /// For how long it may be served when the origin errs.
    pub stale_if_error: Seconds,
    /// For how long it may be served when the origin cannot be reached.
    pub stale_if_unreachable: Seconds,
    /// Which rule gave the lifetime.
    pub rule: Rule,
    /// `no-cache`: never reused without validation.
    pub no_cache: bool,
    /// `must-revalidate`, `proxy-revalidate` or `s-maxage`: no request may have it stale.
    pub must_revalidate: bool,
    /// `immutable` (RFC 8246).
    pub immutable: bool,
    /// It has an ETag or Last-Modified to validate it with.
    pub has_validator: bool,
    /// `no-transform`: its content must not be recoded (RFC 9111 section 5.2.2.6).
    pub no_transform: bool,
    /// The operator's smallest lifetime was applied.
    pub raised_to_min: bool,
    /// The operator's largest lifetime was applied.
    pub lowered_to_max: bool,
}

impl Freshness {
    /// How many bytes [`Freshness::to_bytes`] gives.
    pub const ENCODED_LEN: usize = 32;

    /// Works out the freshness of a response.
    pub(super) fn assess(
        status: Status,
        fields: &Fields,
        times: Times,
        said: &ResponseDirectives,
        source: DirectiveSource,
        policy: &FreshnessPolicy,
    ) -> Self {
        let (rule, lifetime) = lifetime(status, fields, times.responded, said, source, policy);
        let age_ms = initial_age_ms(fields, times);
        let mut facts = Freshness {
            born: UnixMillis(times.responded.0.saturating_sub(age_ms)),
            initial_age: Seconds::new(age_ms / 1000),
            lifetime,
            stale_while_revalidate: Seconds::ZERO,
            stale_if_error: Seconds::ZERO,
            stale_if_unreachable: Seconds::ZERO,
            rule,
            no_cache: said.no_cache.is_response() && rule != Rule::Forced,
            must_revalidate: false,
            immutable: said.immutable,
            has_validator: [name::ETAG, name::LAST_MODIFIED]
                .into_iter()
                .any(|field| fields.get(field).is_some_and(|value| !value.is_empty())),
            no_transform: said.no_transform,
            raised_to_min: false,
            lowered_to_max: false,
        };
        facts.clamp(policy);
        facts.set_staleness(said, policy);
        facts
    }

    /// Its age at `now` (RFC 9111 section 4.2.3).
    pub fn age(&self, now: UnixMillis) -> Duration {
        now.since(self.born).max(Duration::from_millis(self.initial_age.millis()))
    }

    /// How long it stays fresh, in milliseconds; negative once it is stale.
    pub fn ttl_left_ms(&self, now: UnixMillis) -> i64 {
        let age_ms = i64::try_from(self.age(now).as_millis()).unwrap_or(i64::MAX);
        (self.lifetime.millis() as i64).saturating_sub(age_ms)
    }

    /// Whether it is fresh at `now`: its lifetime exceeds its age (RFC 9111 section 4.2).
    pub fn is_fresh(&self, now: UnixMillis) -> bool {
        self.ttl_left_ms(now) > 0
    }

    /// After this time no rule lets it be served without asking the origin; it may still be validated.
    pub fn servable_until(&self) -> UnixMillis {
        let stale = self.stale_while_revalidate.max(self.stale_if_error).max(self.stale_if_unreachable);
        self.born.plus(Duration::from_millis(self.lifetime.millis() + stale.millis()))
    }

    /// The same facts, stale from `now` on: a soft purge, or a HEAD that showed a change (RFC 9111 section
    /// 4.3.5). The windows in which it may be served stale begin at `now`.
    pub fn made_stale(mut self, now: UnixMillis) -> Self {
        self.lifetime = self.lifetime.min(Seconds::new(self.age(now).as_secs()));
        self
    }

    /// The facts as they are kept on disk: little-endian numbers, then flags and the rule, then zero.
    pub fn to_bytes(&self) -> [u8; Self::ENCODED_LEN] {
        let mut out = [0; Self::ENCODED_LEN];
        out[..8].copy_from_slice(&self.born.0.to_le_bytes());
        let numbers = [
            self.initial_age,
            self.lifetime,
            self.stale_while_revalidate,
            self.stale_if_error,
            self.stale_if_unreachable,
        ];
        for (slot, n) in out[8..28].chunks_exact_mut(4).zip(numbers) {
            slot.copy_from_slice(&n.get().to_le_bytes());
        }
        let flags = self.flags().iter().rev().fold(0, |bits, flag| bits << 1 | u8::from(*flag));
        out[28] = flags;
        out[29] = self.rule as u8;
        out
    }

    /// Reads what [`Freshness::to_bytes`] wrote; none if it cannot have written it.
    pub fn from_bytes(bytes: &[u8; Self::ENCODED_LEN]) -> Option<Self> {
        let mut born = [0; 8];
        born.copy_from_slice(&bytes[..8]);
        let number = |i: usize| {
            let at = 8 + 4 * i;
            let n = u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
            (n <= Seconds::MAX.get()).then_some(Seconds::new(u64::from(n)))
        };
        let flag = |i: u8| bytes[28] >> i & 1 == 1;
        if bytes[28] & 0x80 != 0 || bytes[30..] != [0, 0] {
            return None;
        }
        Some(Freshness {
            born: UnixMillis(u64::from_le_bytes(born)),
            initial_age: number(0)?,
            lifetime: number(1)?,
            stale_while_revalidate: number(2)?,
            stale_if_error: number(3)?,
            stale_if_unreachable: number(4)?,
            rule: *Rule::ALL.get(usize::from(bytes[29]))?,
            no_cache: flag(0),
            must_revalidate: flag(1),
            immutable: flag(2),
            has_validator: flag(3),
            no_transform: flag(4),
            raised_to_min: flag(5),
            lowered_to_max: flag(6),
        })
    }

    fn flags(&self) -> [bool; 7] {
        [
            self.no_cache,
            self.must_revalidate,
            self.immutable,
            self.has_validator,
            self.no_transform,
            self.raised_to_min,
            self.lowered_to_max,
        ]
    }

    fn clamp(&mut self, policy: &FreshnessPolicy) {
        if self.rule == Rule::None || self.rule == Rule::Forced {
            return;
        }
        let raised = policy.min_ttl.map_or(self.lifetime, |min| self.lifetime.max(min));
        let lowered = policy.max_ttl.map_or(raised, |max| raised.min(max));
        self.raised_to_min = raised > self.lifetime;
        self.lowered_to_max = lowered < raised;
        self.lifetime = lowered;
    }

    /// RFC 9111 section 4.2.4: what is marked for revalidation is never served stale. `s-maxage` implies
    /// that mark (section 5.2.2.10) unless the origin itself states a stale window beside it (RFC 5861).
    fn set_staleness(&mut self, said: &ResponseDirectives, policy: &FreshnessPolicy) {
        if self.rule == Rule::Forced {
            self.stale_while_revalidate = policy.stale_while_revalidate;
            self.stale_if_error = policy.stale_if_error;
            self.stale_if_unreachable = policy.stale_if_unreachable.max(policy.stale_if_error);
            return;
        }
        let forbidden = said.must_revalidate || said.proxy_revalidate || self.no_cache;
        let implied = said.s_maxage.is_some();
        self.must_revalidate = forbidden || implied;
        if forbidden || self.rule == Rule::None {
            return;
        }
        let unstated = |by_operator: Seconds| if implied { Seconds::ZERO } else { by_operator };
        self.stale_while_revalidate =
            said.stale_while_revalidate.unwrap_or(unstated(policy.stale_while_revalidate));
        self.stale_if_error = said.stale_if_error.unwrap_or(unstated(policy.stale_if_error));
        self.stale_if_unreachable = self.stale_if_error.max(unstated(policy.stale_if_unreachable));
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{NOW, at, judged};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn staleness_is_allowed_by_origin_or_operator_and_forbidden_by_the_origin() {
        let policy = FreshnessPolicy {
            stale_while_revalidate: Seconds::new(1),
            stale_if_error: Seconds::new(2),
            stale_if_unreachable: Seconds::new(3),
            ..Default::default()
        };
        for (cc, expected) in [
            ("max-age=1", (1, 2, 3, false)),
            ("max-age=1, stale-while-revalidate=7, stale-if-error=8", (7, 8, 8, false)),
            ("max-age=1, stale-while-revalidate=0, stale-if-error=0", (0, 0, 3, false)),
            ("max-age=1, must-revalidate, stale-if-error=8", (0, 0, 0, true)),
            ("max-age=1, proxy-revalidate", (0, 0, 0, true)),
            ("s-maxage=1", (0, 0, 0, true)),
            ("s-maxage=1, stale-while-revalidate=7", (7, 0, 0, true)),
            ("s-maxage=1, stale-if-error=7", (0, 7, 7, true)),
            ("s-maxage=1, stale-if-error=7, must-revalidate", (0, 0, 0, true)),
            ("no-cache, max-age=1", (0, 0, 0, true)),
            ("", (0, 0, 0, false)),
        ] {
            let f = judged("GET", &format!("200 Cache-Control: {cc}|"), &policy).freshness;
            let numbers = (
                f.stale_while_revalidate.get(),
                f.stale_if_error.get(),
                f.stale_if_unreachable.get(),
                f.must_revalidate,
            );
            assert_eq!(numbers, expected, "{cc}");
        }
    }

    #[test]
    fn age_grows_with_time_and_survives_a_clock_that_goes_back() {
        let facts =
            judged("GET", "200 Cache-Control: max-age=100|Age: 30|", &FreshnessPolicy::default()).freshness;
        for (after, age, left) in [(0, 30, 70), (69, 99, 1), (70, 100, 0), (100, 130, -30), (-3600, 30, 70)] {
            let now = at(after);
            assert_eq!((facts.age(now).as_secs(), facts.ttl_left_ms(now) / 1000), (age, left), "{after}");
            assert_eq!(facts.is_fresh(now), left > 0);
        }
        assert_eq!(facts.servable_until(), at(70 + 24 * 3600));
    }

    #[test]
    fn what_is_made_stale_is_stale_from_then_on() {
        let facts = judged("GET", "200 Cache-Control: max-age=100|", &FreshnessPolicy::default()).freshness;
        let stale = facts.made_stale(at(10));
        assert!(facts.is_fresh(at(10)) && !stale.is_fresh(at(10)));
        assert_eq!(stale.made_stale(at(50)), stale);
    }

    proptest! {
        #[test]
        fn facts_come_back_from_disk(bytes: [u8; 32], rule in 0u8..12, flags in 0u8..0x80) {
            let mut bytes = bytes;
            (bytes[28], bytes[29], bytes[30], bytes[31]) = (flags, rule, 0, 0);
            for i in 0..5 {
                bytes[11 + 4 * i] &= 0x7f;
            }
            let facts = Freshness::from_bytes(&bytes).unwrap();
            prop_assert_eq!(facts.to_bytes(), bytes);
            facts.servable_until();
            facts.ttl_left_ms(NOW);
        }

        #[test]
        fn damaged_facts_never_panic(bytes: [u8; 32]) {
            if let Some(facts) = Freshness::from_bytes(&bytes) {
                prop_assert_eq!(facts.to_bytes(), bytes);
            }
        }
    }
}
