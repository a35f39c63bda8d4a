//! What several of the operators' requests have in common: which concert, which of its seats, and who
//! asked.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use crate::app::AppState;
use crate::concerts::Concert;
use crate::http::{FieldSpec, Fields, FromFields, Kind, Problem, context};
use crate::queue::QueueError;
use crate::seats::SeatSelection;
use crate::words::{ConcertDate, ConcertId, SeatNumber};

/// The input of requests about one concert.
#[derive(Debug)]
pub struct OneConcert {
    pub(super) concert: ConcertId,
}

impl FromFields for OneConcert {
    const FIELDS: &'static [FieldSpec] = &[FieldSpec::required("concertId", Kind::Integer)];

    fn from_fields(fields: &Fields) -> Result<Self, Problem> {
        Ok(Self { concert: fields.number("concertId")? })
    }
}

/// The input of requests about 1 to `MAX` seats of one date.
#[derive(Debug)]
pub struct SomeSeats<const MAX: usize> {
    pub(super) concert: ConcertId,
    pub(super) date: ConcertDate,
    pub(super) seats: SeatSelection,
}

impl<const MAX: usize> FromFields for SomeSeats<MAX> {
    const FIELDS: &'static [FieldSpec] = &[
        FieldSpec::required("concertId", Kind::Integer),
        FieldSpec::required("concertDate", Kind::Date),
        FieldSpec::required("seatNumbers", Kind::IntegerList(MAX)),
    ];

    fn from_fields(fields: &Fields) -> Result<Self, Problem> {
        let missing = |name: &str| Problem::bad_request(format!("{name} is missing"));
        let seats = fields.numbers("seatNumbers")?.ok_or_else(|| missing("seatNumbers"))?;
        Ok(Self {
            concert: fields.number("concertId")?,
            date: fields.date("concertDate").ok_or_else(|| missing("concertDate"))?,
            seats: SeatSelection::new(seats, MAX)?,
        })
    }
}

/// Seats of one date of a concert.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SeatsView {
    pub concert_id: ConcertId,
    #[schema(value_type = chrono::NaiveDate)]
    pub concert_date: ConcertDate,
    pub seat_numbers: Vec<SeatNumber>,
}

/// The concert that a request names.
pub(super) fn concert_of(app: &AppState, id: ConcertId) -> Result<Arc<Concert>, QueueError> {
    app.concerts.get(id).ok_or(QueueError::UnknownConcert { concert: id })
}

/// The request, as the notes name it.
pub(super) fn asked_by() -> String {
    context::request_id().map(|id| id.to_string()).unwrap_or_default()
}
