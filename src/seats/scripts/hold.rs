//! Making holds, and giving them back.

use std::time::Duration;

use uuid::Uuid;

use super::{all_holds, number};
use crate::concerts::{Concert, Generation};
use crate::redis::{Args, LuaScript, Reply, ReplyFault, ScriptCall};
use crate::seats::domain::{HeldSeat, Holder, Holds};
use crate::words::{ConcertDate, SeatNumber};

pub(super) static HOLD: LuaScript =
    LuaScript::new("seats/hold", include_str!("../../../lua/seats/hold.lua"));
pub(super) static RELEASE: LuaScript =
    LuaScript::new("seats/release", include_str!("../../../lua/seats/release.lua"));

/// Holds all of `seats` on `date` for `holder`, or none.
pub struct HoldSeats<'a> {
    /// The concert; its price becomes that of new holds.
    pub concert: &'a Concert,
    /// The generation of the concert's data that this server has verified.
    pub generation: &'a Generation,
    /// The date.
    pub date: ConcertDate,
    /// Who.
    pub holder: Holder,
    /// How long, and how many.
    pub terms: HoldTerms,
    /// A random id, new for every call.
    pub version: Uuid,
    /// The seats, each with the id that a new hold of it gets.
    pub seats: &'a [(SeatNumber, Uuid)],
}

/// How long a hold lasts, and how many a user may have.
#[derive(Debug, Clone, Copy)]
pub struct HoldTerms {
    /// From the hold to its deadline.
    pub hold_ttl: Duration,
    /// From the deadline to the hard deadline, which a payment under way can use.
    pub hard_extra: Duration,
    /// How long the token outlives the hard deadline.
    pub token_extra: Duration,
    /// From promotion to the end that no token can pass.
    pub session_max: Duration,
    /// The most live holds of a user in a concert.
    pub seats_max: u32,
}

/// What came of [`HoldSeats`]. All but the first changed nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HoldOutcome {
    /// The holder holds every seat, in the order asked; seats held before keep their hold.
    Held(Holds),
    /// The concert's data is not what this server has verified.
    NotReady,
    /// The token is not active.
    TokenExpired,
    /// The token is bound to another user.
    NotYours,
    /// The token was not claimed yet.
    Unclaimed,
    /// The date is past.
    Past,
    /// A payment of this token is under way.
    Paying,
    /// This seat is sold.
    Sold(SeatNumber),
    /// Somebody else holds this seat.
    Taken(SeatNumber),
    /// The user has this many live holds, and with these it would be too many.
    Limit(u32),
    /// The token cannot live until the hold would end; it ends then, Unix ms.
    SessionEnding(u64),
}

impl ScriptCall for HoldSeats<'_> {
    type Outcome = HoldOutcome;

    fn script() -> &'static LuaScript {
        &HOLD
    }

    fn write(&self, args: &mut Args) {
        let (keys, date) = (&self.concert.keys, self.date);
        args.key(&keys.run)
            .key(&keys.epoch)
            .key(&keys.token(self.holder.place))
            .key(&keys.active)
            .key(&keys.paying(self.holder.place))
            .key(&keys.holds(self.holder.user))
            .key(&keys.stats)
            .key(&keys.held(date))
            .key(&keys.hold(date))
            .key(&keys.sold(date))
            .key(&keys.version(date));
        for date in &self.concert.dates {
            args.key(&keys.held(*date)).key(&keys.hold(*date));
        }
        args.text(&*self.generation.run)
            .text(&*self.generation.epoch)
            .text(self.holder.place.to_string())
            .text(self.holder.user.to_string())
            .text(self.version.to_string())
            .text(date.to_string())
            .int(self.concert.date_ends_ms(date))
            .text(self.concert.price.to_string())
            .millis(self.terms.hold_ttl)
            .millis(self.terms.hard_extra)
            .millis(self.terms.token_extra)
            .millis(self.terms.session_max)
            .int(self.terms.seats_max);
        for (seat, reservation) in self.seats {
            args.int(seat.get()).text(reservation.to_string());
        }
    }

    fn decode(tag: &str, mut reply: Reply) -> Result<HoldOutcome, ReplyFault> {
        Ok(match tag {
            "held" => HoldOutcome::Held(all_holds(reply)?),
            "not_ready" => HoldOutcome::NotReady,
            "token_expired" => HoldOutcome::TokenExpired,
            "not_yours" => HoldOutcome::NotYours,
            "unclaimed" => HoldOutcome::Unclaimed,
            "past" => HoldOutcome::Past,
            "paying" => HoldOutcome::Paying,
            "sold" => HoldOutcome::Sold(number(&mut reply)?),
            "taken" => HoldOutcome::Taken(number(&mut reply)?),
            "limit" => HoldOutcome::Limit(reply.int()?),
            "session_ending" => HoldOutcome::SessionEnding(reply.int()?),
            _ => return Err(ReplyFault::Tag(tag.to_owned())),
        })
    }
}

/// Gives holds of one date back before their deadline.
pub struct ReleaseHolds<'a> {
    /// The concert.
    pub concert: &'a Concert,
    /// The date.
    pub date: ConcertDate,
    /// Who wants it.
    pub why: WhyReleased<'a>,
    /// A random id, new for every call.
    pub version: Uuid,
    /// The holds, at most [`SeatSelection::SEATS_MAX`](crate::seats::SeatSelection::SEATS_MAX).
    pub seats: &'a [HeldSeat],
}

/// Who wants a hold to be released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhyReleased<'a> {
    /// The user.
    Asked,
    /// An operator: each release is noted.
    ByOperator {
        /// The request that asks.
        request: &'a str,
    },
    /// The request that made it and could not confirm it.
    GivenUp,
}

/// What came of [`ReleaseHolds`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReleaseOutcome {
    /// Those that were live and as named are gone now.
    Released {
        /// Their seats.
        seats: Vec<SeatNumber>,
        /// How many stay, because a second request was told of them.
        kept: usize,
    },
    /// Nothing changed: a payment for the hold of this seat is under way.
    Paying(SeatNumber),
}

impl ScriptCall for ReleaseHolds<'_> {
    type Outcome = ReleaseOutcome;

    fn script() -> &'static LuaScript {
        &RELEASE
    }

    fn write(&self, args: &mut Args) {
        let keys = &self.concert.keys;
        let (why, request) = match self.why {
            WhyReleased::Asked => ("asked", ""),
            WhyReleased::ByOperator { request } => ("asked", request),
            WhyReleased::GivenUp => ("given_up", ""),
        };
        args.key(&keys.stats)
            .key(&keys.held(self.date))
            .key(&keys.hold(self.date))
            .key(&keys.version(self.date))
            .key(&keys.audit)
            .text(self.version.to_string())
            .text(self.date.to_string())
            .word(why)
            .text(request);
        for HeldSeat { seat, reservation, holder } in self.seats {
            args.key(&keys.paying(holder.place)).key(&keys.holds(holder.user));
            args.int(seat.get()).text(reservation.to_string());
            args.int(holder.place.get()).int(holder.user.get());
        }
    }

    fn decode(tag: &str, mut reply: Reply) -> Result<ReleaseOutcome, ReplyFault> {
        match tag {
            "released" => {
                let (kept, mut list) = (reply.int()?, reply.list()?);
                let mut seats = Vec::with_capacity(list.remaining());
                while list.remaining() > 0 {
                    seats.push(number(&mut list)?);
                }
                Ok(ReleaseOutcome::Released { seats, kept })
            }
            "paying" => Ok(ReleaseOutcome::Paying(number(&mut reply)?)),
            _ => Err(ReplyFault::Tag(tag.to_owned())),
        }
    }
}
