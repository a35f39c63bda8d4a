//! Seat lists: encoded once per version of a date, and exact all the same.
//!
//! Every hold, release and sale gives its date a new random version, so an equal version means the
//! same holds and sales. What changes without one is time: a list is good until the next hold lapses
//! or the date becomes past, measured on the monotonic clock from *before* it was read, so that it
//! ends too early rather than too late.
//!
//! What a list was made of also tells most losers of a rush that their seat is gone, without the
//! script that would hold it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono_tz::Tz;
use parking_lot::{Mutex, RwLock};

use super::domain::{FreeSeats, SeatReading, Unfree};
use super::scripts::ReadSeats;
use crate::concerts::Concert;
use crate::redis::{Redis, RedisError};
use crate::words::{ConcertDate, ConcertId, SeatNumber};

/// A date's version as one `GET` found it, and when that was asked.
#[derive(Debug)]
pub struct SeenVersion {
    asked_at: Instant,
    version: Option<String>,
}

/// The list of one date; None: the date is past.
type List = Option<Bytes>;

/// The seats of one date at one moment.
pub struct Moment {
    /// What the list was made for: a reload of the catalogue may change it.
    made_for: (SeatNumber, Tz),
    /// When its reading began: later for every later moment of the same date.
    pub read_at: Instant,
    good_until: Instant,
    /// The free seats, encoded; none: the date is past.
    pub list: List,
    /// The same, not encoded.
    pub free: FreeSeats,
    /// What they were made of.
    pub reading: SeatReading,
}

#[derive(Default)]
struct Slot {
    cached: Mutex<Option<Arc<Moment>>>,
    /// One reading at a time, whoever asks.
    reading: tokio::sync::Mutex<()>,
}

/// The lists of this server. Holds at most one per date of the catalogue.
#[derive(Default)]
pub struct SeatLists {
    slots: RwLock<HashMap<(ConcertId, ConcertDate), Arc<Slot>>>,
}

impl SeatLists {
    /// Reads the version of `date`.
    pub async fn version(
        redis: &Redis,
        concert: &Concert,
        date: ConcertDate,
    ) -> Result<SeenVersion, RedisError> {
        let asked_at = Instant::now();
        let version = redis.get(&concert.keys.version(date)).await?;
        Ok(SeenVersion { asked_at, version })
    }

    /// The free seats of `date`, true at a moment after `seen` was asked for.
    pub async fn list(
        &self,
        redis: &Redis,
        concert: &Concert,
        date: ConcertDate,
        seen: SeenVersion,
    ) -> Result<List, RedisError> {
        Ok(self.moment(redis, concert, date, seen).await?.list.clone())
    }

    /// The seats of `date`, as they were at a moment after `seen` was asked for.
    pub async fn moment(
        &self,
        redis: &Redis,
        concert: &Concert,
        date: ConcertDate,
        seen: SeenVersion,
    ) -> Result<Arc<Moment>, RedisError> {
        let slot = self.slot(concert.id, date);
        if let Some(moment) = slot.usable(concert, &seen) {
            return Ok(moment);
        }
        let _one_reading = slot.reading.lock().await;
        // Whoever read while this caller waited may have read for it, too.
        if let Some(moment) = slot.usable(concert, &seen) {
            return Ok(moment);
        }
        slot.rest().await;
        slot.read(redis, concert, date).await
    }

    /// The first of `seats` that was not free when `seen` was asked for; none says nothing.
    pub fn unfree(
        &self,
        concert: &Concert,
        date: ConcertDate,
        seen: &SeenVersion,
        seats: &[SeatNumber],
    ) -> Option<Unfree> {
        let cached = self.slot(concert.id, date).cached.lock().clone()?;
        // A list that was read after `seen` will not do here: it may show the caller's own seat.
        if !cached.is_of(concert, seen) {
            return None;
        }
        // Of a date that is past nothing is known.
        cached.list.as_ref()?;
        seats.iter().find_map(|seat| cached.reading.unfree(*seat))
    }

    /// Whether all of `seats` were free in the newest list that this server has, however old that is;
    /// also if it has none.
    pub fn may_be_free(&self, concert: &Concert, date: ConcertDate, seats: &[SeatNumber]) -> bool {
        let cached = self.slot(concert.id, date).cached.lock().clone();
        let is_free =
            |moment: &Moment| seats.iter().all(|seat| moment.reading.unfree(*seat).is_none());
        cached.is_none_or(|moment| is_free(&moment))
    }

    /// Reads the list of `date` for [`Self::unfree`], unless it was read just now.
    pub async fn refresh(
        &self,
        redis: &Redis,
        concert: &Concert,
        date: ConcertDate,
    ) -> Result<(), RedisError> {
        let slot = self.slot(concert.id, date);
        let age = slot.cached.lock().as_ref().map(|cached| cached.read_at.elapsed());
        if age.is_some_and(|age| age < REFRESH_EVERY) {
            return Ok(());
        }
        let Ok(_one_reading) = slot.reading.try_lock() else {
            return Ok(());
        };
        slot.read(redis, concert, date).await.map(|_| ())
    }

    fn slot(&self, concert: ConcertId, date: ConcertDate) -> Arc<Slot> {
        if let Some(slot) = self.slots.read().get(&(concert, date)) {
            return slot.clone();
        }
        self.slots.write().entry((concert, date)).or_default().clone()
    }
}

impl Slot {
    /// The cached one, if it was true at a moment after `seen` was asked for: still of the version
    /// seen and not outlived, or read later than that.
    fn usable(&self, concert: &Concert, seen: &SeenVersion) -> Option<Arc<Moment>> {
        let cached = self.cached.lock().clone()?;
        let newer = cached.fits(concert) && cached.read_at > seen.asked_at;
        (newer || cached.is_of(concert, seen)).then_some(cached)
    }

    /// Waits until the list may be read again; the caller holds `reading`, so whoever comes meanwhile
    /// shares what it reads.
    ///
    /// In a rush every list is of another version. Read one after the other by every server, lists of
    /// many held seats would take the time of Redis that holds and payments need.
    async fn rest(&self) {
        let cached = self.cached.lock().clone();
        if let Some(cached) = cached {
            let held = u32::try_from(cached.reading.held.len()).unwrap_or(u32::MAX);
            let rest = REST_PER_HELD.saturating_mul(held).min(REST_MAX);
            // A shorter one would be rounded up to it.
            if rest >= Duration::from_millis(1) {
                tokio::time::sleep_until((cached.read_at + rest).into()).await;
            }
        }
    }

    /// Reads the list and keeps it; the caller holds `reading`.
    async fn read(
        &self,
        redis: &Redis,
        concert: &Concert,
        date: ConcertDate,
    ) -> Result<Arc<Moment>, RedisError> {
        let read_at = Instant::now();
        let reading = redis.run(&ReadSeats { concert, date }).await?;
        let moment = Arc::new(Moment::new(concert, date, reading, read_at));
        *self.cached.lock() = Some(moment.clone());
        Ok(moment)
    }
}

impl Moment {
    fn fits(&self, concert: &Concert) -> bool {
        self.made_for == (concert.seats, concert.time_zone)
    }

    /// Whether this is the list of the version seen, and not outlived.
    fn is_of(&self, concert: &Concert, seen: &SeenVersion) -> bool {
        self.fits(concert)
            && self.reading.version == seen.version
            && Instant::now() < self.good_until
    }

    fn new(concert: &Concert, date: ConcertDate, reading: SeatReading, read_at: Instant) -> Self {
        let date_ends_ms = concert.date_ends_ms(date);
        let past = reading.now_ms >= date_ends_ms;
        let next_ms = match reading.next_deadline_ms {
            _ if past => u64::MAX,
            Some(deadline_ms) => deadline_ms.min(date_ends_ms),
            None => date_ends_ms,
        };
        // Redis' milliseconds are rounded down: up to one of them is over already.
        let good_for_ms = next_ms.saturating_sub(reading.now_ms).saturating_sub(1);
        let good_for = Duration::from_millis(good_for_ms).min(GOOD_FOR_MAX);
        let free = reading.free(concert.seats);
        Self {
            made_for: (concert.seats, concert.time_zone),
            read_at,
            good_until: read_at + good_for,
            list: (!past).then(|| free.encode()),
            free,
            reading,
        }
    }
}

/// How often losers let a list be read again. They do without it, and a list of 100,000 seats costs
/// Redis and this server a millisecond each.
const REFRESH_EVERY: Duration = Duration::from_millis(100);

/// From one reading to the next, for each seat that is held: some 50 times of what it costs Redis.
const REST_PER_HELD: Duration = Duration::from_micros(10);

/// The most of it: nobody waits longer for a reading to begin.
const REST_MAX: Duration = Duration::from_millis(50);

/// Reading again once an hour costs nothing, and no clock is trusted for longer.
const GOOD_FOR_MAX: Duration = Duration::from_hours(1);
