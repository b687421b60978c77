//! `selvedge node drain|undrain|remove`, `selvedge voters set`, `selvedge leader transfer`

use crate::cli::client::{ApiArgs, Client, escape};
use crate::cli::{Exit, Failure, Output, Table};
use clap::{Args, Subcommand};
use selvedge_control::wire::{ChooseLeader, ChooseVoters, ClusterNode, PopInfo, Voters};

/// What can be done with a node.
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// Have it take no new work
    Drain(NodeArgs),
    /// Have it take work again
    Undrain(NodeArgs),
    /// Take it out of the cluster, for good: no other node answers it any more
    Remove(NodeArgs),
}

/// Which node.
#[derive(Debug, Args)]
pub struct NodeArgs {
    /// Its name
    pub name: String,
    /// Which API to ask.
    #[command(flatten)]
    pub api: ApiArgs,
}

/// What can be done with voters.
#[derive(Debug, Subcommand)]
pub enum VotersCommand {
    /// Have these nodes vote and no others: 1, 3, 5 or 7; `auto` for the leader to choose
    Set(VotersArgs),
}

/// Which voters.
#[derive(Debug, Args)]
pub struct VotersArgs {
    /// Their names, separated by commas, or `auto`
    #[arg(value_delimiter = ',', required = true)]
    pub names: Vec<String>,
    /// Which API to ask.
    #[command(flatten)]
    pub api: ApiArgs,
}

/// What can be done about the leader.
#[derive(Debug, Subcommand)]
pub enum LeaderCommand {
    /// Have this voter lead, without a pause that would be noticed
    Transfer(NodeArgs),
}

/// Runs `node`.
pub(super) fn node(command: NodeCommand) -> Result<Exit, Failure> {
    let (args, what) = match &command {
        NodeCommand::Drain(args) => (args, "is drained"),
        NodeCommand::Undrain(args) => (args, "takes work again"),
        NodeCommand::Remove(args) => (args, "is removed; stop it and delete its data directory"),
    };
    let target = format!("/v1/nodes/{}", escape(&args.name));
    let client = Client::find(&args.api)?;
    match &command {
        NodeCommand::Drain(_) => client.post(&format!("{target}/drain"))?,
        NodeCommand::Undrain(_) => client.post(&format!("{target}/undrain"))?,
        NodeCommand::Remove(_) => client.delete(&target)?,
    }
    eprintln!("node {} {what}", args.name);
    Ok(Exit::Done)
}

/// Runs `voters`.
pub(super) fn voters(output: Output, command: VotersCommand) -> Result<Exit, Failure> {
    let VotersCommand::Set(VotersArgs { names, api }) = command;
    let voters = if names == ["auto"] { Vec::new() } else { names };
    let now: Voters = Client::find(&api)?.change("/v1/voters", &ChooseVoters { voters })?;
    output.print(&now, voters_table)
}

/// Runs `leader`.
pub(super) fn leader(output: Output, command: LeaderCommand) -> Result<Exit, Failure> {
    let LeaderCommand::Transfer(NodeArgs { name, api }) = command;
    let now: Voters = Client::find(&api)?.change("/v1/leader", &ChooseLeader { leader: name })?;
    output.print(&now, voters_table)
}

/// The nodes as a table.
pub(super) fn nodes_table(nodes: &[ClusterNode]) -> Table {
    let mut table = Table::new()
        .column("NAME")
        .column("POP")
        .column("REGION")
        .column("STATE")
        .column("ROLE")
        .column("CONTROL")
        .column("VERSION")
        .column("HTTP")
        .wide("RTT")
        .wide("HTTPS")
        .wide("API")
        .wide("MESH")
        .wide("ID");
    for node in nodes {
        table.row([
            node.name.clone(),
            node.pop.clone(),
            node.region.clone(),
            node.state.clone(),
            node.role.clone(),
            node.control.clone(),
            node.version.clone(),
            node.addresses.http.join(","),
            node.round_trip_us.map_or(String::new(), round_trip),
            node.addresses.https.join(","),
            node.addresses.api.clone(),
            node.addresses.mesh.join(","),
            node.id.clone(),
        ]);
    }
    table
}

/// The time to a node and back, in microseconds, as people read it.
pub(super) fn round_trip(us: u64) -> String {
    format!("{:.1} ms", us as f64 / 1000.0)
}

/// The points of presence as a table.
pub(super) fn pops_table(pops: &[PopInfo]) -> Table {
    let mut table =
        Table::new().column("NAME").column("REGION").number("NODES").number("ALIVE").number("VOTERS");
    for pop in pops {
        let numbers = [pop.nodes, pop.alive, pop.voters].map(|number| number.to_string());
        let [nodes, alive, voters] = numbers;
        table.row([pop.name.clone(), pop.region.clone(), nodes, alive, voters]);
    }
    table
}

/// Who votes, as a table.
pub(super) fn voters_table(now: &Voters) -> Table {
    let mut table = Table::new().column("NAME").column("CONTROL");
    for name in &now.voters {
        let leads = now.leader.as_ref() == Some(name);
        table.row([name.clone(), if leads { "leader" } else { "voter" }.to_owned()]);
    }
    for name in &now.learners {
        table.row([name.clone(), "learner".to_owned()]);
    }
    table
}
