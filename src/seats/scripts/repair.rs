//! The sweep, and what PostgreSQL knows better than Redis.

use std::time::Duration;

use uuid::Uuid;

use crate::concerts::Concert;
use crate::redis::{Args, LuaScript, Reply, ReplyFault, ScriptCall};
use crate::words::{ConcertDate, SeatNumber};

pub(super) static SWEEP: LuaScript =
    LuaScript::new("seats/sweep", include_str!("../../../lua/seats/sweep.lua"));
pub(super) static RESTORE: LuaScript =
    LuaScript::new("seats/restore", include_str!("../../../lua/seats/restore.lua"));
pub(super) static CORRECT: LuaScript =
    LuaScript::new("seats/correct", include_str!("../../../lua/seats/correct.lua"));

/// Drops holds of one date that are past their deadline; answers how many.
pub struct SweepHolds<'a> {
    /// The concert.
    pub concert: &'a Concert,
    /// The date.
    pub date: ConcertDate,
    /// A random id, new for every call.
    pub version: Uuid,
}

impl SweepHolds<'_> {
    /// The most holds that one call drops; so many mean that there may be more.
    pub const SEATS_MAX: u32 = 200;
}

impl ScriptCall for SweepHolds<'_> {
    type Outcome = u32;

    fn script() -> &'static LuaScript {
        &SWEEP
    }

    fn write(&self, args: &mut Args) {
        let keys = &self.concert.keys;
        args.key(&keys.held(self.date))
            .key(&keys.hold(self.date))
            .key(&keys.version(self.date))
            .key(&keys.stats)
            .text(self.version.to_string())
            .int(Self::SEATS_MAX);
    }

    fn decode(tag: &str, mut reply: Reply) -> Result<u32, ReplyFault> {
        match tag {
            "swept" => reply.int(),
            _ => Err(ReplyFault::Tag(tag.to_owned())),
        }
    }
}

/// Marks seats of one date sold because PostgreSQL says so, and drops holds on them.
pub struct RestoreSold<'a> {
    /// The concert.
    pub concert: &'a Concert,
    /// The date.
    pub date: ConcertDate,
    /// The caller's id in the `rebuild` key, and how long it may go without a sign of life from now
    /// on; None outside of a rebuild.
    pub lock: Option<(Uuid, Duration)>,
    /// A random id, new for every call.
    pub version: Uuid,
    /// The seats, at most [`Self::SEATS_MAX`]; none for a sign of life alone.
    pub seats: &'a [SeatNumber],
}

impl RestoreSold<'_> {
    /// The most seats of one call.
    pub const SEATS_MAX: usize = 200;
}

/// What came of [`RestoreSold`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestoreOutcome {
    /// All are marked.
    Restored {
        /// How many were not marked before.
        marked: u32,
        /// How many holds were dropped.
        dropped: u32,
    },
    /// Nothing changed: the rebuild is not the caller's any more.
    Lost,
}

impl ScriptCall for RestoreSold<'_> {
    type Outcome = RestoreOutcome;

    fn script() -> &'static LuaScript {
        &RESTORE
    }

    fn write(&self, args: &mut Args) {
        let keys = &self.concert.keys;
        let (id, ttl) = self.lock.map(|(id, ttl)| (id.to_string(), ttl)).unwrap_or_default();
        args.key(&keys.rebuild)
            .key(&keys.sold(self.date))
            .key(&keys.held(self.date))
            .key(&keys.hold(self.date))
            .key(&keys.version(self.date))
            .key(&keys.stats)
            .text(id)
            .millis(ttl)
            .text(self.version.to_string());
        for seat in self.seats {
            args.int(seat.get());
        }
    }

    fn decode(tag: &str, mut reply: Reply) -> Result<RestoreOutcome, ReplyFault> {
        match tag {
            "restored" => {
                Ok(RestoreOutcome::Restored { marked: reply.int()?, dropped: reply.int()? })
            }
            "lost" => Ok(RestoreOutcome::Lost),
            _ => Err(ReplyFault::Tag(tag.to_owned())),
        }
    }
}

/// Unmarks seats of one date that are marked sold and that PostgreSQL does not know.
///
/// Only right for seats of a reading that was made *before* PostgreSQL was asked.
pub struct CorrectSold<'a> {
    /// The concert.
    pub concert: &'a Concert,
    /// The date.
    pub date: ConcertDate,
    /// The version of that reading; after a first chunk, the version that it set.
    pub seen: Option<&'a str>,
    /// A random id, new for every call.
    pub version: Uuid,
    /// The seats, at most [`RestoreSold::SEATS_MAX`].
    pub seats: &'a [SeatNumber],
}

/// What came of [`CorrectSold`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CorrectOutcome {
    /// So many marks were removed.
    Corrected(u32),
    /// Nothing changed: the date changed since the reading. Read everything again.
    Changed,
}

impl ScriptCall for CorrectSold<'_> {
    type Outcome = CorrectOutcome;

    fn script() -> &'static LuaScript {
        &CORRECT
    }

    fn write(&self, args: &mut Args) {
        let keys = &self.concert.keys;
        args.key(&keys.sold(self.date))
            .key(&keys.version(self.date))
            .key(&keys.stats)
            .text(self.seen.unwrap_or_default())
            .text(self.version.to_string());
        for seat in self.seats {
            args.int(seat.get());
        }
    }

    fn decode(tag: &str, mut reply: Reply) -> Result<CorrectOutcome, ReplyFault> {
        match tag {
            "corrected" => Ok(CorrectOutcome::Corrected(reply.int()?)),
            "changed" => Ok(CorrectOutcome::Changed),
            _ => Err(ReplyFault::Tag(tag.to_owned())),
        }
    }
}
