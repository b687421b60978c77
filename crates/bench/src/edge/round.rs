//! One turn of one server under one load, and the median of several.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::process::Server;
use crate::load::{LoadError, Moment, Outcome};
use crate::origin::Origin;

/// A load that used this share of its core or more was itself at its limit ...
const LOAD_SATURATED: f64 = 0.95;
/// ... and the run is void unless the server used this share of its own.
const SERVER_SATURATED: f64 = 0.90;
/// An open loop waits by looking again and again, so its core is always busy. It is void when its own lateness,
/// at the 99th percentile, is more than this share of the latency it measured.
const LATE_SHARE_MAX: f64 = 0.25;

/// What one turn measured. A share is of one core.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Round {
    /// Answers a second.
    pub per_second: f64,
    /// CPU time of all the server's processes for each request, in microseconds.
    pub cpu_us: f64,
    /// Median latency in microseconds, where the generator tells.
    pub p50_us: Option<f64>,
    /// 99th percentile of latency in microseconds, where the generator tells.
    pub p99_us: Option<f64>,
    /// 99th percentile of the generator's own lateness in an open loop, in microseconds.
    pub late_p99_us: Option<f64>,
    /// How busy the server's core was with it.
    pub server_share: f64,
    /// How busy the load's core was with load and origin.
    pub load_share: f64,
    /// Answers.
    pub requests: u64,
    /// Requests that reached the origin.
    pub origin_requests: u64,
}

impl Round {
    /// The share of answers that came from the origin.
    #[must_use]
    pub fn from_origin(&self) -> f64 {
        self.origin_requests as f64 / self.requests.max(1) as f64
    }

    /// Whether the load generator was itself the limit, so that the rate says nothing about the server.
    #[must_use]
    pub fn is_void(&self) -> bool {
        match (self.late_p99_us, self.p99_us) {
            (Some(late), Some(latency)) => late > latency * LATE_SHARE_MAX,
            _ => self.load_share >= LOAD_SATURATED && self.server_share < SERVER_SATURATED,
        }
    }

    /// Whether neither core was fully used although the loop was closed: something else ran there, or the server
    /// waited for its disk.
    #[must_use]
    pub fn is_disturbed(&self) -> bool {
        self.late_p99_us.is_none() && self.server_share.max(self.load_share) < SERVER_SATURATED
    }

    /// Whether the figures are the server's own: neither void nor disturbed.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        !self.is_void() && !self.is_disturbed()
    }
}

/// The share of requests of a hit case that may reach the origin.
pub const FROM_ORIGIN_MAX: f64 = 0.01;

/// Runs a load against a server and reads the server's CPU time when measuring begins and ends.
///
/// # Errors
/// What the load returns.
pub fn measure(
    server: &Server,
    origin: &Origin,
    load: impl FnOnce(&mut dyn FnMut(Moment)) -> Result<Outcome, LoadError>,
) -> Result<Round, LoadError> {
    let (mut cpu, mut asked) = ([Duration::ZERO; 2], [0; 2]);
    let outcome = load(&mut |moment| {
        let index = usize::from(moment == Moment::End);
        (cpu[index], asked[index]) = (server.cpu_time(), origin.requests());
    })?;
    Ok(round(&outcome, cpu[1].saturating_sub(cpu[0]), asked[1] - asked[0]))
}

fn round(outcome: &Outcome, server_cpu: Duration, origin_requests: u64) -> Round {
    let seconds = outcome.elapsed.as_secs_f64();
    Round {
        per_second: outcome.per_second(),
        cpu_us: server_cpu.as_secs_f64() * 1e6 / outcome.requests.max(1) as f64,
        p50_us: microseconds(&outcome.latency, 0.5),
        p99_us: microseconds(&outcome.latency, 0.99),
        late_p99_us: microseconds(&outcome.late, 0.99),
        server_share: server_cpu.as_secs_f64() / seconds,
        load_share: outcome.own_cpu.as_secs_f64() / seconds,
        requests: outcome.requests,
        origin_requests,
    }
}

fn microseconds(histogram: &Histogram<u64>, quantile: f64) -> Option<f64> {
    (!histogram.is_empty()).then(|| histogram.value_at_quantile(quantile) as f64 / 1e3)
}

/// The median of each figure by itself, over the sound rounds; without any, over those that are not void; else
/// over all.
///
/// Returns `None` without rounds.
#[must_use]
pub fn median(rounds: &[Round]) -> Option<Round> {
    let those = |fit: fn(&Round) -> bool| rounds.iter().copied().filter(fit).collect::<Vec<Round>>();
    let choices = [those(Round::is_sound), those(|round| !round.is_void()), those(|_| true)];
    let rounds = choices.iter().find(|choice| !choice.is_empty())?;
    let of = |figure: &dyn Fn(&Round) -> f64| middle(rounds.iter().map(figure).collect());
    let of_known =
        |figure: &dyn Fn(&Round) -> Option<f64>| middle(rounds.iter().filter_map(figure).collect());
    Some(Round {
        per_second: of(&|r| r.per_second)?,
        cpu_us: of(&|r| r.cpu_us)?,
        p50_us: of_known(&|r| r.p50_us),
        p99_us: of_known(&|r| r.p99_us),
        late_p99_us: of_known(&|r| r.late_p99_us),
        server_share: of(&|r| r.server_share)?,
        load_share: of(&|r| r.load_share)?,
        requests: of(&|r| r.requests as f64)? as u64,
        origin_requests: of(&|r| r.origin_requests as f64)? as u64,
    })
}

fn middle(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = *values.get(values.len().saturating_sub(1) / 2)?;
    Some((lower + upper) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(per_second: f64, server_share: f64, load_share: f64) -> Round {
        Round {
            per_second,
            cpu_us: 1.0,
            p50_us: None,
            p99_us: Some(per_second),
            late_p99_us: None,
            server_share,
            load_share,
            requests: 1,
            origin_requests: 0,
        }
    }

    #[test]
    fn a_saturated_load_beside_an_idle_server_is_void() {
        assert!(round(1.0, 0.5, 0.99).is_void());
        assert!(!round(1.0, 0.99, 0.99).is_void());
        assert!(!round(1.0, 0.5, 0.5).is_void());
    }

    #[test]
    fn a_closed_loop_that_uses_neither_core_is_disturbed() {
        assert!(round(1.0, 0.5, 0.5).is_disturbed());
        assert!(!round(1.0, 0.5, 0.95).is_disturbed());
        assert!(!Round { late_p99_us: Some(1.0), ..round(1.0, 0.5, 0.5) }.is_disturbed());
    }

    #[test]
    fn an_open_loop_that_sent_late_is_void() {
        let open = |late| Round { late_p99_us: Some(late), ..round(100.0, 0.5, 1.0) };
        assert!(!open(10.0).is_void());
        assert!(open(50.0).is_void());
    }

    #[test]
    fn medians_prefer_sound_rounds_and_disturbed_ones_to_void_ones() {
        let (void, disturbed) = (round(9.0, 0.5, 1.0), round(5.0, 0.5, 0.5));
        let rounds = [void, disturbed, round(1.0, 1.0, 0.5), round(3.0, 1.0, 0.5)];
        assert_eq!(median(&rounds).expect("has rounds").per_second, 2.0);
        assert_eq!(median(&rounds[..1]).expect("has rounds").per_second, 9.0);
        assert_eq!(median(&rounds[..2]).expect("has rounds").per_second, 5.0);
        assert_eq!(median(&rounds[2..]).expect("has rounds").p99_us, Some(2.0));
        assert!(median(&[]).is_none());
    }
}
