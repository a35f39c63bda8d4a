//! The sweep: drops holds that lapsed, so that the keys stay small and `lapsed` is counted.

use std::sync::Arc;

use anyhow::Context;
use uuid::Uuid;

use super::Seats;
use super::scripts::SweepHolds;
use crate::concerts::Concert;
use crate::redis::RedisError;
use crate::words::ConcertDate;

/// The most script calls for one date in one run; what is left waits for the next run.
const CALLS_MAX: u32 = 50;

/// What one run of the sweep did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Dates that were looked at.
    pub dates: u32,
    /// Lapsed holds that were dropped.
    pub lapsed: u32,
    /// Dates whose sweep failed.
    pub failed: u32,
}

impl Seats {
    /// Sweeps all dates of all concerts.
    ///
    /// Looks at the stored state alone, so any server may run it at any time, and twice.
    ///
    /// # Errors
    ///
    /// The first failure, after every date had its turn: one broken date must not keep the others'
    /// holds.
    pub async fn sweep_all(&self) -> anyhow::Result<SweepReport> {
        let mut report = SweepReport::default();
        let mut failure = None;
        for concert in self.concerts.load().iter() {
            for date in &concert.dates {
                report.dates += 1;
                match self.sweep(concert, *date).await {
                    Ok(lapsed) => report.lapsed += lapsed,
                    Err(error) => {
                        report.failed += 1;
                        failure.get_or_insert(error);
                    }
                }
            }
        }
        match failure {
            Some(error) => Err(error).with_context(|| format!("the sweep failed: {report:?}")),
            None => Ok(report),
        }
    }

    async fn sweep(&self, concert: &Arc<Concert>, date: ConcertDate) -> Result<u32, RedisError> {
        let mut lapsed = 0;
        for _ in 0..CALLS_MAX {
            let swept =
                self.redis.run(&SweepHolds { concert, date, version: Uuid::now_v7() }).await?;
            lapsed += swept;
            if swept < SweepHolds::SEATS_MAX {
                break;
            }
        }
        Ok(lapsed)
    }
}
