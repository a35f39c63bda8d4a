//! The one job of the line: letting the next people in, every second, on every server.

use futures::StreamExt;

use super::Queue;
use super::promotion::{DrawnFrom, Promote, PromoteOutcome, PromoteTick};
use crate::concerts::{Concert, Prequeue};
use crate::redis::RedisError;

/// The job's name in logs and metrics.
pub const PROMOTE_JOB: &str = "queue.promote";

/// How many concerts are served at a time.
const CONCERTS_AT_ONCE: usize = 8;
/// The most calls per concert and run; each lets in or drops up to 64.
const CALLS_MAX: usize = 500;

/// What one run did, over all concerts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PromoteReport {
    /// People let in.
    pub promoted: u64,
    /// Expired tokens dropped.
    pub expired: u64,
    /// Concerts paused, not open yet or sold out.
    pub closed: u64,
    /// Concerts that this server has not verified yet.
    pub not_ready: u64,
    /// Concerts for which Redis failed.
    pub failed: u64,
}

impl Queue {
    /// Lets in as many people as pace and capacity allow, in every concert.
    ///
    /// Safe on any number of servers at once: the script itself keeps pace and capacity.
    ///
    /// # Errors
    ///
    /// If Redis failed for any concert, after every other one was served.
    pub async fn promote_all(self) -> Result<PromoteReport, RedisError> {
        let concerts: Vec<_> = self.0.concerts.load().iter().cloned().collect();
        let mut runs = futures::stream::iter(concerts)
            .map(|concert| {
                let queue = self.clone();
                async move { queue.promote(&concert).await }
            })
            .buffer_unordered(CONCERTS_AT_ONCE);
        let mut total = PromoteReport::default();
        let mut failure = None;
        // One concert without an answer must not keep the others' people out.
        while let Some(run) = runs.next().await {
            match run {
                Ok(report) => total.add(report),
                Err(error) => {
                    total.failed += 1;
                    failure = Some(error);
                }
            }
        }
        failure.map_or(Ok(total), Err)
    }

    /// Lets in whoever is next in the line of `concert`.
    pub async fn promote(&self, concert: &Concert) -> Result<PromoteReport, RedisError> {
        let mut report = PromoteReport::default();
        let Some(generation) = self.0.gates.verified(concert.id) else {
            report.not_ready = 1;
            return Ok(report);
        };
        let line = self.line(concert.id);
        let mut draw = line.lottery.seen();
        if draw.is_none() && concert.prequeue != Prequeue::Fifo {
            // So that the commitment can be read before the first arrival.
            draw = line.advance_draw(concert).await?;
        }
        let mut cursor = draw.as_ref().map_or(0, |draw| draw.cursor);
        let mut order = draw.as_ref().and_then(|draw| line.lottery.order(draw));
        for _ in 0..CALLS_MAX {
            let drawn = draw.as_ref().zip(order.as_deref());
            let call = Promote {
                concert,
                generation: &generation,
                capacity: concert.capacity.unwrap_or(self.0.config.capacity),
                batch: concert.batch.unwrap_or(self.0.config.batch),
                claim_ttl: self.0.config.claim_ttl,
                drawn: drawn.map(|(draw, order)| DrawnFrom {
                    id: draw.seal.terms.id,
                    order,
                    cursor,
                }),
            };
            let tick = match self.0.redis.run(&call).await? {
                PromoteOutcome::Promoted(tick) => {
                    cursor = tick.cursor;
                    tick
                }
                PromoteOutcome::Closed(tick) => {
                    report.closed = 1;
                    tick
                }
                PromoteOutcome::Undrawn(tick) if order.is_none() => {
                    draw = line.advance_draw(concert).await?;
                    order = match &draw {
                        Some(draw) => line.lottery.compute(concert.id, draw).await,
                        None => None,
                    };
                    report.closed = u64::from(order.is_none());
                    PromoteTick { more: order.is_some(), ..tick }
                }
                PromoteOutcome::Undrawn(tick) => {
                    // Another draw than the one known here: the next run knows it.
                    line.advance_draw(concert).await?;
                    PromoteTick { more: false, ..tick }
                }
                PromoteOutcome::NotReady => {
                    report.not_ready = 1;
                    break;
                }
                PromoteOutcome::Unsettled => {
                    // That is another generation: it has to be verified before anybody is let in.
                    line.settle(concert).await?;
                    report.not_ready = 1;
                    break;
                }
            };
            report.promoted += tick.promoted;
            report.expired += tick.expired;
            if !tick.more {
                break;
            }
        }
        Ok(report)
    }
}

impl PromoteReport {
    fn add(&mut self, other: Self) {
        self.promoted += other.promoted;
        self.expired += other.expired;
        self.closed += other.closed;
        self.not_ready += other.not_ready;
        self.failed += other.failed;
    }
}
