//! Seats held back from sale: operators take them out of it, and may give them back.
//!
//! In Redis such a seat is held by nobody, for ever, so whatever asks which seats are free or taken
//! sees it without a word about it. PostgreSQL notes it, for a Redis that loses its data. What it
//! notes Redis withholds, at every moment but after such a loss: withholding begins in Redis, giving
//! back in PostgreSQL.

use std::sync::Arc;

use sqlx::PgPool;
use uuid::Uuid;

use super::domain::WITHHELD_UNTIL_MS;
use super::scripts::{GiveSeatsBack, SeatsOrder, WithholdOutcome, WithholdSeats};
use super::{SeatSelection, Seats, SeatsError, sql};
use crate::concerts::{Concert, Generation};
use crate::postgres::PgError;
use crate::redis::{Redis, RedisError};
use crate::words::{ConcertDate, ConcertId, OutOfRange, SeatNumber};

/// What an operator asks for, after everything that needs no store was checked.
struct Order {
    concert: Arc<Concert>,
    generation: Generation,
    date: ConcertDate,
    /// Ascending.
    seats: Vec<SeatNumber>,
    request: String,
}

impl Order {
    fn of_call(&self) -> SeatsOrder<'_> {
        let Self { concert, generation, date, seats, request } = self;
        SeatsOrder { concert, generation, date: *date, id: Uuid::now_v7(), request, seats }
    }
}

impl Seats {
    /// Takes all of `selection` out of the sale, or none of it; answers them, ascending. Those that
    /// were taken out before stay so. `request` is who asks, for the notes.
    ///
    /// Runs to its end even when this future is dropped.
    ///
    /// # Errors
    ///
    /// An unknown date or seat; seats that are sold or held by people; a store that does not answer.
    pub async fn withhold(
        &self,
        concert: &Arc<Concert>,
        date: ConcertDate,
        selection: &SeatSelection,
        request: &str,
    ) -> Result<Vec<SeatNumber>, SeatsError> {
        if let Some(seat) = selection.beyond(concert.seats) {
            return Err(SeatsError::UnknownSeat { seat, last: concert.seats });
        }
        let (seats, order) = (self.clone(), self.order(concert, date, selection, request)?);
        let done = tokio::spawn(async move { seats.withhold_and_note(order).await });
        done.await.map_err(SeatsError::Interrupted)?
    }

    /// Gives those of `selection` that are withheld back to the sale; answers which, ascending. A seat
    /// that the catalogue has no longer may be one of them.
    ///
    /// Runs to its end even when this future is dropped.
    ///
    /// # Errors
    ///
    /// An unknown date; a store that does not answer.
    pub async fn give_back_withheld(
        &self,
        concert: &Arc<Concert>,
        date: ConcertDate,
        selection: &SeatSelection,
        request: &str,
    ) -> Result<Vec<SeatNumber>, SeatsError> {
        let (seats, order) = (self.clone(), self.order(concert, date, selection, request)?);
        let done = tokio::spawn(async move { seats.forget_and_give_back(&order).await });
        done.await.map_err(SeatsError::Interrupted)?
    }

    /// The withheld seats of each date that has some, ascending.
    ///
    /// # Errors
    ///
    /// If Redis does not answer, or was not compared with PostgreSQL yet.
    pub async fn withheld(
        &self,
        concert: &Concert,
    ) -> Result<Vec<(ConcertDate, Vec<SeatNumber>)>, SeatsError> {
        self.generation(concert)?;
        let mut all = Vec::new();
        for date in &concert.dates {
            let seats = withheld_in(&self.redis, concert, *date).await.map_err(SeatsError::Read)?;
            if !seats.is_empty() {
                all.push((*date, seats));
            }
        }
        Ok(all)
    }

    fn order(
        &self,
        concert: &Arc<Concert>,
        date: ConcertDate,
        selection: &SeatSelection,
        request: &str,
    ) -> Result<Order, SeatsError> {
        if !concert.has_date(date) {
            return Err(SeatsError::unknown_date(date));
        }
        let mut seats = selection.seats().to_vec();
        seats.sort_unstable();
        let (concert, generation) = (concert.clone(), self.generation(concert)?);
        Ok(Order { concert, generation, date, seats, request: request.to_owned() })
    }

    async fn withhold_and_note(&self, order: Order) -> Result<Vec<SeatNumber>, SeatsError> {
        let withhold = WithholdSeats(order.of_call());
        match self.redis.run(&withhold).await.map_err(SeatsError::Write)? {
            WithholdOutcome::Withheld(_) => {}
            WithholdOutcome::Sold(seats) => return Err(SeatsError::SomeSold { seats }),
            WithholdOutcome::Held(seats) => return Err(SeatsError::SomeHeld { seats }),
            WithholdOutcome::NotReady => return Err(SeatsError::NotReady),
        }
        let noted = sql::note_withheld(&self.database, order.concert.id, order.date, &order.seats);
        noted.await.map_err(SeatsError::NotNoted)?;
        Ok(order.seats)
    }

    async fn forget_and_give_back(&self, order: &Order) -> Result<Vec<SeatNumber>, SeatsError> {
        let (concert, date) = (order.concert.id, order.date);
        let forgotten = sql::forget_withheld(&self.database, concert, date, &order.seats);
        forgotten.await.map_err(SeatsError::NotForgotten)?;
        let given_back = self.redis.run(&GiveSeatsBack(order.of_call())).await;
        let given_back = given_back.map_err(SeatsError::StillWithheld)?;
        let lost = || RedisError::NotReady("its data changed".to_owned());
        given_back.ok_or_else(|| SeatsError::StillWithheld(lost()))
    }
}

/// The seats of `date` that Redis withholds, ascending.
///
/// # Errors
///
/// See [`RedisError`].
pub async fn withheld_in(
    redis: &Redis,
    concert: &Concert,
    date: ConcertDate,
) -> Result<Vec<SeatNumber>, RedisError> {
    let members = redis.members_from(&concert.keys.held(date), WITHHELD_UNTIL_MS).await?;
    let number = |member: &String| -> Result<SeatNumber, OutOfRange> {
        member.parse::<i128>().unwrap_or(0).try_into()
    };
    // What is no seat nobody has withheld.
    let mut seats: Vec<_> = members.iter().filter_map(|member| number(member).ok()).collect();
    seats.sort_unstable();
    Ok(seats)
}

/// The seats of a date that PostgreSQL has noted as withheld, ascending.
///
/// # Errors
///
/// See [`PgError`].
pub async fn noted_as_withheld(
    database: &PgPool,
    concert: ConcertId,
    date: ConcertDate,
) -> Result<Vec<SeatNumber>, PgError> {
    sql::noted_as_withheld(database, concert, date).await
}
