//! `selvedge status`

use super::cache::{stats_table, tier_fill};
use crate::cli::client::{ApiArgs, Client};
use crate::cli::print::Format;
use crate::cli::units::{bytes, percent, seconds};
use crate::cli::{Exit, Failure, Output, Table};
use clap::Args;
use selvedge_control::wire::{Check, Status};

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
    let status: Status = match client.get("/v1/status") {
        Err(failure) if failure.exit() == Exit::Unreachable => return Err(checks(output, &client, failure)?),
        status => status?,
    };
    output.print(&status, node_table)?;
    if matches!(output.format, Format::Table | Format::Wide) && !status.cache.sites.is_empty() {
        let wide = output.format == Format::Wide;
        output.text(&format!("\n{}", stats_table(&status.cache).render(wide, output.colour)))?;
    }
    not_ready(&status.checks).map_or(Ok(Exit::Done), Err)
}

/// Prints what a node without control state says of itself to everyone: it knows no tokens, and so nobody who may see more.
fn checks(output: Output, client: &Client, refused: Failure) -> Result<Failure, Failure> {
    // One that does not answer this either is not there.
    let Ok(ready) = client.ready() else { return Ok(refused) };
    output.print(&ready, |ready| {
        let mut table = Table::new().column("").column("");
        ready.checks.iter().for_each(|check| table.row(check_line(check)));
        table
    })?;
    Ok(not_ready(&ready.checks).unwrap_or(refused))
}

fn not_ready(checks: &[Check]) -> Option<Failure> {
    let failing: Vec<&str> = checks.iter().filter(|c| !c.ok).map(|c| c.name.as_str()).collect();
    let failure = || Failure::failed(format!("the node is not ready: {}", failing.join(", ")));
    (!failing.is_empty()).then(|| failure().next("the node's log says more; it serves what it can meanwhile"))
}

fn check_line(check: &Check) -> [String; 2] {
    let state = if check.ok { "ok" } else { "NOT OK" };
    let detail = if check.detail.is_empty() { String::new() } else { format!(": {}", check.detail) };
    [check.name.clone(), format!("{state}{detail}")]
}

fn node_table(status: &Status) -> Table {
    let (node, machine) = (&status.node, &status.machine);
    let mut table = Table::new().column("").column("");
    let mut line = |name: &str, value: String| table.row([name.to_owned(), value]);
    let place = [node.pop.as_str(), node.region.as_str()].join(", ");
    line("node", format!("{} ({})", node.name, place.trim_matches([',', ' '])));
    line("role", node.role.clone());
    line("version", node.version.clone());
    line("up", seconds(node.uptime as f64));
    line("http", node.http.join(" "));
    line("https", node.https.join(" "));
    line("api", node.api.clone());
    line("revision", format!("{} (serving {})", status.revision, node.snapshot));
    for check in &status.checks {
        let [name, state] = check_line(check);
        line(&name, state);
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
