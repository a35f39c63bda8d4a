//! What is asked of PostgreSQL, and the one mark that is set there afterwards.

use chrono::{DateTime, Utc};
use futures::FutureExt;
use sqlx::PgPool;
use uuid::Uuid;

use super::domain::{KeyUse, OwnedPage, Payment};
use super::sql::{PaymentRow, big, small, word};
use crate::postgres::{PgError, Statement, pool::ask};
use crate::words::{ConcertDate, ConcertId, Place, SeatNumber, UserId, Won};

pub(super) static BALANCE: Statement = Statement::new("balance");
pub(super) static PAYMENT_OF_PLACE: Statement = Statement::new("payment_of_place");
pub(super) static PAYMENT_OF_KEY: Statement = Statement::new("payment_of_key");
pub(super) static PAYMENTS_OF_USER: Statement = Statement::new("payments_of_user");
pub(super) static UNSYNCED: Statement = Statement::new("unsynced");
pub(super) static RECENT: Statement = Statement::new("recent");
pub(super) static SOLD_SEATS: Statement = Statement::new("sold_seats");
pub(super) static MARK_SYNCED: Statement = Statement::new("mark_synced");

/// The most payments that one question answers.
pub const PAYMENTS_MAX: i64 = 500;

/// A user's balance; 0 for one that never charged.
pub async fn balance(pool: &PgPool, user: UserId) -> Result<Won, PgError> {
    let user = big(user.get());
    ask(pool, &BALANCE, move |connection| {
        async move {
            let balance =
                sqlx::query_scalar!("select balance from balances where user_id = $1", user)
                    .fetch_optional(connection)
                    .await?;
            word(balance.unwrap_or(0))
        }
        .boxed()
    })
    .await
}

/// The payment that was made with a place.
pub async fn payment_of_place(
    pool: &PgPool,
    concert: ConcertId,
    place: Place,
) -> Result<Option<Payment>, PgError> {
    ask(pool, &PAYMENT_OF_PLACE, move |connection| {
        async move {
            let row = sqlx::query_as!(
                PaymentRow,
                r#"select
                true as "replayed!", payment_id as "payment_id!", user_id as "user_id!",
                concert_id as "concert_id!", place as "place!", paid_at as "paid_at!",
                balance_after as "balance_after!", dates as "dates!", seats as "seats!",
                reservations as "reservations!", prices as "prices!"
            from payment_details where concert_id = $1 and place = $2"#,
                small(concert.get()),
                big(place.get()),
            )
            .fetch_optional(connection)
            .await?;
            row.map(PaymentRow::into_payment).transpose()
        }
        .boxed()
    })
    .await
}

/// What an idempotency key was used for.
#[derive(Debug)]
pub enum StoredKey {
    /// Nothing yet, or a request that is still under way.
    Free,
    /// Another request.
    Reused,
    /// This payment.
    Payment(Box<Payment>),
}

/// Looks up what `key` was used for, as a key of a payment by `user`.
pub async fn payment_of_key(
    pool: &PgPool,
    user: UserId,
    key: &KeyUse,
) -> Result<StoredKey, PgError> {
    let key = key.clone();
    ask(pool, &PAYMENT_OF_KEY, move |connection| {
        let key = key.clone();
        async move {
            let stored = sqlx::query!(
                r#"select
                (endpoint = 'pay' and fingerprint = $3) as "same!",
                (answer ->> 'paymentId')::uuid as payment_id
            from idempotency_keys where user_id = $1 and key = $2"#,
                big(user.get()),
                key.key,
                key.fingerprint,
            )
            .fetch_optional(&mut *connection)
            .await?;
            let Some(stored) = stored else {
                return Ok(StoredKey::Free);
            };
            if !stored.same {
                return Ok(StoredKey::Reused);
            }
            let row = sqlx::query_as!(
                PaymentRow,
                r#"select
                true as "replayed!", payment_id as "payment_id!", user_id as "user_id!",
                concert_id as "concert_id!", place as "place!", paid_at as "paid_at!",
                balance_after as "balance_after!", dates as "dates!", seats as "seats!",
                reservations as "reservations!", prices as "prices!"
            from payment_details where payment_id = $1"#,
                stored.payment_id,
            )
            .fetch_optional(connection)
            .await?;
            match row {
                Some(row) => Ok(StoredKey::Payment(Box::new(row.into_payment()?))),
                None => Ok(StoredKey::Free),
            }
        }
        .boxed()
    })
    .await
}

/// The payments of a user, newest first, at most [`PAYMENTS_MAX`]: those before the payment `before`,
/// if it is given, and none if that is not the user's.
pub async fn payments_of_user(
    pool: &PgPool,
    user: UserId,
    before: Option<Uuid>,
) -> Result<OwnedPage, PgError> {
    ask(pool, &PAYMENTS_OF_USER, move |connection| {
        async move {
            let rows = sqlx::query_as!(
                PaymentRow,
                r#"select
                true as "replayed!", d.payment_id as "payment_id!", d.user_id as "user_id!",
                d.concert_id as "concert_id!", d.place as "place!", d.paid_at as "paid_at!",
                d.balance_after as "balance_after!", d.dates as "dates!", d.seats as "seats!",
                d.reservations as "reservations!", d.prices as "prices!"
            from (
                select id from payments
                where user_id = $1 and (
                    $2::uuid is null
                    or (paid_at, id) < (
                        select b.paid_at, b.id from payments b where b.id = $2 and b.user_id = $1
                    )
                )
                order by paid_at desc, id desc limit $3
            ) page
            join payment_details d on d.payment_id = page.id
            order by d.paid_at desc, d.payment_id desc"#,
                big(user.get()),
                before,
                // One more than is answered tells whether there are more.
                PAYMENTS_MAX + 1,
            )
            .fetch_all(connection)
            .await?;
            let payments = rows.into_iter().map(PaymentRow::into_payment);
            let payments: Vec<_> = payments.collect::<Result<_, _>>()?;
            Ok(OwnedPage::of(payments, usize::try_from(PAYMENTS_MAX).unwrap_or(usize::MAX)))
        }
        .boxed()
    })
    .await
}

/// The oldest payments that Redis has not been told about for `older_than_s` seconds, at most
/// [`PAYMENTS_MAX`].
pub async fn unsynced(pool: &PgPool, older_than_s: f64) -> Result<Vec<Payment>, PgError> {
    ask(pool, &UNSYNCED, move |connection| {
        async move {
            let rows = sqlx::query_as!(
                PaymentRow,
                r#"select
                true as "replayed!", d.payment_id as "payment_id!", d.user_id as "user_id!",
                d.concert_id as "concert_id!", d.place as "place!", d.paid_at as "paid_at!",
                d.balance_after as "balance_after!", d.dates as "dates!", d.seats as "seats!",
                d.reservations as "reservations!", d.prices as "prices!"
            from (
                select id from payments
                where redis_synced_at is null
                    and paid_at < clock_timestamp() - make_interval(secs => $1)
                order by paid_at limit $2
            ) late
            join payment_details d on d.payment_id = late.id"#,
                older_than_s,
                PAYMENTS_MAX,
            )
            .fetch_all(connection)
            .await?;
            rows.into_iter().map(PaymentRow::into_payment).collect()
        }
        .boxed()
    })
    .await
}

/// The next payments of a concert that are at most `age_s` seconds old, by time and id after
/// `after`, at most [`PAYMENTS_MAX`].
pub async fn recent(
    pool: &PgPool,
    concert: ConcertId,
    age_s: f64,
    after: (DateTime<Utc>, Uuid),
) -> Result<Vec<Payment>, PgError> {
    ask(pool, &RECENT, move |connection| {
        async move {
            let rows = sqlx::query_as!(
                PaymentRow,
                r#"select
                true as "replayed!", d.payment_id as "payment_id!", d.user_id as "user_id!",
                d.concert_id as "concert_id!", d.place as "place!", d.paid_at as "paid_at!",
                d.balance_after as "balance_after!", d.dates as "dates!", d.seats as "seats!",
                d.reservations as "reservations!", d.prices as "prices!"
            from (
                select id from payments
                where concert_id = $1 and (paid_at, id) > ($2, $3)
                    and paid_at > clock_timestamp() - make_interval(secs => $4)
                order by paid_at, id limit $5
            ) again
            join payment_details d on d.payment_id = again.id
            order by d.paid_at, d.payment_id"#,
                small(concert.get()),
                after.0,
                after.1,
                age_s,
                PAYMENTS_MAX,
            )
            .fetch_all(connection)
            .await?;
            rows.into_iter().map(PaymentRow::into_payment).collect()
        }
        .boxed()
    })
    .await
}

/// The seats of a date that are sold, ascending.
pub async fn sold_seats(
    pool: &PgPool,
    concert: ConcertId,
    date: ConcertDate,
) -> Result<Vec<SeatNumber>, PgError> {
    ask(pool, &SOLD_SEATS, move |connection| {
        async move {
            let seats = sqlx::query_scalar!(
                r#"select coalesce(array_agg(seat_number order by seat_number), '{}') as "seats!"
            from owned_seats where concert_id = $1 and concert_date = $2"#,
                small(concert.get()),
                date,
            )
            .fetch_one(connection)
            .await?;
            seats.into_iter().map(word).collect()
        }
        .boxed()
    })
    .await
}

/// Notes that Redis agrees with these payments.
pub async fn mark_synced(pool: &PgPool, payments: &[Uuid]) -> Result<(), PgError> {
    let payments = payments.to_vec();
    ask(pool, &MARK_SYNCED, move |connection| {
        let payments = payments.clone();
        async move {
            sqlx::query!(
                "update payments set redis_synced_at = clock_timestamp()
            where id = any($1) and redis_synced_at is null",
                &payments,
            )
            .execute(connection)
            .await
            .map(|_| ())
        }
        .boxed()
    })
    .await
}
