//! The script that lets people in, as a Rust type; `lua/queue/promote.lua` is the contract.

use std::time::Duration;

use uuid::Uuid;

use super::draw::Order;
use crate::concerts::{Concert, Generation};
use crate::redis::{Args, LuaScript, Reply, ReplyFault, ScriptCall};

pub(super) static PROMOTE: LuaScript =
    LuaScript::new("queue/promote", include_str!("../../lua/queue/promote.lua"));

/// Lets the next people in.
#[derive(Debug)]
pub struct Promote<'a> {
    /// Whose line.
    pub concert: &'a Concert,
    /// What this server has verified.
    pub generation: &'a Generation,
    /// The most active tokens, unless the live settings say otherwise.
    pub capacity: u32,
    /// The most promotions per second, unless the live settings say otherwise.
    pub batch: u32,
    /// How long a promoted token lives until its first use.
    pub claim_ttl: Duration,
    /// The order of a lottery, if this server knows it.
    pub drawn: Option<DrawnFrom<'a>>,
}

/// Where a server believes a lottery to be.
#[derive(Debug, Clone, Copy)]
pub struct DrawnFrom<'a> {
    /// Names the draw.
    pub id: Uuid,
    /// Its order.
    pub order: &'a Order,
    /// The ranks that are done, as far as this server knows: any number is safe.
    pub cursor: u64,
}

impl DrawnFrom<'_> {
    /// How many places a call names: twice as many as it can let in, because some people left.
    const PLACES_MAX: usize = 128;
}

/// What came of [`Promote`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PromoteOutcome {
    /// The gate is open.
    Promoted(PromoteTick),
    /// Paused, not open yet, over or sold out; expired tokens were dropped all the same.
    Closed(PromoteTick),
    /// As [`Self::Closed`], because the draw must be brought forward, or be known to the caller.
    Undrawn(PromoteTick),
    /// Redis is of another generation than the one verified.
    NotReady,
    /// The line must be settled first: this Redis was promoted since.
    Unsettled,
}

/// What one call changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PromoteTick {
    /// People let in.
    pub promoted: u64,
    /// Expired tokens dropped.
    pub expired: u64,
    /// Live active tokens afterwards.
    pub active: u64,
    /// Whether another call could do more at once.
    pub more: bool,
    /// How many ranks of the draw are done; 0 without one.
    pub cursor: u64,
}

impl ScriptCall for Promote<'_> {
    type Outcome = PromoteOutcome;

    fn script() -> &'static LuaScript {
        &PROMOTE
    }

    fn write(&self, args: &mut Args) {
        let keys = &self.concert.keys;
        args.key(&keys.run).key(&keys.epoch).key(&keys.waiting);
        args.key(&keys.active).key(&keys.pace).key(&keys.settings);
        args.key(&keys.stats).key(&keys.dead).key(&keys.draw);
        for date in &self.concert.dates {
            args.key(&keys.sold(*date)).key(&keys.held(*date));
        }
        args.text(&*self.generation.run);
        args.text(&*self.generation.epoch);
        args.int(self.capacity).int(self.batch);
        args.millis(self.claim_ttl);
        args.int(self.concert.opens_at_ms()).int(self.concert.closes_at_ms());
        args.int(self.concert.seats_total());
        args.text(keys.token_prefix());
        match self.drawn {
            None => {
                args.word("").int(0);
            }
            Some(DrawnFrom { id, order, cursor }) => {
                args.text(id.to_string()).int(cursor);
                for place in order.places(cursor, DrawnFrom::PLACES_MAX) {
                    args.int(place);
                }
            }
        }
    }

    fn decode(tag: &str, mut reply: Reply) -> Result<PromoteOutcome, ReplyFault> {
        match tag {
            "promoted" => {
                let promoted = reply.int()?;
                let tick = tick(promoted, &mut reply)?;
                Ok(PromoteOutcome::Promoted(PromoteTick { cursor: reply.int()?, ..tick }))
            }
            "undrawn" => Ok(PromoteOutcome::Undrawn(tick(0, &mut reply)?)),
            "closed" => {
                reply.text()?;
                Ok(PromoteOutcome::Closed(tick(0, &mut reply)?))
            }
            "not_ready" => Ok(PromoteOutcome::NotReady),
            "unsettled" => Ok(PromoteOutcome::Unsettled),
            _ => Err(ReplyFault::Tag(tag.to_owned())),
        }
    }
}

fn tick(promoted: u64, reply: &mut Reply) -> Result<PromoteTick, ReplyFault> {
    Ok(PromoteTick {
        promoted,
        expired: reply.int()?,
        active: reply.int()?,
        more: reply.int::<u8>()? != 0,
        cursor: 0,
    })
}
