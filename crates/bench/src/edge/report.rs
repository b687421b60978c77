//! Results as they come: tables on standard output, verdicts at the end, JSON for machines.

use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;

use super::round::{self, Round};

/// A server's median round in a case.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// The server.
    pub name: &'static str,
    /// Its median.
    pub median: Round,
    /// Rounds in which the load was the limit.
    pub void_rounds: usize,
    /// Rounds in which neither core was fully used.
    pub disturbed_rounds: usize,
    /// Rounds in all.
    pub rounds: usize,
}

impl Entry {
    /// What became of a server's rounds; none without rounds.
    #[must_use]
    pub fn of(name: &'static str, rounds: &[Round]) -> Option<Self> {
        let count = |is: fn(&Round) -> bool| rounds.iter().filter(|round| is(round)).count();
        Some(Self {
            name,
            median: round::median(rounds)?,
            void_rounds: count(Round::is_void),
            disturbed_rounds: count(Round::is_disturbed),
            rounds: rounds.len(),
        })
    }

    /// Whether no round was without fault, so that the median is of faulty ones.
    #[must_use]
    pub fn is_faulty(&self) -> bool {
        self.void_rounds + self.disturbed_rounds == self.rounds
    }
}

/// A table of one case.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    /// The case's name.
    pub case: String,
    /// What was loaded, in words.
    pub about: String,
    /// A line for each server.
    pub entries: Vec<Entry>,
}

/// What was asked and what came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// The case's name.
    pub case: String,
    /// What was asked, in words with its figure.
    pub asked: String,
    /// The figure measured.
    pub measured: f64,
    /// Whether it is as asked.
    pub met: bool,
}

/// One figure of one server, where a table of rates does not fit.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// The case's name.
    pub case: String,
    /// The server.
    pub name: &'static str,
    /// What the figure is.
    pub what: String,
    /// The figure, in the unit that `what` states.
    pub value: f64,
}

/// Everything of a run.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Name, version and configuration of each server.
    pub servers: Vec<[String; 3]>,
    /// Rates.
    pub tables: Vec<Table>,
    /// Memory.
    pub figures: Vec<Figure>,
    /// What was asked of us.
    pub verdicts: Vec<Verdict>,
}

impl Report {
    /// Adds and prints a server's version and configuration.
    pub fn server(&mut self, name: &str, version: String, configuration: String) {
        println!("== {name}: {version}\n{}", indent(&configuration));
        self.servers.push([name.to_owned(), version, configuration]);
    }

    /// Adds and prints a table.
    pub fn table(&mut self, table: Table) {
        println!("\n{}: {}", table.case, table.about);
        println!(
            "  {:<10} {:>9} {:>9} {:>8} {:>8} {:>7} {:>7}",
            "server", "req/s", "CPU us", "p50 us", "p99 us", "server", "load"
        );
        for entry in &table.entries {
            println!("  {}{}", row(entry), notes(entry));
        }
        self.tables.push(table);
    }

    /// Adds and prints one figure.
    pub fn figure(&mut self, case: &str, name: &'static str, what: &str, value: f64) {
        let decimals = if value < 100.0 { 2 } else { 0 };
        println!("  {name:<10} {what}: {value:.decimals$}");
        self.figures.push(Figure { case: case.to_owned(), name, what: what.to_owned(), value });
    }

    /// Adds a verdict; `at_least` tells whether more or less is better.
    pub fn verdict(&mut self, case: &str, what: &str, measured: f64, limit: f64, at_least: bool) {
        let met = if at_least { measured >= limit } else { measured <= limit };
        let asked = format!("{what} {} {limit}", if at_least { "at least" } else { "at most" });
        let verdict = Verdict { case: case.to_owned(), asked, measured, met };
        println!("  {}", sentence(&verdict));
        self.verdicts.push(verdict);
    }

    /// Prints all verdicts once more, together.
    pub fn summary(&self) {
        if !self.verdicts.is_empty() {
            println!("\n== what was asked");
        }
        for verdict in &self.verdicts {
            println!("  {:<9} {}", verdict.case, sentence(verdict));
        }
    }

    /// Writes all as JSON.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_json(&self, file: &Path) -> io::Result<()> {
        fs::write(file, serde_json::to_vec_pretty(self)?)
    }
}

fn row(entry: &Entry) -> String {
    let m = &entry.median;
    let known = |value: Option<f64>| value.map_or("-".to_owned(), |us| format!("{us:.0}"));
    format!(
        "{:<10} {:>9.0} {:>9.2} {:>8} {:>8} {:>6.0}% {:>6.0}%",
        entry.name,
        m.per_second,
        m.cpu_us,
        known(m.p50_us),
        known(m.p99_us),
        m.server_share * 100.0,
        m.load_share * 100.0
    )
}

fn notes(entry: &Entry) -> String {
    let rounds = entry.rounds;
    let faults = [
        (entry.void_rounds, "VOID: the load was the limit"),
        (entry.disturbed_rounds, "neither core was busy (a disk, or other work here)"),
    ];
    let told = faults.iter().filter(|(count, _)| *count > 0);
    let told: Vec<String> =
        told.map(|(count, what)| format!("{what} in {count} of {rounds} rounds")).collect();
    match (told.is_empty(), entry.is_faulty()) {
        (true, _) => String::new(),
        (false, true) => format!("  {}", told.join(", ")),
        (false, false) => format!("  left out: {}", told.join(", ")),
    }
}

fn sentence(verdict: &Verdict) -> String {
    let word = if verdict.met { "met" } else { "MISSED" };
    format!("{}: {:.2} {word}", verdict.asked, verdict.measured)
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("   | {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_compare_in_the_stated_direction() {
        let mut report = Report::default();
        report.verdict("a", "rate over nginx's", 1.6, 1.5, true);
        report.verdict("b", "bytes", 400.0, 300.0, false);
        let met: Vec<bool> = report.verdicts.iter().map(|v| v.met).collect();
        assert_eq!(met, [true, false]);
        assert_eq!(sentence(&report.verdicts[1]), "bytes at most 300: 400.00 MISSED");
    }
}
