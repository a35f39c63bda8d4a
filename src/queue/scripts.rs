//! The Redis scripts of the line as a whole, as Rust types; promotion is in [`promotion`], the
//! lottery in [`draw`], and those of one token are in [`token_scripts`]. Each header in `lua/queue/` is the contract; nothing here decides anything.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::draw::{self, Draw};
use super::{DeadEntry, PlaceRange, controls, promotion, settings, token_scripts};
use crate::concerts::Concert;
use crate::redis::{Args, LuaScript, Reply, ReplyFault, ScriptCall};
use crate::words::{Place, UserId};

static SETTLE: LuaScript = LuaScript::new(
    "queue/settle",
    include_str!("../../lua/queue/settle.lua"), //
);
static BOARD: LuaScript = LuaScript::new("queue/board", include_str!("../../lua/queue/board.lua"));
static ENTER: LuaScript = LuaScript::new("queue/enter", include_str!("../../lua/queue/enter.lua"));

/// Every script of this slice that is loaded; `queue/settle` is not, it must come before loading.
pub static SCRIPTS: &[&LuaScript] = &[
    &BOARD,
    &ENTER,
    &promotion::PROMOTE,
    &draw::script::DRAW,
    &token_scripts::CLAIM,
    &token_scripts::LEAVE,
    &settings::CONFIGURE,
    &controls::CLEAR,
];

/// Makes sure that this Redis gives no number twice.
#[derive(Debug)]
pub struct Settle<'a> {
    /// Whose line.
    pub concert: &'a Concert,
    /// The highest place known to this server; 0 if none is.
    pub floor: u64,
    /// The draw that this server remembers, to be written back.
    pub draw: Option<&'a Draw>,
}

/// A line after [`Settle`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// The turn of this Redis: its replication id.
    pub run: Arc<str>,
    /// Whether it was another's before, or the numbers were behind.
    pub changed: bool,
    /// Id of the last rebuild, if there was one.
    pub epoch: Option<Arc<str>>,
    /// The last number given; the next one is higher.
    pub last: Place,
}

impl ScriptCall for Settle<'_> {
    type Outcome = Settled;

    fn script() -> &'static LuaScript {
        &SETTLE
    }

    fn write(&self, args: &mut Args) {
        let keys = &self.concert.keys;
        args.key(&keys.seq).key(&keys.run).key(&keys.dead);
        args.key(&keys.waiting).key(&keys.epoch);
        args.key(&keys.skipped).key(&keys.draw);
        args.int(self.floor);
        for (field, value) in self.draw.map(Draw::fields).unwrap_or_default() {
            args.word(field).text(value);
        }
    }

    fn decode(tag: &str, mut reply: Reply) -> Result<Settled, ReplyFault> {
        match tag {
            "settled" => Ok(Settled {
                run: reply.text()?.into(),
                changed: reply.int::<u8>()? != 0,
                epoch: reply.optional_text()?.map(Arc::from),
                last: place(&mut reply)?,
            }),
            _ => Err(ReplyFault::Tag(tag.to_owned())),
        }
    }
}

/// Reads what a board is made of.
#[derive(Debug)]
pub struct ReadBoard<'a> {
    /// Whose line.
    pub concert: &'a Concert,
    /// The ordinal up to which dead numbers are known.
    pub after: u64,
    /// The most dead numbers of one answer.
    pub limit: usize,
}

/// The line at one moment, as Redis has it.
#[derive(Debug, Clone)]
pub struct BoardRow {
    /// Redis' clock, Unix ms.
    pub now_ms: u64,
    /// The turn that the line was settled in.
    pub run: Option<String>,
    /// Id of the last rebuild.
    pub epoch: Option<String>,
    /// The last number given.
    pub last: Option<Place>,
    /// The lowest waiting place.
    pub head: Option<Place>,
    /// How many wait.
    pub waiting: u64,
    /// How many active tokens live.
    pub active: u64,
    /// How many were ever promoted.
    pub promoted: u64,
    /// The live knobs, as somebody wrote them.
    pub capacity: Option<String>,
    /// See `capacity`.
    pub batch: Option<String>,
    /// See `capacity`.
    pub paused: Option<String>,
    /// What operators tell everybody who waits.
    pub message: Option<String>,
    /// See `capacity`.
    pub opens_at: Option<String>,
    /// See `capacity`.
    pub closes_at: Option<String>,
    /// Seats sold, over all dates.
    pub sold: u64,
    /// Seats that people hold, over all dates.
    pub held: u64,
    /// Seats withheld from the sale, over all dates.
    pub withheld: u64,
    /// The draw of a lottery.
    pub draw: Option<Draw>,
    /// Dead numbers above the ordinal asked for.
    pub dead: Vec<DeadEntry>,
}

impl ScriptCall for ReadBoard<'_> {
    type Outcome = BoardRow;

    fn script() -> &'static LuaScript {
        &BOARD
    }

    fn write(&self, args: &mut Args) {
        let keys = &self.concert.keys;
        args.key(&keys.run).key(&keys.epoch).key(&keys.seq);
        args.key(&keys.waiting).key(&keys.dead).key(&keys.active);
        args.key(&keys.settings).key(&keys.stats).key(&keys.draw);
        for date in &self.concert.dates {
            args.key(&keys.sold(*date)).key(&keys.held(*date));
        }
        args.int(self.after).int(self.limit as u64);
    }

    fn decode(tag: &str, mut reply: Reply) -> Result<BoardRow, ReplyFault> {
        if tag != "board" {
            return Err(ReplyFault::Tag(tag.to_owned()));
        }
        Ok(BoardRow {
            now_ms: reply.int()?,
            run: reply.optional_text()?,
            epoch: reply.optional_text()?,
            last: optional_place(&mut reply)?,
            head: optional_place(&mut reply)?,
            waiting: reply.int()?,
            active: reply.int()?,
            promoted: reply.int()?,
            capacity: reply.optional_text()?,
            batch: reply.optional_text()?,
            paused: reply.optional_text()?,
            message: reply.optional_text()?,
            opens_at: reply.optional_text()?,
            closes_at: reply.optional_text()?,
            sold: reply.int()?,
            held: reply.int()?,
            withheld: reply.int()?,
            draw: draw::script::draw(reply.list()?)?,
            dead: dead_entries(reply.list()?)?,
        })
    }
}

fn dead_entries(mut reply: Reply) -> Result<Vec<DeadEntry>, ReplyFault> {
    let mut entries = Vec::with_capacity(reply.remaining() / 2);
    while reply.remaining() > 0 {
        let ordinal = reply.int()?;
        let text = reply.text()?;
        let range = PlaceRange::parse(&text).ok_or(ReplyFault::Tag(text))?;
        entries.push(DeadEntry { ordinal, range });
    }
    Ok(entries)
}

/// Gives places to a group of arrivals.
#[derive(Debug)]
pub struct Enter<'a> {
    /// Whose line.
    pub concert: &'a Concert,
    /// The group's own id; the same one answers the same places for [`Enter::ANSWER_KEPT_FOR`].
    pub group: Uuid,
    /// The highest place known to this server.
    pub floor: u64,
    /// The rebuild that this server believes in.
    pub epoch: &'a str,
    /// Whether the line has a lottery: then nobody gets a place between the opening and the freeze.
    pub has_draw: bool,
    /// The arrivals in order; `None` is anonymous.
    pub arrivals: &'a [Option<UserId>],
}

impl Enter<'_> {
    /// The most arrivals of a group.
    pub const ARRIVALS_MAX: usize = 128;
    /// The most named arrivals of a group.
    pub const NAMED_MAX: usize = 64;
    /// How long a group's answer is kept for a re-send.
    pub const ANSWER_KEPT_FOR: Duration = Duration::from_secs(5);
}

/// What came of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnterOutcome {
    /// Everybody has a place.
    Entered(EnteredGroup),
    /// Nothing changed: the line must be settled first, or was rebuilt.
    Unsettled,
    /// Nothing changed: the sale is over.
    Closed,
    /// Nothing changed: who takes part in the lottery must be frozen first.
    Undrawn,
}

/// The places of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnteredGroup {
    /// Redis' clock, Unix ms.
    pub now_ms: u64,
    /// How many waited before.
    pub before: u64,
    /// The first new place.
    pub first: Place,
    /// Arrivals that had a place already, in order.
    pub known: Vec<KnownArrival>,
}

/// An arrival whose user had a place already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownArrival {
    /// Which one of the group, from 0.
    pub index: usize,
    /// The place.
    pub place: Place,
    /// When it expires, Unix ms; 0 while it waits.
    pub expires_ms: u64,
}

impl ScriptCall for Enter<'_> {
    type Outcome = EnterOutcome;

    fn script() -> &'static LuaScript {
        &ENTER
    }

    fn write(&self, args: &mut Args) {
        let keys = &self.concert.keys;
        args.key(&keys.group(self.group));
        args.key(&keys.seq).key(&keys.epoch).key(&keys.waiting);
        args.key(&keys.active).key(&keys.users).key(&keys.stats);
        args.key(&keys.run).key(&keys.settings).key(&keys.draw);
        args.int(self.floor).text(self.epoch);
        args.millis(Self::ANSWER_KEPT_FOR);
        args.int(self.concert.closes_at_ms());
        args.int(if self.has_draw { self.concert.opens_at_ms().max(1) } else { 0 });
        for row in self.arrivals.chunk_by(|one, next| one.is_none() && next.is_none()) {
            match row {
                [Some(user)] => args.int(user.get()),
                anonymous => args.int(-(anonymous.len() as i128)),
            };
        }
    }

    fn decode(tag: &str, mut reply: Reply) -> Result<EnterOutcome, ReplyFault> {
        match tag {
            "unsettled" => Ok(EnterOutcome::Unsettled),
            "closed" => Ok(EnterOutcome::Closed),
            "undrawn" => Ok(EnterOutcome::Undrawn),
            "entered" => Ok(EnterOutcome::Entered(EnteredGroup {
                now_ms: reply.int()?,
                before: reply.int()?,
                first: place(&mut reply)?,
                known: known_arrivals(reply.list()?)?,
            })),
            _ => Err(ReplyFault::Tag(tag.to_owned())),
        }
    }
}

fn known_arrivals(mut reply: Reply) -> Result<Vec<KnownArrival>, ReplyFault> {
    let mut known = Vec::with_capacity(reply.remaining() / 3);
    while reply.remaining() > 0 {
        known.push(KnownArrival {
            index: reply.int::<usize>()?.saturating_sub(1),
            place: place(&mut reply)?,
            expires_ms: reply.int()?,
        });
    }
    Ok(known)
}

/// The next field as a place.
pub(super) fn place(reply: &mut Reply) -> Result<Place, ReplyFault> {
    optional_place(reply)?.ok_or(ReplyFault::Field { index: 0, expected: "a place" })
}

fn optional_place(reply: &mut Reply) -> Result<Option<Place>, ReplyFault> {
    // A counter that gave no number yet reads 0.
    let number = reply.optional_int::<i64>()?.filter(|number| *number != 0);
    let place = number.map(|number| Place::try_from(i128::from(number)));
    place.transpose().map_err(|_| ReplyFault::Field { index: 0, expected: "a place" })
}
