//! PostgreSQL's word on seats: which of them were ever sold, and which are withheld.

use std::time::Duration;

use chrono::NaiveDate;
use futures::FutureExt;
use sqlx::PgPool;
use uuid::Uuid;

use crate::postgres::{PgClock, PgError, Statement, pool};
use crate::words::{ConcertDate, ConcertId, SeatNumber};

pub(super) static EVER_SOLD: Statement = Statement::new("ever_sold");
pub(super) static NOTE_WITHHELD: Statement = Statement::new("note_withheld");
pub(super) static FORGET_WITHHELD: Statement = Statement::new("forget_withheld");
pub(super) static NOTED_AS_WITHHELD: Statement = Statement::new("noted_as_withheld");

/// How long a change of what is withheld may act after it was sent. A copy that the network holds
/// up for longer changes nothing: the opposite may have been done meanwhile.
const CHANGE_MAX: Duration = Duration::from_secs(10);

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

/// Notes that seats of a date are withheld; those that are noted already stay so.
pub async fn note_withheld(
    database: &PgPool,
    concert: ConcertId,
    date: ConcertDate,
    seats: &[SeatNumber],
) -> Result<(), PgError> {
    let seats: Vec<i32> = seats.iter().map(|seat| narrow(seat.get())).collect();
    let deadline = PgClock::new(database.clone()).after(CHANGE_MAX).await?;
    change(database, &NOTE_WITHHELD, move |connection| {
        let seats = seats.clone();
        async move {
            sqlx::query!(
                "insert into withheld_seats (concert_id, concert_date, seat_number, withheld_at)
            select $1, $2, seat_number, clock_timestamp()
            from onsale_check_deadline($4), unnest($3::integer[]) as seat_number
            on conflict do nothing",
                narrow(concert.get()),
                date,
                &seats,
                deadline,
            )
            .execute(connection)
            .await
            .map(|_| ())
        }
        .boxed()
    })
    .await
}

/// Forgets that seats of a date are withheld.
pub async fn forget_withheld(
    database: &PgPool,
    concert: ConcertId,
    date: ConcertDate,
    seats: &[SeatNumber],
) -> Result<(), PgError> {
    let seats: Vec<i32> = seats.iter().map(|seat| narrow(seat.get())).collect();
    let deadline = PgClock::new(database.clone()).after(CHANGE_MAX).await?;
    change(database, &FORGET_WITHHELD, move |connection| {
        let seats = seats.clone();
        async move {
            sqlx::query!(
                "delete from withheld_seats using onsale_check_deadline($4)
            where concert_id = $1 and concert_date = $2 and seat_number = any($3)",
                narrow(concert.get()),
                date,
                &seats,
                deadline,
            )
            .execute(connection)
            .await
            .map(|_| ())
        }
        .boxed()
    })
    .await
}

/// The seats of a date that are noted as withheld, ascending.
pub async fn noted_as_withheld(
    database: &PgPool,
    concert: ConcertId,
    date: ConcertDate,
) -> Result<Vec<SeatNumber>, PgError> {
    pool::ask(database, &NOTED_AS_WITHHELD, move |connection| {
        async move {
            let seats = sqlx::query_scalar!(
                r#"select coalesce(array_agg(seat_number order by seat_number), '{}') as "seats!"
            from withheld_seats where concert_id = $1 and concert_date = $2"#,
                narrow(concert.get()),
                date,
            )
            .fetch_one(connection)
            .await?;
            let word = |number: i32| SeatNumber::try_from(i128::from(number));
            let seats = seats.into_iter().map(word).collect::<Result<_, _>>();
            seats.map_err(|error| sqlx::Error::Decode(Box::new(error)))
        }
        .boxed()
    })
    .await
}

/// Changes something that a second copy of the statement would change in the same way: it is sent
/// again if its answer is lost. Only an answer tells whether the first copy has acted.
async fn change<T>(
    database: &PgPool,
    statement: &Statement,
    run: impl for<'c> Fn(&'c mut sqlx::PgConnection) -> pool::Answer<'c, T>,
) -> Result<T, PgError> {
    let lost = match pool::answer(pool::acquire(database).await?, statement, &run).await {
        Err(PgError::Lost(lost)) => PgError::Lost(lost),
        answer => return answer,
    };
    match pool::acquire_tested(database).await {
        Ok(connection) => pool::answer(connection, statement, &run).await.map_err(|_| lost),
        Err(_) => Err(lost),
    }
}

/// A number of the domain fits the column that it is for.
fn narrow(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
