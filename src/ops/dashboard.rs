//! What the operators' dashboard asks for: this server and every sale now, and a sale's last hour.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::Operator;
use super::overview::ConcertOverview;
use super::scripts::Sample;
use crate::app::{App, AppState};
use crate::http::answer::Json;
use crate::http::measures::RouteMeasure;
use crate::http::{FieldSpec, Fields, FromFields, Kind, Measures, NoFields, Problem, QueryOrBody};
use crate::metrics::Latencies;
use crate::queue::QueueError;
use crate::words::{ConcertId, UnixMs};
use crate::{payments, postgres, seats};

/// This server and every sale, now.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DashboardView {
    server: ServerView,
    /// Every concert of the catalogue, by id; empty while Redis does not answer.
    concerts: Vec<ConcertOverview>,
    /// What this server knows of each concert beside that.
    sales: Vec<SaleView>,
}

/// One server: counts are since its start, and of no other server.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ServerView {
    /// The name under which it is seen in Redis.
    id: String,
    version: &'static str,
    /// One sentence for each thing that stands between this server and a sale.
    missing: Vec<String>,
    requests_in_work: usize,
    requests_in_work_max: usize,
    /// Of all latencies here, in seconds: how many of `latencies` took no longer than each, and
    /// longer than the one before. The last of `latencies` took longer than all of these.
    latency_bounds: Vec<f64>,
    routes: Vec<RouteView>,
    /// Problems answered, by their code; none that never was.
    refusals: BTreeMap<&'static str, u64>,
    redis: RedisView,
    postgres: PostgresView,
    /// Seconds since each job last succeeded.
    jobs: BTreeMap<&'static str, f64>,
}

/// One method of one path.
#[derive(Serialize, ToSchema)]
struct RouteView {
    route: &'static str,
    method: &'static str,
    /// How often each status was answered; `0` stands for all that have no row.
    statuses: BTreeMap<u16, u64>,
    latencies: Vec<u64>,
}

/// Redis as this server sees it.
#[derive(Serialize, ToSchema)]
struct RedisView {
    nodes: Vec<RedisNodeView>,
    /// Of all scripts and reads.
    latencies: Vec<u64>,
    /// Calls without an answer.
    failures: u64,
}

/// One Redis that takes writes.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RedisNodeView {
    name: String,
    /// Whether calls are sent to it.
    up: bool,
    /// How often too many calls in a row had failed.
    breaker_opened: u64,
}

/// PostgreSQL as this server sees it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PostgresView {
    connections: u32,
    connections_idle: usize,
    connections_max: u32,
    /// Of all statements.
    latencies: Vec<u64>,
    /// Statements without an answer.
    failures: u64,
}

/// What a server knows of a sale.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SaleView {
    concert_id: ConcertId,
    /// Whether this server has compared the sold seats with PostgreSQL.
    verified: bool,
    /// At most a second old; none while Redis does not answer.
    sample: Option<Sample>,
}

fn latencies<'a>(all: impl IntoIterator<Item = &'a Latencies>) -> Vec<u64> {
    let mut sums = vec![0; crate::metrics::BOUNDS + 1];
    for latencies in all {
        for (sum, count) in sums.iter_mut().zip(latencies.counts) {
            *sum += count;
        }
    }
    sums
}

impl RouteView {
    fn of(measure: RouteMeasure) -> Self {
        let RouteMeasure { route, method, statuses, latencies } = measure;
        let statuses = statuses.into_iter().collect();
        Self { route, method, statuses, latencies: latencies.counts.to_vec() }
    }
}

fn redis_view(app: &App) -> RedisView {
    let calls = app.redis.calls();
    RedisView {
        nodes: app
            .redis
            .nodes()
            .into_iter()
            .map(|node| RedisNodeView {
                name: node.name,
                up: node.up,
                breaker_opened: node.breaker_opened,
            })
            .collect(),
        latencies: latencies(calls.iter().map(|calls| &calls.latencies)),
        failures: calls.iter().map(|calls| calls.failed).sum(),
    }
}

fn postgres_view(app: &App) -> PostgresView {
    let statements = [postgres::STATEMENTS, seats::STATEMENTS, payments::STATEMENTS].concat();
    let calls: Vec<_> = statements.iter().map(|statement| statement.calls.read()).collect();
    PostgresView {
        connections: app.database.size(),
        connections_idle: app.database.num_idle(),
        connections_max: app.database.options().get_max_connections(),
        latencies: latencies(calls.iter().map(|(latencies, _)| latencies)),
        failures: calls.iter().map(|(_, failed)| failed).sum(),
    }
}

async fn server_view(app: &App) -> ServerView {
    let measures = app.measures();
    let (in_work, most) = measures.map(Measures::in_work).unwrap_or_default();
    let refusals = measures.map(Measures::refusals).unwrap_or_default().into_iter();
    ServerView {
        id: app.samples.server().to_owned(),
        version: env!("CARGO_PKG_VERSION"),
        missing: app.readiness.look().await.missing,
        requests_in_work: in_work,
        requests_in_work_max: most,
        latency_bounds: Latencies::bounds().collect(),
        routes: measures
            .map(Measures::routes)
            .unwrap_or_default()
            .into_iter()
            .map(RouteView::of)
            .collect(),
        refusals: refusals
            .filter(|(_, count)| *count > 0)
            .map(|(code, count)| (code.as_str(), count))
            .collect(),
        redis: redis_view(app),
        postgres: postgres_view(app),
        jobs: app.jobs.ages().into_iter().map(|(job, age)| (job, age.as_secs_f64())).collect(),
    }
}

/// `GET /admin/dashboard`: this server and every sale, now.
///
/// Answers 200, whatever the stores do; 401 `unauthenticated` without the operators' token.
pub async fn show_dashboard(
    _: Operator,
    State(app): State<AppState>,
    _: QueryOrBody<NoFields>,
) -> Response {
    let (server, concerts) = tokio::join!(server_view(&app), app.overview.concerts());
    let sale = |id: ConcertId| SaleView {
        concert_id: id,
        verified: app.gates.verified(id).is_some(),
        sample: app.samples.of(id),
    };
    let sales = app.concerts.load().iter().map(|concert| sale(concert.id)).collect();
    Json(DashboardView { server, concerts: concerts.unwrap_or_default(), sales }).into_response()
}

/// The input of `GET /admin/series`.
#[derive(Debug)]
pub struct SeriesRequest {
    concert: ConcertId,
    after: Option<UnixMs>,
}

impl FromFields for SeriesRequest {
    const FIELDS: &'static [FieldSpec] = &[
        FieldSpec::required("concertId", Kind::Integer),
        FieldSpec::optional("after", Kind::Integer),
    ];

    fn from_fields(fields: &Fields) -> Result<Self, Problem> {
        let after = fields.optional_number("after")?;
        Ok(Self { concert: fields.number("concertId")?, after })
    }
}

/// A sale second by second.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SeriesView {
    concert_id: ConcertId,
    /// What the numbers of a row are, in their order: `at` (Unix ms), then the fields of
    /// `{c<id>}:series`.
    fields: Vec<&'static str>,
    /// The oldest first, at most 3,600; `null` is "none".
    rows: Vec<Vec<Option<u64>>>,
}

/// `GET /admin/series`: the last hour of a sale, second by second, or what came `after` a row.
///
/// Answers 200; 401 `unauthenticated` without the operators' token, 404 `unknown-concert`, 503 while
/// Redis does not answer.
pub async fn list_series(
    _: Operator,
    State(app): State<AppState>,
    QueryOrBody(request): QueryOrBody<SeriesRequest>,
) -> Result<Response, Problem> {
    let id = request.concert;
    let concert = app.concerts.get(id).ok_or(QueueError::UnknownConcert { concert: id })?;
    let rows = app.samples.rows(&concert, request.after.map_or(0, UnixMs::get)).await;
    let rows = rows.map_err(QueueError::read)?;
    let fields = [&["at"], Sample::FIELDS].concat();
    Ok(Json(SeriesView { concert_id: id, fields, rows }).into_response())
}
