//! Looking somebody up: what all parts of the server know of a user, or of a token.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::Operator;
use crate::app::AppState;
use crate::concerts::{Concert, utc_time};
use crate::http::answer::Json;
use crate::http::{FieldSpec, Fields, FromFields, Kind, Problem, QueryOrBody};
use crate::payments::routes::OwnedView;
use crate::queue::QueueError;
use crate::queue::controls::{Person, Whom};
use crate::queue::routes::StandingView;
use crate::seats::view::HoldView;
use crate::words::{ConcertId, Place, UserId, Won};

/// The input of `GET /admin/people`.
#[derive(Debug)]
pub struct PersonRequest(Asked);

#[derive(Debug)]
enum Asked {
    Token(String),
    User(ConcertId, UserId),
}

impl FromFields for PersonRequest {
    const FIELDS: &'static [FieldSpec] = &[
        FieldSpec::optional("concertId", Kind::Integer),
        FieldSpec::optional("userId", Kind::Integer),
        FieldSpec::optional("token", Kind::Text),
    ];

    fn from_fields(fields: &Fields) -> Result<Self, Problem> {
        let (concert, user) = (fields.has("concertId"), fields.has("userId"));
        match (fields.text("token"), concert, user) {
            (Some(token), false, false) => Ok(Self(Asked::Token(token.to_owned()))),
            (None, true, true) => {
                Ok(Self(Asked::User(fields.number("concertId")?, fields.number("userId")?)))
            }
            _ => Err(Problem::bad_request("give concertId and userId, or a token alone")),
        }
    }
}

/// Somebody, as all parts of the server know them.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PersonView {
    concert_id: ConcertId,
    /// Whose the place is; none while nobody is known.
    user_id: Option<UserId>,
    /// The number in line; none of a user who has none.
    place: Option<Place>,
    /// What the person is told; none if the place is no longer live.
    standing: Option<StandingView>,
    /// Whether an active token was used.
    claimed: bool,
    /// When an active token ends if nothing happens, in UTC.
    active_until: Option<String>,
    /// Live holds in this concert.
    holds: Vec<HoldView>,
    /// The seats of the newest 500 payments, of all concerts.
    owned: Vec<OwnedView>,
    /// The balance; none while nobody is known.
    balance: Option<Won>,
}

/// `GET /admin/people`: what is known of a user in a concert, or of a token.
///
/// Answers 200, also of somebody who has no place; 400 unless either both ids or a token are given,
/// 401 `unauthenticated` without the operators' token and `token-invalid` for one that is not ours,
/// 404 `unknown-concert`, 422, 503 while a store does not answer.
pub async fn show_person(
    _: Operator,
    State(app): State<AppState>,
    QueryOrBody(PersonRequest(asked)): QueryOrBody<PersonRequest>,
) -> Result<Response, Problem> {
    let whom = match asked {
        Asked::Token(token) => Whom::Token(token),
        Asked::User(concert, user) => Whom::User(concert_of(&app, concert)?, user),
    };
    let person = app.queue.person(whom).await?;
    let user = match (person.user, person.place) {
        (None, Some(place)) => {
            let payment = app.payments.payment_of_place(person.concert.id, place).await?;
            payment.map(|payment| payment.user)
        }
        (user, _) => user,
    };
    let active_until = active_until(&app, &person).await?;
    let Person { concert, place, standing, is_claimed, .. } = person;
    let mut view = PersonView {
        concert_id: concert.id,
        user_id: user,
        place,
        standing: standing.map(|standing| StandingView::new(&standing, None)),
        claimed: is_claimed,
        active_until,
        holds: Vec::new(),
        owned: Vec::new(),
        balance: None,
    };
    if let Some(user) = user {
        let (holds, page, balance) = tokio::join!(
            app.seats.live_holds(&concert, user),
            app.payments.owned(user, None),
            app.payments.balance(user),
        );
        view.holds = HoldView::for_operators(&concert, &holds?);
        view.owned = page?.payments.iter().flat_map(OwnedView::for_operators).collect();
        view.balance = Some(balance?);
    }
    Ok(Json(view).into_response())
}

/// When the token ends, by Redis' clock.
async fn active_until(app: &AppState, person: &Person) -> Result<Option<String>, QueueError> {
    let Some(life) = person.life else {
        return Ok(None);
    };
    let now_ms = app.queue.board(&person.concert).await?.redis_now_ms(Instant::now());
    let life_ms = u64::try_from(life.as_millis()).unwrap_or(u64::MAX);
    Ok(Some(utc_time(now_ms.saturating_add(life_ms))))
}

fn concert_of(app: &AppState, id: ConcertId) -> Result<Arc<Concert>, QueueError> {
    app.concerts.get(id).ok_or(QueueError::UnknownConcert { concert: id })
}
