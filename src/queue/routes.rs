//! The requests of the line: arrive, ask where one stands, leave.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::{QueueError, Standing, Status};
use crate::app::AppState;
use crate::auth::Credentials;
use crate::http::answer::{EncodedJson, Json};
use crate::http::problem::{self, Code, Problem};
use crate::http::{FieldSpec, Fields, FromFields, Kind, OptionalJsonBody, QueryOrBody};
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

impl StandingView {
    /// What `serde_json` writes, at a fifth of its price: no answer is given as often as this one.
    fn encode(&self) -> serde_json::Result<Vec<u8>> {
        let mut json = Vec::with_capacity(192);
        if let Some(token) = &self.token {
            // It has nothing that JSON escapes.
            for part in [r#"{"token":""#, token, r#"",""#] {
                json.extend_from_slice(part.as_bytes());
            }
        } else {
            json.extend_from_slice(br#"{""#);
        }
        put_number(&mut json, r#"queuePosition":"#, self.queue_position);
        put_number(&mut json, r#","estimatedWaitTime":"#, self.estimated_wait_time);
        for part in [r#","status":""#, self.status, "\""] {
            json.extend_from_slice(part.as_bytes());
        }
        put_number(&mut json, r#","concertId":"#, u64::from(self.concert_id.get()));
        json.extend_from_slice(br#","pollAfter":"#);
        serde_json::to_writer(&mut json, &self.poll_after)?;
        let may_be_missing = [
            (r#","opensIn":"#, self.opens_in),
            (r#","heldSeats":"#, self.held_seats),
            (r#","expiresIn":"#, self.expires_in),
        ];
        for (name, value) in may_be_missing {
            if let Some(value) = value {
                put_number(&mut json, name, value);
            }
        }
        if let Some(message) = &self.message {
            json.extend_from_slice(br#","message":"#);
            serde_json::to_writer(&mut json, message)?;
        }
        json.push(b'}');
        Ok(json)
    }
}

fn put_number(json: &mut Vec<u8>, name: &str, value: u64) {
    json.extend_from_slice(name.as_bytes());
    json.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

impl IntoResponse for StandingView {
    fn into_response(self) -> Response {
        match self.encode() {
            Ok(json) => EncodedJson(json.into()).into_response(),
            Err(error) => problem::respond(Problem::new(Code::Internal), &error),
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
    Ok((status, retry_after(&joined.standing), view))
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
    Ok((retry_after(&standing), StandingView::new(&standing, None)))
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_answer_is_encoded_as_serde_would(
            token in prop::option::of("[0-9a-f-]{36}_[0-9]{1,9}"),
            (queue_position, estimated_wait_time) in any::<(u64, u64)>(),
            status in prop::sample::select(vec!["waiting", "sold-out", "active"]),
            concert in ConcertId::MIN..=ConcertId::MAX,
            tenths in 0_u32..1_000_000,
            (opens_in, held_seats, expires_in) in any::<(Option<u64>, Option<u64>, Option<u64>)>(),
            message in prop::option::of(".*"),
        ) {
            let view = StandingView {
                token,
                queue_position,
                estimated_wait_time,
                status,
                concert_id: ConcertId::try_from(i128::from(concert)).unwrap(),
                poll_after: f64::from(tenths) / 10.0,
                opens_in,
                held_seats,
                expires_in,
                message: message.map(Arc::from),
            };
            prop_assert_eq!(view.encode().unwrap(), serde_json::to_vec(&view).unwrap());
        }
    }
}
