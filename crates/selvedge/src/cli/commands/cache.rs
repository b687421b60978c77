//! `selvedge cache purge|inspect|stats`

use crate::cli::client::{ApiArgs, Client};
use crate::cli::print::Format;
use crate::cli::units::{bytes, percent, seconds};
use crate::cli::{Exit, Failure, Output, Table};
use clap::{ArgGroup, Args, Subcommand};
use selvedge_control::wire::{CacheStats, InspectRequest, Inspection, PurgeRequest, Purged, SiteStats, Tier};

/// What can be done with caches.
#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// Drop what is stored: by URL, prefix, tag or site
    Purge(PurgeArgs),
    /// Show what is stored for a URL, how fresh it is, and why it would or would not be served
    Inspect(InspectArgs),
    /// Show fill and hit ratios
    Stats(StatsArgs),
}

/// What `purge` takes.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).args(["url", "tag", "prefix", "all"])))]
pub struct PurgeArgs {
    /// This URL, with all its variants
    #[arg(long)]
    pub url: Option<String>,
    /// What carries this tag
    #[arg(long)]
    pub tag: Option<String>,
    /// This path and every one below it, by whole segments: /guide means /guide and /guide/..., not /guides
    #[arg(long, value_name = "URL")]
    pub prefix: Option<String>,
    /// All of --site
    #[arg(long, requires = "site")]
    pub all: bool,
    /// The site meant by --tag or --all: NAME, or NAMESPACE/NAME
    #[arg(long, conflicts_with_all = ["url", "prefix"])]
    pub site: Option<String>,
    /// The namespace of --site and --tag
    #[arg(short, long)]
    pub namespace: Option<String>,
    /// Only mark it stale: it may be served while a new one is fetched, or when the origin fails
    #[arg(long)]
    pub soft: bool,
    /// Which API to ask.
    #[command(flatten)]
    pub api: ApiArgs,
}

/// What `inspect` takes.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The URL
    pub url: String,
    /// The request's method
    #[arg(short = 'X', long, default_value = "GET")]
    pub method: String,
    /// A header field of the request, as in "Accept-Language: de"
    #[arg(short = 'H', long = "header", value_name = "FIELD")]
    pub headers: Vec<String>,
    /// Which API to ask.
    #[command(flatten)]
    pub api: ApiArgs,
}

/// What `stats` takes.
#[derive(Debug, Args)]
pub struct StatsArgs {
    /// Which API to ask.
    #[command(flatten)]
    pub api: ApiArgs,
}

/// Runs one of them.
pub(super) fn run(output: Output, command: CacheCommand) -> Result<Exit, Failure> {
    match command {
        CacheCommand::Purge(args) => purge(output, args),
        CacheCommand::Inspect(args) => inspect(output, &args),
        CacheCommand::Stats(args) => {
            let stats: CacheStats = Client::find(&args.api)?.get("/v1/cache/stats")?;
            output.print(&stats, stats_table)?;
            if matches!(output.format, Format::Table | Format::Wide) {
                let (ram, disk) = (tier_fill(&stats.ram), tier_fill(&stats.disk));
                output.text(&format!("\nram   {ram}\ndisk  {disk}\n"))?;
            }
            Ok(Exit::Done)
        }
    }
}

fn purge(output: Output, args: PurgeArgs) -> Result<Exit, Failure> {
    let PurgeArgs { url, tag, prefix, all, site, namespace, soft, api } = args;
    let request = PurgeRequest { url, prefix, tag, all, site, namespace, soft };
    let purged: Purged = Client::find(&api)?.change("/v1/cache/purge", &request)?;
    output.print(&purged, |purged| {
        let mut table = Table::new().column("PURGED").number("REVISION");
        table.row([subject(&request), purged.revision.to_string()]);
        table
    })
}

fn subject(request: &PurgeRequest) -> String {
    let site = request.site.clone().unwrap_or_default();
    match request {
        PurgeRequest { url: Some(url), .. } => url.clone(),
        PurgeRequest { prefix: Some(prefix), .. } => {
            let path = prefix.trim_end_matches('/');
            format!("{path} and {path}/...")
        }
        PurgeRequest { tag: Some(tag), .. } => format!("tag {tag}"),
        _ => format!("site {site}"),
    }
}

fn inspect(output: Output, args: &InspectArgs) -> Result<Exit, Failure> {
    let mut headers = Vec::new();
    for field in &args.headers {
        let (name, value) = field.split_once(':').ok_or_else(|| {
            Failure::usage(format!("{field:?} is not a header field"))
                .next("write it as \"Accept-Language: de\"")
        })?;
        headers.push((name.trim().to_owned(), value.trim().to_owned()));
    }
    let request = InspectRequest { url: args.url.clone(), method: Some(args.method.clone()), headers };
    let inspection: Inspection = Client::find(&args.api)?.ask("/v1/cache/inspect", &request)?;
    output.print(&inspection, inspection_table)
}

fn inspection_table(found: &Inspection) -> Table {
    let mut table = Table::new().column("").column("");
    let mut line = |name: &str, value: String| table.row([name.to_owned(), value]);
    line("site", format!("{}/{}", found.namespace, found.site));
    line("route", found.route.clone());
    line("key", found.key.clone());
    line("decision", found.decision.clone());
    line("because", found.reason.clone());
    if found.entries.is_empty() {
        line("stored", "nothing".into());
    }
    for entry in &found.entries {
        let mark = if entry.matches { "stored" } else { "variant" };
        let size = match entry.total_bytes {
            Some(total) if total != entry.stored_bytes => {
                format!("{} of {}", bytes(entry.stored_bytes), bytes(total))
            }
            _ => bytes(entry.stored_bytes),
        };
        let freshness = match entry.fresh_for {
            left if left >= 0.0 => format!("fresh for {}", seconds(left)),
            late => format!("stale since {}", seconds(-late)),
        };
        let age = seconds(entry.age);
        line(mark, format!("{} in {}, {size}, age {age}, {freshness}", entry.status, entry.tier));
        for (name, value) in [("state", &entry.state), ("vary", &entry.vary)] {
            if !value.is_empty() {
                line(name, value.clone());
            }
        }
        if let Some(etag) = &entry.etag {
            line("etag", etag.clone());
        }
        if !entry.tags.is_empty() {
            line("tags", entry.tags.join(" "));
        }
    }
    for rule in &found.rules {
        line(&rule.about, format!("{} ({})", rule.effect, rule.source));
    }
    table
}

/// The traffic of each site.
pub(super) fn stats_table(stats: &CacheStats) -> Table {
    let mut table = Table::new()
        .column("SITE")
        .number("REQUESTS")
        .number("HIT RATIO")
        .number("RAM")
        .number("DISK")
        .number("STALE")
        .number("MISS")
        .number("BYPASS")
        .number("ERRORS")
        .number("SENT")
        .number("FROM ORIGIN");
    for site in &stats.sites {
        table.row([
            format!("{}/{}", site.namespace, site.site),
            site.requests.to_string(),
            hit_ratio(site),
            site.hits_ram.to_string(),
            site.hits_disk.to_string(),
            site.stale.to_string(),
            site.misses.to_string(),
            site.bypassed.to_string(),
            site.errors.to_string(),
            bytes(site.sent_bytes),
            bytes(site.origin_bytes),
        ]);
    }
    table
}

/// How full a tier is, in words.
pub(super) fn tier_fill(tier: &Tier) -> String {
    if tier.capacity == 0 {
        return "off".to_owned();
    }
    let (used, all) = (bytes(tier.bytes), bytes(tier.capacity));
    let fill = format!("{} objects, {used} of {all}, {} evicted", tier.objects, tier.evictions);
    match &tier.problem {
        Some(problem) => format!("{fill}; not written to: {problem}"),
        None => fill,
    }
}

fn hit_ratio(site: &SiteStats) -> String {
    let served = site.hits_ram + site.hits_disk + site.stale;
    percent(served, served + site.misses + site.bypassed)
}
