//! Seats: every script by seed → call → read back, and the races for one seat.

mod confirm;
mod hold;
mod list;
mod races;
mod release;
mod repair;
mod stage;

pub use stage::Stage;
