//! What operators do while a sale goes, and the notes of it.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::DateTime;
use serde::Serialize;
use utoipa::ToSchema;

use super::Operator;
use super::requests::{OneConcert, SeatsView, SomeSeats, asked_by, concert_of};
use crate::app::AppState;
use crate::http::answer::Json;
use crate::http::{FieldSpec, Fields, FromFields, JsonBody, Kind, Problem, QueryOrBody};
use crate::queue::audit::AuditEntry;
use crate::queue::{
    BeaconValue, Change, Message, MessageFault, Moment, QueueError, SettingsChange,
};
use crate::seats::SeatSelection;
use crate::words::{ConcertId, OutOfRange};

/// The input of `PATCH /admin/concerts`; a setting that is `null` is removed (RFC 7396).
#[derive(Debug)]
pub struct ConfigureRequest {
    concert: ConcertId,
    change: SettingsChange,
}

impl FromFields for ConfigureRequest {
    const FIELDS: &'static [FieldSpec] = &[
        FieldSpec::required("concertId", Kind::Integer),
        FieldSpec::nullable("capacity", Kind::Integer),
        FieldSpec::nullable("batch", Kind::Integer),
        FieldSpec::optional("paused", Kind::Boolean),
        FieldSpec::nullable("message", Kind::Text),
        FieldSpec::nullable("opensAt", Kind::Text),
        FieldSpec::nullable("closesAt", Kind::Text),
        FieldSpec::nullable("beacon", Kind::Text),
    ];

    fn from_fields(fields: &Fields) -> Result<Self, Problem> {
        let request = Self {
            concert: fields.number("concertId")?,
            change: SettingsChange {
                capacity: number(fields, "capacity")?,
                batch: number(fields, "batch")?,
                paused: fields.boolean("paused").map_or(Change::Keep, Change::Set),
                message: message(fields)?,
                opens_at: moment(fields, "opensAt")?,
                closes_at: moment(fields, "closesAt")?,
                beacon: beacon(fields)?,
            },
        };
        if request.change.is_empty() {
            return Err(Problem::bad_request(
                "nothing to change: give capacity, batch, paused, message, opensAt, closesAt or beacon",
            ));
        }
        Ok(request)
    }
}

fn number<T>(fields: &Fields, name: &'static str) -> Result<Change<T>, Problem>
where
    T: TryFrom<i128, Error = OutOfRange>,
{
    if fields.is_null(name) {
        return Ok(Change::Remove);
    }
    Ok(fields.optional_number(name)?.map_or(Change::Keep, Change::Set))
}

fn message(fields: &Fields) -> Result<Change<Message>, Problem> {
    if fields.is_null("message") {
        return Ok(Change::Remove);
    }
    let Some(text) = fields.text("message") else {
        return Ok(Change::Keep);
    };
    Message::new(text).map(Change::Set).map_err(|fault| match fault {
        MessageFault::Length(refusal) => Problem::out_of_range("message", &refusal),
        MessageFault::Control => Problem::bad_request(fault.to_string()).with("field", "message"),
    })
}

/// `now`, or a moment by RFC 3339 after 1970 began.
fn moment(fields: &Fields, name: &'static str) -> Result<Change<Moment>, Problem> {
    if fields.is_null(name) {
        return Ok(Change::Remove);
    }
    let Some(text) = fields.text(name) else {
        return Ok(Change::Keep);
    };
    if text == "now" {
        return Ok(Change::Set(Moment::Now));
    }
    let Ok(moment) = DateTime::parse_from_rfc3339(text) else {
        let form = format!("{name} must be \"now\" or like \"2030-11-01T20:00:00+09:00\"");
        return Err(Problem::bad_request(form).with("field", name));
    };
    let given = moment.timestamp_millis();
    match u64::try_from(given).ok().filter(|ms| (1..=Moment::UNIX_MS_MAX).contains(ms)) {
        Some(ms) => Ok(Change::Set(Moment::At(ms))),
        None => Err(Problem::out_of_range(
            name,
            &OutOfRange {
                what: "a moment in Unix milliseconds",
                min: 1,
                max: i128::from(Moment::UNIX_MS_MAX),
                given: i128::from(given),
            },
        )),
    }
}

fn beacon(fields: &Fields) -> Result<Change<BeaconValue>, Problem> {
    if fields.is_null("beacon") {
        return Ok(Change::Remove);
    }
    let Some(text) = fields.text("beacon") else {
        return Ok(Change::Keep);
    };
    BeaconValue::new(text).map(Change::Set).ok_or_else(|| {
        Problem::bad_request("beacon must be 16 to 128 hex digits").with("field", "beacon")
    })
}

/// `PATCH /admin/concerts`: changes live settings of one concert on all servers.
///
/// Answers 200 with the concert as it is now; 400 for nothing to change, 401 `unauthenticated`
/// without the operators' token, 404 `unknown-concert`, 409 `beacon-not-awaited`, 422 `out-of-range`,
/// also if `closesAt` would not be later than `opensAt`, 503 while Redis does not answer
/// (`outcome-unknown` if the change was sent: repeat it). A change that is refused in part is refused.
pub async fn configure_concert(
    _: Operator,
    State(app): State<AppState>,
    JsonBody(request): JsonBody<ConfigureRequest>,
) -> Result<Response, Problem> {
    let id = request.concert;
    let concert = concert_of(&app, id)?;
    let asked_by = asked_by();
    app.queue.configure(&concert, &asked_by, &request.change).await?;
    tracing::info!(request_id = asked_by, concert = %id, change = ?request.change, "reconfigured");
    // What was changed stays changed, so a failure to show it must not say that nothing happened.
    let now = app.overview.concert(&concert).await.map_err(|_| QueueError::OutcomeUnknown)?;
    Ok(Json(now).into_response())
}

/// A line that was cleared.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClearedView {
    concert_id: ConcertId,
    /// How many people lost their place.
    left: u64,
}

/// `DELETE /admin/waiting`: everybody who waits for a concert loses their place. Whoever is active
/// goes on, and whoever comes next stands in a new line.
///
/// Answers 200; 401 `unauthenticated` without the operators' token, 404 `unknown-concert`, 422, 503
/// while Redis does not answer (`outcome-unknown` if it was sent: look who waits before repeating it,
/// because it is about whoever waits then).
pub async fn clear_line(
    _: Operator,
    State(app): State<AppState>,
    QueryOrBody(request): QueryOrBody<OneConcert>,
) -> Result<Response, Problem> {
    let concert = concert_of(&app, request.concert)?;
    let asked_by = asked_by();
    let left = app.queue.clear(&concert, &asked_by).await?;
    tracing::info!(request_id = asked_by, concert = %concert.id, left, "cleared the line");
    Ok(Json(ClearedView { concert_id: concert.id, left }).into_response())
}

/// The input of `DELETE /admin/holds`.
pub type ReleaseHoldsRequest = SomeSeats<{ SeatSelection::SEATS_MAX }>;

/// `DELETE /admin/holds`: gives people's holds of seats back, whoever has them; they keep their
/// places in line. Seats that are held back from sale stay so.
///
/// Answers 200 with the seats that somebody held; 401 `unauthenticated` without the operators'
/// token, 404 `unknown-concert`, `unknown-date`, `unknown-seat`, 409 `payment-in-progress` (nothing
/// changed) while a holder pays, 422, 503 while Redis does not answer (`outcome-unknown` if it was
/// sent: repeat it).
pub async fn release_holds(
    _: Operator,
    State(app): State<AppState>,
    QueryOrBody(request): QueryOrBody<ReleaseHoldsRequest>,
) -> Result<Response, Problem> {
    let SomeSeats { concert: concert_id, date: concert_date, seats } = request;
    let concert = concert_of(&app, concert_id)?;
    let asked_by = asked_by();
    let seat_numbers = app.seats.release_holds(&concert, concert_date, &seats, &asked_by).await?;
    tracing::info!(request_id = asked_by, concert = %concert_id, date = %concert_date,
        seats = ?seat_numbers, "released holds");
    Ok(Json(SeatsView { concert_id, concert_date, seat_numbers }).into_response())
}

/// What operators did, the newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct AuditView {
    /// At most 100.
    entries: Vec<AuditEntry>,
}

/// `GET /admin/audit`: the newest things that operators did to one concert.
///
/// Answers 200; 401 `unauthenticated` without the operators' token, 404 `unknown-concert`, 503
/// while Redis does not answer.
pub async fn list_changes(
    _: Operator,
    State(app): State<AppState>,
    QueryOrBody(request): QueryOrBody<OneConcert>,
) -> Result<Response, Problem> {
    let concert = concert_of(&app, request.concert)?;
    let entries = app.queue.changes(&concert).await?;
    Ok(Json(AuditView { entries }).into_response())
}
