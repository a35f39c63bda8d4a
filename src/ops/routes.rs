//! `GET /healthz`, `GET /readyz`, and what operators may ask.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::Operator;
use super::overview::ConcertOverview;
use crate::app::AppState;
use crate::http::answer::Json;
use crate::http::{AnyQuery, Code, NoFields, Problem, QueryOrBody};

/// This server is well.
#[derive(Serialize, ToSchema)]
pub(crate) struct Health {
    /// `alive`
    status: &'static str,
    version: &'static str,
}

/// `GET /healthz`: this process answers. It asks no store, so that a balancer does not restart
/// healthy servers because a store is away.
pub async fn show_health(_: AnyQuery) -> Response {
    Json(Health { status: "alive", version: env!("CARGO_PKG_VERSION") }).into_response()
}

/// This server can sell.
#[derive(Serialize, ToSchema)]
pub(crate) struct Ready {
    /// `ready`
    status: &'static str,
    version: &'static str,
    /// What stands in the way of some concerts, and not of others: a shard of a Redis Cluster is away.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing: Vec<String>,
}

/// `GET /readyz`: 200 if this server can sell now, else 503 `not-ready` with `missing`: one
/// sentence for each thing that stands in the way.
pub async fn show_readiness(State(app): State<AppState>, _: AnyQuery) -> Response {
    let look = app.readiness.look().await;
    let missing = look.missing;
    if look.can_sell {
        return Json(Ready { status: "ready", version: env!("CARGO_PKG_VERSION"), missing })
            .into_response();
    }
    Problem::new(Code::NotReady).detail(missing.join("; ")).with("missing", missing).into_response()
}

/// All concerts of the catalogue.
#[derive(Serialize, ToSchema)]
pub(crate) struct ConcertsView {
    concerts: Vec<ConcertOverview>,
}

/// `GET /admin/concerts`: how every sale goes, for operators.
///
/// Answers 200; 401 `unauthenticated` without the operators' token; 503 while Redis does not answer.
pub async fn list_concerts(
    _: Operator,
    State(app): State<AppState>,
    _: QueryOrBody<NoFields>,
) -> Result<Response, Problem> {
    let concerts = app.overview.concerts().await?;
    Ok(Json(ConcertsView { concerts }).into_response())
}
