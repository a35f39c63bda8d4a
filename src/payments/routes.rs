//! The requests about money, and what it buys.

use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::domain::{KeyUse, Payment, PaymentSeat, Purchase};
use crate::app::{App, AppState};
use crate::auth::Credentials;
use crate::concerts::{Concert, Concerts};
use crate::http::answer::Json;
use crate::http::credentials::IdempotencyKey;
use crate::http::{FieldSpec, Fields, FromFields, JsonBody, Kind, Problem, QueryOrBody};
use crate::queue::Admission;
use crate::seats::view::HoldView;
use crate::words::{ChargeAmount, ConcertDate, ConcertId, Place, SeatNumber, UserId, Won};

/// The input of `POST /payment/charge`.
#[derive(Debug, Clone, Copy)]
pub struct ChargeRequest {
    user: UserId,
    amount: ChargeAmount,
}

impl FromFields for ChargeRequest {
    const FIELDS: &'static [FieldSpec] = &[
        FieldSpec::required("userId", Kind::Integer),
        FieldSpec::required("amount", Kind::Integer),
    ];

    fn from_fields(fields: &Fields) -> Result<Self, Problem> {
        Ok(Self { user: fields.number("userId")?, amount: fields.number("amount")? })
    }
}

/// The input of the requests that only say who asks.
#[derive(Debug, Clone, Copy)]
pub struct UserRequest {
    user: UserId,
}

impl FromFields for UserRequest {
    const FIELDS: &'static [FieldSpec] = &[FieldSpec::required("userId", Kind::Integer)];

    fn from_fields(fields: &Fields) -> Result<Self, Problem> {
        Ok(Self { user: fields.number("userId")? })
    }
}

/// The input of `GET /user/reservations`.
#[derive(Debug, Clone, Copy)]
pub struct ReservationsRequest {
    user: UserId,
    owned_before: Option<Uuid>,
}

impl FromFields for ReservationsRequest {
    const FIELDS: &'static [FieldSpec] = &[
        FieldSpec::required("userId", Kind::Integer),
        FieldSpec::optional("ownedBefore", Kind::Uuid),
    ];

    fn from_fields(fields: &Fields) -> Result<Self, Problem> {
        Ok(Self { user: fields.number("userId")?, owned_before: fields.uuid("ownedBefore") })
    }
}

/// A balance, with a message after a charge.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BalanceView {
    user_id: UserId,
    balance: Won,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'static str>,
}

/// One owned seat, in the form of every answer that names owned seats.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OwnedView {
    payment_id: Uuid,
    reservation_id: Uuid,
    concert_id: ConcertId,
    #[schema(value_type = chrono::NaiveDate)]
    concert_date: ConcertDate,
    seat_number: SeatNumber,
    amount: Won,
    /// In the concert's zone, as all times that buyers are told; operators are told UTC, by RFC 3339.
    paid_at: String,
}

impl OwnedView {
    /// The seats of `payment`.
    pub fn all(concerts: &Concerts, payment: &Payment) -> Vec<Self> {
        let paid_at = local_time(concerts.get(payment.concert).as_deref(), payment.paid_at);
        Self::paid(payment, &paid_at)
    }

    /// The same as operators are told.
    pub fn for_operators(payment: &Payment) -> Vec<Self> {
        Self::paid(payment, &payment.paid_at.to_rfc3339_opts(SecondsFormat::Secs, true))
    }

    fn paid(payment: &Payment, paid_at: &str) -> Vec<Self> {
        let view = |seat: &PaymentSeat| Self {
            payment_id: payment.id,
            reservation_id: seat.reservation,
            concert_id: payment.concert,
            concert_date: seat.date,
            seat_number: seat.seat,
            amount: seat.price,
            paid_at: paid_at.to_owned(),
        };
        payment.seats.iter().map(view).collect()
    }
}

/// A concert that is gone from the catalogue has no zone any more: UTC.
fn local_time(concert: Option<&Concert>, at: DateTime<Utc>) -> String {
    let unix_ms = u64::try_from(at.timestamp_millis()).unwrap_or(0);
    match concert {
        Some(concert) => concert.local_time(unix_ms),
        None => at.format("%Y-%m-%d %H:%M:%S").to_string(),
    }
}

/// What was bought.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PaidView {
    user_id: UserId,
    /// `completed`
    status: &'static str,
    message: &'static str,
    balance: Won,
    payments: Vec<OwnedView>,
}

/// What a user holds and owns.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReservationsView {
    holds: Vec<HoldView>,
    /// The seats of 500 payments at most, newest first.
    owned: Vec<OwnedView>,
    /// Only if there are older payments: they are answered to a request with this `ownedBefore`.
    #[serde(skip_serializing_if = "Option::is_none")]
    owned_next: Option<Uuid>,
}

/// `POST /payment/charge`: adds to a balance.
///
/// Answers 200 with the new balance, the same for a repeated `Idempotency-Key`; 400, 401, 403; 422
/// `out-of-range` (also when the balance would grow too large) or `idempotency-key-reused`; 503
/// `outcome-unknown` if it may have happened.
pub async fn charge_balance(
    State(app): State<AppState>,
    credentials: Credentials,
    key: Option<IdempotencyKey>,
    JsonBody(request): JsonBody<ChargeRequest>,
) -> Result<impl IntoResponse, Problem> {
    let user = credentials.user(request.user)?;
    let token = credentials.token()?;
    app.queue.admit(token, None, Some(user)).await?;
    let key = key.map(|key| KeyUse::of_charge(key.as_str(), user, request.amount));
    let balance = app.payments.charge(user, request.amount, key).await?;
    Ok(Json(BalanceView { user_id: user, balance, message: Some("Balance charged successfully.") }))
}

/// `GET /payment/balance`: what a user has.
///
/// Answers 200, 0 for a user that never charged; 400, 401, 403, 422, 503. A token that has paid is
/// enough, for its payer.
pub async fn show_balance(
    State(app): State<AppState>,
    credentials: Credentials,
    QueryOrBody(request): QueryOrBody<UserRequest>,
) -> Result<impl IntoResponse, Problem> {
    let user = credentials.user(request.user)?;
    admit_or_spent(&app, credentials.token()?, user).await?;
    let balance = app.payments.balance(user).await?;
    Ok(Json(BalanceView { user_id: user, balance, message: None }))
}

/// `POST /payment`: pays for all that the token holds.
///
/// Answers 200 with the seats, the same however often it is repeated, also with the token consumed;
/// 400, 401; 402 `insufficient-balance`; 403 `not-yours`; 409 `nothing-to-pay`, `hold-expired` or
/// `seat-sold`; 422 `idempotency-key-reused`; 503 `outcome-unknown` if it may have happened.
pub async fn pay_holds(
    State(app): State<AppState>,
    credentials: Credentials,
    key: Option<IdempotencyKey>,
    JsonBody(request): JsonBody<UserRequest>,
) -> Result<impl IntoResponse, Problem> {
    let user = credentials.user(request.user)?;
    let token = credentials.token()?;
    // Whether the token still lives is asked again by the payment itself, in one step with it.
    let (concert, place) = place_of(app.queue.admit_or_spent(token, None, Some(user)).await?);
    let purchase = Purchase {
        concert,
        place,
        user,
        key: key.map(|key| KeyUse::of_payment(key.as_str(), user)),
    };
    let payment = app.payments.pay(purchase).await?;
    Ok(Json(PaidView {
        user_id: user,
        status: "completed",
        message: "Payment successful and ownership assigned.",
        balance: payment.balance_after,
        payments: OwnedView::all(&app.concerts, &payment),
    }))
}

/// `GET /user/reservations`: a user's live holds in the token's concert, and the seats he owns.
///
/// Answers 200, with the seats of at most 500 payments, newest first, and of those before
/// `ownedBefore` if it is given; 400, 401, 403, 422, 503. A token that has paid is enough, for its
/// payer.
pub async fn list_reservations(
    State(app): State<AppState>,
    credentials: Credentials,
    QueryOrBody(request): QueryOrBody<ReservationsRequest>,
) -> Result<impl IntoResponse, Problem> {
    let user = credentials.user(request.user)?;
    let concert = admit_or_spent(&app, credentials.token()?, user).await?;
    let (holds, page) = tokio::join!(
        app.seats.live_holds(&concert, user),
        app.payments.owned(user, request.owned_before)
    );
    let page = page?;
    let owned = page.payments.iter().flat_map(|payment| OwnedView::all(&app.concerts, payment));
    let (holds, owned) = (HoldView::all(&concert, &holds?), owned.collect());
    Ok(Json(ReservationsView { holds, owned, owned_next: page.next }))
}

/// The concert of a token that is active, or that has paid for `user`.
async fn admit_or_spent(app: &App, token: &str, user: UserId) -> Result<Arc<Concert>, Problem> {
    match app.queue.admit_or_spent(token, None, Some(user)).await? {
        Admission::Active(admitted) => Ok(admitted.concert),
        Admission::Gone { concert, place } => {
            app.payments.check_spent(concert.id, place, user).await?;
            Ok(concert)
        }
    }
}

fn place_of(admission: Admission) -> (Arc<Concert>, Place) {
    match admission {
        Admission::Active(admitted) => (admitted.concert, admitted.place),
        Admission::Gone { concert, place } => (concert, place),
    }
}
