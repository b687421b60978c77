//! `selvedge kv lease`

use super::{SpaceArgs, change, show};
use crate::cli::units::seconds;
use crate::cli::{Exit, Failure, Output, Table};
use clap::{Args, Subcommand};
use selvedge_control::wire::{KvGrant, KvLease, KvLeaseInfo};
use selvedge_types::resource::Period;

/// What can be done with leases.
#[derive(Debug, Subcommand)]
pub enum LeaseCommand {
    /// Make one; prints its number
    Grant(GrantArgs),
    /// Let one live for its whole time again
    Renew(LeaseArgs),
    /// End one, and delete the keys that end with it
    Revoke(LeaseArgs),
    /// Show the leases and their keys
    List(ListArgs),
}

/// What `grant` takes.
#[derive(Debug, Args)]
pub struct GrantArgs {
    /// Where.
    #[command(flatten)]
    pub space: SpaceArgs,
    /// How long it lives after this and each renewal
    #[arg(value_name = "TIME", value_parser = super::super::estimate::period)]
    pub ttl: Period,
}

/// What `renew` and `revoke` take.
#[derive(Debug, Args)]
pub struct LeaseArgs {
    /// Where.
    #[command(flatten)]
    pub space: SpaceArgs,
    /// Its number
    pub lease: u64,
}

/// What `list` takes.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Where.
    #[command(flatten)]
    pub space: SpaceArgs,
}

/// Runs one of them.
pub(super) fn run(output: Output, command: LeaseCommand) -> Result<Exit, Failure> {
    match command {
        LeaseCommand::Grant(args) => {
            let ttl_ms = u64::try_from(args.ttl.get().as_millis()).unwrap_or(u64::MAX);
            let made: KvLease = change(&args.space, "leases", &KvGrant { ttl_ms, lease: None })?;
            output.print(&made, lease_table)
        }
        LeaseCommand::Renew(args) => {
            let renewed: KvLease = change(&args.space, &format!("leases/{}/renew", args.lease), &())?;
            output.print(&renewed, lease_table)
        }
        LeaseCommand::Revoke(args) => {
            args.space.client()?.delete(&args.space.path(&format!("leases/{}", args.lease))?)?;
            eprintln!("lease {} is ended, and its keys with it", args.lease);
            Ok(Exit::Done)
        }
        LeaseCommand::List(args) => {
            let (client, mut all) = (args.space.client()?, Vec::<KvLeaseInfo>::new());
            loop {
                let from = all.last().map_or(0, |last| last.lease.saturating_add(1));
                let more: Vec<KvLeaseInfo> = client.get(&args.space.path(&format!("leases?from={from}"))?)?;
                if more.is_empty() {
                    return output.print(&all, |all| leases_table(all));
                }
                all.extend(more);
            }
        }
    }
}

fn lease_table(lease: &KvLease) -> Table {
    let mut table = Table::new().number("LEASE").number("LIVES");
    table.row([lease.lease.to_string(), seconds(lease.ttl_ms as f64 / 1000.0)]);
    table
}

fn leases_table(leases: &[KvLeaseInfo]) -> Table {
    let mut table = Table::new().number("LEASE").number("LIVES").number("LEFT").column("KEYS");
    for lease in leases {
        let keys: Vec<String> = lease.keys.iter().map(show::text).collect();
        let times = [lease.ttl_ms, lease.left_ms].map(|ms| seconds(ms as f64 / 1000.0));
        table.row([lease.lease.to_string()].into_iter().chain(times).chain([keys.join(" ")]));
    }
    table
}
