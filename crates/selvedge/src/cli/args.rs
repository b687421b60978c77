//! What may be written on the command line.

use super::commands::backup::BackupCommand;
use super::commands::cache::CacheCommand;
use super::commands::cluster::{LeaderCommand, NodeCommand, VotersCommand};
use super::commands::dev::DevArgs;
use super::commands::estimate::EstimateArgs;
use super::commands::events::EventsArgs;
use super::commands::get::GetArgs;
use super::commands::kv::KvCommand;
use super::commands::manifest::{ApplyArgs, PlanArgs};
use super::commands::requests::RequestsArgs;
use super::commands::serve::ServeArgs;
use super::commands::status::StatusArgs;
use super::commands::ticket::TicketCommand;
use super::commands::token::TokenCommand;
use super::commands::up::UpArgs;
use super::commands::upgrade::UpgradeArgs;
use super::print::Format;
use clap::{Parser, Subcommand};
use clap_complete::Shell;

/// Your own edge: a caching gateway, and the cluster under it, in one binary.
#[derive(Debug, Parser)]
#[command(name = "selvedge", version, max_term_width = 100, disable_help_subcommand = true)]
#[command(after_help = "Exit codes: 0 done, 1 failed, 2 usage, 3 outcome unknown, 4 unreachable.\n\
                        Start with: selvedge dev")]
pub struct Args {
    /// How data is printed
    #[arg(short, long, value_enum, global = true, default_value_t, value_name = "FORMAT")]
    pub output: Format,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a small world on this machine, to try things
    Dev(DevArgs),
    /// Run a node
    Up(Box<UpArgs>),
    /// Hand a running node over to the binary that is installed now
    Upgrade(UpgradeArgs),
    /// Show what applying a manifest would change
    Plan(PlanArgs),
    /// Make what a manifest declares
    Apply(ApplyArgs),
    /// Show what is declared
    Get(GetArgs),
    /// Show how the node is
    Status(StatusArgs),
    /// Purge and inspect what is cached
    Cache {
        /// What to do with it.
        #[command(subcommand)]
        command: CacheCommand,
    },
    /// Show requests as they are answered
    Requests(RequestsArgs),
    /// Show what happened in the cluster
    Events(EventsArgs),
    /// Make and revoke the tickets by which nodes join
    Ticket {
        /// What to do with them.
        #[command(subcommand)]
        command: TicketCommand,
    },
    /// Drain a node, or take it out of the cluster
    Node {
        /// What to do with it.
        #[command(subcommand)]
        command: NodeCommand,
    },
    /// Choose who votes about the control state
    Voters {
        /// What to do with them.
        #[command(subcommand)]
        command: VotersCommand,
    },
    /// Choose who leads the voters
    Leader {
        /// What to do.
        #[command(subcommand)]
        command: LeaderCommand,
    },
    /// Read, change and watch keys of a keyspace
    Kv {
        /// What to do with them.
        #[command(subcommand)]
        command: KvCommand,
    },
    /// Back up what the cluster keeps
    Backup {
        /// What to do.
        #[command(subcommand)]
        command: BackupCommand,
    },
    /// Make and revoke the API's tokens
    Token {
        /// What to do with them.
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// Serve a directory's files over HTTP
    Serve(ServeArgs),
    /// Tell from an access log what this cache would save
    Estimate(EstimateArgs),
    /// Print the manifest's JSON Schema
    Schema,
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}
