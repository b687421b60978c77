//! `selvedge kv`: keys of the keyspaces that a manifest declares.

mod lease;
mod show;
mod watch;

use crate::cli::client::{ApiArgs, Client, escape};
use crate::cli::print::Format;
use crate::cli::{Exit, Failure, Output};
use clap::{Args, Subcommand};
use lease::LeaseCommand;
use selvedge_control::wire::{
    Bytes, KvChanged, KvCompact, KvDelete, KvKeys, KvPut, KvRange, KvRead, KvTxn, KvTxnDone,
};
use selvedge_types::resource::{KeyspaceId, Text};
use serde::Serialize;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use watch::WatchArgs;

/// The most that is read as a value or a transaction, in bytes: what a request may have.
const INPUT_BYTES_MAX: u64 = 4 << 20;

/// The end of keys that go on to the last.
const NO_END: Bytes = Bytes(Vec::new());

/// What can be done with keys.
#[derive(Debug, Subcommand)]
pub enum KvCommand {
    /// Put a value under a key
    Put(PutArgs),
    /// Print the value of a key
    Get(GetKeyArgs),
    /// Delete a key, or all that begin with a prefix
    Del(DelArgs),
    /// Show keys and values, in the order of the keys
    Range(RangeArgs),
    /// Compare, then read and change keys as one
    Txn(TxnArgs),
    /// Show changes of keys as they come
    Watch(WatchArgs),
    /// Make leases, with which keys end
    Lease {
        /// What to do with them.
        #[command(subcommand)]
        command: LeaseCommand,
    },
    /// Give up the history before a revision
    Compact(CompactArgs),
}

/// A keyspace, and which API to ask.
#[derive(Debug, Args)]
pub struct SpaceArgs {
    /// The keyspace: NAME, or NAMESPACE/NAME
    pub keyspace: String,
    /// Which API to ask.
    #[command(flatten)]
    pub api: ApiArgs,
}

/// How fresh a read is.
#[derive(Debug, Args)]
pub struct ReadArgs {
    /// How fresh: linearizable, session=REVISION, bounded=TIME or local [default: linearizable]
    #[arg(long, value_name = "LEVEL")]
    pub read: Option<String>,
}

/// What `put` takes.
#[derive(Debug, Args)]
pub struct PutArgs {
    /// Where.
    #[command(flatten)]
    pub space: SpaceArgs,
    /// The key
    pub key: OsString,
    /// The value; `-` for standard input
    #[arg(required_unless_present = "file")]
    pub value: Option<OsString>,
    /// A file that has the value
    #[arg(long, value_name = "FILE", conflicts_with = "value")]
    pub file: Option<PathBuf>,
    /// The lease with which the key ends
    #[arg(long, value_name = "NUMBER")]
    pub lease: Option<u64>,
    /// Show what was there before
    #[arg(long)]
    pub previous: bool,
}

/// What `get` takes.
#[derive(Debug, Args)]
pub struct GetKeyArgs {
    /// Where.
    #[command(flatten)]
    pub space: SpaceArgs,
    /// The key
    pub key: OsString,
    /// As of which revision [default: the present one]
    #[arg(long, value_name = "REVISION")]
    pub revision: Option<u64>,
    /// How fresh.
    #[command(flatten)]
    pub read: ReadArgs,
}

/// What `del` takes.
#[derive(Debug, Args)]
pub struct DelArgs {
    /// Where.
    #[command(flatten)]
    pub space: SpaceArgs,
    /// The key
    #[arg(required_unless_present = "prefix", conflicts_with = "prefix")]
    pub key: Option<OsString>,
    /// Every key that begins so; an empty one for all
    #[arg(long, value_name = "PREFIX")]
    pub prefix: Option<OsString>,
    /// Show what was there before
    #[arg(long)]
    pub previous: bool,
}

/// What `range` takes.
#[derive(Debug, Args)]
pub struct RangeArgs {
    /// Where.
    #[command(flatten)]
    pub space: SpaceArgs,
    /// The first key [default: all keys]
    pub start: Option<OsString>,
    /// The first key no longer wanted
    pub end: Option<OsString>,
    /// Every key that begins so
    #[arg(long, value_name = "PREFIX", conflicts_with = "start")]
    pub prefix: Option<OsString>,
    /// How many at most
    #[arg(long, value_name = "COUNT")]
    pub limit: Option<u64>,
    /// Show only how many keys there are
    #[arg(long)]
    pub count: bool,
    /// As of which revision [default: the present one]
    #[arg(long, value_name = "REVISION")]
    pub revision: Option<u64>,
    /// How fresh.
    #[command(flatten)]
    pub read: ReadArgs,
}

/// What `txn` takes.
#[derive(Debug, Args)]
pub struct TxnArgs {
    /// Where.
    #[command(flatten)]
    pub space: SpaceArgs,
    /// A file with the transaction in JSON, as the API takes it; `-` for standard input
    #[arg(default_value = "-")]
    pub file: PathBuf,
    /// How fresh, if it changes nothing.
    #[command(flatten)]
    pub read: ReadArgs,
}

/// What `compact` takes.
#[derive(Debug, Args)]
pub struct CompactArgs {
    /// Where.
    #[command(flatten)]
    pub space: SpaceArgs,
    /// The oldest revision that can still be read
    pub revision: u64,
}

impl SpaceArgs {
    /// The name is looked at first: a wrong one is wrong wherever it is asked for.
    fn client(&self) -> Result<Client, Failure> {
        self.id()?;
        Client::find(&self.api)
    }

    fn id(&self) -> Result<KeyspaceId, Failure> {
        KeyspaceId::parse_text(&self.keyspace)
            .map_err(|e| Failure::usage(e.message.clone()).next(e.help.clone()))
    }

    /// The path of something that is done there.
    fn path(&self, what: &str) -> Result<String, Failure> {
        let id = self.id()?;
        let (namespace, name) = (id.namespace.to_string(), id.name.to_string());
        Ok(format!("/v1/kv/{}/{}/{what}", escape(&namespace), escape(&name)))
    }
}

/// Runs one of them.
pub(super) fn run(output: Output, command: KvCommand) -> Result<Exit, Failure> {
    match command {
        KvCommand::Put(args) => put(output, args),
        KvCommand::Get(args) => get(output, args),
        KvCommand::Del(args) => del(output, args),
        KvCommand::Range(args) => range(output, args),
        KvCommand::Txn(args) => txn(output, args),
        KvCommand::Watch(args) => watch::run(output, args),
        KvCommand::Lease { command } => lease::run(output, command),
        KvCommand::Compact(args) => {
            let asked = KvCompact { revision: args.revision };
            let done: KvChanged = args.space.client()?.change(&args.space.path("compact")?, &asked)?;
            output.print(&done, show::changed)
        }
    }
}

fn put(output: Output, args: PutArgs) -> Result<Exit, Failure> {
    let value = match (args.value, args.file) {
        (Some(value), _) if value != "-" => value.into_vec(),
        (_, Some(file)) => read(&file)?,
        _ => read(&PathBuf::from("-"))?,
    };
    let (key, value) = (bytes(args.key), Bytes(value));
    let asked = KvPut { key, value, lease: args.lease, previous: args.previous, call: None };
    let done: KvChanged = args.space.client()?.change(&args.space.path("put")?, &asked)?;
    output.print(&done, show::changed)
}

fn get(output: Output, args: GetKeyArgs) -> Result<Exit, Failure> {
    let key = bytes(args.key);
    let keys = KvKeys { key: Some(key.clone()), ..KvKeys::default() };
    let asked =
        KvRange { keys, revision: args.revision, limit: None, count_only: false, read: args.read.read };
    let found: KvRead = args.space.client()?.ask(&args.space.path("range")?, &asked)?;
    let Some(pair) = found.pairs.first() else {
        let text = show::text(&key);
        return Err(Failure::failed(format!(
            "{} has no key {text}, as of revision {}",
            args.space.keyspace, found.revision
        )));
    };
    if output.format != Format::Table {
        return output.print(&found, |found| show::pairs(&found.pairs));
    }
    // The bytes alone, so that they can go into a file or a variable.
    let mut out = io::stdout().lock();
    let end: &[u8] = if out.is_terminal() { b"\n" } else { b"" };
    let written = out.write_all(&pair.value.0).and_then(|()| out.write_all(end)).and_then(|()| out.flush());
    written.map_err(|error| Failure::failed("cannot write to standard output").because(error))?;
    Ok(Exit::Done)
}

fn del(output: Output, args: DelArgs) -> Result<Exit, Failure> {
    let keys = KvKeys { key: args.key.map(bytes), end: None, prefix: args.prefix.map(bytes) };
    let asked = KvDelete { keys, previous: args.previous, call: None };
    let done: KvChanged = args.space.client()?.change(&args.space.path("delete")?, &asked)?;
    output.print(&done, show::changed)
}

/// Goes on where an answer ends, at the same revision, until all is there.
fn range(output: Output, args: RangeArgs) -> Result<Exit, Failure> {
    let (client, path) = (args.space.client()?, args.space.path("range")?);
    // One key alone is `get`'s: here it is where to begin.
    let end = match (&args.start, args.end) {
        (Some(_), None) => Some(NO_END),
        (_, end) => end.map(bytes),
    };
    let keys = KvKeys { key: args.start.map(bytes), end, prefix: args.prefix.map(bytes) };
    let revision = args.revision;
    let mut asked =
        KvRange { keys, revision, limit: args.limit, count_only: args.count, read: args.read.read };
    let mut all: KvRead = client.ask(&path, &asked)?;
    while let Some(next) = all.next.take() {
        let left = args.limit.map(|limit| limit.saturating_sub(all.count));
        if left == Some(0) {
            break;
        }
        let end = asked.keys.prefix.take().map(end_of_prefix).unwrap_or(asked.keys.end.take());
        asked.keys = KvKeys { key: Some(next), end: end.or(Some(NO_END)), prefix: None };
        (asked.revision, asked.limit, asked.read) = (Some(all.revision), left, Some("local".to_owned()));
        let more: KvRead = client.ask(&path, &asked)?;
        all.pairs.extend(more.pairs);
        all.count += more.count;
        all.next = more.next;
    }
    let count = args.count;
    output.print(&all, |all| if count { show::count(all) } else { show::pairs(&all.pairs) })
}

/// The first key that does not begin so; none if there is no such key.
fn end_of_prefix(Bytes(mut prefix): Bytes) -> Option<Bytes> {
    while let Some(last) = prefix.pop() {
        if last < u8::MAX {
            prefix.push(last + 1);
            return Some(Bytes(prefix));
        }
    }
    None
}

fn txn(output: Output, args: TxnArgs) -> Result<Exit, Failure> {
    let text = read(&args.file)?;
    let mut asked: KvTxn = serde_json::from_slice(&text).map_err(|error| {
        Failure::usage("this is not a transaction").because(error).next(
            "write it as {\"compare\": [{\"key\": \"a\", \"version\": 0}], \"then\": [{\"put\": {\"key\": \"a\", \
             \"value\": \"1\"}}], \"else\": [{\"get\": {\"key\": \"a\"}}]}",
        )
    })?;
    asked.read = args.read.read.or(asked.read);
    let done: KvTxnDone = args.space.client()?.change(&args.space.path("txn")?, &asked)?;
    output.print(&done, show::txn)
}

fn bytes(text: OsString) -> Bytes {
    Bytes(text.into_vec())
}

fn read(file: &PathBuf) -> Result<Vec<u8>, Failure> {
    let mut all = Vec::new();
    let read = match file.as_os_str() == "-" {
        true => io::stdin().lock().take(INPUT_BYTES_MAX + 1).read_to_end(&mut all),
        false => {
            std::fs::File::open(file).and_then(|file| file.take(INPUT_BYTES_MAX + 1).read_to_end(&mut all))
        }
    };
    read.map_err(|error| Failure::failed(format!("cannot read {}", file.display())).because(error))?;
    if all.len() as u64 > INPUT_BYTES_MAX {
        let what = format!("{} has more than {} MiB", file.display(), INPUT_BYTES_MAX >> 20);
        return Err(Failure::usage(what).next("keep large content as files, and their names here"));
    }
    Ok(all)
}

/// A request that changes something, of the kind that the path says.
fn change<B: Serialize, T: serde::de::DeserializeOwned>(
    space: &SpaceArgs,
    what: &str,
    body: &B,
) -> Result<T, Failure> {
    space.client()?.change(&space.path(what)?, body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_first_key_that_does_not_begin_so() {
        for (prefix, end) in
            [(&b"a"[..], Some(&b"b"[..])), (b"a\xff", Some(b"b")), (b"\xff", None), (b"", None)]
        {
            assert_eq!(end_of_prefix(Bytes(prefix.to_vec())), end.map(|end| Bytes(end.to_vec())));
        }
    }
}
