//! Deadlines on PostgreSQL's own clock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use futures::FutureExt;
use parking_lot::RwLock;
use sqlx::PgPool;

use super::{PgError, Statement, pool};

pub(super) static NOW: Statement = Statement::new("now");

/// A reading older than this is not used: PostgreSQL may be another machine by now.
const READING_AGE_MAX: Duration = Duration::from_secs(5);

/// What PostgreSQL's clock says, without asking it each time: the difference between its
/// `clock_timestamp()` and this process' monotonic clock. The system clock plays no part. Cheap to
/// clone.
#[derive(Clone)]
pub struct PgClock {
    pool: PgPool,
    reading: Arc<RwLock<Option<Reading>>>,
}

#[derive(Clone, Copy)]
struct Reading {
    pg: DateTime<Utc>,
    /// After the answer came: so the clock is never ahead of PostgreSQL's, and a deadline made
    /// from it is early rather than late.
    at: Instant,
}

impl PgClock {
    /// A clock that has not been read yet.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        Self { pool, reading: Arc::default() }
    }

    /// Reads PostgreSQL's clock; meant to be called every second.
    pub async fn refresh(&self) -> Result<(), PgError> {
        let connection = pool::acquire(&self.pool).await?;
        let pg = pool::answer(connection, &NOW, |connection| {
            sqlx::query_scalar!(r#"select clock_timestamp() as "now!""#)
                .fetch_one(connection)
                .boxed()
        })
        .await;
        let at = Instant::now();
        if matches!(pg, Err(PgError::Lost(_))) {
            pool::recover(&self.pool).await;
        }
        *self.reading.write() = Some(Reading { pg: pg?, at });
        Ok(())
    }

    /// `delay` from now, on PostgreSQL's clock.
    ///
    /// # Errors
    ///
    /// [`PgError::NotSent`] or [`PgError::Lost`] if the last reading is too old and PostgreSQL does
    /// not answer. Nothing was written in either case.
    pub async fn after(&self, delay: Duration) -> Result<DateTime<Utc>, PgError> {
        let fresh = |reading: &Reading| reading.at.elapsed() < READING_AGE_MAX;
        if !self.reading.read().as_ref().is_some_and(fresh) {
            self.refresh().await?;
        }
        let reading = *self.reading.read();
        let reading = reading.ok_or_else(PgError::unanswered)?;
        Ok(reading.pg + reading.at.elapsed() + delay)
    }
}
