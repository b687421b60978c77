//! What a manifest's parts must be to each other: names that exist, hosts that differ, settings that fit.

use super::Manifest;
use super::error::{Problem, Reporter, nearest};
use super::locate::{Step, locate};
use crate::fields::is_token;
use crate::resource::*;
use std::collections::BTreeMap;
use std::ops::Range;
use toml::de::DeTable;

/// The most sites in a manifest.
pub const MAX_SITES: usize = 10_000;
/// The most keyspaces in a manifest.
pub const MAX_KEYSPACES: usize = 1000;
/// The most hosts of a site.
pub const MAX_HOSTS: usize = 1000;
/// The most routes of a site, and the most rules.
pub const MAX_ROUTES: usize = 1000;
/// The most servers in a group of origin servers.
pub const MAX_TARGETS: usize = 256;

/// The longest name of the access log's file, in bytes: file systems end at 255, and rotation adds a number.
const LOG_NAME_BYTES_MAX: usize = 200;
/// What a node itself keeps in its data directory. What is named like one of these up to a dot is its own as well: files
/// are written under such a name, and then renamed.
pub const DATA_NAMES: [&str; 15] = [
    "cache",
    "context.json",
    "events",
    "former",
    "generation",
    "handover.sock",
    "identity",
    "joined",
    "lock",
    "node-key",
    "pid",
    "place.json",
    "restoring",
    "state",
    "upgrade-failed",
];

/// Whether a name in the data directory is one of the node's own ([`DATA_NAMES`]).
pub fn is_data_name(name: &str) -> bool {
    DATA_NAMES
        .iter()
        .any(|own| name.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
}

/// Reports everything that is wrong in a manifest whose parts are right by themselves.
pub(super) fn check(manifest: &Manifest, table: &DeTable<'_>, reporter: &mut Reporter<'_>) {
    let mut check = Check { table, reporter, at: Vec::new() };
    if manifest.sites.len() > MAX_SITES {
        check.error(&[], format!("more than {MAX_SITES} sites"), "split the manifest by namespace");
    }
    if manifest.keyspaces.len() > MAX_KEYSPACES {
        check.error(&[], format!("more than {MAX_KEYSPACES} keyspaces"), "split the manifest by namespace");
    }
    if manifest.namespace.is_systems() {
        let help = "choose another name: what is there is the cluster's own";
        check.error(&[key("namespace")], "the namespace `selvedge` is kept for the system", help);
    }
    if let Some(settings) = &manifest.settings {
        check.at = vec![Step::Key("settings".into())];
        check.settings(settings);
    }
    for (name, site) in &manifest.sites {
        check.at = vec![Step::Key("site".into()), Step::Key(name.to_string())];
        check.site(site);
    }
    check.hosts_differ(manifest);
}

struct Check<'a, 'b> {
    table: &'a DeTable<'a>,
    reporter: &'a mut Reporter<'b>,
    /// Where the part being checked stands.
    at: Vec<Step>,
}

/// Steps below the part being checked: `["route", 2, "path"]`.
type Below<'a> = &'a [Step];

fn key(name: &str) -> Step {
    Step::Key(name.to_owned())
}

impl Check<'_, '_> {
    fn error(&mut self, below: Below<'_>, message: impl Into<String>, help: impl Into<String>) {
        let steps: Vec<Step> = self.at.iter().chain(below).cloned().collect();
        let span: Range<usize> = locate(self.table, &steps);
        self.reporter.report(Problem::new(span, Step::path(&steps), message, help));
    }

    fn settings(&mut self, settings: &Settings) {
        if !is_token(settings.name.as_bytes()) {
            let help = "use letters, digits and `-`";
            self.error(&[key("name")], format!("`{}` is not a token", settings.name), help);
        }
        let disk = settings.cache.disk;
        if disk != ByteSize::bytes(0) && disk < CacheSizes::DISK_MIN {
            let help = format!("write `0B` for none, or at least `{}`", CacheSizes::DISK_MIN);
            self.error(&[key("cache"), key("disk")], format!("`{disk}` is too small to be used"), &help);
        }
        if settings.access_log.to == LogTarget::File {
            self.log_file(&settings.access_log.path);
        }
    }

    /// The file stands in the data directory itself, beside the node's own files.
    fn log_file(&mut self, path: &str) {
        let at = [key("access_log"), key("path")];
        let help = "name a file in the data directory, such as `path = \"access.log\"`";
        if path.is_empty()
            || path.len() > LOG_NAME_BYTES_MAX
            || path.contains(['/', '\0'])
            || path.starts_with('.')
        {
            self.error(&at, format!("{path:?} is not a plain file name"), help);
        } else if is_data_name(path) {
            self.error(&at, format!("`{path}` is a name that the node itself uses"), help);
        }
    }

    fn site(&mut self, site: &Site) {
        if site.hosts.is_empty() {
            self.error(&[], "the site answers to no host", "add `hosts = [\"docs.example.com\"]`");
        }
        for (what, n, most) in [
            ("hosts", site.hosts.len(), MAX_HOSTS),
            ("route", site.route.len(), MAX_ROUTES),
            ("rule", site.rule.len(), MAX_ROUTES),
        ] {
            if n > most {
                self.error(
                    &[key(what)],
                    format!("{n} of `{what}`: at most {most} are possible"),
                    "use patterns",
                );
            }
        }
        if site.origin.is_none() && site.route.is_empty() {
            let help = "add `origin = \"https://origin.example.com\"`, or routes";
            self.error(&[], "the site has neither an origin nor routes", help);
        }
        self.origins(site);
        self.tls(site.tls.as_ref());
        self.policies(&site.policies, &[]);
        for (i, route) in site.route.iter().enumerate() {
            self.route(route, site, &[key("route"), Step::Index(i)]);
        }
        for (i, rule) in site.rule.iter().enumerate() {
            self.rule(rule, &[key("rule"), Step::Index(i)]);
        }
    }

    fn origins(&mut self, site: &Site) {
        if site.origins.contains_key(&OriginName::default()) {
            let help = "write it as `origin`, or choose another name";
            self.error(&[key("origins"), key("default")], "`default` is the group under `origin`", help);
        }
        if let Some(origin) = &site.origin {
            self.origin(origin, &[key("origin")]);
        }
        for (name, origin) in &site.origins {
            self.origin(origin, &[key("origins"), key(name.as_str())]);
        }
    }

    fn origin(&mut self, origin: &Origin, below: Below<'_>) {
        let help = "add `targets = [\"https://origin.example.com\"]`";
        match origin.targets.len() {
            0 => self.error(below, "the origin has no server", help),
            n if n > MAX_TARGETS => {
                let help = "name them by DNS or an SRV record instead";
                self.error(below, format!("{n} servers: at most {MAX_TARGETS} are possible"), help);
            }
            _ => {}
        }
        let sni_fits = |sni: &String| is_host(&sni.to_ascii_lowercase()) && !sni.starts_with('[');
        if origin.sni.as_ref().is_some_and(|sni| !sni_fits(sni)) {
            self.error(&join(below, "sni"), "`sni` is not a host name", "write a name: `origin.example.com`");
        }
        if let Some(health) = &origin.health {
            if !is_path(&health.path) {
                let help = "write a path: `/healthz`";
                self.error(&join(below, "health"), format!("`{}` is not a path", health.path), help);
            }
            if health.status.is_empty() {
                self.error(
                    &join(below, "health"),
                    "no status is a good answer",
                    "leave `status` out, or name one",
                );
            }
        }
    }

    fn tls(&mut self, tls: Option<&Tls>) {
        let Some(tls) = tls else { return };
        if tls.cert.is_empty() || tls.key.is_empty() {
            let help = "name both files: `tls = { cert = \"site.pem\", key = \"site.key\" }`";
            self.error(&[key("tls")], "a certificate needs its file and the key's", help);
        }
    }

    fn route(&mut self, route: &Route, site: &Site, below: Below<'_>) {
        if route.path.is_empty() {
            self.error(&join(below, "path"), "the route fits no path", "add `path = \"/api/*\"`");
        }
        let answers = [route.to.is_some(), route.redirect.is_some(), route.respond.is_some()];
        if answers.iter().filter(|a| **a).count() > 1 {
            self.error(below, "a route has one of `to`, `redirect` and `respond`", "leave the others out");
        }
        match &route.to {
            Some(Destination::Origin(name)) if site.origin_named(name).is_none() => {
                self.unknown_origin(name, site, &join(below, "to"));
            }
            None if answers == [false; 3] && site.origin.is_none() => {
                let help = "add `to`, `redirect` or `respond`, or an `origin` to the site";
                self.error(below, "nothing answers the route", help);
            }
            _ => {}
        }
        if let Some(redirect) = &route.redirect {
            self.redirect(redirect, &join(below, "redirect"));
        }
        if let Some(respond) = &route.respond {
            self.respond(respond, &join(below, "respond"));
        }
        self.policies(&route.policies, below);
    }

    fn respond(&mut self, respond: &Respond, below: Below<'_>) {
        if !is_value(&respond.content_type) {
            self.error(below, "`content_type` is not a field value", "write `text/plain`");
        }
        if matches!(respond.status, 204 | 205 | 304) && !respond.body.is_empty() {
            let message = format!("a response with status {} has no content", respond.status);
            self.error(&join(below, "body"), message, "leave `body` out, or choose another status");
        }
    }

    fn unknown_origin(&mut self, name: &OriginName, site: &Site, below: Below<'_>) {
        let help = match nearest(name.as_str(), site.origins.keys().map(OriginName::as_str)) {
            Some(near) => format!("did you mean `origin:{near}`?"),
            None if name.as_str() == OriginName::DEFAULT => "add `origin` to the site".to_owned(),
            None => format!("add `[site.NAME.origins.{name}]`"),
        };
        self.error(below, format!("the site has no origin `{name}`"), help);
    }

    fn redirect(&mut self, redirect: &Redirect, below: Below<'_>) {
        if ![301, 302, 303, 307, 308].contains(&redirect.status) {
            let message = format!("{} is not the status of a redirect", redirect.status);
            self.error(&join(below, "status"), message, "write 301, 302, 303, 307 or 308");
        }
        let starts_well = match redirect.location.parts().first() {
            Some(Part::Text(text)) => ["/", "http://", "https://"].iter().any(|p| text.starts_with(p)),
            Some(Part::Variable(v)) => matches!(v, Variable::Path | Variable::Uri | Variable::Scheme),
            None => false,
        };
        if !starts_well {
            let help = "begin it with `/`, `https://`, `{scheme}://`, `{path}` or `{uri}`";
            self.error(&join(below, "location"), "`location` is not a URL", help);
        }
    }

    fn rule(&mut self, rule: &Rule, below: Below<'_>) {
        if rule.when.is_empty() {
            let help = "add a condition, or move the policies to the site or a route";
            self.error(below, "the rule has no condition", help);
        }
        if rule.when.needs_response() {
            self.response_rule(&rule.policies, below);
        }
        self.policies(&rule.policies, below);
    }

    /// A rule that waits for the response cannot change what was done before.
    fn response_rule(&mut self, policies: &Policies, below: Below<'_>) {
        let Policies { cache, request_headers, rewrite, access, auth, rate_limit, upgrade, .. } = policies;
        let too_late = [
            ("cache.key", cache.key.is_some()),
            ("cache.bypass", !cache.bypass.is_empty()),
            ("cache.collapse", cache.collapse.is_some()),
            ("cache.ignore_client", cache.ignore_client.is_some()),
            ("cache.strip_request_cookies", !cache.strip_request_cookies.is_empty()),
            ("cache.slice", cache.slice.is_some()),
            ("request_headers", !request_headers.is_empty()),
            ("rewrite", rewrite.is_some()),
            ("access", access.is_some()),
            ("auth", auth.is_some()),
            ("rate_limit", !rate_limit.is_empty()),
            ("upgrade", upgrade.is_some()),
        ];
        for (name, _) in too_late.iter().filter(|(_, set)| *set) {
            let help = "make the condition one on the request, or move it to a route";
            self.error(below, format!("`{name}` cannot wait for the response that `when` asks about"), help);
        }
    }

    fn policies(&mut self, policies: &Policies, below: Below<'_>) {
        self.cache(&policies.cache, &join(below, "cache"));
        if let Some(rewrite) = &policies.rewrite {
            self.rewrite(rewrite, &join(below, "rewrite"));
        }
        if let Some(auth) = &policies.auth {
            self.auth(auth, &join(below, "auth"));
        }
    }

    fn cache(&mut self, cache: &CachePolicy, below: Below<'_>) {
        if let (Some(min), Some(max)) = (cache.min_ttl, cache.max_ttl)
            && min > max
        {
            self.error(
                &join(below, "min_ttl"),
                format!("`min_ttl` {min} is over `max_ttl` {max}"),
                "swap them",
            );
        }
        if cache.key.as_ref().is_some_and(|k| k.query.keep.is_some() && !k.query.drop.is_empty()) {
            let message = "`keep` names all that counts, so `drop` has nothing to do";
            self.error(&join(below, "key"), message, "leave one of the two out");
        }
        let fits = |tag: &String| !tag.is_empty() && tag.bytes().all(|b| b.is_ascii_graphic() && b != b',');
        if let Some(tag) = cache.tags.iter().find(|tag| !fits(tag)) {
            let help = "use visible ASCII without spaces and commas";
            self.error(&join(below, "tags"), format!("`{tag}` is not a tag"), help);
        }
    }

    fn rewrite(&mut self, rewrite: &Rewrite, below: Below<'_>) {
        let Rewrite { strip_prefix, replace, add_prefix, to } = rewrite;
        for (name, prefix) in [("strip_prefix", strip_prefix), ("add_prefix", add_prefix)] {
            if prefix.as_ref().is_some_and(|p| !is_path(p)) {
                self.error(&join(below, name), format!("`{name}` is not a path"), "begin it with `/`");
            }
        }
        let fits = |text: &String| text.bytes().all(|b| b.is_ascii_graphic() && !b"?#".contains(&b));
        if replace.iter().any(|(from, to)| from.is_empty() || !fits(from) || !fits(to)) {
            let help = "write pieces of paths, percent-encoded, without `?`: `{ \"/old/\" = \"/new/\" }`";
            self.error(&join(below, "replace"), "`replace` holds what is not a piece of a path", help);
        }
        let Some(to) = to else { return };
        if strip_prefix.is_some() || add_prefix.is_some() || !replace.is_empty() {
            self.error(&join(below, "to"), "`to` gives the whole path", "leave the others out");
        }
        let rooted = match to.parts().first() {
            Some(Part::Text(text)) => text.starts_with('/'),
            Some(Part::Variable(v)) => matches!(v, Variable::Path | Variable::Uri),
            None => false,
        };
        let graphic = |part: &Part| match part {
            Part::Text(text) => text.bytes().all(|b| b.is_ascii_graphic() && b != b'#'),
            Part::Variable(_) => true,
        };
        if !rooted || !to.parts().iter().all(graphic) {
            let help = "begin it with `/`, `{path}` or `{uri}`, percent-encoded";
            self.error(&join(below, "to"), "`to` is not a path", help);
        }
    }

    fn auth(&mut self, auth: &Auth, below: Below<'_>) {
        let none = auth.basic.as_ref().is_none_or(|b| b.users.is_empty())
            && auth.bearer.as_ref().is_none_or(|b| b.tokens.is_empty());
        if none {
            let help = "add `basic.users` or `bearer.tokens`, or leave `auth` out";
            self.error(below, "`auth` lets nobody in", help);
        }
        let Some(basic) = &auth.basic else { return };
        let realm_fits = is_value(&basic.realm) && !basic.realm.contains(['"', '\\']);
        if !realm_fits {
            self.error(&join(below, "basic"), "`realm` may not hold quotes or backslashes", "leave them out");
        }
        if let Some(user) = basic.users.keys().find(|u| u.is_empty() || u.contains(':')) {
            let help = "choose a name without a colon (RFC 7617 section 2)";
            self.error(&join(below, "basic"), format!("`{user}` is not a user's name"), help);
        }
    }

    fn hosts_differ(&mut self, manifest: &Manifest) {
        let mut owners: BTreeMap<&HostPattern, &SiteName> = BTreeMap::new();
        for (name, site) in &manifest.sites {
            self.at = vec![key("site"), key(name.as_str()), key("hosts")];
            for (i, host) in site.hosts.iter().enumerate() {
                if let Some(owner) = owners.insert(host, name) {
                    let message = format!("`{host}` already belongs to the site `{owner}`");
                    self.error(&[Step::Index(i)], message, "leave it out of one of the two");
                }
            }
        }
    }
}

fn join(below: Below<'_>, name: &str) -> Vec<Step> {
    below.iter().cloned().chain([key(name)]).collect()
}

fn is_path(text: &str) -> bool {
    text.starts_with('/') && text.bytes().all(|b| b.is_ascii_graphic() && b != b'#' && b != b'?')
}

fn is_value(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b == b' ' || b.is_ascii_graphic())
}
