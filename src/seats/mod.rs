//! Seats: free, held until a deadline, or sold.
//!
//! Holds live in Redis and change only through the scripts in `lua/seats/`; sales live in
//! PostgreSQL and are made by the payments slice, which marks them in Redis' sold bitmap. Read in
//! this order: [`domain`] (the rules, no I/O), [`routes`] and [`view`] (HTTP), [`service`] (what
//! happens, in which order), [`scripts`] (Redis), [`cache`] (seat lists), `feed` and [`events`] (being
//! told of changes), `controls` (what operators do about holds), `withheld` (seats out of the sale),
//! [`questions`] and `sql` (PostgreSQL),
//! [`jobs`] (the sweep).
//!
//! # Invariants
//!
//! * A seat has at most one live hold. It is live as long as its score in `held:<date>` is in the
//!   future of Redis' clock; nothing else decides, and the sweep only tidies.
//! * No 2xx says "reserved" before PostgreSQL said that the seat was never sold: that holds even
//!   when Redis lost its last second.
//! * Whoever loses a race for a seat never reaches PostgreSQL.
//! * `holds:<user>` is a hint: an entry counts only if the record in `hold:<date>` names the same
//!   reservation and its deadline is in the future.
//! * A withheld seat is held by nobody (place 0, user 0) until the end of the clock
//!   ([`domain::WITHHELD_UNTIL_MS`]). Nobody's hold is ever ended by withholding its seat.
//!
//! # What is not here
//!
//! No payment, no queue position, no token: who is let in is decided before, by the queue slice.

pub mod cache;
mod config;
mod controls;
pub mod domain;
mod error;
pub mod events;
mod feed;
mod jobs;
pub mod questions;
pub mod routes;
pub mod scripts;
mod service;
mod sql;
pub mod view;
mod withheld;

pub use config::SeatsConfig;
pub use domain::{HeldSeat, Hold, Holder, Holds, SeatSelection};
pub use error::SeatsError;
pub use jobs::SweepReport;
pub use scripts::SCRIPTS;
pub use service::{Reserved, Seats};
pub use withheld::{noted_as_withheld, withheld_in};

/// Every statement of this slice.
pub static STATEMENTS: &[&crate::postgres::Statement] =
    &[&sql::EVER_SOLD, &sql::NOTE_WITHHELD, &sql::FORGET_WITHHELD, &sql::NOTED_AS_WITHHELD];
