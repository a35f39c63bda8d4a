//! The requests about seats: dates, free seats, reserve, release. All need an active token.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::domain::{Holder, Holds, SeatSelection};
use super::service::Reserved;
use super::view::HoldView;
use crate::app::AppState;
use crate::auth::Credentials;
use crate::concerts::Concert;
use crate::http::answer::{EncodedJson, Json};
use crate::http::{FieldSpec, Fields, FromFields, JsonBody, Kind, Problem, QueryOrBody};
use crate::words::{ConcertDate, ConcertId, SeatNumber, UserId};

/// The input of `GET /concert/available-dates`.
#[derive(Debug, Clone, Copy)]
pub struct DatesRequest {
    concert: Option<ConcertId>,
}

impl FromFields for DatesRequest {
    const FIELDS: &'static [FieldSpec] = &[FieldSpec::optional("concertId", Kind::Integer)];

    fn from_fields(fields: &Fields) -> Result<Self, Problem> {
        Ok(Self { concert: fields.optional_number("concertId")? })
    }
}

/// The input of `GET /concert/available-seats`.
#[derive(Debug, Clone, Copy)]
pub struct SeatsRequest {
    concert: Option<ConcertId>,
    date: ConcertDate,
}

impl FromFields for SeatsRequest {
    const FIELDS: &'static [FieldSpec] = &[
        FieldSpec::optional("concertId", Kind::Integer),
        FieldSpec::required("concertDate", Kind::Date),
    ];

    fn from_fields(fields: &Fields) -> Result<Self, Problem> {
        Ok(Self {
            concert: fields.optional_number("concertId")?,
            date: fields
                .date("concertDate")
                .ok_or_else(|| Problem::bad_request("concertDate is missing"))?,
        })
    }
}

/// The input of `POST /concert/reserve`.
#[derive(Debug, Clone)]
pub struct ReserveRequest {
    user: UserId,
    concert: Option<ConcertId>,
    date: Option<ConcertDate>,
    seats: SeatSelection,
    /// Whether they came as a list: the answer then has one, too.
    as_list: bool,
}

impl FromFields for ReserveRequest {
    const FIELDS: &'static [FieldSpec] = &[
        FieldSpec::required("userId", Kind::Integer),
        FieldSpec::optional("concertId", Kind::Integer),
        FieldSpec::optional("concertDate", Kind::Date),
        FieldSpec::optional("seatNumber", Kind::Integer),
        FieldSpec::optional("seatNumbers", Kind::IntegerList(SeatSelection::SEATS_MAX)),
    ];

    fn from_fields(fields: &Fields) -> Result<Self, Problem> {
        let as_list = fields.has("seatNumbers");
        if as_list == fields.has("seatNumber") {
            let how_many = if as_list { "both are given" } else { "is missing" };
            return Err(Problem::bad_request(format!("seatNumber or seatNumbers: {how_many}"))
                .with("field", "seatNumber"));
        }
        Ok(Self {
            user: fields.number("userId")?,
            concert: fields.optional_number("concertId")?,
            date: fields.date("concertDate"),
            seats: match fields.numbers("seatNumbers")? {
                Some(seats) => SeatSelection::new(seats, SeatSelection::SEATS_MAX)?,
                None => fields.number::<SeatNumber>("seatNumber")?.into(),
            },
            as_list,
        })
    }
}

/// The input of `DELETE /concert/reserve`.
#[derive(Debug, Clone, Copy)]
pub struct ReleaseRequest {
    user: UserId,
    concert: Option<ConcertId>,
    reservation: Uuid,
}

impl FromFields for ReleaseRequest {
    const FIELDS: &'static [FieldSpec] = &[
        FieldSpec::required("userId", Kind::Integer),
        FieldSpec::required("reservationId", Kind::Uuid),
        FieldSpec::optional("concertId", Kind::Integer),
    ];

    fn from_fields(fields: &Fields) -> Result<Self, Problem> {
        Ok(Self {
            user: fields.number("userId")?,
            concert: fields.optional_number("concertId")?,
            reservation: fields
                .uuid("reservationId")
                .ok_or_else(|| Problem::bad_request("reservationId is missing"))?,
        })
    }
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DatesView {
    #[schema(value_type = Vec<chrono::NaiveDate>)]
    available_dates: Vec<ConcertDate>,
}

/// The answer of `POST /concert/reserve`: one hold, or several under `seats`.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum ReservedView {
    One(ReservedSeat),
    Several(ReservedSeats),
}

/// One seat, held.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReservedSeat {
    /// `reserved`
    status: &'static str,
    #[serde(flatten)]
    hold: HoldView,
}

/// Several seats, held together.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReservedSeats {
    /// `reserved`
    status: &'static str,
    concert_id: ConcertId,
    #[schema(value_type = chrono::NaiveDate)]
    concert_date: ConcertDate,
    /// When the first of them ends.
    expire_at: String,
    expires_in: u64,
    seats: Vec<HoldView>,
}

impl ReservedView {
    /// None without any hold, which no reservation is.
    fn new(concert: &Concert, holds: &Holds, as_list: bool) -> Option<Self> {
        let first = HoldView::new(concert, holds, holds.first_to_end()?);
        let status = "reserved";
        Some(if as_list {
            Self::Several(ReservedSeats {
                status,
                concert_id: first.concert_id,
                concert_date: first.concert_date,
                expire_at: first.expire_at,
                expires_in: first.expires_in,
                seats: HoldView::all(concert, holds),
            })
        } else {
            Self::One(ReservedSeat { status, hold: first })
        })
    }
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReleasedView {
    reservation_id: Uuid,
    #[schema(value_type = chrono::NaiveDate)]
    concert_date: ConcertDate,
    seat_number: SeatNumber,
    /// `released`
    status: &'static str,
}

/// `GET /concert/available-dates`: the dates of the token's concert with a free seat, not past.
///
/// Answers 200; 401 or 403 without an active token of this concert; 503 while Redis does not
/// answer, or its sold seats were not yet compared with PostgreSQL.
pub async fn list_dates(
    State(app): State<AppState>,
    credentials: Credentials,
    QueryOrBody(request): QueryOrBody<DatesRequest>,
) -> Result<impl IntoResponse, Problem> {
    let user = credentials.optional_user(None)?;
    let admitted = app.queue.admit(credentials.token()?, request.concert, user).await?;
    let available_dates = app.seats.dates(&admitted.concert).await?;
    Ok(Json(DatesView { available_dates }))
}

/// `GET /concert/available-seats`: the free seats of one date, ascending.
///
/// Answers 200; 401 or 403 without an active token of this concert; 404 `unknown-date` for one that
/// is not on sale or past; 503 as for the dates.
pub async fn list_seats(
    State(app): State<AppState>,
    credentials: Credentials,
    QueryOrBody(request): QueryOrBody<SeatsRequest>,
) -> Result<impl IntoResponse, Problem> {
    let user = credentials.optional_user(None)?;
    let token = credentials.token()?;
    let named = request.concert.and_then(|id| app.concerts.get(id));
    // Two reads in one round trip; what the second found is told only if the first lets us.
    let (admitted, seen) = tokio::join!(
        app.queue.admit(token, request.concert, user),
        app.seats.version(named.as_deref(), Some(request.date)),
    );
    let admitted = admitted?;
    let body = app.seats.list(&admitted.concert, request.date, seen?).await?;
    Ok(EncodedJson(body))
}

/// `POST /concert/reserve`: holds one seat, or several, all or nothing.
///
/// Answers 201 with a new hold, 200 with the one that this token has already; 400 when the date is
/// not clear; 404 `unknown-date`, `unknown-seat`; 409 `seat-taken`, `seat-sold`, `hold-limit`,
/// `session-ending`, `payment-in-progress`; 503 `database-unavailable` when PostgreSQL cannot
/// confirm the hold (nothing changes then), `not-ready`, `redis-unavailable`, `outcome-unknown`.
pub async fn reserve_seats(
    State(app): State<AppState>,
    credentials: Credentials,
    JsonBody(request): JsonBody<ReserveRequest>,
) -> Result<impl IntoResponse, Problem> {
    let user = credentials.user(request.user)?;
    let token = credentials.token()?;
    let (concert, reserved) = match reserve_at_once(&app, user, token, &request).await? {
        Some(reserved) => reserved,
        None => reserve_if_admitted(&app, user, token, &request).await?,
    };
    let status = if reserved.is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(ReservedView::new(&concert, &reserved.holds, request.as_list))))
}

/// Holds the seats without a look at the token's key before: the script that holds them looks at it,
/// too. That saves most winners a round trip.
///
/// None: nothing was held, and [`reserve_if_admitted`] is to be asked. Where seats look taken, a
/// refusal is cheaper that way; and only that way is it known why a token is refused.
async fn reserve_at_once(
    app: &AppState,
    user: UserId,
    token: &str,
    request: &ReserveRequest,
) -> Result<Option<(Arc<Concert>, Reserved)>, Problem> {
    let Some((concert, place)) = app.queue.perhaps_admitted(token, request.concert)? else {
        return Ok(None);
    };
    let Some(date) = request.date.or(concert.only_date()) else {
        return Ok(None);
    };
    if !app.seats.may_be_free(&concert, date, &request.seats) {
        return Ok(None);
    }
    let holder = Holder { user, place };
    match app.seats.reserve(&concert, holder, Some(date), &request.seats).await {
        Err(error) if error.is_about_the_token() => Ok(None),
        outcome => Ok(Some((concert, outcome?))),
    }
}

/// Holds the seats after a look at the token, and at whether they are known to be gone.
async fn reserve_if_admitted(
    app: &AppState,
    user: UserId,
    token: &str,
    request: &ReserveRequest,
) -> Result<(Arc<Concert>, Reserved), Problem> {
    let named = request.concert.and_then(|id| app.concerts.get(id));
    let date = request.date.or_else(|| named.as_ref()?.only_date());
    // The version is read before the token: whoever has held nothing by then is none of its holders.
    let (seen, admitted) = tokio::join!(
        biased;
        app.seats.version(named.as_deref(), date),
        app.queue.admit(token, request.concert, Some(user)),
    );
    let admitted = admitted?;
    let (concert, holder) = (admitted.concert, Holder { user, place: admitted.place });
    if let (Some(seen), Some(date), false) = (seen?, date, admitted.has_held) {
        app.seats.refuse_taken(&concert, date, &request.seats, &seen)?;
    }
    let reserved = app.seats.reserve(&concert, holder, request.date, &request.seats).await?;
    Ok((concert, reserved))
}

/// `DELETE /concert/reserve`: gives a hold back.
///
/// Answers 200; 404 `unknown-reservation` for a hold that has ended (released already, lapsed, paid)
/// or is not this user's; 409 `payment-in-progress`; 503 when Redis does not answer.
pub async fn release_seat(
    State(app): State<AppState>,
    credentials: Credentials,
    QueryOrBody(request): QueryOrBody<ReleaseRequest>,
) -> Result<impl IntoResponse, Problem> {
    let user = credentials.user(request.user)?;
    let admitted = app.queue.admit(credentials.token()?, request.concert, Some(user)).await?;
    let holder = Holder { user, place: admitted.place };
    let hold = app.seats.release(&admitted.concert, holder, request.reservation).await?;
    Ok(Json(ReleasedView {
        reservation_id: hold.reservation,
        concert_date: hold.date,
        seat_number: hold.seat,
        status: "released",
    }))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::extract::{FromRequest, Request};
    use axum::http::header::CONTENT_TYPE;
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::super::domain::Hold;
    use super::*;
    use crate::concerts::file::{DEMO, parse};
    use crate::http::Code;

    async fn read(body: Value) -> Result<ReserveRequest, Problem> {
        let request = Request::post("/concert/reserve")
            .header(CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_string()))
            .unwrap();
        JsonBody::from_request(request, &()).await.map(|JsonBody(request)| request)
    }

    #[rstest]
    #[case(json!({"userId": 1}), Code::BadRequest)]
    #[case(json!({"seatNumber": 1}), Code::BadRequest)]
    #[case(json!({"userId": 1, "seatNumber": 1, "seatNumbers": [1]}), Code::BadRequest)]
    #[case(json!({"userId": 1, "seatNumbers": [1, 1]}), Code::BadRequest)]
    #[case(json!({"userId": 1, "seatNumbers": 1}), Code::BadRequest)]
    #[case(json!({"userId": 1, "seatNumber": "1"}), Code::BadRequest)]
    #[case(json!({"userId": 1, "seatNumber": 1, "concertDate": "2025-02-29"}), Code::BadRequest)]
    #[case(json!({"userId": 1, "seatNumbers": []}), Code::OutOfRange)]
    #[case(json!({"userId": 1, "seatNumbers": (1..=21).collect::<Vec<_>>()}), Code::OutOfRange)]
    #[case(json!({"userId": 1, "seatNumbers": [1, 100_001]}), Code::OutOfRange)]
    #[case(json!({"userId": 0, "seatNumber": 1}), Code::OutOfRange)]
    #[case(json!({"userId": 1, "seatNumber": -1}), Code::OutOfRange)]
    #[tokio::test]
    async fn a_wish_that_makes_no_sense_is_refused(#[case] body: Value, #[case] code: Code) {
        assert_eq!(read(body).await.unwrap_err().code(), code);
    }

    #[tokio::test]
    async fn one_seat_or_a_list_of_them_may_be_asked_for() {
        let one = read(json!({"userId": 1, "concertId": 2, "seatNumber": 12})).await.unwrap();
        assert!(!one.as_list && one.date.is_none());
        let list = json!({"userId": 1, "seatNumbers": [9, 3], "concertDate": "2030-12-24"});
        let list = read(list).await.unwrap();
        let numbers: Vec<_> = list.seats.seats().iter().map(|seat| seat.get()).collect();
        assert!(list.as_list);
        assert_eq!(numbers, [9, 3]);
    }

    #[test]
    fn a_reservation_is_told_in_the_given_form() {
        let concert = &parse(DEMO).unwrap()[0];
        let hold = |seat: i128, deadline_ms| Hold {
            date: concert.dates[0],
            seat: seat.try_into().unwrap(),
            reservation: Uuid::from_u128(7),
            price: concert.price,
            deadline_ms,
        };
        let now_ms = 1_735_443_000_000;
        let holds =
            Holds { now_ms, holds: vec![hold(12, now_ms + 299_999), hold(13, now_ms + 60_000)] };
        let one = Holds { now_ms, holds: holds.holds[..1].to_vec() };
        let one = ReservedView::new(concert, &one, false);
        insta::assert_snapshot!(serde_json::to_string_pretty(&one).unwrap(), @r#"
        {
          "status": "reserved",
          "reservationId": "00000000-0000-0000-0000-000000000007",
          "concertId": 1,
          "concertDate": "2030-12-24",
          "seatNumber": 12,
          "price": 50000,
          "expireAt": "2024-12-29 12:34:59",
          "expiresIn": 299
        }
        "#);
        let several = ReservedView::new(concert, &holds, true);
        let several = serde_json::to_value(several).unwrap();
        assert_eq!(several["expiresIn"], 60, "the first to end");
        assert_eq!(several["status"], "reserved");
        assert_eq!(several["concertDate"], "2030-12-24");
        assert_eq!(several["seats"][0]["seatNumber"], 12);
        assert_eq!(several["seats"][0]["expiresIn"], 299);
    }
}
