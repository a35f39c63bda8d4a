//! What operators see of every concert of the catalogue: numbers that Redis has anyway.
//!
//! Two reads per concert, whose cost does not depend on how many people are in line: the script that
//! boards are made of, and the hash of counters. Between the two a moment may pass.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures::{StreamExt, TryStreamExt};
use serde::Serialize;
use utoipa::ToSchema;

use crate::concerts::{Concert, Concerts};
use crate::queue::{Queue, QueueError};
use crate::redis::Redis;
use crate::words::ConcertId;

/// How many concerts are read at a time.
const CONCERTS_AT_ONCE: usize = 16;

/// Reads the concerts of a catalogue.
pub struct Overview {
    redis: Redis,
    concerts: Concerts,
    queue: Queue,
}

/// One concert at one moment.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConcertOverview {
    concert_id: ConcertId,
    name: String,
    /// People in line.
    waiting: u64,
    /// Active tokens that have not expired.
    active: u64,
    /// The most active tokens: the live setting, else the concert's, else the server's. With 0
    /// nobody is let in.
    capacity: u32,
    /// The most promotions per second, as for `capacity`.
    batch: u32,
    /// Whether an operator halted promotion.
    paused: bool,
    /// Whether the catalogue says `lottery` and there is none: the sale had opened, or people were in
    /// line, before a seed was committed to, so whoever came first is served first.
    missed_lottery: bool,
    /// When the sale opens: the live setting, else the concert's; none if it is open from the start.
    opens_at: Option<DateTime<Utc>>,
    /// When it ends, as for `opensAt`; none if it has no end.
    closes_at: Option<DateTime<Utc>>,
    /// What operators tell everybody who waits, if anything.
    #[schema(value_type = Option<String>)]
    message: Option<Arc<str>>,
    /// The round of the public beacon whose value the draw waits for: until an operator gives it,
    /// nobody is let in. None if no draw waits.
    beacon_awaited: Option<String>,
    /// Seats that people hold, over all dates.
    held: u64,
    /// Seats held back from sale, over all dates.
    withheld: u64,
    /// Over all dates.
    sold: u64,
    /// Over all dates.
    seats: u64,
    stats: Stats,
}

/// The counters of `{c<id>}:stats`; `docs/redis-keys.md` says what each counts.
#[derive(Debug, Serialize, ToSchema)]
struct Stats {
    issued: u64,
    promoted: u64,
    claimed: u64,
    expired: u64,
    left: u64,
    consumed: u64,
    held: u64,
    released: u64,
    lapsed: u64,
    sold: u64,
    displaced: u64,
    corrected: u64,
}

impl Stats {
    /// What was never counted is 0.
    fn of(fields: Vec<(String, String)>) -> Self {
        let fields: HashMap<_, _> = fields.into_iter().collect();
        let count = |name: &str| fields.get(name).and_then(|text| text.parse().ok()).unwrap_or(0);
        Self {
            issued: count("issued"),
            promoted: count("promoted"),
            claimed: count("claimed"),
            expired: count("expired"),
            left: count("left"),
            consumed: count("consumed"),
            held: count("held"),
            released: count("released"),
            lapsed: count("lapsed"),
            sold: count("sold"),
            displaced: count("displaced"),
            corrected: count("corrected"),
        }
    }
}

impl Overview {
    /// Of these.
    #[must_use]
    pub fn new(redis: Redis, concerts: Concerts, queue: Queue) -> Self {
        Self { redis, concerts, queue }
    }

    /// Every concert, by id.
    ///
    /// # Errors
    ///
    /// If Redis does not answer for any of them.
    pub async fn concerts(&self) -> Result<Vec<ConcertOverview>, QueueError> {
        let concerts: Vec<_> = self.concerts.load().iter().cloned().collect();
        futures::stream::iter(concerts)
            .map(|concert| async move { self.concert(&concert).await })
            .buffered(CONCERTS_AT_ONCE)
            .try_collect()
            .await
    }

    /// One concert.
    ///
    /// # Errors
    ///
    /// If Redis does not answer.
    pub async fn concert(&self, concert: &Arc<Concert>) -> Result<ConcertOverview, QueueError> {
        let (facts, stats) =
            tokio::join!(self.queue.facts(concert), self.redis.hash(&concert.keys.stats));
        let (facts, stats) = (facts?, stats.map_err(QueueError::read)?);
        // Of people of whom none waits, nobody needs the order.
        let is_awaited = facts.is_in_draw();
        let waiting_draw = facts.draw.as_ref().filter(|draw| is_awaited && draw.frozen.is_some());
        let beacon_awaited = waiting_draw
            .filter(|draw| draw.drawn().is_none())
            .and_then(|draw| draw.seal.terms.round.clone());
        Ok(ConcertOverview {
            concert_id: concert.id,
            name: concert.name.clone(),
            waiting: facts.waiting,
            active: facts.active,
            capacity: facts.settings.capacity,
            batch: facts.settings.batch,
            paused: facts.settings.paused,
            missed_lottery: facts.has_missed_lottery(&concert.prequeue),
            opens_at: facts.settings.opens_at(),
            closes_at: facts.settings.closes_at(),
            message: facts.message,
            beacon_awaited,
            held: facts.held,
            withheld: facts.withheld,
            sold: facts.sold,
            seats: facts.seats,
            stats: Stats::of(stats),
        })
    }
}
