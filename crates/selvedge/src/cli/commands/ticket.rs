//! `selvedge ticket create|list|revoke`

use crate::cli::client::{ApiArgs, Client, escape};
use crate::cli::print::Format;
use crate::cli::units::date;
use crate::cli::{Exit, Failure, Output, Table};
use clap::{Args, Subcommand};
use selvedge_control::wire::{CreateTicket, NewTicket, TicketInfo, TicketRole};
use selvedge_types::resource::Period;

/// Digits of an id that are shown: enough to tell tickets apart and to name one.
const ID_DIGITS: usize = 12;

/// What can be done with tickets.
#[derive(Debug, Subcommand)]
pub enum TicketCommand {
    /// Make a ticket by which nodes join the cluster; it is printed once
    Create(CreateArgs),
    /// Show the tickets, without their secrets
    List(ListArgs),
    /// Make a ticket worthless; whom it let in stays
    Revoke(RevokeArgs),
}

/// What `create` takes.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// How many nodes it lets in, up to 1000
    #[arg(long, default_value_t = 1, value_name = "COUNT")]
    pub uses: u32,
    /// What they are: `voter` for nodes that have the control state and may vote, `edge` for nodes that have only what
    /// they serve by
    #[arg(long, default_value = "voter", value_parser = ["voter", "edge"], value_name = "ROLE")]
    pub role: String,
    /// For how long it is good, up to 30 days
    #[arg(long, default_value = "1h", value_name = "TIME", value_parser = super::estimate::period)]
    pub ttl: Period,
    /// Which API to ask.
    #[command(flatten)]
    pub api: ApiArgs,
}

/// What `list` takes.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Which API to ask.
    #[command(flatten)]
    pub api: ApiArgs,
}

/// What `revoke` takes.
#[derive(Debug, Args)]
pub struct RevokeArgs {
    /// Its id, or how that begins
    pub id: String,
    /// Which API to ask.
    #[command(flatten)]
    pub api: ApiArgs,
}

/// Runs one of them.
pub(super) fn run(output: Output, command: TicketCommand) -> Result<Exit, Failure> {
    match command {
        TicketCommand::Create(args) => create(output, &args),
        TicketCommand::List(args) => {
            let tickets: Vec<TicketInfo> = Client::find(&args.api)?.get("/v1/tickets")?;
            output.print(&tickets, |tickets| table(tickets))
        }
        TicketCommand::Revoke(args) => {
            Client::find(&args.api)?.delete(&format!("/v1/tickets/{}", escape(&args.id)))?;
            eprintln!("ticket {} is revoked", args.id);
            Ok(Exit::Done)
        }
    }
}

fn create(output: Output, args: &CreateArgs) -> Result<Exit, Failure> {
    let role = if args.role == "edge" { TicketRole::Edge } else { TicketRole::Voter };
    let wanted =
        CreateTicket { uses: Some(args.uses), ttl: Some(args.ttl.get().as_secs()), role: Some(role) };
    let made: NewTicket = Client::find(&args.api)?.change("/v1/tickets", &wanted)?;
    match output.format {
        Format::Json | Format::Yaml => output.print(&made, |_| Table::new()),
        // The ticket alone, so that it can be put into a variable.
        Format::Table | Format::Wide => {
            eprintln!("whoever has it can join; on the new machine: selvedge up --join TICKET");
            output.text(&format!("{}\n", made.ticket))
        }
    }
}

fn table(tickets: &[TicketInfo]) -> Table {
    let mut table = Table::new()
        .column("ID")
        .column("ROLE")
        .column("STATE")
        .number("USED")
        .number("USES")
        .column("EXPIRES")
        .wide("CREATED");
    for ticket in tickets {
        table.row([
            ticket.id.chars().take(ID_DIGITS).collect(),
            ticket.role.clone(),
            ticket.state.clone(),
            ticket.used.to_string(),
            ticket.uses.to_string(),
            date(ticket.expires_ms),
            date(ticket.created_ms),
        ]);
    }
    table
}
