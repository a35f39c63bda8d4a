//! `GET /concert/{id}/seats/events`: the seats of one date, told as they change.

use std::pin::Pin;

use axum::extract::State;
use axum::response::Response;
use futures::Stream;
use tokio::time::{Instant, Sleep, sleep_until};

use super::feed::{SeatListener, SeatNews};
use crate::app::AppState;
use crate::auth::Credentials;
use crate::http::streams::{self, Event};
use crate::http::{ConcertPath, FieldSpec, Fields, FromFields, Kind, Problem, QueryOrBody};
use crate::queue::{Admitted, Queue};
use crate::words::ConcertDate;

/// The input of `GET /concert/{id}/seats/events`; the token may also come by header.
pub struct SeatEventsRequest {
    date: ConcertDate,
    token: Option<String>,
}

impl FromFields for SeatEventsRequest {
    const FIELDS: &'static [FieldSpec] =
        &[FieldSpec::required("concertDate", Kind::Date), FieldSpec::optional("token", Kind::Text)];

    fn from_fields(fields: &Fields) -> Result<Self, Problem> {
        Ok(Self {
            date: fields
                .date("concertDate")
                .ok_or_else(|| Problem::bad_request("concertDate is missing"))?,
            token: fields.text("token").map(str::to_owned),
        })
    }
}

/// `GET /concert/{id}/seats/events`: a stream of events about the seats of one date.
///
/// `seats`, with all free seats, comes at once; then `changed`, with those taken and freed, at most
/// once a second. `ended`: the date is over, or the token no longer live; the stream ends then.
///
/// Answers 200; 401 or 403 without an active token of this concert; 404 `unknown-date` for a date
/// that is not on sale or past; 429 or 503 `overloaded` when too many streams are open; 503 while
/// the seats cannot be read.
pub async fn stream_seats(
    State(app): State<AppState>,
    ConcertPath(concert): ConcertPath,
    credentials: Credentials,
    QueryOrBody(request): QueryOrBody<SeatEventsRequest>,
) -> Result<Response, Problem> {
    let user = credentials.optional_user(None)?;
    let token = credentials.token_or(request.token.as_deref())?;
    // First: to be admitted uses a token, and who is refused a stream must not have used it.
    let slot = streams::open()?;
    let admitted = app.queue.admit(token, Some(concert), user).await?;
    let seats = app.seats.listen(&admitted.concert, request.date).await?;
    let watched = Watched {
        seats,
        queue: app.queue.clone(),
        admitted,
        look_at: Box::pin(sleep_until(Instant::now())),
    };
    Ok(slot.answer(events(watched)))
}

/// A listener, as long as its token is active.
struct Watched {
    seats: SeatListener,
    queue: Queue,
    admitted: Admitted,
    /// When the token may have ended: holds prolong it.
    look_at: Pin<Box<Sleep>>,
}

impl Watched {
    /// What is new; none when the date is over or the token not active any more.
    async fn next(&mut self) -> Option<SeatNews> {
        loop {
            tokio::select! {
                biased;
                () = self.look_at.as_mut() => {}
                news = self.seats.next() => return news,
            }
            // While Redis does not answer, nothing is told anyway.
            let life = self.queue.life(&self.admitted).await.unwrap_or(Some(LOOK_AGAIN));
            self.look_at.as_mut().reset(Instant::now() + life?);
        }
    }
}

/// When a token is looked at again that could not be.
const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_secs(5);

fn events(watched: Watched) -> impl Stream<Item = Event> + Send {
    futures::stream::unfold(Some(watched), |watched| async {
        let mut watched = watched?;
        Some(match watched.next().await {
            Some(SeatNews::All(seats)) => (Event::encoded("seats", &seats), Some(watched)),
            Some(SeatNews::Changes(changes)) => {
                (Event::encoded("changed", &changes), Some(watched))
            }
            None => (Event::encoded("ended", b"{}"), None),
        })
    })
}
