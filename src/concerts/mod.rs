//! The catalogue: which concerts are on sale, with their dates, seats and price.
//!
//! It is a file that every server reads (`ONSALE_CONCERTS`); no store knows it. Read in this order:
//! [`concert`] (one concert and its rules of time), [`catalogue`] (all of them, replaceable while
//! the server runs), [`mod@file`] (reading `concerts.toml`), [`gate`] (what this server has verified),
//! [`routes`] (what everybody may ask).
//!
//! # What is not here
//!
//! No live setting (pause, capacity: `{c<id>}:settings` in Redis wins) and no free seat.

pub mod catalogue;
pub mod concert;
pub mod file;
pub mod gate;
pub mod routes;

pub use catalogue::{Catalogue, Concerts};
pub use concert::{Concert, Prequeue, utc_time};
pub use gate::{Gates, Generation};
