//! The request of whoever wants to check the order of a pre-line.

use axum::extract::State;
use axum::response::IntoResponse;

use super::QueueError;
use crate::app::AppState;
use crate::http::answer::Json;
use crate::http::{ConcertPath, NoFields, Problem, QueryOrBody};

/// `GET /concert/{id}/fairness`: what is public of a pre-line, for anybody to check its order.
///
/// Answers 200 to everybody: the commitment before the opening, the seed after the draw. 404
/// `unknown-concert`, 503 while the line cannot be seen. No store is asked.
pub async fn show_fairness(
    State(app): State<AppState>,
    ConcertPath(id): ConcertPath,
    _: QueryOrBody<NoFields>,
) -> Result<impl IntoResponse, Problem> {
    let concert = app.concerts.get(id).ok_or(QueueError::UnknownConcert { concert: id })?;
    Ok(Json(app.queue.proof(&concert).await?))
}
