//! Why money was refused, and what the client is told.

use super::sql::Refused;
use crate::http::store_errors::{Effect, redis_problem};
use crate::http::{Code, Problem};
use crate::postgres::PgError;
use crate::redis::RedisError;
use crate::words::{ChargeAmount, ConcertDate, SeatNumber, Won};

/// Why the payments slice refused a request. `Display` is for the client, the source for the log.
#[derive(Debug, thiserror::Error)]
pub enum PaymentError {
    /// The balance does not cover the price.
    #[error("the balance of {balance} is less than the price of {required}")]
    TooLittleMoney {
        /// The price of all held seats.
        required: i64,
        /// The balance.
        balance: Won,
    },
    /// A balance has an upper end.
    #[error("amount: the balance of {balance} and the amount would exceed {}", Won::MAX)]
    BalanceTooLarge {
        /// The balance.
        balance: Won,
    },
    /// A held seat turned out to be owned by somebody else already.
    #[error("seat {seat} of {date} is sold; nothing was charged")]
    SeatSold {
        /// The date.
        date: ConcertDate,
        /// The seat.
        seat: SeatNumber,
    },
    /// The token holds nothing and never did.
    #[error("this token holds no seat")]
    NothingToPay,
    /// The token held something, and the hold has ended or ends too soon.
    #[error("the hold has ended, or ends too soon to be paid; nothing was charged")]
    HoldExpired,
    /// The token is no longer live and has paid for nothing.
    #[error("the token is no longer live, and nothing was paid with it")]
    TokenExpired,
    /// The token, or the payment made with it, is another user's.
    #[error("this token belongs to another user")]
    NotYours,
    /// The idempotency key was used for another request.
    #[error("this Idempotency-Key was used for another request")]
    KeyReused,
    /// Redis gave no outcome before anything was paid.
    #[error("Redis does not answer as it should")]
    Redis(#[from] RedisError),
    /// PostgreSQL did nothing, or was only asked.
    #[error("PostgreSQL does not answer; nothing happened")]
    Database(#[source] PgError),
    /// PostgreSQL came to the statement only after its deadline, and undid it.
    #[error("PostgreSQL was too slow; nothing happened")]
    TooLate,
    /// A statement that writes was sent, and its answer was lost twice.
    #[error("the answer was lost: it may have happened; repeat the request to learn it")]
    OutcomeUnknown(#[source] Option<PgError>),
}

impl From<PaymentError> for Problem {
    fn from(error: PaymentError) -> Self {
        let new = |code| Self::new(code).detail(error.to_string()).caused_by(&error);
        match &error {
            PaymentError::TooLittleMoney { required, balance } => {
                new(Code::InsufficientBalance).with("required", required).with("balance", balance)
            }
            PaymentError::BalanceTooLarge { balance } => new(Code::OutOfRange)
                .with("field", "amount")
                .with("min", ChargeAmount::MIN)
                .with("max", (Won::MAX - balance.get()).min(ChargeAmount::MAX))
                .with("balance", balance),
            PaymentError::SeatSold { date, seat } => {
                new(Code::SeatSold).with("concertDate", date).with("seatNumber", seat)
            }
            PaymentError::NothingToPay => new(Code::NothingToPay),
            PaymentError::HoldExpired => new(Code::HoldExpired),
            PaymentError::TokenExpired => new(Code::TokenExpired),
            PaymentError::NotYours => new(Code::NotYours),
            PaymentError::KeyReused => new(Code::IdempotencyKeyReused),
            // `begin` may have moved a deadline, so "nothing happened" would be a lie.
            PaymentError::Redis(error) => redis_problem(error, Effect::Write),
            PaymentError::Database(_) | PaymentError::TooLate => new(Code::DatabaseUnavailable),
            PaymentError::OutcomeUnknown(_) => new(Code::OutcomeUnknown),
        }
    }
}

/// How a statement that moves money failed, after it was sent again if that was needed.
pub(super) enum Failure {
    /// Refused on purpose: nothing happened.
    Refused(Refused),
    /// Not sent, or undone: nothing happened.
    Nothing(PgError),
    /// Sent, and nobody knows.
    Unknown(Option<PgError>),
}

/// What the client is told of a failed statement; `required` is the price of what it would buy.
pub(super) fn refusal(failure: Failure, required: i64) -> PaymentError {
    match failure {
        Failure::Refused(Refused::DeadlinePassed) => PaymentError::TooLate,
        Failure::Refused(Refused::KeyReused) => PaymentError::KeyReused,
        Failure::Refused(Refused::TooLittleMoney(balance)) => {
            PaymentError::TooLittleMoney { required, balance }
        }
        Failure::Refused(Refused::BalanceTooLarge(balance)) => {
            PaymentError::BalanceTooLarge { balance }
        }
        Failure::Refused(Refused::SeatSold(date, seat)) => PaymentError::SeatSold { date, seat },
        Failure::Refused(Refused::OtherPayer) => PaymentError::NotYours,
        Failure::Nothing(error) => PaymentError::Database(error),
        Failure::Unknown(error) => PaymentError::OutcomeUnknown(error),
    }
}
