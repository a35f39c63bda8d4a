//! What everybody may know before joining a line: what is on sale here.

use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use chrono::{DateTime, FixedOffset, SecondsFormat, TimeZone};
use serde::Serialize;
use utoipa::ToSchema;

use super::Concert;
use crate::app::AppState;
use crate::http::answer::Json;
use crate::http::{NoFields, QueryOrBody};
use crate::queue::settings::live_times;
use crate::words::{ConcertDate, ConcertId, SeatNumber, Won};

/// One concert of the catalogue.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConcertView {
    concert_id: ConcertId,
    name: String,
    /// Its dates, ascending; also those that are past or sold out.
    #[schema(value_type = Vec<chrono::NaiveDate>)]
    dates: Vec<ConcertDate>,
    /// The number of seats of every date, numbered from 1.
    seats: SeatNumber,
    /// The price of every seat.
    price: Won,
    /// The zone in which its dates and times are given, such as `Asia/Seoul`.
    time_zone: &'static str,
    /// When the sale opens: the live setting, else the catalogue's; none if it is open from the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    opens_at: Option<String>,
    /// When the sale ends, as for `opensAt`; none if it has no end.
    #[serde(skip_serializing_if = "Option::is_none")]
    closes_at: Option<String>,
}

impl ConcertView {
    /// `live`: the opening and the end by the live settings, Unix ms.
    fn new(concert: &Concert, live: (Option<u64>, Option<u64>)) -> Self {
        let written = |live: Option<u64>, configured: Option<DateTime<FixedOffset>>| match live {
            Some(unix_ms) => local(concert, unix_ms),
            None => configured.map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true)),
        };
        Self {
            concert_id: concert.id,
            name: concert.name.clone(),
            dates: concert.dates.clone(),
            seats: concert.seats,
            price: concert.price,
            time_zone: concert.time_zone.name(),
            opens_at: written(live.0, concert.opens_at),
            closes_at: written(live.1, concert.closes_at),
        }
    }
}

/// A moment in the concert's zone; 0 is none.
fn local(concert: &Concert, unix_ms: u64) -> Option<String> {
    let unix_ms = i64::try_from(unix_ms).ok().filter(|unix_ms| *unix_ms > 0)?;
    let at = concert.time_zone.timestamp_millis_opt(unix_ms).single()?;
    Some(at.to_rfc3339_opts(SecondsFormat::Secs, true))
}

/// What is on sale here, and what a client has to know of how.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CatalogueView {
    /// How users are known: `trust`, by the `userId` of a request, or `jwt`, by a JWT.
    auth: &'static str,
    /// The most seats that a user may hold at once in a concert.
    max_seats_per_user: u32,
    concerts: Vec<ConcertView>,
}

/// `GET /concerts`: the catalogue. It asks no store, and nobody needs a token; an opening or an end
/// that operators changed is told within two seconds.
///
/// Answers 200.
pub async fn list_catalogue(
    State(app): State<AppState>,
    _: QueryOrBody<NoFields>,
) -> impl IntoResponse {
    let view = |concert: &Arc<Concert>| {
        ConcertView::new(concert, app.payments.with_settings(concert.id, live_times))
    };
    let concerts = app.concerts.load().iter().map(view).collect();
    let max_seats_per_user = app.seats.max_seats_per_user();
    Json(CatalogueView { auth: app.auth.name(), max_seats_per_user, concerts })
}
