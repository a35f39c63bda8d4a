//! Once a second every server takes a sample of every sale. Whatever asks for numbers then reads the
//! newest one here, however often, and one server's sample becomes the row of that second in Redis.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use parking_lot::RwLock;
use uuid::Uuid;

use super::scripts::{Sample, TakeSample};
use crate::concerts::{Concert, Concerts};
use crate::queue::Queue;
use crate::redis::{Redis, RedisError};
use crate::words::ConcertId;

/// The job's name in logs and metrics.
pub const SAMPLE_JOB: &str = "ops.sample";

/// How many concerts are sampled at a time.
const CONCERTS_AT_ONCE: usize = 16;
/// An hour.
const ROWS_MAX: usize = 3_600;
/// The most rows of one read.
const PIECE: usize = 300;
/// A sample says nothing of the present once it is older than this.
const AGE_MAX: Duration = Duration::from_secs(5);

/// The newest samples of one server. Cheap to clone.
#[derive(Clone)]
pub struct Samples(Arc<Inner>);

struct Inner {
    redis: Redis,
    concerts: Concerts,
    queue: Queue,
    server: String,
    newest: RwLock<HashMap<ConcertId, (Instant, Sample)>>,
}

/// What one run did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SampleReport {
    /// Concerts that were sampled.
    pub sampled: usize,
}

impl Samples {
    /// None yet; this server gets a name of its own.
    #[must_use]
    pub fn new(redis: Redis, concerts: Concerts, queue: Queue) -> Self {
        let server = Uuid::new_v4().simple().to_string()[..8].to_owned();
        Self(Arc::new(Inner { redis, concerts, queue, server, newest: RwLock::default() }))
    }

    /// The name under which this server is seen.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.0.server
    }

    /// The newest sample of `concert`, unless it is too old to say anything.
    #[must_use]
    pub fn of(&self, concert: ConcertId) -> Option<Sample> {
        let newest = self.0.newest.read();
        let (_, sample) = newest.get(&concert).filter(|(at, _)| at.elapsed() < AGE_MAX)?;
        Some(sample.clone())
    }

    /// Samples every concert. Safe on any number of servers at once.
    ///
    /// # Errors
    ///
    /// If Redis failed for any concert, after every other one was sampled.
    pub async fn take_all(self) -> Result<SampleReport, RedisError> {
        let concerts: Vec<_> = self.0.concerts.load().iter().cloned().collect();
        self.0.newest.write().retain(|id, _| concerts.iter().any(|concert| concert.id == *id));
        let mut runs = futures::stream::iter(concerts)
            .map(|concert| {
                let samples = self.clone();
                async move { samples.take(&concert).await }
            })
            .buffer_unordered(CONCERTS_AT_ONCE);
        let (mut report, mut failure) = (SampleReport::default(), None);
        while let Some(run) = runs.next().await {
            match run {
                Ok(()) => report.sampled += 1,
                Err(error) => failure = Some(error),
            }
        }
        failure.map_or(Ok(report), Err)
    }

    /// The rows after `after_ms`, each as its second in Unix ms and the fields of [`Sample::FIELDS`];
    /// the oldest first.
    ///
    /// # Errors
    ///
    /// If Redis does not answer.
    pub async fn rows(
        &self,
        concert: &Concert,
        after_ms: u64,
    ) -> Result<Vec<Vec<Option<u64>>>, RedisError> {
        let (mut rows, mut after) = (Vec::new(), after_ms);
        // Read in pieces: an hour at once would keep Redis from everybody else for milliseconds.
        while rows.len() < ROWS_MAX {
            let entries = self.0.redis.entries_after(&concert.keys.series, after, PIECE).await?;
            let count = entries.len();
            for (id, fields) in entries {
                let at = id.split_once('-').and_then(|(ms, _)| ms.parse().ok());
                after = at.unwrap_or(u64::MAX);
                let value = |name: &&str| {
                    let field = fields.iter().find(|(field, _)| field == name);
                    field.and_then(|(_, value)| value.parse().ok())
                };
                rows.push(std::iter::once(at).chain(Sample::FIELDS.iter().map(value)).collect());
            }
            if count < PIECE {
                break;
            }
        }
        Ok(rows)
    }

    async fn take(&self, concert: &Concert) -> Result<(), RedisError> {
        let inner = &self.0;
        let call = TakeSample {
            concert,
            server: &inner.server,
            polls: inner.queue.polls(concert.id),
            estimate: inner.queue.newcomers_wait_seconds(concert.id),
        };
        let sample = inner.redis.run(&call).await?;
        inner.newest.write().insert(concert.id, (Instant::now(), sample));
        Ok(())
    }
}
