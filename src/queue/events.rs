//! `GET /user/token/events`: the standing of a token, told as it changes.

use axum::extract::State;
use axum::response::Response;
use futures::{Stream, StreamExt};

use super::listening::{Asker, Heard, Listener};
use super::routes::{StandingView, TokenRequest};
use super::{Standing, Status};
use crate::app::AppState;
use crate::auth::Credentials;
use crate::http::streams::{self, Event};
use crate::http::{Problem, QueryOrBody};

/// `GET /user/token/events`: a stream of events, each with the answer that a poll would get.
///
/// The first comes at once: `position`, `sold-out`, `closed` or `promoted`. Then, at most once a
/// second, what changes: `position`, `estimate`, `message`, `sold-out`, `closed`, `promoted`; `gone`,
/// without anything, when the token is no longer live. With `promoted` and `gone` the stream ends.
///
/// Answers 200; 401 for a token that is missing, forged or no longer live, 403 `not-yours`, 429 or
/// 503 `overloaded` when too many streams are open, 503 while the line cannot be seen.
pub async fn stream_position(
    State(app): State<AppState>,
    credentials: Credentials,
    QueryOrBody(request): QueryOrBody<TokenRequest>,
) -> Result<Response, Problem> {
    let token = credentials.token_or(request.token.as_deref())?;
    let asker = match credentials.optional_user(None) {
        Ok(Some(user)) => Asker::User(user),
        Ok(None) => Asker::Anybody,
        // As with a poll: nobody knows whose a waiting token is.
        Err(_) => Asker::Unknown,
    };
    let listener = app.queue.listen(token, asker).await?;
    Ok(streams::open()?.answer(events(listener)))
}

/// Where a stream is.
enum Stage {
    /// Nothing was told yet.
    First,
    /// Something may change.
    Listening,
    /// Everything was told.
    Over,
}

/// The events of one listener.
fn events(listener: Listener) -> impl Stream<Item = Event> + Send {
    let batches =
        futures::stream::unfold((listener, Stage::First), |(mut listener, stage)| async move {
            let heard = match stage {
                Stage::First => Some(vec![first(listener.told())]),
                Stage::Listening => listener.next().await,
                Stage::Over => return None,
            };
            let Some(heard) = heard else {
                return Some((vec![Event::encoded("gone", b"{}")], (listener, Stage::Over)));
            };
            let stage =
                if heard.contains(&Heard::Promoted) { Stage::Over } else { Stage::Listening };
            let view = StandingView::new(listener.told(), None);
            let events = heard.into_iter().filter_map(|heard| Event::new(name(heard), &view));
            Some((events.collect(), (listener, stage)))
        });
    batches.flat_map(futures::stream::iter)
}

/// What is told at once of somebody who stands like this.
fn first(standing: &Standing) -> Heard {
    match standing.status {
        Status::Active => Heard::Promoted,
        Status::SoldOut { .. } => Heard::SoldOut,
        Status::Closed => Heard::Closed,
        Status::Waiting | Status::Prequeue { .. } => Heard::Position,
    }
}

fn name(heard: Heard) -> &'static str {
    match heard {
        Heard::Position => "position",
        Heard::Estimate => "estimate",
        Heard::Message => "message",
        Heard::SoldOut => "sold-out",
        Heard::Closed => "closed",
        Heard::Promoted => "promoted",
    }
}
