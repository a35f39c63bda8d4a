//! Withheld seats in a Redis that lost data: it withholds again what PostgreSQL has noted.

use std::time::Duration;

use uuid::Uuid;

use super::recovery::RecoveryError;
use super::service::Payments;
use crate::concerts::Concert;
use crate::seats;
use crate::seats::scripts::{RewithholdSeats, SeatsOrder};
use crate::words::ConcertDate;

impl Payments {
    /// Withholds those seats of a date that PostgreSQL has noted and Redis does not withhold, under
    /// the lock of a rebuild or without one; answers how many. What is sold or held stays so.
    ///
    /// A seat that is being given back is gone from PostgreSQL first, so Redis is read first: else
    /// such a seat would seem to be lost. (One that Redis has really lost and that is given back
    /// between this reading and this writing is withheld, and may be given back again.)
    pub(super) async fn withhold_again(
        &self,
        concert: &Concert,
        date: ConcertDate,
        lock: Option<(Uuid, Duration)>,
    ) -> Result<u64, RecoveryError> {
        let there = seats::withheld_in(&self.0.redis, concert, date).await?;
        let mut missing = seats::noted_as_withheld(&self.0.db, concert.id, date).await?;
        // The catalogue may have fewer seats than it had.
        missing.retain(|seat| *seat <= concert.seats && there.binary_search(seat).is_err());
        let mut again = 0;
        for seats in missing.chunks(SeatsOrder::SEATS_MAX) {
            let call = RewithholdSeats { concert, date, lock, id: Uuid::new_v4(), seats };
            let new = self.0.redis.run(&call).await?.ok_or(RecoveryError::Changed)?;
            again += u64::from(new);
        }
        if again > 0 {
            tracing::warn!(concert = %concert.id, %date, again, "withheld seats were lost in Redis");
        }
        Ok(again)
    }
}
