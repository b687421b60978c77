//! What is asked for, and what the origin says about it.

use super::content::Content;
use selvedge_rt::Rng;
use std::time::Duration;

pub(super) const HOST: &str = "a.test";

/// Paths that are asked for again and again, of each kind.
const PAGES: u64 = 12;

/// A kind of content: how the origin lets it be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Short, and may be served stale for a while.
    Page,
    /// Short, and never stale.
    Strict,
    /// Fresh for the whole run: only purges end it.
    Long,
    /// As `Long`, large enough to be cut into slices.
    Big,
    /// May not be kept.
    Private,
    /// Asked for by many at once, once.
    Once,
}

impl Kind {
    pub(super) fn of(path: &str) -> Kind {
        match path.split('/').nth(1) {
            Some("page") => Kind::Page,
            Some("strict") => Kind::Strict,
            Some("long") => Kind::Long,
            Some("big") => Kind::Big,
            Some("once") => Kind::Once,
            _ => Kind::Private,
        }
    }

    pub(super) const fn cache_control(self) -> &'static str {
        match self {
            Kind::Page => "max-age=2, stale-while-revalidate=2, stale-if-error=6",
            Kind::Strict => "max-age=1, must-revalidate",
            Kind::Long | Kind::Big | Kind::Once => "max-age=86400",
            Kind::Private => "private",
        }
    }

    /// For how long after the origin's answer it may be served at all, by the node's own clock; the origin's
    /// word and the manifest's `stale_if_unreachable` together.
    pub(super) const fn usable(self) -> Duration {
        match self {
            Kind::Page => Duration::from_secs(2 + 6),
            Kind::Strict => Duration::from_secs(1),
            Kind::Long | Kind::Big | Kind::Once => Duration::from_secs(86_400),
            Kind::Private => Duration::ZERO,
        }
    }

    /// Its content in a version.
    pub(super) fn content(self, path: &str, version: u64) -> Content {
        let spread = version.wrapping_mul(7919) % 1000;
        let length = match self {
            Kind::Big => 150_000 + spread * 50,
            _ => 100 + spread,
        };
        Content { path: path.to_owned(), version, length }
    }
}

/// Any path; those that tell most are asked for most.
pub(super) fn any_path(rng: &mut Rng) -> String {
    let number = rng.below(PAGES).min(rng.below(PAGES));
    match rng.below(20) {
        0..6 => format!("/page/{number}"),
        6..9 => format!("/strict/{number}"),
        9..15 => format!("/long/{number}"),
        15..19 => format!("/big/{}", number % 4),
        _ => format!("/private/{number}"),
    }
}

/// The tag of a path.
pub(super) fn tag_of(path: &str) -> String {
    let number = path.rsplit('/').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    format!("third-{}", number % 3)
}

/// The manifest of a generation, which answers show.
pub(super) fn manifest(generation: u64) -> String {
    format!(
        r#"
[settings.access_log]
to = "file"

[site.a]
hosts = ["{HOST}"]

[site.a.origin]
targets = ["http://origin:80"]
connect_timeout = "1s"
first_byte_timeout = "2s"
idle_timeout = "2s"
total_timeout = "20s"

[site.a.cache]
slice = "64KiB"
stale_if_unreachable = "6s"

[site.a.response_headers]
set = {{ X-Generation = "{generation}" }}
"#
    )
}
