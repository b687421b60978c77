//! Figures side by side.

use super::Plan;
use super::round::Round;

/// A contender's median round.
pub(crate) struct Line(pub(crate) Round);

impl Line {
    /// The round of the median rate.
    pub(crate) fn median(mut rounds: Vec<Round>) -> Self {
        rounds.sort_by(|a, b| a.rate.total_cmp(&b.rate));
        // There is one at least.
        Line(rounds.swap_remove(rounds.len() / 2))
    }
}

pub(crate) fn compare(plan: Plan, ours: &Line, etcd: &Line) {
    println!("\n{}", plan.about);
    println!(
        "{:<10}{:>12}{:>11}{:>11}{:>15}{:>13}",
        "", "requests/s", "p50", "p99", "flushes/request", "CPU/request"
    );
    for (name, Line(round)) in [("selvedge", ours), ("etcd", etcd)] {
        println!(
            "{name:<10}{:>12.0}{:>9.2}ms{:>9.2}ms{:>15.3}{:>11.1}us",
            round.rate,
            round.p50.as_secs_f64() * 1e3,
            round.p99.as_secs_f64() * 1e3,
            round.flushes,
            round.cpu.as_secs_f64() * 1e6,
        );
    }
    let ratio = ours.0.rate / etcd.0.rate;
    let verdict = if ratio >= plan.asked { "met" } else { "MISSED" };
    let p99 = if ours.0.p99 <= etcd.0.p99 { "p99 not worse" } else { "p99 WORSE" };
    println!("{ratio:.2} of etcd's rate, asked {:.1}: {verdict}; {p99}", plan.asked);
}
