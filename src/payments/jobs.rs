//! What a lost answer or a dead server left over: payments that Redis was not told about.

use std::sync::atomic::{AtomicU64, Ordering};

use futures::StreamExt;
use uuid::Uuid;

use super::domain::Payment;
use super::reads::{self, PAYMENTS_MAX};
use super::recovery::VerifyReport;
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

/// What the reconciler of this server did since its start.
#[derive(Debug, Default)]
pub(super) struct Reconciled {
    finished: AtomicU64,
    unfinished: AtomicU64,
    marked: AtomicU64,
    cleared: AtomicU64,
    withheld: AtomicU64,
}

/// A look at [`Payments::reconciled`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReconciledCounts {
    /// Payments that had to be finished by the job.
    pub finished: u64,
    /// Payments that Redis did not know after the last run.
    pub unfinished: u64,
    /// Seats that had to be marked sold.
    pub marked: u64,
    /// Marks that had to be cleared.
    pub cleared: u64,
    /// Seats that had to be withheld again.
    pub withheld: u64,
}

impl Reconciled {
    fn count_finish(&self, report: &FinishReport) {
        self.finished.fetch_add(report.finished as u64, Ordering::Relaxed);
        self.unfinished.store(report.failed as u64, Ordering::Relaxed);
    }

    pub fn count_verify(&self, report: &VerifyReport) {
        self.marked.fetch_add(report.marked, Ordering::Relaxed);
        self.cleared.fetch_add(report.cleared, Ordering::Relaxed);
        self.withheld.fetch_add(report.withheld, Ordering::Relaxed);
    }
}

impl Payments {
    /// What the reconciler of this server did since its start.
    #[must_use]
    pub fn reconciled(&self) -> ReconciledCounts {
        let Reconciled { finished, unfinished, marked, cleared, withheld } = &self.0.reconciled;
        ReconciledCounts {
            finished: finished.load(Ordering::Relaxed),
            unfinished: unfinished.load(Ordering::Relaxed),
            marked: marked.load(Ordering::Relaxed),
            cleared: cleared.load(Ordering::Relaxed),
            withheld: withheld.load(Ordering::Relaxed),
        }
    }

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
        self.0.reconciled.count_finish(&report);
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
