//! A hold as clients are told it.

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::domain::{Hold, Holds};
use crate::concerts::{Concert, utc_time};
use crate::words::{ConcertDate, ConcertId, SeatNumber, Won};

/// One hold, in the form of every answer that names holds.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HoldView {
    reservation_id: Uuid,
    pub(super) concert_id: ConcertId,
    #[schema(value_type = chrono::NaiveDate)]
    pub(super) concert_date: ConcertDate,
    seat_number: SeatNumber,
    price: Won,
    /// `YYYY-MM-DD HH:MM:SS` in the concert's time zone; operators are told UTC, by RFC 3339.
    pub(super) expire_at: String,
    /// In seconds.
    pub(super) expires_in: u64,
}

impl HoldView {
    /// The same holds as operators are told.
    #[must_use]
    pub fn for_operators(concert: &Concert, holds: &Holds) -> Vec<Self> {
        let view = |hold: &Hold| Self {
            expire_at: utc_time(hold.deadline_ms),
            ..Self::new(concert, holds, hold)
        };
        holds.holds.iter().map(view).collect()
    }

    pub(super) fn new(concert: &Concert, holds: &Holds, hold: &Hold) -> Self {
        Self {
            reservation_id: hold.reservation,
            concert_id: concert.id,
            concert_date: hold.date,
            seat_number: hold.seat,
            price: hold.price,
            expire_at: concert.local_time(hold.deadline_ms),
            expires_in: holds.expires_in_seconds(hold),
        }
    }

    /// Holds of `concert`, in their order.
    #[must_use]
    pub fn all(concert: &Concert, holds: &Holds) -> Vec<Self> {
        let view = |hold| Self::new(concert, holds, hold);
        holds.holds.iter().map(view).collect()
    }
}
