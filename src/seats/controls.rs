//! What operators do about people's holds.

use uuid::Uuid;

use super::domain::{HeldSeat, SeatSelection};
use super::scripts::{ReleaseHolds, ReleaseOutcome, WhyReleased};
use super::{Seats, SeatsError};
use crate::concerts::Concert;
use crate::words::{ConcertDate, SeatNumber};

impl Seats {
    /// Gives back people's holds of `selection` on `date`, whoever has them, and notes each with
    /// `request`; answers the seats that were held, in the order asked. The holders keep their places.
    ///
    /// # Errors
    ///
    /// A date or a seat that the concert does not have; [`SeatsError::PaymentForSeat`], and then
    /// nothing changed; or Redis does not answer.
    pub async fn release_holds(
        &self,
        concert: &Concert,
        date: ConcertDate,
        selection: &SeatSelection,
        request: &str,
    ) -> Result<Vec<SeatNumber>, SeatsError> {
        if !concert.has_date(date) {
            return Err(SeatsError::unknown_date(date));
        }
        if let Some(seat) = selection.beyond(concert.seats) {
            return Err(SeatsError::UnknownSeat { seat, last: concert.seats });
        }
        let key = concert.keys.hold(date);
        let records = selection.seats().iter().map(|seat| async {
            let record = self.redis.field(&key, &seat.to_string()).await?;
            Ok(record.and_then(|record| HeldSeat::read(*seat, &record)))
        });
        let held = futures::future::try_join_all(records).await.map_err(SeatsError::Read)?;
        let held: Vec<_> = held.into_iter().flatten().collect();
        if held.is_empty() {
            return Ok(Vec::new());
        }
        let release = ReleaseHolds {
            concert,
            date,
            why: WhyReleased::ByOperator { request },
            version: Uuid::now_v7(),
            seats: &held,
        };
        match self.redis.run(&release).await.map_err(SeatsError::Write)? {
            ReleaseOutcome::Released { seats, .. } => Ok(seats),
            ReleaseOutcome::Paying(seat) => Err(SeatsError::PaymentForSeat { seat }),
        }
    }
}
