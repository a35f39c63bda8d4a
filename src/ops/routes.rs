//! `GET /healthz`, `GET /readyz`, and what operators may ask.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::Operator;
use super::overview::ConcertOverview;
use crate::app::AppState;
use crate::http::answer::Json;
use crate::http::{Code, Problem};

/// This server is well.
#[derive(Serialize, ToSchema)]
pub(crate) struct Health {
    /// `alive` or `ready`
    status: &'static str,
    version: &'static str,
}

/// `GET /healthz`: this process answers. It asks no store, so that a balancer does not restart
/// healthy servers because a store is away.
pub async fn show_health() -> Response {
    Json(Health { status: "alive", version: env!("CARGO_PKG_VERSION") }).into_response()
}

/// `GET /readyz`: 200 if this server can sell now, else 503 `not-ready` with `missing`: one
/// sentence for each thing that stands in the way.
pub async fn show_readiness(State(app): State<AppState>) -> Response {
    let missing = app.readiness.missing().await;
    if missing.is_empty() {
        return Json(Health { status: "ready", version: env!("CARGO_PKG_VERSION") })
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
pub async fn list_concerts(_: Operator, State(app): State<AppState>) -> Result<Response, Problem> {
    let concerts = app.overview.concerts().await?;
    Ok(Json(ConcertsView { concerts }).into_response())
}
