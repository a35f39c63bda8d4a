//! Holding seats back from sale, and giving them back.

use std::time::Duration;

use uuid::Uuid;

use super::number;
use crate::concerts::{Concert, Generation};
use crate::redis::{Args, LuaScript, Reply, ReplyFault, ScriptCall};
use crate::words::{ConcertDate, SeatNumber};

pub(super) static WITHHOLD: LuaScript =
    LuaScript::new("seats/withhold", include_str!("../../../lua/seats/withhold.lua"));
pub(super) static GIVE_BACK: LuaScript =
    LuaScript::new("seats/give_back", include_str!("../../../lua/seats/give_back.lua"));
pub(super) static REWITHHOLD: LuaScript =
    LuaScript::new("seats/rewithhold", include_str!("../../../lua/seats/rewithhold.lua"));

/// Seats of one date, and who wants what of them.
#[derive(Debug, Clone, Copy)]
pub struct SeatsOrder<'a> {
    /// The concert.
    pub concert: &'a Concert,
    /// The generation of the concert's data that the caller has verified.
    pub generation: &'a Generation,
    /// The date.
    pub date: ConcertDate,
    /// A random id, new for every call.
    pub id: Uuid,
    /// The request that asks, for the notes of what operators changed.
    pub request: &'a str,
    /// The seats, ascending, 1 to [`Self::SEATS_MAX`].
    pub seats: &'a [SeatNumber],
}

impl SeatsOrder<'_> {
    /// The most seats of one call.
    pub const SEATS_MAX: usize = 200;

    fn write_generation(&self, args: &mut Args) {
        args.text(&*self.generation.run).text(&*self.generation.epoch);
    }

    fn write_rest(&self, args: &mut Args) {
        args.text(self.id.to_string()).text(self.request).text(self.date.to_string());
        for seat in self.seats {
            args.int(seat.get());
        }
    }
}

/// Takes all seats of an order out of the sale, or none of them.
pub struct WithholdSeats<'a>(pub SeatsOrder<'a>);

/// What came of [`WithholdSeats`]. All but the first changed nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WithholdOutcome {
    /// Every seat is withheld; so many were not before.
    Withheld(u32),
    /// These are sold.
    Sold(Vec<SeatNumber>),
    /// None is sold, and people hold these.
    Held(Vec<SeatNumber>),
    /// The concert's data is not what the caller has verified.
    NotReady,
}

impl ScriptCall for WithholdSeats<'_> {
    type Outcome = WithholdOutcome;

    fn script() -> &'static LuaScript {
        &WITHHOLD
    }

    fn write(&self, args: &mut Args) {
        let (keys, date) = (&self.0.concert.keys, self.0.date);
        args.key(&keys.run)
            .key(&keys.epoch)
            .key(&keys.sold(date))
            .key(&keys.held(date))
            .key(&keys.hold(date))
            .key(&keys.version(date))
            .key(&keys.stats)
            .key(&keys.audit);
        self.0.write_generation(args);
        self.0.write_rest(args);
    }

    fn decode(tag: &str, mut reply: Reply) -> Result<WithholdOutcome, ReplyFault> {
        Ok(match tag {
            "withheld" => WithholdOutcome::Withheld(reply.int()?),
            "sold" => WithholdOutcome::Sold(numbers(reply.list()?)?),
            "held" => WithholdOutcome::Held(numbers(reply.list()?)?),
            "not_ready" => WithholdOutcome::NotReady,
            _ => return Err(ReplyFault::Tag(tag.to_owned())),
        })
    }
}

/// Gives withheld seats of an order back to the sale.
pub struct GiveSeatsBack<'a>(pub SeatsOrder<'a>);

impl ScriptCall for GiveSeatsBack<'_> {
    /// Those that were withheld; none if the concert's data is not what the caller has verified.
    type Outcome = Option<Vec<SeatNumber>>;

    fn script() -> &'static LuaScript {
        &GIVE_BACK
    }

    fn write(&self, args: &mut Args) {
        let (keys, date) = (&self.0.concert.keys, self.0.date);
        args.key(&keys.run)
            .key(&keys.epoch)
            .key(&keys.held(date))
            .key(&keys.hold(date))
            .key(&keys.version(date))
            .key(&keys.stats)
            .key(&keys.audit);
        self.0.write_generation(args);
        self.0.write_rest(args);
    }

    fn decode(tag: &str, mut reply: Reply) -> Result<Option<Vec<SeatNumber>>, ReplyFault> {
        match tag {
            "given_back" => numbers(reply.list()?).map(Some),
            "not_ready" => Ok(None),
            _ => Err(ReplyFault::Tag(tag.to_owned())),
        }
    }
}

fn numbers(mut reply: Reply) -> Result<Vec<SeatNumber>, ReplyFault> {
    let mut seats = Vec::with_capacity(reply.remaining());
    while reply.remaining() > 0 {
        seats.push(number(&mut reply)?);
    }
    Ok(seats)
}

/// Withholds seats of one date because PostgreSQL says so; those that are sold or held stay so.
pub struct RewithholdSeats<'a> {
    /// The concert.
    pub concert: &'a Concert,
    /// The date.
    pub date: ConcertDate,
    /// The caller's id in the `rebuild` key, and how long it may go without a sign of life from now
    /// on; None outside of a rebuild.
    pub lock: Option<(Uuid, Duration)>,
    /// A random id, new for every call.
    pub id: Uuid,
    /// The seats, at most [`SeatsOrder::SEATS_MAX`].
    pub seats: &'a [SeatNumber],
}

impl ScriptCall for RewithholdSeats<'_> {
    /// How many were not withheld before; none if the rebuild is not the caller's any more.
    type Outcome = Option<u32>;

    fn script() -> &'static LuaScript {
        &REWITHHOLD
    }

    fn write(&self, args: &mut Args) {
        let keys = &self.concert.keys;
        let (lock, ttl) = self.lock.map(|(id, ttl)| (id.to_string(), ttl)).unwrap_or_default();
        args.key(&keys.rebuild)
            .key(&keys.sold(self.date))
            .key(&keys.held(self.date))
            .key(&keys.hold(self.date))
            .key(&keys.version(self.date))
            .key(&keys.stats)
            .text(lock)
            .millis(ttl)
            .text(self.id.to_string());
        for seat in self.seats {
            args.int(seat.get());
        }
    }

    fn decode(tag: &str, mut reply: Reply) -> Result<Option<u32>, ReplyFault> {
        match tag {
            "withheld" => reply.int().map(Some),
            "lost" => Ok(None),
            _ => Err(ReplyFault::Tag(tag.to_owned())),
        }
    }
}
