//! Lists: what is free, what a user holds. These scripts write nothing.

use crate::concerts::Concert;
use crate::redis::{Args, LuaScript, Reply, ReplyFault, ScriptCall};
use crate::seats::domain::{Holds, SeatReading, SoldSeats};
use crate::words::{ConcertDate, UserId};

use super::{all_holds, number};

pub(super) static LIST: LuaScript =
    LuaScript::new("seats/list", include_str!("../../../lua/seats/list.lua"));
pub(super) static DATES: LuaScript =
    LuaScript::new("seats/dates", include_str!("../../../lua/seats/dates.lua"));
pub(super) static HOLDS: LuaScript =
    LuaScript::new("seats/holds", include_str!("../../../lua/seats/holds.lua"));

/// Reads what is not free on one date.
pub struct ReadSeats<'a> {
    /// The concert.
    pub concert: &'a Concert,
    /// The date.
    pub date: ConcertDate,
}

impl ScriptCall for ReadSeats<'_> {
    type Outcome = SeatReading;

    fn script() -> &'static LuaScript {
        &LIST
    }

    fn write(&self, args: &mut Args) {
        let keys = &self.concert.keys;
        args.key(&keys.version(self.date)).key(&keys.sold(self.date)).key(&keys.held(self.date));
    }

    fn decode(tag: &str, mut reply: Reply) -> Result<SeatReading, ReplyFault> {
        if tag != "list" {
            return Err(ReplyFault::Tag(tag.to_owned()));
        }
        Ok(SeatReading {
            now_ms: reply.int()?,
            version: reply.optional_text()?,
            sold: SoldSeats(reply.bytes()?),
            next_deadline_ms: reply.optional_int()?,
            held: {
                let mut seats = reply.list()?;
                let mut held = Vec::with_capacity(seats.remaining());
                while seats.remaining() > 0 {
                    held.push(number(&mut seats)?);
                }
                // Redis orders them by their deadlines.
                held.sort_unstable();
                held
            },
        })
    }
}

/// Counts what is not free on every date of a concert.
pub struct ReadDates<'a> {
    /// The concert.
    pub concert: &'a Concert,
}

/// What [`ReadDates`] counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatesReading {
    /// When: Unix ms by Redis' clock.
    pub now_ms: u64,
    /// Sold or held seats of each date, in the order of the concert's dates.
    pub unfree: Vec<u32>,
}

impl ScriptCall for ReadDates<'_> {
    type Outcome = DatesReading;

    fn script() -> &'static LuaScript {
        &DATES
    }

    fn write(&self, args: &mut Args) {
        let keys = &self.concert.keys;
        for date in &self.concert.dates {
            args.key(&keys.sold(*date)).key(&keys.held(*date));
        }
    }

    fn decode(tag: &str, mut reply: Reply) -> Result<DatesReading, ReplyFault> {
        if tag != "dates" {
            return Err(ReplyFault::Tag(tag.to_owned()));
        }
        let now_ms = reply.int()?;
        let mut unfree = Vec::with_capacity(reply.remaining());
        while reply.remaining() > 0 {
            unfree.push(reply.int()?);
        }
        Ok(DatesReading { now_ms, unfree })
    }
}

/// Reads the live holds of one user in one concert.
pub struct ReadHolds<'a> {
    /// The concert.
    pub concert: &'a Concert,
    /// The user.
    pub user: UserId,
}

impl ScriptCall for ReadHolds<'_> {
    type Outcome = Holds;

    fn script() -> &'static LuaScript {
        &HOLDS
    }

    fn write(&self, args: &mut Args) {
        let keys = &self.concert.keys;
        args.key(&keys.holds(self.user));
        for date in &self.concert.dates {
            args.key(&keys.held(*date)).key(&keys.hold(*date));
        }
    }

    fn decode(tag: &str, reply: Reply) -> Result<Holds, ReplyFault> {
        if tag != "holds" {
            return Err(ReplyFault::Tag(tag.to_owned()));
        }
        let mut holds = all_holds(reply)?;
        // The hash has no order; people expect one.
        holds.holds.sort_by_key(|hold| (hold.date, hold.seat));
        Ok(holds)
    }
}
