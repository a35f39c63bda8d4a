//! PostgreSQL's word on seats: which of them were ever sold.

use chrono::NaiveDate;
use futures::FutureExt;
use sqlx::PgPool;
use uuid::Uuid;

use crate::postgres::{PgError, Statement, pool};
use crate::words::{ConcertDate, ConcertId, SeatNumber};

pub(super) static EVER_SOLD: Statement = Statement::new("ever_sold");

/// A seat of a date of a concert.
pub type SeatKey = (ConcertId, ConcertDate, SeatNumber);

/// For each of `seats` the reservation with which it was sold, if it ever was, in their order.
///
/// Asked twice if the first answer is lost: after a restart of PostgreSQL every idle connection is
/// dead, and a question changes nothing.
pub async fn ever_sold(database: &PgPool, seats: &[SeatKey]) -> Result<Vec<Option<Uuid>>, PgError> {
    let connection = pool::acquire(database).await?;
    match ask(connection, seats).await {
        Err(PgError::Lost(source)) => {
            tracing::debug!(error = %source, "a question about sold seats is asked again");
            ask(pool::acquire_tested(database).await?, seats).await
        }
        answer => answer,
    }
}

async fn ask(
    connection: pool::Connection,
    seats: &[SeatKey],
) -> Result<Vec<Option<Uuid>>, PgError> {
    let narrow = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    let concerts: Vec<i32> = seats.iter().map(|(concert, ..)| narrow(concert.get())).collect();
    let dates: Vec<NaiveDate> = seats.iter().map(|(_, date, _)| *date).collect();
    let numbers: Vec<i32> = seats.iter().map(|(.., seat)| narrow(seat.get())).collect();
    let rows = pool::answer(connection, &EVER_SOLD, |connection| {
        async move {
            sqlx::query!(
                r#"
            -- One index probe per seat; the position says which seat is meant.
            select asked.position as "position!", owned_seats.reservation_id
            from unnest($1::integer[], $2::date[], $3::integer[])
                with ordinality as asked (concert_id, concert_date, seat_number, position)
            join owned_seats using (concert_id, concert_date, seat_number)
            "#,
                &concerts,
                &dates,
                &numbers,
            )
            .fetch_all(connection)
            .await
        }
        .boxed()
    })
    .await?;
    let mut sold = vec![None; seats.len()];
    for row in rows {
        let index = usize::try_from(row.position).ok().and_then(|position| position.checked_sub(1));
        if let Some(sold) = index.and_then(|index| sold.get_mut(index)) {
            *sold = Some(row.reservation_id);
        }
    }
    Ok(sold)
}
