//! The requests of the line: arrive, ask where one stands, leave.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;

use super::{QueueError, Standing, Status};
use crate::app::AppState;
use crate::auth::Credentials;
use crate::http::answer::Json;
use crate::http::{FieldSpec, Fields, FromFields, Kind, OptionalJsonBody, Problem, QueryOrBody};
use crate::words::{ConcertId, UserId};

/// The input of `POST /user/token`.
#[derive(Debug, Clone, Copy)]
pub struct JoinRequest {
    concert: Option<ConcertId>,
    user: Option<UserId>,
}

impl FromFields for JoinRequest {
    const FIELDS: &'static [FieldSpec] = &[
        FieldSpec::optional("concertId", Kind::Integer),
        FieldSpec::optional("userId", Kind::Integer),
    ];

    fn from_fields(fields: &Fields) -> Result<Self, Problem> {
        Ok(Self {
            concert: fields.optional_number("concertId")?,
            user: fields.optional_number("userId")?,
        })
    }
}

/// The input of requests about one token; the token may also come by header.
pub struct TokenRequest {
    pub(super) token: Option<String>,
}

impl FromFields for TokenRequest {
    const FIELDS: &'static [FieldSpec] = &[FieldSpec::optional("token", Kind::Text)];

    fn from_fields(fields: &Fields) -> Result<Self, Problem> {
        Ok(Self { token: fields.text("token").map(str::to_owned) })
    }
}

/// Where a token stands, as an arrival and a poll are told.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StandingView {
    /// `<uuid>_<position>`: a secret of its owner. Only an arrival is told it.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    /// 1 = next, 0 once active; with `prequeue` the number of people who have come.
    queue_position: u64,
    /// In seconds.
    estimated_wait_time: u64,
    /// `prequeue`, `waiting`, `active`, `sold-out` or `closed`.
    status: &'static str,
    concert_id: ConcertId,
    /// When to ask again, in seconds.
    poll_after: f64,
    /// The seconds until the sale opens, with `prequeue`.
    #[serde(skip_serializing_if = "Option::is_none")]
    opens_in: Option<u64>,
    /// The seats that may come back, with `sold-out`: they are held, not sold.
    #[serde(skip_serializing_if = "Option::is_none")]
    held_seats: Option<u64>,
    /// The seconds that an active token has left.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in: Option<u64>,
    /// What the operators tell everybody who waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    message: Option<Arc<str>>,
}

impl StandingView {
    /// The answer of `standing`, with the token if it is to be told.
    #[must_use]
    pub fn new(standing: &Standing, token: Option<String>) -> Self {
        let (status, opens_in, held_seats) = match standing.status {
            Status::Prequeue { opens_in_seconds } => ("prequeue", Some(opens_in_seconds), None),
            Status::Waiting => ("waiting", None, None),
            Status::SoldOut { held } => ("sold-out", None, Some(held)),
            Status::Closed => ("closed", None, None),
            Status::Active => ("active", None, None),
        };
        Self {
            token,
            queue_position: standing.position,
            estimated_wait_time: standing.estimated_wait_seconds,
            status,
            opens_in,
            held_seats,
            concert_id: standing.concert,
            poll_after: standing.poll_after.seconds(),
            expires_in: standing.expires_in_seconds,
            message: standing.message.clone(),
        }
    }
}

/// `POST /user/token`: a place in the line of a concert.
///
/// Answers 201 with a new token, or 200 with the one that this user has already; 400 when the
/// concert is not clear, 404 `unknown-concert`, 409 `sold-out` or `closed`, 503 while Redis cannot
/// give places.
pub async fn join_line(
    State(app): State<AppState>,
    credentials: Credentials,
    OptionalJsonBody(request): OptionalJsonBody<JoinRequest>,
) -> Result<impl IntoResponse, Problem> {
    let user = credentials.optional_user(request.user)?;
    let catalogue = app.concerts.load();
    let concert = match request.concert {
        Some(id) => catalogue.get(id).ok_or(QueueError::UnknownConcert { concert: id })?,
        None => catalogue.default_concert().ok_or_else(which_concert)?,
    };
    let joined = app.queue.join(concert, user).await?;
    let status = if joined.is_new { StatusCode::CREATED } else { StatusCode::OK };
    let view = StandingView::new(&joined.standing, Some(joined.token));
    Ok((status, retry_after(&joined.standing), Json(view)))
}

/// `GET /user/token/status`: where a token stands.
///
/// Answers 200 with the position, 0 once it is active; 401 for a token that is missing, forged or no
/// longer live, 503 while the line cannot be seen.
pub async fn show_position(
    State(app): State<AppState>,
    credentials: Credentials,
    QueryOrBody(request): QueryOrBody<TokenRequest>,
) -> Result<impl IntoResponse, Problem> {
    let token = credentials.token_or(request.token.as_deref())?;
    let standing = app.queue.standing(token).await?;
    if standing.status == Status::Active {
        // Only a waiting token may be polled without saying who asks: nobody knows whose it is.
        standing.check_owner(credentials.optional_user(None)?)?;
    }
    Ok((retry_after(&standing), Json(StandingView::new(&standing, None))))
}

/// `DELETE /user/token`: gives up a place, and the holds that go with it.
///
/// Answers 200; 401 for a token that is missing, forged or no longer live (given up already too),
/// 403 `not-yours`, 409 `payment-in-progress`, 503 while Redis does not answer.
pub async fn leave_line(
    State(app): State<AppState>,
    credentials: Credentials,
    QueryOrBody(request): QueryOrBody<TokenRequest>,
) -> Result<impl IntoResponse, Problem> {
    let user = credentials.optional_user(None)?;
    let token = credentials.token_or(request.token.as_deref())?;
    app.queue.leave(token, user).await?;
    Ok(Json(LeftView { status: "left" }))
}

#[derive(Serialize, ToSchema)]
pub(crate) struct LeftView {
    /// `left`
    status: &'static str,
}

fn retry_after(standing: &Standing) -> [(axum::http::HeaderName, HeaderValue); 1] {
    let seconds = standing.poll_after.retry_after_seconds();
    [(RETRY_AFTER, HeaderValue::from(seconds))]
}

fn which_concert() -> Problem {
    Problem::bad_request("concertId is missing: there are several concerts")
        .with("field", "concertId")
}
