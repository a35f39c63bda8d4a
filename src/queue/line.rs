//! What one server keeps of one concert's line: nothing that another server would need.
//!
//! The floor (the highest number known here), the rebuild that is believed in, the arrivals that
//! wait for their group, the boards, and the lottery.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::RwLock;

use super::arrivals::Arrivals;
use super::boards::Boards;
use super::lottery::Lottery;
use super::scripts::{Settle, Settled};
use super::{Queue, QueueConfig, TokenKeys};
use crate::concerts::{Concert, Concerts};
use crate::redis::{Redis, RedisError};
use crate::words::{ConcertId, Place};

/// One concert's line, as one server sees it.
pub(super) struct Line {
    pub id: ConcertId,
    pub redis: Redis,
    pub concerts: Concerts,
    pub arrivals: Arrivals,
    pub boards: Boards,
    /// How often somebody asked this server where they stand.
    polls: AtomicU64,
    /// The highest place that this server gave, saw on a board or verified in a token.
    floor: AtomicU64,
    epoch: RwLock<Option<Arc<str>>>,
    pub lottery: Lottery,
    pub config: Arc<QueueConfig>,
}

impl Line {
    pub fn new(
        id: ConcertId,
        redis: Redis,
        concerts: Concerts,
        config: Arc<QueueConfig>,
        keys: TokenKeys,
    ) -> Self {
        Self {
            id,
            redis,
            concerts,
            arrivals: Arrivals::new(config.arrivals_max),
            boards: Boards::new(config.active_ttl),
            polls: AtomicU64::new(0),
            floor: AtomicU64::new(0),
            epoch: RwLock::new(None),
            lottery: Lottery::new(keys),
            config,
        }
    }

    /// The highest place known here; 0 if none is.
    pub fn floor(&self) -> u64 {
        self.floor.load(Ordering::Relaxed)
    }

    /// Counts that somebody asked where they stand.
    pub fn count_poll(&self) {
        self.polls.fetch_add(1, Ordering::Relaxed);
    }

    /// Remembers that `place` was given.
    pub fn raise_floor(&self, place: Place) {
        // Polls come here too, and almost none of them has news: no write without need.
        if self.floor() < place.get() {
            self.floor.fetch_max(place.get(), Ordering::Relaxed);
        }
    }

    /// The rebuild that this server believes in.
    pub fn epoch(&self) -> Option<Arc<str>> {
        self.epoch.read().clone()
    }

    /// Takes what Redis said of its rebuild.
    pub fn learn_epoch(&self, epoch: Option<&str>) {
        if self.epoch.read().as_deref() != epoch {
            *self.epoch.write() = epoch.map(Arc::from);
        }
    }

    /// Makes sure that Redis gives no number twice.
    pub async fn settle(&self, concert: &Concert) -> Result<Settled, RedisError> {
        let draw = self.lottery.seen();
        let call = Settle { concert, floor: self.floor(), draw: draw.as_deref() };
        let settled = self.redis.run_unloaded(&call).await?;
        self.raise_floor(settled.last);
        self.learn_epoch(settled.epoch.as_deref());
        if settled.changed {
            tracing::info!(concert = %self.id, last = %settled.last, "settled the line");
        }
        Ok(settled)
    }
}

/// What operators watch.
impl Queue {
    /// How often this server was asked where somebody stands in the line of `concert`.
    #[must_use]
    pub fn polls(&self, concert: ConcertId) -> u64 {
        self.line(concert).polls.load(Ordering::Relaxed)
    }

    /// What somebody who came now would be told to wait, in seconds; none if nobody has asked this
    /// server about the line of `concert` lately. It asks nobody and keeps no board alive.
    #[must_use]
    pub fn newcomers_wait_seconds(&self, concert: ConcertId) -> Option<u64> {
        let board = self.line(concert).known_board(Instant::now())?;
        Some(board.estimated_wait_seconds(board.waiting() + 1))
    }

    /// Whether people of `concert` are being let in: it is open, not paused and not sold out; none
    /// as above.
    #[must_use]
    pub fn is_promoting(&self, concert: ConcertId) -> Option<bool> {
        Some(self.line(concert).known_board(Instant::now())?.facts().is_promoting())
    }
}
