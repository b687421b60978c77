//! The table of `cargo xtask bench mesh`.

use super::Size;
use super::trial::{Detection, Quiet, detect, quiet_minute};
use std::io::{self, Write};
use std::str::FromStr;
use std::time::Duration;

/// Within which a death must be known in its PoP, in 99 of 100 cases.
pub const INSIDE_MAX: Duration = Duration::from_secs(3);
/// The same for all other nodes.
pub const ELSEWHERE_MAX: Duration = Duration::from_secs(5);

/// What to run.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Clusters, as PoPs x nodes in each
    #[arg(long, value_delimiter = ',', default_value = "1x10,3x3,1x1000,20x50,200x50")]
    pub sizes: Vec<Size>,
    /// Shares of lost datagrams, in percent
    #[arg(long, value_delimiter = ',', default_value = "0,5")]
    pub losses: Vec<u32>,
    /// How many nodes die in each trial
    #[arg(long, default_value_t = 100)]
    pub deaths: usize,
    /// What everything is drawn from
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Leave the minutes of trouble out
    #[arg(long)]
    pub no_trouble: bool,
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('x').and_then(|(p, n)| Some((p.parse().ok()?, n.parse().ok()?)));
        match parts {
            Some((pops, nodes)) if pops > 0 && nodes > 0 => Ok(Size { pops, nodes }),
            _ => Err(format!("`{text}` is not a size; write PoPs x nodes in each, such as 20x50")),
        }
    }
}

/// Runs all trials and prints each line as it is known. Whether all kept their promises.
pub fn run(args: &Args, out: &mut impl Write) -> io::Result<bool> {
    let mut passed = true;
    writeln!(
        out,
        "Deaths: time until the last node that must know knows (p50, p99 over {} deaths)",
        args.deaths
    )?;
    let head = "PoPs x nodes  loss  formed   in PoP p50   p99   elsewhere p50   p99  missed  wrong   B/s rest  worst  CPU us  RSS MiB";
    writeln!(out, "{head}")?;
    for size in &args.sizes {
        for loss in &args.losses {
            let cost = Cost::start();
            let found = detect(*size, f64::from(*loss) / 100.0, args.deaths, args.seed);
            passed &= keeps(&found);
            death_line(out, *size, *loss, &found, &cost)?;
        }
    }
    if args.no_trouble {
        return Ok(passed);
    }
    writeln!(out, "\nA minute of trouble: running nodes taken for dead, by anybody")?;
    writeln!(out, "PoPs x nodes  trouble                        wrong  PoPs lost  suspicions  worst B/s")?;
    for size in &args.sizes {
        for (name, loss, stalling) in
            [("20% loss each way", 0.2, 0.0), ("a tenth stalls up to 1 s", 0.0, 0.1)]
        {
            let found = quiet_minute(*size, loss, stalling, args.seed);
            passed &= found.false_deaths == 0;
            trouble_line(out, *size, name, &found)?;
        }
    }
    Ok(passed)
}

fn keeps(found: &Detection) -> bool {
    let inside = percentile(&found.inside, 0.99).is_none_or(|time| time <= INSIDE_MAX);
    let elsewhere = percentile(&found.elsewhere, 0.99).is_none_or(|time| time <= ELSEWHERE_MAX);
    inside && elsewhere && found.missed == 0 && found.false_deaths == 0
}

fn death_line(out: &mut impl Write, size: Size, loss: u32, found: &Detection, cost: &Cost) -> io::Result<()> {
    let time =
        |list: &[Duration], p| percentile(list, p).map_or("-".into(), |t| format!("{:.2}", t.as_secs_f64()));
    writeln!(
        out,
        "{:>12}  {:>3}%  {:>5.1}s  {:>11} {:>5}   {:>13} {:>5}  {:>6}  {:>5}  {:>9}  {:>5}  {:>6.0}  {:>7}",
        format!("{}x{}", size.pops, size.nodes),
        loss,
        found.formed.as_secs_f64(),
        time(&found.inside, 0.5),
        time(&found.inside, 0.99),
        time(&found.elsewhere, 0.5),
        time(&found.elsewhere, 0.99),
        found.missed,
        found.false_deaths,
        found.bytes_at_rest,
        found.bytes_worst,
        cost.micros_per_node_second(size, found.simulated),
        resident_mib(),
    )?;
    out.flush()
}

fn trouble_line(out: &mut impl Write, size: Size, name: &str, found: &Quiet) -> io::Result<()> {
    let size = format!("{}x{}", size.pops, size.nodes);
    let Quiet { false_deaths, pops_lost, suspicions, bytes_worst } = found;
    writeln!(
        out,
        "{size:>12}  {name:<28}  {false_deaths:>6}  {pops_lost:>9}  {suspicions:>10}  {bytes_worst:>9}"
    )?;
    out.flush()
}

/// The value below which that share of a sorted list lies; nothing of an empty one.
pub fn percentile(sorted: &[Duration], share: f64) -> Option<Duration> {
    let at = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(at.saturating_sub(1)).copied()
}

/// Processor time since a start.
struct Cost(Duration);

impl Cost {
    fn start() -> Self {
        Cost(processor_time())
    }

    fn micros_per_node_second(&self, size: Size, simulated: Duration) -> f64 {
        let used = processor_time().saturating_sub(self.0).as_secs_f64() * 1e6;
        used / (size.total() as f64 * simulated.as_secs_f64())
    }
}

fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// The most memory this process ever had.
fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()).unwrap_or(0) / 1024
}
