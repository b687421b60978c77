//! `selvedge token create|list|revoke`

use crate::cli::client::{ApiArgs, Client, escape};
use crate::cli::print::Format;
use crate::cli::units::date;
use crate::cli::{Exit, Failure, Output, Table};
use clap::{Args, Subcommand, ValueEnum};
use selvedge_control::wire::{CreateToken, NewToken, RoleName, TokenInfo};

/// What can be done with tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token; its secret is printed once
    Create(CreateArgs),
    /// Show the tokens, without their secrets
    List(ListArgs),
    /// Make a token worthless
    Revoke(RevokeArgs),
}

/// What `create` takes.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// A name to know it by
    pub name: String,
    /// What its bearer may do
    #[arg(short, long, value_enum)]
    pub role: Role,
    /// The only namespace it is good for
    #[arg(short, long)]
    pub namespace: Option<String>,
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
    /// Its name
    pub name: String,
    /// Which API to ask.
    #[command(flatten)]
    pub api: ApiArgs,
}

/// What a token's bearer may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Look at everything but tokens.
    Viewer,
    /// Also change sites and purge caches.
    Deployer,
    /// Also change settings and tokens.
    Admin,
}

/// Runs one of them.
pub(super) fn run(output: Output, command: TokenCommand) -> Result<Exit, Failure> {
    match command {
        TokenCommand::Create(args) => create(output, args),
        TokenCommand::List(args) => {
            let tokens: Vec<TokenInfo> = Client::find(&args.api)?.get("/v1/tokens")?;
            output.print(&tokens, |tokens| table(tokens))
        }
        TokenCommand::Revoke(args) => {
            Client::find(&args.api)?.delete(&format!("/v1/tokens/{}", escape(&args.name)))?;
            eprintln!("token {} is revoked", args.name);
            Ok(Exit::Done)
        }
    }
}

fn create(output: Output, args: CreateArgs) -> Result<Exit, Failure> {
    let role = match args.role {
        Role::Viewer => RoleName::Viewer,
        Role::Deployer => RoleName::Deployer,
        Role::Admin => RoleName::Admin,
    };
    let wanted = CreateToken { name: args.name, role, namespace: args.namespace };
    let made: NewToken = Client::find(&args.api)?.change("/v1/tokens", &wanted)?;
    match output.format {
        Format::Json | Format::Yaml => output.print(&made, |_| Table::new()),
        // The secret alone, so that it can be put into a variable.
        Format::Table | Format::Wide => {
            eprintln!("this is the only time the secret is shown");
            output.text(&format!("{}\n", made.secret))
        }
    }
}

fn table(tokens: &[TokenInfo]) -> Table {
    let mut table = Table::new().column("NAME").column("ROLE").column("NAMESPACE").column("CREATED");
    for token in tokens {
        let role = match token.role {
            RoleName::Viewer => "viewer",
            RoleName::Deployer => "deployer",
            RoleName::Admin => "admin",
        };
        let namespace = token.namespace.clone().unwrap_or_else(|| "(all)".to_owned());
        table.row([token.name.clone(), role.to_owned(), namespace, date(token.created_ms)]);
    }
    table
}
