//! The commands: one file each.

pub(super) mod backup;
pub(super) mod cache;
pub(super) mod cluster;
mod completions;
pub(super) mod dev;
pub(super) mod estimate;
pub(super) mod events;
pub(super) mod get;
pub(super) mod kv;
pub(super) mod live;
pub(super) mod manifest;
mod node;
mod place;
pub(super) mod requests;
mod schema;
pub(super) mod serve;
mod space;
mod stand_in;
pub(super) mod status;
mod takeover;
pub(super) mod ticket;
pub(super) mod token;
pub(super) mod up;
pub(super) mod upgrade;

use super::{Args, Command, Exit, Failure, Output};

/// Runs the command.
pub(super) fn run(args: Args) -> Result<Exit, Failure> {
    let output = Output::new(args.output);
    match args.command {
        Command::Dev(args) => dev::run(output, &args),
        Command::Up(args) => up::run(output, *args),
        Command::Upgrade(args) => upgrade::run(&args),
        Command::Plan(args) => manifest::plan(output, &args),
        Command::Apply(args) => manifest::apply(output, &args),
        Command::Get(args) => get::run(output, &args),
        Command::Status(args) => status::run(output, &args),
        Command::Cache { command } => cache::run(output, command),
        Command::Requests(args) => requests::run(output, &args),
        Command::Events(args) => events::run(output, &args),
        Command::Ticket { command } => ticket::run(output, command),
        Command::Node { command } => cluster::node(command),
        Command::Voters { command } => cluster::voters(output, command),
        Command::Leader { command } => cluster::leader(output, command),
        Command::Kv { command } => kv::run(output, command),
        Command::Backup { command } => backup::run(output, command),
        Command::Token { command } => token::run(output, command),
        Command::Serve(args) => serve::run(output, &args),
        Command::Estimate(args) => estimate::run(output, &args),
        Command::Schema => schema::run(output),
        Command::Completions { shell } => completions::run(output, shell),
    }
}
