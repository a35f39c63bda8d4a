//! The Redis scripts of the seats slice, as Rust types: `lua/seats/`.
//!
//! [`hold`] (making holds and giving them back), [`read`] (lists, which change nothing),
//! [`repair`] (the sweep, and what PostgreSQL knows better), [`withhold`] (seats out of the sale).

mod hold;
mod read;
mod repair;
mod withhold;

pub use hold::{HoldOutcome, HoldSeats, HoldTerms, ReleaseHolds, ReleaseOutcome, WhyReleased};
pub use read::{DatesReading, ReadDates, ReadHolds, ReadSeats};
pub use repair::{CorrectOutcome, CorrectSold, RestoreOutcome, RestoreSold, SweepHolds};
pub use withhold::{GiveSeatsBack, RewithholdSeats, SeatsOrder, WithholdOutcome, WithholdSeats};

use uuid::Uuid;

use crate::redis::{LuaScript, Reply, ReplyFault};
use crate::seats::domain::{Hold, Holds};
use crate::words::OutOfRange;

/// Every script of this slice.
pub static SCRIPTS: &[&LuaScript] = &[
    &hold::HOLD,
    &hold::RELEASE,
    &read::LIST,
    &read::DATES,
    &read::HOLDS,
    &repair::SWEEP,
    &repair::RESTORE,
    &repair::CORRECT,
    &withhold::WITHHOLD,
    &withhold::GIVE_BACK,
    &withhold::REWITHHOLD,
];

/// The next field as a number of the domain.
fn number<T: TryFrom<i128, Error = OutOfRange>>(reply: &mut Reply) -> Result<T, ReplyFault> {
    let number: i64 = reply.int()?;
    T::try_from(i128::from(number)).map_err(|refusal| ReplyFault::Tag(refusal.to_string()))
}

/// The rest of an answer about holds: the time, then date, seat, reservation, price, deadline of each.
fn all_holds(mut reply: Reply) -> Result<Holds, ReplyFault> {
    let now_ms = reply.int()?;
    let mut holds = Vec::with_capacity(reply.remaining() / 5);
    while reply.remaining() > 0 {
        let (date, seat) = (reply.text()?, number(&mut reply)?);
        let reservation = reply.text()?;
        holds.push(Hold {
            date: date.parse().map_err(|_| ReplyFault::Tag(date))?,
            seat,
            reservation: Uuid::try_parse(&reservation).map_err(|_| ReplyFault::Tag(reservation))?,
            price: number(&mut reply)?,
            deadline_ms: reply.int()?,
        });
    }
    Ok(Holds { now_ms, holds })
}
