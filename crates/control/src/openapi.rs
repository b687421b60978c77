//! The OpenAPI document of the API.

use crate::routes;
use serde_json::Value;
use std::sync::OnceLock;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Content, Ref, RefOr, ResponseBuilder};
use utoipa::{Modify, OpenApi};

/// The media type of what went wrong (RFC 9457 §3).
const PROBLEM: &str = "application/problem+json";

#[derive(OpenApi)]
#[openapi(
    info(title = "Selvedge admin API", description = "Every answer that is not what was asked for is a problem \
        (RFC 9457): `application/problem+json`. Tokens have the roles viewer, deployer and admin; `GET` needs a \
        viewer's, changes a deployer's, settings, tokens and the cluster an admin's."),
    paths(
        routes::page::dashboard, routes::health::live, routes::health::ready, routes::health::metrics,
        routes::page::openapi, routes::page::schema, routes::status::status,
        routes::resources::sites, routes::resources::site, routes::resources::settings,
        routes::resources::plan, routes::resources::apply,
        routes::cache::stats, routes::cache::inspect, routes::cache::purge,
        routes::requests::follow,
        routes::cluster::nodes, routes::cluster::drain, routes::cluster::undrain, routes::cluster::remove,
        routes::cluster::rollout, routes::cluster::pops, routes::cluster::voters, routes::cluster::choose_voters,
        routes::cluster::choose_leader, routes::cluster::tickets, routes::cluster::create_ticket,
        routes::kv::list, routes::kv::range, routes::kv::put, routes::kv::delete, routes::kv::txn, routes::kv::watch,
        routes::kv::compact, routes::kv::open_session, routes::kv::grant_lease, routes::kv::leases,
        routes::kv::renew_lease, routes::kv::revoke_lease,
        routes::cluster::revoke_ticket, routes::backup::backup,
        routes::tokens::whoami, routes::tokens::list, routes::tokens::create, routes::tokens::revoke,
    ),
    modifiers(&TokenScheme, &Problems)
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

/// Every operation may end with a problem, and every problem has the media type of RFC 9457 §3.
struct Problems;

impl Modify for Problems {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let problem = ResponseBuilder::new()
            .description("Any other failure: it says what went wrong and what to do")
            .content(PROBLEM, Content::new(Some(Ref::from_schema_name("Problem"))))
            .build();
        for operation in api.paths.paths.values_mut().flat_map(operations) {
            let responses = &mut operation.responses.responses;
            for response in responses.values_mut() {
                if let RefOr::T(response) = response {
                    response.content = std::mem::take(&mut response.content).into_iter().map(named).collect();
                }
            }
            responses.insert("default".to_owned(), RefOr::T(problem.clone()));
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.put, &mut item.delete].into_iter().filter_map(Option::as_mut)
}

fn named((media_type, content): (String, Content)) -> (String, Content) {
    let is_problem = matches!(&content.schema, Some(RefOr::Ref(to)) if to.ref_location.ends_with("/Problem"));
    (if is_problem { PROBLEM.to_owned() } else { media_type }, content)
}

/// The document.
pub(crate) fn document() -> Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| serde_json::to_value(Api::openapi()).unwrap_or_default()).clone()
}
