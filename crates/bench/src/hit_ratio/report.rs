//! What came out, as tables, verdicts and JSON.

use std::fmt;

use serde::Serialize;

use super::POLICIES;

/// By how many points ours may be below the best of a cell in RAM.
const CELL_POINTS: f64 = 0.5;

/// How much of the best policy's mean byte hit ratio ours must reach on disk.
const DISK_SHARE: f64 = 0.99;

/// Percentages of hits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Ratios {
    /// Of requests.
    pub objects: f64,
    /// Of bytes.
    pub bytes: f64,
}

/// One trace at one cache size.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cell {
    /// The trace's name.
    pub trace: String,
    /// The cache's size as a share of the trace's footprint.
    pub share: f64,
    /// By policy, in the order of [`POLICIES`].
    pub ratios: [Ratios; 6],
    /// The percentage of requests that no cache can exceed; in RAM.
    pub bound: Option<f64>,
    /// How many bytes ours wrote for each it admitted; on disk.
    pub write_amplification: Option<f64>,
}

/// Which of the races.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Object hits count.
    Ram,
    /// Byte hits count.
    Disk,
}

/// One thing that is demanded, and whether it is so.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// What is demanded, with the numbers.
    pub demand: String,
    /// Whether it is so.
    pub passed: bool,
}

/// All cells.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The policies' names, ours first.
    pub policies: [&'static str; 6],
    /// Names of the traces of real servers that took part.
    pub traces: Vec<String>,
    /// Cells of RAM.
    pub ram: Vec<Cell>,
    /// Cells of the disk.
    pub disk: Vec<Cell>,
}

/// A report with what follows from it, for JSON.
#[derive(Debug, Serialize)]
pub struct ReportWithVerdicts<'a> {
    #[serde(flatten)]
    report: &'a Report,
    verdicts: Vec<Verdict>,
}

impl Report {
    /// Without cells.
    pub(super) fn new(traces: Vec<String>) -> Self {
        Report { policies: POLICIES, traces, ram: Vec::new(), disk: Vec::new() }
    }

    /// What is demanded of ours.
    pub fn verdicts(&self) -> Vec<Verdict> {
        vec![self.ram_mean(), self.ram_worst(), self.disk_mean()]
    }

    /// The report and its verdicts.
    pub fn with_verdicts(&self) -> ReportWithVerdicts<'_> {
        ReportWithVerdicts { report: self, verdicts: self.verdicts() }
    }

    fn ram_mean(&self) -> Verdict {
        let means = means(&self.ram, Tier::Ram);
        let (name, best) = best_other(&means);
        Verdict {
            demand: format!(
                "RAM: mean object hit ratio {:.2}, at least the best other's ({name}: {best:.2})",
                means[0]
            ),
            passed: means[0] >= best,
        }
    }

    fn ram_worst(&self) -> Verdict {
        let behind = |cell: &&Cell| best_other(&values(cell, Tier::Ram)).1 - cell.ratios[0].objects;
        let worst = self.ram.iter().max_by(|a, b| behind(a).total_cmp(&behind(b)));
        let (gap, place) = worst.map_or((0.0, String::new()), |cell| (behind(&cell), cell.place()));
        Verdict {
            demand: format!(
                "RAM: in the worst cell {:+.2} points from its best ({place}), at most {CELL_POINTS} below",
                -gap
            ),
            passed: gap <= CELL_POINTS,
        }
    }

    fn disk_mean(&self) -> Verdict {
        let means = means(&self.disk, Tier::Disk);
        let (name, best) = best_other(&means);
        Verdict {
            demand: format!(
                "disk: mean byte hit ratio {:.2}, within 1% of the best other's ({name}: {best:.2})",
                means[0]
            ),
            passed: means[0] >= DISK_SHARE * best,
        }
    }
}

impl Cell {
    fn place(&self) -> String {
        format!("{} at {}%", self.trace, self.share * 100.0)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        table(f, "RAM: object hit ratio (byte hit ratio), percent", &self.ram, Tier::Ram)?;
        table(f, "Disk: byte hit ratio (object hit ratio), percent", &self.disk, Tier::Disk)?;
        for verdict in self.verdicts() {
            writeln!(f, "{} {}", if verdict.passed { "pass" } else { "FAIL" }, verdict.demand)?;
        }
        Ok(())
    }
}

fn table(f: &mut fmt::Formatter<'_>, title: &str, cells: &[Cell], tier: Tier) -> fmt::Result {
    let last = match tier {
        Tier::Ram => "bound",
        Tier::Disk => "writes",
    };
    writeln!(f, "{title}")?;
    write!(f, "{:25} {:>5}", "trace", "size")?;
    POLICIES.iter().try_for_each(|name| write!(f, " {name:>14}"))?;
    writeln!(f, " {last:>6}")?;
    for cell in cells {
        write!(f, "{:25} {:>4}%", cell.trace, cell.share * 100.0)?;
        for (main, other) in values(cell, tier).iter().zip(values(cell, tier.other())) {
            write!(f, " {main:>6.2} ({other:>5.2})")?;
        }
        writeln!(f, " {:>6.2}", cell.bound.or(cell.write_amplification).unwrap_or(f64::NAN))?;
    }
    write!(f, "{:31}", "mean")?;
    for (main, other) in means(cells, tier).iter().zip(means(cells, tier.other())) {
        write!(f, " {main:>6.2} ({other:>5.2})")?;
    }
    writeln!(f, "\n")
}

impl Tier {
    fn other(self) -> Tier {
        match self {
            Tier::Ram => Tier::Disk,
            Tier::Disk => Tier::Ram,
        }
    }
}

fn values(cell: &Cell, tier: Tier) -> [f64; 6] {
    match tier {
        Tier::Ram => cell.ratios.map(|r| r.objects),
        Tier::Disk => cell.ratios.map(|r| r.bytes),
    }
}

fn means(cells: &[Cell], tier: Tier) -> [f64; 6] {
    let mut means = [0.0; 6];
    for cell in cells {
        for (mean, value) in means.iter_mut().zip(values(cell, tier)) {
            *mean += value / cells.len() as f64;
        }
    }
    means
}

/// The name and value of the best that is not ours.
fn best_other(values: &[f64; 6]) -> (&'static str, f64) {
    let others = POLICIES.into_iter().zip(*values).skip(1);
    others.max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or(("", 0.0))
}
