//! Redis after it lost data: the sold set and what is withheld are rebuilt, compared, and only then
//! trusted.
//!
//! A server trusts a concert in Redis while the stored generation (turn and epoch) is the one that
//! it has verified; the scripts compare the two themselves. This job notices a change, verifies the
//! new generation against PostgreSQL, and opens the gate. Every server does this for itself; only
//! the rebuild after a complete loss is one server's work.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};
use parking_lot::{Mutex, RwLock};
use uuid::Uuid;

use super::domain::Difference;
use super::reads;
use super::rebuild::{Rebuild, SealRebuild, TakeRebuild, Taken};
use super::service::Payments;
use crate::concerts::{Concert, Generation};
use crate::postgres::PgError;
use crate::redis::RedisError;
use crate::seats::scripts::{CorrectOutcome, CorrectSold, RestoreOutcome, RestoreSold};
use crate::words::{ConcertDate, ConcertId, SeatNumber};

/// How many concerts are looked at, and how many calls of a rebuild are in flight, at once.
const AT_ONCE: usize = 16;

type Settle = Arc<dyn Fn(Arc<Concert>) -> BoxFuture<'static, Result<(), RedisError>> + Send + Sync>;

/// What this server remembers of the concerts between two runs.
#[derive(Default)]
pub(super) struct Recovery {
    settle: RwLock<Option<Settle>>,
    seen: Mutex<HashMap<ConcertId, Seen>>,
}

#[derive(Default, Clone)]
struct Seen {
    settings: Vec<(String, String)>,
    compared: Option<Instant>,
}

/// Why a concert could not be verified; the next run tries again.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// Redis.
    #[error("Redis, while a concert was verified")]
    Redis(#[from] RedisError),
    /// PostgreSQL.
    #[error("PostgreSQL, while a concert was verified")]
    Database(#[from] PgError),
    /// Another loss, or another server's rebuild, came in between.
    #[error("Redis changed while a concert was verified")]
    Changed,
    /// Some of the last payments could not be finished again.
    #[error("{0} payments could not be finished again")]
    Unfinished(usize),
}

/// What one run of [`Payments::verify_all`] did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct VerifyReport {
    /// Concerts whose generation is verified now and was not before.
    pub opened: usize,
    /// Concerts that another server rebuilds.
    pub waiting: usize,
    /// Sold sets rebuilt from nothing.
    pub rebuilt: usize,
    /// Seats that had to be marked sold.
    pub marked: u64,
    /// Marks that had to be cleared, because PostgreSQL does not know of a sale.
    pub cleared: u64,
    /// Seats that had to be withheld again.
    pub withheld: u64,
}

impl VerifyReport {
    fn add(&mut self, other: &Self) {
        self.opened += other.opened;
        self.waiting += other.waiting;
        self.rebuilt += other.rebuilt;
        self.marked += other.marked;
        self.cleared += other.cleared;
        self.withheld += other.withheld;
    }
}

impl Payments {
    /// Sets what settles a line before its concert is rebuilt: no number may be given twice, so it
    /// comes before the epoch that lets numbers be given.
    pub fn settle_lines_by(
        &self,
        settle: impl Fn(Arc<Concert>) -> BoxFuture<'static, Result<(), RedisError>>
        + Send
        + Sync
        + 'static,
    ) {
        *self.0.recovery.settle.write() = Some(Arc::new(settle));
    }

    /// What `read` makes of the live settings of `concert` as they were a second or so ago; of none
    /// before this server has verified the concert.
    pub fn with_settings<T>(
        &self,
        concert: ConcertId,
        read: impl FnOnce(&[(String, String)]) -> T,
    ) -> T {
        let seen = self.0.recovery.seen.lock();
        read(seen.get(&concert).map_or(&[], |seen| seen.settings.as_slice()))
    }

    /// Each second: verifies every concert whose generation changed, and compares the others once a
    /// minute. Any server may do it, at any time, twice.
    ///
    /// # Errors
    ///
    /// The first failure, after all concerts were tried: one must not keep the others closed.
    pub async fn verify_all(self) -> Result<VerifyReport, RecoveryError> {
        let catalogue = self.0.concerts.load();
        let concerts: Vec<Arc<Concert>> = catalogue.iter().cloned().collect();
        // Made before they are run: a closure inside the stream would not be known to be Send.
        let verifications: Vec<_> =
            concerts.iter().map(|concert| self.verify(concert).boxed()).collect();
        let results: Vec<_> =
            futures::stream::iter(verifications).buffer_unordered(AT_ONCE).collect().await;
        let mut report = VerifyReport::default();
        for result in results {
            let of_one = result?;
            self.0.reconciled.count_verify(&of_one);
            report.add(&of_one);
        }
        Ok(report)
    }

    async fn verify(&self, concert: &Arc<Concert>) -> Result<VerifyReport, RecoveryError> {
        // Sent in this order: settings that are read after a loss come with a changed epoch.
        let (settings, stored) =
            tokio::join!(self.0.redis.hash(&concert.keys.settings), self.stored(concert));
        let (settings, (run, epoch)) = (settings?, stored?);
        let stored = run.clone().zip(epoch.clone()).map(generation);
        if stored.is_some() && stored == self.0.gates.verified(concert.id) {
            return self.compare_in_time(concert, settings).await;
        }
        self.0.gates.close(concert.id);
        tracing::info!(concert = %concert.id, ?run, ?epoch, "verifying the sold seats in Redis");
        let mut report = VerifyReport::default();
        if epoch.is_none() {
            if !self.rebuild(concert, &mut report).await? {
                report.waiting = 1;
                return Ok(report);
            }
        } else {
            self.settle(concert).await?;
        }
        let (Some(run), Some(epoch)) = self.stored(concert).await? else {
            return Err(RecoveryError::Changed);
        };
        // Whoever rebuilt may have just started, and have no settings to write back.
        self.seal(concert, None, &epoch).await?;
        let verified = generation((run, epoch));
        let compared = self.compare(concert).await?;
        self.finish_recent(concert).await?;
        let (Some(run), Some(epoch)) = self.stored(concert).await? else {
            return Err(RecoveryError::Changed);
        };
        if generation((run, epoch)) != verified {
            return Err(RecoveryError::Changed);
        }
        self.0.gates.open(concert.id, verified);
        report.opened = 1;
        report.add(&compared);
        tracing::info!(concert = %concert.id, ?report, "the sold seats in Redis are verified");
        Ok(report)
    }

    /// The turn and the epoch that Redis has for a concert.
    async fn stored(
        &self,
        concert: &Concert,
    ) -> Result<(Option<String>, Option<String>), RedisError> {
        let keys = &concert.keys;
        let (run, epoch) = tokio::join!(self.0.redis.get(&keys.run), self.0.redis.get(&keys.epoch));
        Ok((run?, epoch?))
    }

    async fn settle(&self, concert: &Arc<Concert>) -> Result<(), RedisError> {
        let settle = self.0.recovery.settle.read().clone();
        match settle {
            Some(settle) => settle(concert.clone()).await,
            None => Ok(()),
        }
    }

    /// Nothing was lost: remembers the settings, and compares if the last time is long ago.
    async fn compare_in_time(
        &self,
        concert: &Concert,
        settings: Vec<(String, String)>,
    ) -> Result<VerifyReport, RecoveryError> {
        let due = {
            let mut seen = self.0.recovery.seen.lock();
            let seen = seen.entry(concert.id).or_default();
            seen.settings = settings;
            let recently = |at: &Instant| at.elapsed() < self.0.config.compare_every;
            !seen.compared.as_ref().is_some_and(recently)
        };
        if due { self.compare(concert).await } else { Ok(VerifyReport::default()) }
    }

    /// Rebuilds the sold set from PostgreSQL; false if another server is doing it.
    async fn rebuild(
        &self,
        concert: &Arc<Concert>,
        report: &mut VerifyReport,
    ) -> Result<bool, RecoveryError> {
        let rebuild = Rebuild { concert, id: Uuid::new_v4(), lock: self.0.config.rebuild_lock };
        match self.0.redis.run(&TakeRebuild(rebuild)).await? {
            Taken::Locked => {}
            Taken::Busy => return Ok(false),
            Taken::Present => return Ok(true),
        }
        self.settle(concert).await?;
        for date in &concert.dates {
            report.marked += self.restore(rebuild, *date).await?;
            let lock = Some((rebuild.id, rebuild.lock));
            report.withheld += self.withhold_again(concert, *date, lock).await?;
        }
        self.seal(concert, Some(rebuild.id), &Uuid::new_v4().to_string()).await?;
        report.rebuilt = 1;
        tracing::info!(concert = %concert.id, report.marked, "rebuilt the sold seats in Redis");
        Ok(true)
    }

    async fn restore(&self, rebuild: Rebuild<'_>, date: ConcertDate) -> Result<u64, RecoveryError> {
        let Rebuild { concert, id, lock } = rebuild;
        let sold = reads::sold_seats(&self.0.db, concert.id, date).await?;
        let lock = Some((id, lock));
        // A date without sales needs a sign of life too.
        self.mark_chunk(concert, date, lock, &[]).await?;
        self.mark(concert, date, lock, &sold).await
    }

    /// Ends the rebuild `id`, or gives back what this server remembers to one that another has ended.
    async fn seal(
        &self,
        concert: &Concert,
        id: Option<Uuid>,
        epoch: &str,
    ) -> Result<(), RecoveryError> {
        let settings = {
            let seen = self.0.recovery.seen.lock();
            seen.get(&concert.id).map(|seen| seen.settings.clone()).unwrap_or_default()
        };
        let late = self.0.config.rebuild_lock;
        let seal = SealRebuild { concert, id, epoch, late, settings: &settings };
        if self.0.redis.run(&seal).await? { Ok(()) } else { Err(RecoveryError::Changed) }
    }

    /// Marks seats as sold, under the lock of a rebuild or without one; answers how many were not.
    async fn mark(
        &self,
        concert: &Concert,
        date: ConcertDate,
        lock: Option<(Uuid, Duration)>,
        sold: &[SeatNumber],
    ) -> Result<u64, RecoveryError> {
        let chunks = sold.chunks(RestoreSold::SEATS_MAX);
        let calls: Vec<_> =
            chunks.map(|seats| self.mark_chunk(concert, date, lock, seats).boxed()).collect();
        futures::stream::iter(calls)
            .buffer_unordered(AT_ONCE)
            .try_fold(0, async |sum, marked| Ok(sum + marked))
            .await
    }

    async fn mark_chunk(
        &self,
        concert: &Concert,
        date: ConcertDate,
        lock: Option<(Uuid, Duration)>,
        seats: &[SeatNumber],
    ) -> Result<u64, RecoveryError> {
        let version = Uuid::new_v4();
        let restore = RestoreSold { concert, date, lock, version, seats };
        match self.0.redis.run(&restore).await? {
            RestoreOutcome::Restored { marked, .. } => Ok(u64::from(marked)),
            RestoreOutcome::Lost => Err(RecoveryError::Changed),
        }
    }

    /// Compares every date with PostgreSQL and corrects what differs; answers how many seats were
    /// marked and withheld, and how many marks were cleared.
    async fn compare(&self, concert: &Concert) -> Result<VerifyReport, RecoveryError> {
        let mut total = VerifyReport::default();
        for date in &concert.dates {
            let (marked, cleared) = self.compare_date(concert, *date).await?;
            let withheld = self.withhold_again(concert, *date, None).await?;
            total.add(&VerifyReport { marked, cleared, withheld, ..VerifyReport::default() });
        }
        let mut seen = self.0.recovery.seen.lock();
        seen.entry(concert.id).or_default().compared = Some(Instant::now());
        Ok(total)
    }

    async fn compare_date(
        &self,
        concert: &Concert,
        date: ConcertDate,
    ) -> Result<(u64, u64), RecoveryError> {
        // First the version and the bitmap, then PostgreSQL: a payment is committed before its seat
        // is marked, so a mark of this reading that PostgreSQL does not know has no sale.
        let keys = &concert.keys;
        let seen = self.0.redis.get(&keys.version(date)).await?;
        let bitmap = self.0.redis.bytes(&keys.sold(date)).await?;
        let sold = reads::sold_seats(&self.0.db, concert.id, date).await?;
        let difference = Difference::between(&bitmap.unwrap_or_default(), &sold);
        let cleared = self.clear(concert, date, seen, &difference.unknown).await?;
        let marked = self.mark(concert, date, None, &difference.missing).await?;
        if marked + cleared > 0 {
            tracing::warn!(
                concert = %concert.id, %date, marked, cleared,
                "the sold seats in Redis were not those of PostgreSQL"
            );
        }
        Ok((marked, cleared))
    }

    /// Clears marks that PostgreSQL does not know, unless the date changed since they were read:
    /// then the next comparison does.
    async fn clear(
        &self,
        concert: &Concert,
        date: ConcertDate,
        mut seen: Option<String>,
        unknown: &[SeatNumber],
    ) -> Result<u64, RecoveryError> {
        let mut cleared = 0;
        for seats in unknown.chunks(RestoreSold::SEATS_MAX) {
            let version = Uuid::new_v4();
            let correct = CorrectSold { concert, date, seen: seen.as_deref(), version, seats };
            match self.0.redis.run(&correct).await? {
                CorrectOutcome::Corrected(count) => cleared += u64::from(count),
                CorrectOutcome::Changed => break,
            }
            seen = Some(version.to_string());
        }
        Ok(cleared)
    }

    /// Finishes the last payments again, synced or not: what Redis lost includes their tokens.
    async fn finish_recent(&self, concert: &Concert) -> Result<(), RecoveryError> {
        let mut after = (DateTime::<Utc>::UNIX_EPOCH, Uuid::nil());
        loop {
            let age_s = self.0.config.finish_again.as_secs_f64();
            let payments = reads::recent(&self.0.db, concert.id, age_s, after).await?;
            let Some(last) = payments.last() else {
                return Ok(());
            };
            after = (last.paid_at, last.id);
            let count = payments.len();
            let finished = self.finish_all(payments).await.len();
            if finished < count {
                return Err(RecoveryError::Unfinished(count - finished));
            }
        }
    }
}

fn generation((run, epoch): (String, String)) -> Generation {
    Generation { run: run.into(), epoch: epoch.into() }
}
