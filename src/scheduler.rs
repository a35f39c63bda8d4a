//! The clockwork: runs every job of every slice, on every server, by cron expressions.
//!
//! A job takes no input, is idempotent and bounded, and returns a report. Runs of one job never
//! overlap: a tick that finds the last run still going is skipped. A failed run is logged, and the
//! next tick tries again.
//!
//! Cron expressions are about the system's clock, and this server's clock must decide nothing: when
//! it is set back, the next tick of every job would lie that far ahead. So whoever hears no tick for
//! a few seconds of the monotonic clock has all jobs planned anew.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::FutureExt;
use parking_lot::Mutex;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use uuid::Uuid;

/// Every second.
pub const EVERY_SECOND: &str = "*/1 * * * * *";
/// Every five seconds.
pub const EVERY_5_SECONDS: &str = "*/5 * * * * *";

/// How long a stop waits for the jobs that are running.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// How long no job at all may be ticked; the most frequent one is, every second.
const SILENCE_MAX: Duration = Duration::from_secs(3);

/// The jobs of this server and when each last succeeded.
pub struct Scheduler {
    cron: JobScheduler,
    planned: Planned,
    ticked: Arc<Mutex<Instant>>,
    successes: Successes,
    stopping: Arc<AtomicBool>,
    runs: TaskTracker,
    watching: Option<AbortOnDropHandle<()>>,
}

/// Every job under its id in the clockwork, and how to plan it anew.
type Planned = Arc<tokio::sync::Mutex<Vec<(Uuid, MakeJob)>>>;
type MakeJob = Box<dyn Fn() -> Result<Job, JobSchedulerError> + Send + Sync>;

/// When each job last succeeded. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Successes(Arc<Mutex<BTreeMap<&'static str, Instant>>>);

impl Successes {
    /// How long ago `job` last succeeded; None if it never did.
    #[must_use]
    pub fn age(&self, job: &str) -> Option<Duration> {
        self.0.lock().get(job).map(Instant::elapsed)
    }

    /// How long ago each job last succeeded, of those that ever did.
    #[must_use]
    pub fn ages(&self) -> Vec<(&'static str, Duration)> {
        self.0.lock().iter().map(|(job, at)| (*job, at.elapsed())).collect()
    }

    fn record(&self, job: &'static str) {
        self.0.lock().insert(job, Instant::now());
    }
}

impl Scheduler {
    /// A scheduler without jobs.
    pub async fn new() -> anyhow::Result<Self> {
        Ok(Self {
            cron: JobScheduler::new().await?,
            planned: Planned::default(),
            ticked: Arc::new(Mutex::new(Instant::now())),
            successes: Successes::default(),
            stopping: Arc::default(),
            runs: TaskTracker::new(),
            watching: None,
        })
    }

    /// Adds a job that runs at the times of `cron` once the scheduler is started.
    pub async fn add<F, R, E>(
        &self,
        name: &'static str,
        cron: &'static str,
        run: impl Fn() -> F + Clone + Send + Sync + 'static,
    ) -> anyhow::Result<()>
    where
        F: Future<Output = Result<R, E>> + Send + 'static,
        R: Debug + Send,
        E: Into<anyhow::Error> + Send,
    {
        let running = Arc::new(AtomicBool::new(false));
        let (successes, stopping) = (self.successes.clone(), self.stopping.clone());
        let (runs, ticked) = (self.runs.clone(), self.ticked.clone());
        // Nothing may panic before the future: that would end every job of the scheduler.
        let tick = move || {
            let (run, running, successes) = (run.clone(), running.clone(), successes.clone());
            let (stopping, guard, ticked) = (stopping.clone(), runs.token(), ticked.clone());
            async move {
                let _counted = guard;
                *ticked.lock() = Instant::now();
                if stopping.load(Ordering::Acquire) {
                    return;
                }
                if running.swap(true, Ordering::AcqRel) {
                    tracing::debug!(job = name, "the last run is still going");
                    return;
                }
                let outcome =
                    std::panic::AssertUnwindSafe(async { run().await }).catch_unwind().await;
                running.store(false, Ordering::Release);
                match outcome {
                    Ok(Ok(report)) => {
                        successes.record(name);
                        tracing::trace!(job = name, ?report, "done");
                    }
                    Ok(Err(error)) => {
                        let error: anyhow::Error = error.into();
                        tracing::warn!(job = name, error = format!("{error:#}"), "failed");
                    }
                    Err(_) => tracing::error!(job = name, "panicked"),
                }
            }
        };
        let make: MakeJob = Box::new(move || {
            let tick = tick.clone();
            Job::new_async(cron, move |_, _| Box::pin(tick()))
        });
        let id = self.cron.add(make()?).await?;
        self.planned.lock().await.push((id, make));
        Ok(())
    }

    /// When each job last succeeded.
    #[must_use]
    pub fn successes(&self) -> Successes {
        self.successes.clone()
    }

    /// Starts to run the jobs.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        *self.ticked.lock() = Instant::now();
        self.cron.start().await?;
        let (cron, planned) = (self.cron.clone(), self.planned.clone());
        let watch = watch(cron, planned, self.ticked.clone());
        self.watching = Some(AbortOnDropHandle::new(tokio::spawn(watch)));
        Ok(())
    }

    /// Starts no further run, and waits for those that are under way, at most [`STOP_WITHIN`]: the
    /// connections that they use are closed next.
    pub async fn stop(mut self) {
        self.stopping.store(true, Ordering::Release);
        self.watching = None;
        if let Err(error) = self.cron.shutdown().await {
            tracing::debug!(%error, "stopping the scheduler");
        }
        self.runs.close();
        if tokio::time::timeout(STOP_WITHIN, self.runs.wait()).await.is_err() {
            tracing::warn!("a job did not end in time");
        }
    }
}

/// Plans all jobs anew whenever none was ticked for too long.
async fn watch(cron: JobScheduler, planned: Planned, ticked: Arc<Mutex<Instant>>) {
    loop {
        tokio::time::sleep(SILENCE_MAX / 3).await;
        if ticked.lock().elapsed() < SILENCE_MAX {
            continue;
        }
        tracing::warn!("the clockwork is silent: was this machine's clock set back?");
        for (id, make) in planned.lock().await.iter_mut() {
            match plan_anew(&cron, *id, make).await {
                Ok(new) => *id = new,
                Err(error) => tracing::error!(%error, "a job could not be planned anew"),
            }
        }
        *ticked.lock() = Instant::now();
    }
}

async fn plan_anew(
    cron: &JobScheduler,
    old: Uuid,
    make: &MakeJob,
) -> Result<Uuid, JobSchedulerError> {
    // Added first: whatever becomes of the old one, the job is planned.
    let new = cron.add(make()?).await?;
    if let Err(error) = cron.remove(&old).await {
        // Then it runs twice as often, which the mark of a run under way makes harmless.
        tracing::warn!(%error, "a job's old plan could not be removed");
    }
    Ok(new)
}
