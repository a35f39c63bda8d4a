//! Payments on a real Redis and a real PostgreSQL.

mod charging;
mod losses;
mod paying;
mod recovery;
mod scripts;
pub mod stage;
