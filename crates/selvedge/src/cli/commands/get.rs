//! `selvedge get KIND [NAME]`

use super::cluster;
use crate::cli::client::{ApiArgs, Client, escape};
use crate::cli::units::bytes;
use crate::cli::{Exit, Failure, Output, Table};
use clap::{Args, ValueEnum};
use selvedge_control::wire::{
    ClusterNode, KeyspaceResource, PopInfo, SettingsResource, SiteResource, Voters,
};
use selvedge_types::resource::{SiteId, Text};
use serde_json::Value;

/// What `get` takes.
#[derive(Debug, Args)]
pub struct GetArgs {
    /// What kind of resource
    pub kind: Kind,
    /// One of them: NAME, or NAMESPACE/NAME
    pub name: Option<String>,
    /// Only those of this namespace
    #[arg(short, long)]
    pub namespace: Option<String>,
    /// Which API to ask.
    #[command(flatten)]
    pub api: ApiArgs,
}

/// A kind of resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Hostnames with their origins, routes and policies.
    #[value(alias = "site")]
    Sites,
    /// What holds for all sites.
    Settings,
    /// The nodes of the cluster.
    #[value(alias = "node")]
    Nodes,
    /// The points of presence.
    #[value(alias = "pop")]
    Pops,
    /// Keys and values that the cluster keeps.
    #[value(alias = "keyspace")]
    Keyspaces,
    /// Who decides about the control state.
    #[value(alias = "voter")]
    Voters,
}

/// Prints resources.
pub(super) fn run(output: Output, args: &GetArgs) -> Result<Exit, Failure> {
    match (args.kind, &args.name) {
        (Kind::Settings, None) => {
            let settings: SettingsResource = Client::find(&args.api)?.get("/v1/settings")?;
            output.print(&settings, |s| settings_table(&s.spec))
        }
        (Kind::Settings, Some(_)) => Err(Failure::usage("there is one `settings`, without a name")),
        (Kind::Nodes, name) => {
            let mut nodes: Vec<ClusterNode> = Client::find(&args.api)?.get("/v1/nodes")?;
            only(&mut nodes, name.as_deref(), "node", |node| &node.name)?;
            output.print(&nodes, |nodes| cluster::nodes_table(nodes))
        }
        (Kind::Pops, name) => {
            let mut pops: Vec<PopInfo> = Client::find(&args.api)?.get("/v1/pops")?;
            only(&mut pops, name.as_deref(), "PoP", |pop| &pop.name)?;
            output.print(&pops, |pops| cluster::pops_table(pops))
        }
        (Kind::Keyspaces, name) => {
            let mut keyspaces: Vec<KeyspaceResource> = Client::find(&args.api)?.get("/v1/keyspaces")?;
            keyspaces.retain(|space| {
                args.namespace.as_ref().is_none_or(|namespace| space.namespace == *namespace)
            });
            only(&mut keyspaces, name.as_deref(), "keyspace", |space| &space.name)?;
            output.print(&keyspaces, |keyspaces| keyspaces_table(keyspaces))
        }
        (Kind::Voters, None) => {
            let voters: Voters = Client::find(&args.api)?.get("/v1/voters")?;
            output.print(&voters, cluster::voters_table)
        }
        (Kind::Voters, Some(_)) => Err(Failure::usage("there is one list of `voters`, without a name")),
        (Kind::Sites, None) => {
            let query =
                args.namespace.as_ref().map_or(String::new(), |n| format!("?namespace={}", escape(n)));
            let sites: Vec<SiteResource> = Client::find(&args.api)?.get(&format!("/v1/sites{query}"))?;
            output.print(&sites, |sites| sites_table(sites))
        }
        (Kind::Sites, Some(name)) => {
            let target = site_target(name, args.namespace.as_deref())?;
            let site: SiteResource = Client::find(&args.api)?.get(&target)?;
            output.print(&site, |site| sites_table(std::slice::from_ref(site)))
        }
    }
}

/// Keeps the one of that name, if one is named.
fn only<T>(
    all: &mut Vec<T>,
    name: Option<&str>,
    what: &str,
    name_of: impl Fn(&T) -> &String,
) -> Result<(), Failure> {
    let Some(name) = name else { return Ok(()) };
    all.retain(|one| name_of(one) == name);
    if all.is_empty() { Err(Failure::failed(format!("there is no {what} {name}"))) } else { Ok(()) }
}

fn site_target(name: &str, namespace: Option<&str>) -> Result<String, Failure> {
    let whole = match namespace {
        Some(namespace) if !name.contains('/') => format!("{namespace}/{name}"),
        _ => name.to_owned(),
    };
    let id =
        SiteId::parse_text(&whole).map_err(|e| Failure::usage(e.message.clone()).next(e.help.clone()))?;
    Ok(format!("/v1/sites/{}/{}", id.namespace, id.name))
}

fn keyspaces_table(keyspaces: &[KeyspaceResource]) -> Table {
    let mut table = Table::new()
        .column("NAMESPACE")
        .column("NAME")
        .column("CONSISTENCY")
        .number("USED")
        .number("QUOTA")
        .wide("COMPACTED");
    for space in keyspaces {
        let used = space.bytes.map_or_else(|| "not made yet".to_owned(), bytes);
        let names = [&space.namespace, &space.name, &space.consistency].map(String::clone);
        table.row(names.into_iter().chain([used, bytes(space.quota), space.compacted.to_string()]));
    }
    table
}

fn sites_table(sites: &[SiteResource]) -> Table {
    let mut table = Table::new()
        .column("NAMESPACE")
        .column("NAME")
        .column("HOSTS")
        .column("ORIGIN")
        .number("ROUTES")
        .number("GENERATION")
        .wide("REVISION");
    for site in sites {
        let routes = site.spec.get("route").and_then(Value::as_array).map_or(0, Vec::len);
        table.row([
            site.namespace.clone(),
            site.name.clone(),
            words(site.spec.get("hosts")),
            words(site.spec.get("origin")),
            routes.to_string(),
            site.generation.to_string(),
            site.revision.to_string(),
        ]);
    }
    table
}

/// A value's texts, separated by commas: a list's members, an origin's targets.
fn words(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) => items.iter().map(|item| words(Some(item))).collect::<Vec<_>>().join(","),
        Some(Value::Object(map)) => words(map.get("url").or_else(|| map.get("targets"))),
        _ => String::new(),
    }
}

fn settings_table(spec: &Value) -> Table {
    let mut table = Table::new().column("SETTING").column("VALUE");
    let mut rows = Vec::new();
    flatten("", spec, &mut rows);
    rows.into_iter().for_each(|row| table.row(row));
    table
}

fn flatten(path: &str, value: &Value, rows: &mut Vec<[String; 2]>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, inner)| {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            flatten(&path, inner, rows);
        }),
        Value::String(text) => rows.push([path.to_owned(), text.clone()]),
        other => rows.push([path.to_owned(), other.to_string()]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_site_is_a_row() {
        let spec = json!({"hosts": ["a.b", "c.d"], "origin": {"targets": [{"url": "http://x"}, "http://y"]}, "route": [{}]});
        let site = SiteResource {
            namespace: "default".into(),
            name: "docs".into(),
            generation: 2,
            revision: 7,
            spec,
        };
        let text = sites_table(&[site]).render(true, false);
        assert!(
            text.ends_with("default    docs  a.b,c.d  http://x,http://y       1           2  7\n"),
            "{text}"
        );
    }

    #[test]
    fn settings_are_flattened() {
        let text = settings_table(&json!({"name": "x", "cache": {"ram": "1GiB"}})).render(false, false);
        assert_eq!(text, "SETTING    VALUE\nname       x\ncache.ram  1GiB\n");
    }

    #[test]
    fn names_may_carry_their_namespace() {
        assert_eq!(site_target("docs", None).unwrap(), "/v1/sites/default/docs");
        assert_eq!(site_target("docs", Some("team")).unwrap(), "/v1/sites/team/docs");
        assert_eq!(site_target("a/docs", Some("team")).unwrap(), "/v1/sites/a/docs");
        assert!(site_target("A b", None).is_err());
    }
}
