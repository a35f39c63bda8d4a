//! The payment protocol's steps in Redis, as Rust types: `lua/payments/{begin,finish,cancel}.lua`.

use std::time::Duration;

use uuid::Uuid;

use super::domain::{Payment, PaymentSeat};
use super::rebuild;
use crate::concerts::Concert;
use crate::redis::{Args, ConcertKeys, LuaScript, Reply, ReplyFault, ScriptCall};
use crate::words::{ConcertDate, Place, SeatNumber, UserId, Won};

static BEGIN: LuaScript =
    LuaScript::new("payments/begin", include_str!("../../lua/payments/begin.lua"));
static FINISH: LuaScript =
    LuaScript::new("payments/finish", include_str!("../../lua/payments/finish.lua"));
static CANCEL: LuaScript =
    LuaScript::new("payments/cancel", include_str!("../../lua/payments/cancel.lua"));

/// The scripts of this slice.
pub static SCRIPTS: &[&LuaScript] = &[&BEGIN, &FINISH, &CANCEL, &rebuild::REBUILD, &rebuild::SEAL];

/// Opens one attempt to pay for all that a token holds.
pub struct BeginPayment<'a> {
    /// The token's concert.
    pub concert: &'a Concert,
    /// The token's place.
    pub place: Place,
    /// Who pays.
    pub user: UserId,
    /// Names the attempt.
    pub attempt: Uuid,
    /// How long the attempt keeps other changes of the holds away.
    pub lease: Duration,
    /// How long each hold lives at least from now on.
    pub extension: Duration,
}

/// What [`BeginPayment`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Begun {
    /// The holds to pay, by date and number; never empty.
    Holds(Vec<PaymentSeat>),
    /// The token is not active.
    Gone,
    /// The token is bound to another user.
    NotYours,
    /// The token holds nothing and never did.
    Nothing,
    /// The token holds nothing any more.
    Expired,
    /// A hold must end too soon.
    Expiring,
}

impl ScriptCall for BeginPayment<'_> {
    type Outcome = Begun;

    fn script() -> &'static LuaScript {
        &BEGIN
    }

    fn write(&self, args: &mut Args) {
        let keys = &self.concert.keys;
        args.key(&keys.token(self.place))
            .key(&keys.active)
            .key(&keys.paying(self.place))
            .key(&keys.holds(self.user))
            .int(self.place.get())
            .int(self.user.get())
            .text(self.attempt.to_string())
            .millis(self.lease)
            .millis(self.extension);
        for date in &self.concert.dates {
            args.key(&keys.held(*date)).key(&keys.hold(*date)).text(date.to_string());
        }
    }

    fn decode(tag: &str, mut reply: Reply) -> Result<Begun, ReplyFault> {
        match tag {
            "begun" => {
                let count: usize = reply.int()?;
                // Not by the count alone: a wrong one must not ask for more room than there is.
                let mut seats = Vec::with_capacity(count.min(reply.remaining()));
                for _ in 0..count {
                    seats.push(seat(&mut reply)?);
                }
                seats.sort_unstable_by_key(|seat| (seat.date, seat.seat));
                Ok(Begun::Holds(seats))
            }
            "gone" => Ok(Begun::Gone),
            "not_yours" => Ok(Begun::NotYours),
            "nothing" => Ok(Begun::Nothing),
            "expired" => Ok(Begun::Expired),
            "expiring" => Ok(Begun::Expiring),
            _ => Err(ReplyFault::Tag(tag.to_owned())),
        }
    }
}

/// Date, seat, reservation, price.
fn seat(reply: &mut Reply) -> Result<PaymentSeat, ReplyFault> {
    let fault = |expected| ReplyFault::Field { index: 0, expected };
    let date: ConcertDate = reply.text()?.parse().map_err(|_| fault("a date"))?;
    let number: i64 = reply.int()?;
    let reservation = reply.text()?.parse().map_err(|_| fault("a UUID"))?;
    let price: i64 = reply.int()?;
    Ok(PaymentSeat {
        reservation,
        date,
        seat: SeatNumber::try_from(i128::from(number)).map_err(|_| fault("a seat"))?,
        price: Won::try_from(i128::from(price)).map_err(|_| fault("a price"))?,
    })
}

/// Makes Redis agree with a payment; repeated, it changes nothing.
pub struct FinishPayment<'a> {
    /// The payment.
    pub payment: &'a Payment,
    /// Random, for the dates that change.
    pub version: Uuid,
}

/// What [`FinishPayment`] changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Finished {
    /// Seats newly marked sold.
    pub sold: u32,
    /// Live holds of others that were dropped.
    pub displaced: u32,
    /// Whether the token was still in the line.
    pub consumed: bool,
}

impl ScriptCall for FinishPayment<'_> {
    type Outcome = Finished;

    fn script() -> &'static LuaScript {
        &FINISH
    }

    fn write(&self, args: &mut Args) {
        let payment = self.payment;
        // Not from the catalogue: a concert may be gone from it, and its payments are still true.
        let keys = ConcertKeys::new(payment.concert);
        let mut dates: Vec<ConcertDate> = payment.seats.iter().map(|seat| seat.date).collect();
        dates.dedup();
        args.key(&keys.token(payment.place))
            .key(&keys.active)
            .key(&keys.waiting)
            .key(&keys.dead)
            .key(&keys.users)
            .key(&keys.paying(payment.place))
            .key(&keys.holds(payment.user))
            .key(&keys.stats)
            .int(payment.place.get())
            .int(payment.user.get())
            .text(self.version.to_string())
            .int(i128::try_from(dates.len()).unwrap_or(i128::MAX));
        for date in &dates {
            args.key(&keys.held(*date))
                .key(&keys.hold(*date))
                .key(&keys.sold(*date))
                .key(&keys.version(*date))
                .text(date.to_string());
        }
        let mut index: u32 = 0;
        let mut last = None;
        for seat in &payment.seats {
            index += u32::from(last != Some(seat.date));
            last = Some(seat.date);
            args.int(index).int(seat.seat.get()).text(seat.reservation.to_string());
        }
    }

    fn decode(tag: &str, mut reply: Reply) -> Result<Finished, ReplyFault> {
        match tag {
            "finished" => Ok(Finished {
                sold: reply.int()?,
                displaced: reply.int()?,
                consumed: reply.int::<u8>()? == 1,
            }),
            _ => Err(ReplyFault::Tag(tag.to_owned())),
        }
    }
}

/// Ends one attempt that PostgreSQL has definitely refused.
pub struct CancelPayment<'a> {
    /// The concert.
    pub concert: &'a Concert,
    /// The token's place.
    pub place: Place,
    /// As given to [`BeginPayment`].
    pub attempt: Uuid,
}

impl ScriptCall for CancelPayment<'_> {
    /// Whether the attempt was there.
    type Outcome = bool;

    fn script() -> &'static LuaScript {
        &CANCEL
    }

    fn write(&self, args: &mut Args) {
        args.key(&self.concert.keys.paying(self.place)).text(self.attempt.to_string());
    }

    fn decode(tag: &str, mut reply: Reply) -> Result<bool, ReplyFault> {
        match tag {
            "cancelled" => Ok(reply.int::<u32>()? > 0),
            _ => Err(ReplyFault::Tag(tag.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_promises_more_seats_than_it_has_is_a_fault_and_no_panic() {
        let (most, id) = (i64::MAX.to_string(), Uuid::nil().to_string());
        let answers: [&[&str]; 2] = [&[&most], &["2", "2030-12-24", "1", &id, "5"]];
        for answer in answers {
            let decoded = BeginPayment::decode("begun", Reply::of(answer));
            assert!(matches!(decoded, Err(ReplyFault::Field { .. })), "{decoded:?}");
        }
    }
}
