//! The two statements that move money: functions in `migrations/`, each called once.

use chrono::{DateTime, NaiveDate, Utc};
use futures::FutureExt;
use uuid::Uuid;

use super::domain::{KeyUse, Payment, PaymentSeat, Purchase};
use crate::postgres::{PgError, Statement, pool};
use crate::words::{ChargeAmount, ConcertDate, ConcertId, Place, SeatNumber, UserId, Won};

pub(super) static CHARGE: Statement = Statement::new("charge");
pub(super) static PAY: Statement = Statement::new("pay");

/// What a statement that moves money answered instead of doing it.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Its deadline had passed after its last lock.
    #[error("the deadline of the statement has passed")]
    DeadlinePassed,
    /// The idempotency key belongs to another request.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// The balance does not cover it.
    #[error("the balance is only {0}")]
    TooLittleMoney(Won),
    /// The balance would exceed its maximum.
    #[error("the balance is {0} already")]
    BalanceTooLarge(Won),
    /// A seat has an owner.
    #[error("seat {1} of {0} is sold")]
    SeatSold(ConcertDate, SeatNumber),
    /// Another user paid with this place.
    #[error("another user paid with this place")]
    OtherPayer,
}

/// How a statement that moves money failed.
#[derive(Debug, thiserror::Error)]
pub enum MoneyError {
    /// On purpose; nothing happened.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// By accident.
    #[error(transparent)]
    Failed(PgError),
}

impl From<PgError> for MoneyError {
    /// The one place where PostgreSQL's words become ours: the codes of `migrations/`.
    fn from(error: PgError) -> Self {
        let Some(refusal) = error.refusal() else {
            return Self::Failed(error);
        };
        let detail = refusal.detail().unwrap_or_default();
        let balance = || detail.parse().ok().and_then(|n: i128| Won::try_from(n).ok());
        let seat = |text: &str| SeatNumber::try_from(text.parse::<i128>().ok()?).ok();
        let refused = match refusal.code() {
            "ON001" => Some(Refused::DeadlinePassed),
            "ON002" => Some(Refused::KeyReused),
            "ON003" => balance().map(Refused::TooLittleMoney),
            "ON004" => balance().map(Refused::BalanceTooLarge),
            "ON005" => detail.split_once(':').and_then(|(date, number)| {
                Some(Refused::SeatSold(date.parse().ok()?, seat(number)?))
            }),
            "ON006" => Some(Refused::OtherPayer),
            _ => None,
        };
        refused.map_or(Self::Failed(error), Self::Refused)
    }
}

/// One charge, as it is sent, and sent again.
#[derive(Debug, Clone)]
pub struct ChargeStatement {
    /// Names the request: a second copy finds the row of the first.
    pub request: Uuid,
    /// Whose balance.
    pub user: UserId,
    /// How much.
    pub amount: ChargeAmount,
    /// When it must not act any more, on PostgreSQL's clock.
    pub deadline: DateTime<Utc>,
    /// The client's own name for it.
    pub key: Option<KeyUse>,
}

/// One payment, as it is sent, and sent again.
#[derive(Debug, Clone)]
pub struct PayStatement {
    /// Names the request: a second copy finds the row of the first.
    pub request: Uuid,
    /// The id of the payment, if it is a new one.
    pub payment: Uuid,
    /// Who pays.
    pub user: UserId,
    /// The concert.
    pub concert: ConcertId,
    /// The place whose holds are paid.
    pub place: Place,
    /// The seats.
    pub seats: Vec<PaymentSeat>,
    /// When it must not act any more, on PostgreSQL's clock.
    pub deadline: DateTime<Utc>,
    /// The client's own name for it.
    pub key: Option<KeyUse>,
}

impl PayStatement {
    /// A new statement that pays for `seats`.
    #[must_use]
    pub fn new(purchase: &Purchase, seats: Vec<PaymentSeat>, deadline: DateTime<Utc>) -> Self {
        Self {
            request: Uuid::now_v7(),
            payment: Uuid::now_v7(),
            user: purchase.user,
            concert: purchase.concert.id,
            place: purchase.place,
            seats,
            deadline,
            key: purchase.key.clone(),
        }
    }
}

/// What became of a payment's statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayOutcome {
    /// The payment; not this place's, if an old key was used with a new token.
    pub payment: Payment,
    /// Whether it was there before this statement.
    pub replayed: bool,
}

/// An integer column has the width of a word's type, or more: nothing is cut off here.
pub(super) fn big(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn small(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// Adds money to a balance; answers the balance right after.
pub async fn charge(
    connection: pool::Connection,
    charge: &ChargeStatement,
) -> Result<Won, MoneyError> {
    let charge = charge.clone();
    let answer = pool::answer(connection, &CHARGE, |connection| {
        async move {
        let key = charge.key.as_ref();
        let rows = sqlx::query!(
            r#"select balance_after as "balance_after!" from onsale_charge($1, $2, $3, $4, $5, $6)"#,
            charge.request,
            big(charge.user.get()),
            charge.amount.get(),
            charge.deadline,
            key.map(|key| key.key.as_str()),
            key.map(|key| key.fingerprint.as_slice()),
        )
        .fetch_all(connection)
        .await?;
        let row = rows.into_iter().next().ok_or(sqlx::Error::RowNotFound)?;
        word(row.balance_after)
    }.boxed()
    });
    Ok(answer.await?)
}

/// Pays, or answers the payment that is there already.
pub async fn pay(
    connection: pool::Connection,
    pay: &PayStatement,
) -> Result<PayOutcome, MoneyError> {
    let pay = pay.clone();
    let dates: Vec<NaiveDate> = pay.seats.iter().map(|seat| seat.date).collect();
    let seats: Vec<i32> = pay.seats.iter().map(|seat| small(seat.seat.get())).collect();
    let reservations: Vec<Uuid> = pay.seats.iter().map(|seat| seat.reservation).collect();
    let prices: Vec<i64> = pay.seats.iter().map(|seat| seat.price.get()).collect();
    let answer = pool::answer(connection, &PAY, |connection| {
        async move {
            let key = pay.key.as_ref();
            let rows = sqlx::query_as!(
                PaymentRow,
                r#"select
                replayed as "replayed!", payment_id as "payment_id!", user_id as "user_id!",
                concert_id as "concert_id!", place as "place!", paid_at as "paid_at!",
                balance_after as "balance_after!", dates as "dates!", seats as "seats!",
                reservations as "reservations!", prices as "prices!"
            from onsale_pay($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"#,
                pay.request,
                pay.payment,
                big(pay.user.get()),
                small(pay.concert.get()),
                big(pay.place.get()),
                &dates,
                &seats,
                &reservations,
                &prices,
                pay.deadline,
                key.map(|key| key.key.as_str()),
                key.map(|key| key.fingerprint.as_slice()),
            )
            .fetch_all(connection)
            .await?;
            let row = rows.into_iter().next().ok_or(sqlx::Error::RowNotFound)?;
            let replayed = row.replayed;
            let payment = row.into_payment()?;
            Ok(PayOutcome { payment, replayed })
        }
        .boxed()
    });
    Ok(answer.await?)
}

/// A row of `onsale_pay`, or of the view `payment_details`.
pub(super) struct PaymentRow {
    pub replayed: bool,
    pub payment_id: Uuid,
    pub user_id: i64,
    pub concert_id: i32,
    pub place: i64,
    pub paid_at: DateTime<Utc>,
    pub balance_after: i64,
    pub dates: Vec<NaiveDate>,
    pub seats: Vec<i32>,
    pub reservations: Vec<Uuid>,
    pub prices: Vec<i64>,
}

/// A number of the database as its own type; the constraints of the tables keep the ranges.
pub(super) fn word<T>(number: impl Into<i128>) -> Result<T, sqlx::Error>
where
    T: TryFrom<i128, Error = crate::words::OutOfRange>,
{
    T::try_from(number.into()).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

impl PaymentRow {
    pub fn into_payment(self) -> Result<Payment, sqlx::Error> {
        let numbers = self.seats.into_iter().zip(self.prices);
        let seats = self
            .dates
            .into_iter()
            .zip(self.reservations)
            .zip(numbers)
            .map(|((date, reservation), (seat, price))| {
                Ok(PaymentSeat {
                    reservation,
                    date,
                    seat: word::<SeatNumber>(seat)?,
                    price: word(price)?,
                })
            })
            .collect::<Result<Vec<_>, sqlx::Error>>()?;
        Ok(Payment {
            id: self.payment_id,
            user: word(self.user_id)?,
            concert: word(self.concert_id)?,
            place: word(self.place)?,
            paid_at: self.paid_at,
            balance_after: word(self.balance_after)?,
            seats,
        })
    }
}
