//! Seats that operators hold back from sale: `/admin/withheld`.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::Operator;
use super::requests::{OneConcert, SeatsView, SomeSeats, asked_by, concert_of};
use crate::app::AppState;
use crate::concerts::Concert;
use crate::http::answer::Json;
use crate::http::{JsonBody, Problem, QueryOrBody};
use crate::seats::scripts::SeatsOrder;
use crate::words::{ConcertDate, ConcertId, SeatNumber};

/// The input of `POST` and `DELETE /admin/withheld`.
pub type WithholdRequest = SomeSeats<{ SeatsOrder::SEATS_MAX }>;

/// What is withheld of a concert.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WithheldView {
    concert_id: ConcertId,
    /// The dates that have withheld seats.
    dates: Vec<WithheldDateView>,
}

/// What is withheld of one date.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WithheldDateView {
    #[schema(value_type = chrono::NaiveDate)]
    concert_date: ConcertDate,
    /// Ascending.
    seat_numbers: Vec<SeatNumber>,
}

/// `GET /admin/withheld`: the seats that are held back from sale.
///
/// Answers 200; 401 `unauthenticated` without the operators' token, 404 `unknown-concert`, 503 while
/// Redis does not answer or is being rebuilt.
pub async fn list_withheld(
    _: Operator,
    State(app): State<AppState>,
    QueryOrBody(request): QueryOrBody<OneConcert>,
) -> Result<Response, Problem> {
    let concert = concert_of(&app, request.concert)?;
    let dates = app.seats.withheld(&concert).await?;
    let view = |(concert_date, seat_numbers)| WithheldDateView { concert_date, seat_numbers };
    let dates = dates.into_iter().map(view).collect();
    Ok(Json(WithheldView { concert_id: concert.id, dates }).into_response())
}

/// `POST /admin/withheld`: takes seats of one date out of the sale, all or none; those that are out
/// of it already stay so.
///
/// Answers 200 with the seats; 401 `unauthenticated` without the operators' token, 404
/// `unknown-concert`, `unknown-date`, `unknown-seat`, 409 `seat-sold` or `seat-taken` with all those
/// `seatNumbers`, 422 for other than 1 to 200 seats, 503 when a store does not answer
/// (`outcome-unknown`: the seats may be withheld without a note of it; repeat it).
pub async fn withhold_seats(
    _: Operator,
    State(app): State<AppState>,
    JsonBody(request): JsonBody<WithholdRequest>,
) -> Result<Response, Problem> {
    let SomeSeats { concert, date, seats } = request;
    let concert = concert_of(&app, concert)?;
    let asked_by = asked_by();
    let withheld = app.seats.withhold(&concert, date, &seats, &asked_by).await?;
    tracing::info!(request_id = asked_by, concert = %concert.id, %date, ?withheld, "seats withheld");
    Ok(view(&concert, date, withheld))
}

/// `DELETE /admin/withheld`: gives withheld seats of one date back to the sale.
///
/// Answers 200 with those that were withheld; 401 `unauthenticated` without the operators' token, 404
/// `unknown-concert`, `unknown-date`, 422 for other than 1 to 200 seats, 503 when a
/// store does not answer (`outcome-unknown`: the seats may be withheld still; repeat it).
pub async fn give_seats_back(
    _: Operator,
    State(app): State<AppState>,
    QueryOrBody(request): QueryOrBody<WithholdRequest>,
) -> Result<Response, Problem> {
    let SomeSeats { concert, date, seats } = request;
    let concert = concert_of(&app, concert)?;
    let asked_by = asked_by();
    let back = app.seats.give_back_withheld(&concert, date, &seats, &asked_by).await?;
    tracing::info!(request_id = asked_by, concert = %concert.id, %date, ?back, "seats given back");
    Ok(view(&concert, date, back))
}

fn view(concert: &Concert, concert_date: ConcertDate, seat_numbers: Vec<SeatNumber>) -> Response {
    Json(SeatsView { concert_id: concert.id, concert_date, seat_numbers }).into_response()
}
