//! What a lost answer or a dead server left over: payments that Redis was not told about.

use futures::StreamExt;
use uuid::Uuid;

use super::domain::Payment;
use super::reads::{self, PAYMENTS_MAX};
use super::service::Payments;
use crate::mutant;
use crate::postgres::PgError;

/// How many payments are finished at the same time.
const FINISHES_AT_ONCE: usize = 64;
/// How many batches one run takes; the rest waits for the next run.
const BATCHES_MAX: usize = 10;

/// What one run of [`Payments::finish_unsynced`] did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct FinishReport {
    /// Payments that Redis was told about by the requests themselves.
    pub noted: usize,
    /// Payments that had to be finished here.
    pub finished: usize,
    /// Payments that Redis still does not know.
    pub failed: usize,
}

impl Payments {
    /// Each second: reads PostgreSQL's clock, notes the payments that Redis knows, and finishes
    /// those that it was not told about. Any server may do it, at any time, twice.
    pub async fn finish_unsynced(self) -> Result<FinishReport, PgError> {
        self.0.clock.refresh().await?;
        let mut report =
            FinishReport { noted: self.note_synced().await?, ..FinishReport::default() };
        if mutant::lacks("reconciler") {
            return Ok(report);
        }
        for _ in 0..BATCHES_MAX {
            let late_s = self.0.config.unsynced_after.as_secs_f64();
            let late = reads::unsynced(&self.0.db, late_s).await?;
            let count = late.len();
            let finished = self.finish_all(late).await;
            report.finished += finished.len();
            report.failed += count - finished.len();
            reads::mark_synced(&self.0.db, &finished).await?;
            if finished.len() < usize::try_from(PAYMENTS_MAX).unwrap_or(usize::MAX) {
                break;
            }
        }
        Ok(report)
    }

    /// Tells PostgreSQL about the payments that Redis knows.
    async fn note_synced(&self) -> Result<usize, PgError> {
        let synced = std::mem::take(&mut *self.0.synced.lock());
        for chunk in synced.chunks(1000) {
            // What is lost here is found again as a payment that was not noted.
            reads::mark_synced(&self.0.db, chunk).await?;
        }
        Ok(synced.len())
    }

    /// Finishes payments, several at a time; answers those that succeeded.
    pub(super) async fn finish_all(&self, payments: Vec<Payment>) -> Vec<Uuid> {
        futures::stream::iter(payments)
            .map(|payment| async move {
                let finished = self.finish(&payment).await;
                finished.is_ok().then_some(payment.id)
            })
            .buffer_unordered(FINISHES_AT_ONCE)
            .filter_map(std::future::ready)
            .collect()
            .await
    }
}
