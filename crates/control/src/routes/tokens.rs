//! Tokens. None is shown after it was made; there is always one left that may make others.

use super::parse;
use crate::auth::{Caller, Secret};
use crate::handles::Handles;
use crate::problem::Problem;
use crate::wire::{CreateToken, NewToken, TokenInfo, Whoami};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use selvedge_types::resource::{Namespace, TokenName};
use selvedge_types::token::{Role, Token};

/// Whose token it is that this is asked with.
#[utoipa::path(get, path = "/v1/whoami", tag = "tokens", security(("token" = [])), responses(
    (status = 200, description = "What the token allows", body = Whoami),
    (status = 401, description = "No valid token", body = Problem)))]
pub(crate) async fn whoami(Extension(caller): Extension<Caller>) -> Json<Whoami> {
    Json(caller.into())
}

/// The tokens, without their secrets.
#[utoipa::path(get, path = "/v1/tokens", tag = "tokens", security(("token" = [])), responses(
    (status = 200, description = "The tokens", body = Vec<TokenInfo>),
    (status = 401, description = "No valid token", body = Problem),
    (status = 403, description = "Not an admin's token", body = Problem)))]
pub(crate) async fn list(
    State(handles): State<Handles>,
    Extension(caller): Extension<Caller>,
) -> Json<Vec<TokenInfo>> {
    let tokens = handles.state.tokens();
    Json(tokens.iter().filter(|t| manages(&caller, t)).map(TokenInfo::from).collect())
}

/// Make a token. Its secret is in the answer, and nowhere else.
#[utoipa::path(post, path = "/v1/tokens", tag = "tokens", security(("token" = [])), request_body = CreateToken, responses(
    (status = 201, description = "It is made", body = NewToken),
    (status = 400, description = "The request is wrong", body = Problem),
    (status = 401, description = "No valid token", body = Problem),
    (status = 403, description = "Not an admin's token", body = Problem),
    (status = 409, description = "A token of that name exists, or there are too many", body = Problem)))]
pub(crate) async fn create(
    State(handles): State<Handles>,
    Extension(caller): Extension<Caller>,
    Json(wanted): Json<CreateToken>,
) -> Result<(StatusCode, Json<NewToken>), Problem> {
    let name = parse::<TokenName>(&wanted.name)?.to_string();
    let namespace = match (&wanted.namespace, &caller.namespace) {
        (Some(text), _) => Some(parse::<Namespace>(text)?),
        (None, only) => only.clone(),
    };
    match &namespace {
        Some(namespace) => caller.check_namespace(namespace)?,
        None => caller.check_whole("a token for all namespaces")?,
    }
    let secret = Secret::generate(&handles.secrets)
        .map_err(|e| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", e.to_string()))?;
    let role = Role::from(wanted.role);
    let token = Token { name, role, namespace, hash: secret.hash(), created: handles.clock.wall() };
    handles.state.create_token(token.clone()).await?;
    tracing::info!(token = token.name, role = role.as_str(), by = caller.token, "token made");
    let made = NewToken { token: TokenInfo::from(&token), secret: secret.reveal().to_owned() };
    Ok((StatusCode::CREATED, Json(made)))
}

/// Revoke a token: it is worth nothing from now on.
#[utoipa::path(delete, path = "/v1/tokens/{name}", tag = "tokens", security(("token" = [])),
    params(("name" = String, Path, description = "The token's name")), responses(
    (status = 204, description = "It is revoked"),
    (status = 401, description = "No valid token", body = Problem),
    (status = 403, description = "Not an admin's token", body = Problem),
    (status = 404, description = "There is no such token", body = Problem),
    (status = 409, description = "It is the last token that can make others", body = Problem)))]
pub(crate) async fn revoke(
    State(handles): State<Handles>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    if !handles.state.tokens().iter().any(|t| t.name == name && manages(&caller, t)) {
        return Err(Problem::not_found(format!("there is no token {name:?}")));
    }
    handles.state.revoke_token(name).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn manages(caller: &Caller, token: &Token) -> bool {
    match (&caller.namespace, &token.namespace) {
        (None, _) => true,
        (Some(only), Some(namespace)) => only == namespace,
        (Some(_), None) => false,
    }
}
