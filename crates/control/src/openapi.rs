//! The OpenAPI document of the API.

use crate::routes;
use serde_json::Value;
use std::sync::OnceLock;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

#[derive(OpenApi)]
#[openapi(
    info(title = "Selvedge admin API", description = "Every answer that is not what was asked for is a problem \
        (RFC 9457): `application/problem+json`. Tokens have the roles viewer, deployer and admin; `GET` needs a \
        viewer's, changes a deployer's, settings and tokens an admin's."),
    paths(
        routes::page::dashboard, routes::health::live, routes::health::ready, routes::health::metrics,
        routes::page::openapi, routes::page::schema, routes::status::status,
        routes::resources::sites, routes::resources::site, routes::resources::settings,
        routes::resources::plan, routes::resources::apply,
        routes::cache::stats, routes::cache::inspect, routes::cache::purge,
        routes::requests::follow, routes::tokens::list, routes::tokens::create, routes::tokens::revoke,
    ),
    modifiers(&TokenScheme)
)]
struct Api;

struct TokenScheme;

impl Modify for TokenScheme {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        let components = api.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// The document.
pub(crate) fn document() -> Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| serde_json::to_value(Api::openapi()).unwrap_or_default()).clone()
}
