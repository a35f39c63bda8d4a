//! What everybody may know before joining a line: what is on sale here.

use axum::extract::State;
use axum::response::IntoResponse;
use chrono::{DateTime, FixedOffset, SecondsFormat};
use serde::Serialize;
use utoipa::ToSchema;

use super::Concert;
use crate::app::AppState;
use crate::http::answer::Json;
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
    /// When the sale opens by the catalogue, if it says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    opens_at: Option<String>,
    /// When the sale ends by the catalogue, if it says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    closes_at: Option<String>,
}

impl ConcertView {
    fn new(concert: &Concert) -> Self {
        Self {
            concert_id: concert.id,
            name: concert.name.clone(),
            dates: concert.dates.clone(),
            seats: concert.seats,
            price: concert.price,
            time_zone: concert.time_zone.name(),
            opens_at: concert.opens_at.map(written),
            closes_at: concert.closes_at.map(written),
        }
    }
}

fn written(moment: DateTime<FixedOffset>) -> String {
    moment.to_rfc3339_opts(SecondsFormat::Secs, true)
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

/// `GET /concerts`: the catalogue. It asks no store, and nobody needs a token.
///
/// Answers 200.
pub async fn list_catalogue(State(app): State<AppState>) -> impl IntoResponse {
    let concerts = app.concerts.load().iter().map(|one| ConcertView::new(one)).collect();
    let max_seats_per_user = app.seats.max_seats_per_user();
    Json(CatalogueView { auth: app.auth.name(), max_seats_per_user, concerts })
}
