//! The dashboard: one page that needs nothing but this API.

/// The page.
pub(crate) const PAGE: &str = include_str!("dashboard.html");

/// What the page may do: run its own script and ask its own API.
pub(crate) const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
    connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
