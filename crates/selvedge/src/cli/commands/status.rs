//! `selvedge status`

use super::cache::{stats_table, tier_fill};
use crate::cli::client::{ApiArgs, Client};
use crate::cli::print::Format;
use crate::cli::units::{bytes, percent, seconds};
use crate::cli::{Exit, Failure, Output, Table};
use clap::Args;
use selvedge_control::wire::Status;

/// What `status` takes.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Which API to ask.
    #[command(flatten)]
    pub api: ApiArgs,
}

/// Prints how the node is. Fails if it is not ready.
pub(super) fn run(output: Output, args: &StatusArgs) -> Result<Exit, Failure> {
    let client = Client::find(&args.api)?;
    let status: Status = client.get("/v1/status")?;
    output.print(&status, node_table)?;
    if matches!(output.format, Format::Table | Format::Wide) && !status.cache.sites.is_empty() {
        let wide = output.format == Format::Wide;
        output.text(&format!("\n{}", stats_table(&status.cache).render(wide, output.colour)))?;
    }
    let failing = status.checks.iter().filter(|c| !c.ok).map(|c| c.name.as_str());
    match failing.collect::<Vec<_>>()[..] {
        [] => Ok(Exit::Done),
        ref names => Err(Failure::failed(format!("the node is not ready: {}", names.join(", ")))
            .next("the node's log says more; it serves what it can meanwhile")),
    }
}

fn node_table(status: &Status) -> Table {
    let (node, machine) = (&status.node, &status.machine);
    let mut table = Table::new().column("").column("");
    let mut line = |name: &str, value: String| table.row([name.to_owned(), value]);
    let place = [node.pop.as_str(), node.region.as_str()].join(", ");
    line("node", format!("{} ({})", node.name, place.trim_matches([',', ' '])));
    line("version", node.version.clone());
    line("up", seconds(node.uptime as f64));
    line("http", node.http.join(" "));
    line("https", node.https.join(" "));
    line("api", node.api.clone());
    line("revision", format!("{} (serving {})", status.revision, node.snapshot));
    for check in &status.checks {
        let state = if check.ok { "ok" } else { "NOT OK" };
        let detail = if check.detail.is_empty() { String::new() } else { format!(": {}", check.detail) };
        line(&check.name, format!("{state}{detail}"));
    }
    status.problems.iter().for_each(|problem| line("problem", problem.clone()));
    line("ram", tier_fill(&status.cache.ram));
    line("disk", tier_fill(&status.cache.disk));
    let used = machine.memory_total.saturating_sub(machine.memory_available);
    let memory = percent(used, machine.memory_total);
    line(
        "machine",
        format!(
            "{} CPUs, load {:.2}, {} memory, {memory} used",
            machine.cpus,
            machine.load,
            bytes(machine.memory_total)
        ),
    );
    let (resident, open) = (bytes(machine.process_resident), machine.process_open_files);
    line(
        "process",
        format!("{resident} memory, {} CPU time, {open} open files", seconds(machine.process_cpu)),
    );
    table
}
