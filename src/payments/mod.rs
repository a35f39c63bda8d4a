//! Payments: charging a balance, paying for holds, and keeping Redis true to what was paid.
//!
//! A payment turns all live holds of one token into owned seats and debits its user once. What is
//! paid is decided by one statement in PostgreSQL (`onsale_pay` in `migrations/`); Redis is told
//! before and after.
//!
//! Read in this order: [`routes`] (HTTP), [`service`] (the protocol, step by step), [`domain`] (the
//! words), [`scripts`] (the steps in Redis), [`sql`] and [`reads`] (PostgreSQL), [`jobs`] (what a lost answer
//! or a dead server left over), [`recovery`] and `withheld` (Redis after it lost data), [`error`].
//!
//! # Invariants
//!
//! * A token buys once: `payments` is unique per concert and place. Any repetition answers the same
//!   payment.
//! * Nobody is charged without owning the seats, and a seat is owned once: one statement does both.
//! * Between `begin` and the statement's deadline no hold of the token can end.
//! * Once PostgreSQL has committed, the answer is 200, whatever Redis says.
//! * After a statement whose answer is lost nothing is cancelled: it may still be committed, and the
//!   lease of the attempt runs out by itself.
//!
//! # What is not here
//!
//! No hold is made or released here (see the seats slice), no refund, no currency.

pub mod config;
pub mod domain;
pub mod error;
pub mod jobs;
pub mod reads;
pub mod rebuild;
pub mod recovery;
pub mod routes;
pub mod scripts;
pub mod service;
pub mod sql;
mod withheld;

pub use config::PaymentsConfig;
pub use domain::{KeyUse, Payment, PaymentSeat, Purchase};
pub use error::PaymentError;
pub use scripts::SCRIPTS;
pub use service::Payments;

/// Every statement of this slice.
pub static STATEMENTS: &[&crate::postgres::Statement] = &[
    &sql::CHARGE,
    &sql::PAY,
    &reads::BALANCE,
    &reads::PAYMENT_OF_PLACE,
    &reads::PAYMENT_OF_KEY,
    &reads::PAYMENTS_OF_USER,
    &reads::UNSYNCED,
    &reads::RECENT,
    &reads::SOLD_SEATS,
    &reads::MARK_SYNCED,
];
