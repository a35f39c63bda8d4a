//! The board: what a server knows of one line at one moment, immutable and shared by many threads.
//!
//! Position = place − head + 1 − dead places strictly between. Boards are made by
//! [`super::catch_up`], which alone decides when the dead places are complete.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use super::dead::{Among, DeadEntry, DeadSet};
use super::draw::{Draw, Frozen, Order};
use super::estimate::Outlook;
use crate::concerts::{Generation, Prequeue};
use crate::words::Place;

/// What one read of `queue/board` answers.
#[derive(Debug, Clone)]
pub struct BoardReading {
    /// The line at that moment.
    pub facts: BoardFacts,
    /// Dead entries with an ordinal above [`super::Ask::after`], the lowest ordinals first.
    pub dead: Vec<DeadEntry>,
    /// Whether `dead` holds all of them; `false` if the read's limit cut some off.
    pub dead_complete: bool,
    /// The order of the lottery, if it is drawn and known here.
    pub order: Option<Arc<Order>>,
}

/// A line at one moment of Redis' clock.
#[derive(Debug, Clone)]
pub struct BoardFacts {
    /// Redis' clock at the read, Unix ms.
    pub redis_now_ms: u64,
    /// `{c<id>}:run`; none if the line was never settled.
    pub run: Option<Arc<str>>,
    /// `{c<id>}:epoch`; none if the sold set was not rebuilt yet.
    pub epoch: Option<Arc<str>>,
    /// `{c<id>}:seq`, the last place given; none if nothing is known.
    pub last: Option<Place>,
    /// The lowest waiting place; none if nobody waits.
    pub head: Option<Place>,
    /// How many wait.
    pub waiting: u64,
    /// How many active tokens live, by the clock (`ZCOUNT active (now +inf`).
    pub active: u64,
    /// How many were ever promoted (`promoted` in `{c<id>}:stats`).
    pub promoted: u64,
    /// Seats sold, over all dates.
    pub sold: u64,
    /// Seats that people hold, over all dates: what is not bought in time comes back.
    pub held: u64,
    /// Seats withheld from the sale, over all dates: nobody waits for them.
    pub withheld: u64,
    /// Seats there are, over all dates.
    pub seats: u64,
    /// The draw of a lottery.
    pub draw: Option<Arc<Draw>>,
    /// The knobs that hold: the live ones, else the server's.
    pub settings: LineSettings,
    /// What operators tell everybody who waits.
    pub message: Option<Arc<str>>,
}

impl BoardFacts {
    /// Whether every seat of every date that is not withheld is sold.
    #[must_use]
    pub fn is_sold_out(&self) -> bool {
        self.sold + self.withheld >= self.seats
    }

    /// Whether no seat of any date is free: each is sold, withheld or held.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        self.sold + self.withheld + self.held >= self.seats
    }

    /// Where the sale is on its way.
    #[must_use]
    pub fn phase(&self) -> Phase {
        let settings = &self.settings;
        if settings.closes_at_ms > 0 && self.redis_now_ms >= settings.closes_at_ms {
            Phase::Closed
        } else if self.redis_now_ms < settings.opens_at_ms || self.awaits_draw() {
            Phase::Before
        } else {
            Phase::Open
        }
    }

    /// Whether somebody of a lottery waits whose order nobody knows yet.
    fn awaits_draw(&self) -> bool {
        let awaits =
            |draw: &Draw| draw.frozen.is_none() || (self.is_in_draw() && draw.drawn().is_none());
        self.draw.as_deref().is_some_and(awaits)
    }

    /// Whether somebody waits who takes part in a lottery.
    #[must_use]
    pub fn is_in_draw(&self) -> bool {
        let Some((draw, head)) = self.draw.as_ref().zip(self.head) else {
            return false;
        };
        let takes_part = |frozen: &Frozen| head.get() <= frozen.segments.last();
        draw.is_under_way() && draw.frozen.as_ref().is_some_and(takes_part)
    }

    /// Whether a concert with this pre-line has no lottery although it was to have one: the sale
    /// had opened, or people were in line, before a seed was committed to. The rule of `queue/draw`.
    #[must_use]
    pub fn has_missed_lottery(&self, prequeue: &Prequeue) -> bool {
        let is_open = self.redis_now_ms >= self.settings.opens_at_ms;
        *prequeue != Prequeue::Fifo && self.draw.is_none() && (is_open || self.waiting > 0)
    }

    /// Whether promotion lets anybody in at all.
    #[must_use]
    pub fn is_promoting(&self) -> bool {
        !self.settings.paused && !self.is_sold_out() && self.phase() == Phase::Open
    }

    /// Active tokens that capacity still allows.
    #[must_use]
    pub fn free_slots(&self) -> u64 {
        u64::from(self.settings.capacity).saturating_sub(self.active)
    }

    /// The lowest waiting place, or the next number if nobody waits.
    pub(super) fn front(&self) -> u64 {
        match (self.head, self.last) {
            (Some(head), _) => head.get(),
            (None, last) => last.map_or(0, Place::get) + 1,
        }
    }

    /// The lowest number in service that may wait: while people of `order` do, the cursor says it.
    pub(super) fn front_in(&self, order: Option<&Order>) -> u64 {
        let cursor = match (order, &self.draw) {
            (Some(order), Some(draw)) if self.is_in_draw() => {
                order.segments().number_at(draw.cursor)
            }
            _ => None,
        };
        cursor.unwrap_or_else(|| self.front())
    }
}

/// Where a sale is on its way, by Redis' clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It is not open yet, or its lottery is not drawn: people get places, and nobody is let in.
    Before,
    /// People are let in.
    Open,
    /// It is over: nobody gets a place or is let in, and whoever is inside may finish.
    Closed,
}

/// The knobs of one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineSettings {
    /// The most active tokens at any moment.
    pub capacity: u32,
    /// The most tokens promoted per second.
    pub batch: u32,
    /// Whether promotion was halted by an operator.
    pub paused: bool,
    /// Nobody is promoted before, Unix ms; 0 if the sale is open from the start.
    pub opens_at_ms: u64,
    /// Nobody arrives or is promoted from then on, Unix ms; 0 if the sale has no end.
    pub closes_at_ms: u64,
}

impl LineSettings {
    /// When the sale opens; none if it is open from the start.
    #[must_use]
    pub fn opens_at(&self) -> Option<DateTime<Utc>> {
        moment(self.opens_at_ms)
    }

    /// When it ends; none if it has no end.
    #[must_use]
    pub fn closes_at(&self) -> Option<DateTime<Utc>> {
        moment(self.closes_at_ms)
    }
}

/// 0 is no moment.
fn moment(unix_ms: u64) -> Option<DateTime<Utc>> {
    let unix_ms = i64::try_from(unix_ms).ok().filter(|unix_ms| *unix_ms > 0)?;
    DateTime::from_timestamp_millis(unix_ms)
}

/// What a board says of a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnBoard {
    /// Below the head: it was served. Only `{c<id>}:token:<place>` knows what came of it.
    Served,
    /// It waits; 1 is next.
    Waiting {
        /// Its position.
        position: u64,
    },
    /// It will never be served: it left, or was forgotten by a Redis that lost data.
    Dead,
    /// Above the last number that this board knows: ask for a fresh board.
    Beyond,
}

/// One immutable snapshot of a line. Cheap to clone.
///
/// All numbers inside are numbers in service (see [`Order`]); without a lottery these are the places
/// themselves.
#[derive(Debug, Clone)]
pub struct Board {
    facts: BoardFacts,
    order: Option<Arc<Order>>,
    /// [`BoardFacts::front_in`] the order.
    front: u64,
    /// The last number; 0 if none is known.
    last: u64,
    dead: Arc<DeadSet>,
    /// Dead places below the front, that the shared set still counts.
    dead_below_front: u64,
    /// Waiting places that left through this server and may not be in `dead` yet; ascending.
    own_leaves: Arc<Vec<u64>>,
    outlook: Outlook,
    sent: Instant,
}

impl Board {
    /// How long after its read was sent a board may answer polls.
    pub const FRESH_FOR: Duration = Duration::from_millis(700);

    pub(super) fn new(
        facts: BoardFacts,
        order: Option<Arc<Order>>,
        dead: Arc<DeadSet>,
        outlook: Outlook,
        sent: Instant,
    ) -> Self {
        let front = facts.front_in(order.as_deref());
        Self {
            order,
            front,
            last: facts.last.map_or(0, Place::get),
            dead_below_front: dead.count_below(front),
            dead,
            facts,
            own_leaves: Arc::default(),
            outlook,
            sent,
        }
    }

    /// The number in service of a place.
    fn number_of(&self, place: Place) -> u64 {
        match &self.order {
            None => place.get(),
            Some(order) => order.in_service(place.get()),
        }
    }

    /// This board with `left` overlaid: places that this server saw leave.
    pub(super) fn with_own_leaves(&self, left: impl Iterator<Item = Place>) -> Self {
        let mut own: Vec<u64> = left
            .map(|place| self.number_of(place))
            .filter(|place| (self.front..=self.last).contains(place))
            .filter(|place| self.dead.look_up(*place) != Among::Dead)
            .collect();
        own.sort_unstable();
        own.dedup();
        Self { own_leaves: Arc::new(own), ..self.clone() }
    }

    /// This board with one more place that this server saw leave.
    ///
    /// Cost: a copy of the overlaid places, because many leave at once when a sale is over.
    pub(super) fn with_own_leave(&self, place: Place) -> Self {
        if !matches!(self.position_of(place), OnBoard::Waiting { .. }) {
            return self.clone();
        }
        let place = self.number_of(place);
        let at = self.own_leaves.partition_point(|own| *own < place);
        let (lower, higher) = self.own_leaves.split_at(at);
        // Copied in two pieces: one number after the other costs several times as much.
        let mut own = Vec::with_capacity(self.own_leaves.len() + 1);
        own.extend_from_slice(lower);
        own.push(place);
        own.extend_from_slice(higher);
        Self { own_leaves: Arc::new(own), ..self.clone() }
    }

    /// Where the sale is on its way, as far as this server can show it: before it knows the order
    /// of a lottery, it is not open.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.facts.phase() {
            Phase::Open if self.order.is_none() && self.facts.is_in_draw() => Phase::Before,
            phase => phase,
        }
    }

    /// What the board says of `place`: two binary searches, no allocation.
    #[must_use]
    pub fn position_of(&self, place: Place) -> OnBoard {
        let place = self.number_of(place);
        if place < self.front {
            return OnBoard::Served;
        }
        if place > self.last {
            return OnBoard::Beyond;
        }
        let dead_below = match self.dead.look_up(place) {
            Among::Dead => return OnBoard::Dead,
            Among::Above(dead_below) => dead_below,
        };
        let Err(own_below) = self.own_leaves.binary_search(&place) else {
            return OnBoard::Dead;
        };
        let gone = dead_below - self.dead_below_front + own_below as u64;
        OnBoard::Waiting { position: (place - self.front + 1).saturating_sub(gone).max(1) }
    }

    /// Whether the board may still answer polls at `now`.
    #[must_use]
    pub fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.sent) < Self::FRESH_FOR
    }

    /// When its last read was sent: everything before that is on it.
    #[must_use]
    pub fn sent(&self) -> Instant {
        self.sent
    }

    /// Redis' clock at `now`, Unix ms: the read's `TIME` and the time since the read was sent, so
    /// it may be ahead by one round trip, and is never behind.
    #[must_use]
    pub fn redis_now_ms(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.sent).as_millis();
        let since = u64::try_from(since).unwrap_or(u64::MAX);
        self.facts.redis_now_ms.saturating_add(since)
    }

    /// The seconds until the opening at `now`, by Redis' clock, rounded up; 0 once it has come.
    #[must_use]
    pub fn opens_in_seconds(&self, now: Instant) -> u64 {
        let opens_at_ms = self.facts.settings.opens_at_ms;
        opens_at_ms.saturating_sub(self.redis_now_ms(now)).div_ceil(1000)
    }

    /// What was read.
    #[must_use]
    pub fn facts(&self) -> &BoardFacts {
        &self.facts
    }

    /// Redis process and rebuild that the board belongs to; none while either is missing.
    #[must_use]
    pub fn generation(&self) -> Option<Generation> {
        Some(Generation { run: self.facts.run.clone()?, epoch: self.facts.epoch.clone()? })
    }

    /// How many wait, without those whom this server saw leave.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.facts.waiting.saturating_sub(self.own_leaves.len() as u64)
    }

    /// The wait that somebody at `position` may expect, in seconds.
    #[must_use]
    pub fn estimated_wait_seconds(&self, position: u64) -> u64 {
        self.outlook.wait_seconds(position)
    }

    /// How fast the line will be served, as far as it is known.
    #[must_use]
    pub fn outlook(&self) -> &Outlook {
        &self.outlook
    }

    /// Places that the numbers say wait, less those that Redis counted. Anything but 0 means that
    /// the line's keys contradict each other (somebody wrote to them by hand): worth an alarm.
    #[must_use]
    pub fn discrepancy(&self) -> i64 {
        let numbers = (self.last + 1).saturating_sub(self.front);
        let dead = self.dead.count_below(self.last + 1) - self.dead_below_front;
        let counted = numbers.saturating_sub(dead);
        i64::try_from(i128::from(counted) - i128::from(self.facts.waiting)).unwrap_or(i64::MAX)
    }
}
