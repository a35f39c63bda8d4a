//! What both servers have in common: one child that is started, watched, stopped, killed, paused.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

use super::child::{Child, Launch};

/// How long an orderly end may take. Redis writes its files out, PostgreSQL a checkpoint.
const STOP_MAX: Duration = Duration::from_secs(30);

/// How long a start may take: the log of a killed server is replayed first.
const START_MAX: Duration = Duration::from_mins(2);

/// A log above this size is put aside at the next start.
const LOG_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// How much of the end of a log goes into an error.
const LOG_TAIL_BYTES: u64 = 2048;

/// How one kind of server ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Endings {
    /// Asks for an orderly end that waits for nobody.
    pub(super) orderly: Signal,
    /// The end when this value is dropped, and when this process dies.
    pub(super) abandoned: Signal,
}

/// A server as a child process; dropping it ends the child.
pub(super) struct Server {
    name: &'static str,
    log: PathBuf,
    endings: Endings,
    child: Mutex<Option<Arc<Child>>>,
}

impl Server {
    pub(super) fn new(name: &'static str, log: PathBuf, endings: Endings) -> Self {
        Self { name, log, endings, child: Mutex::new(None) }
    }

    /// Starts it and waits until `ready` says so.
    pub(super) async fn start<F>(&self, launch: &Launch<'_>, ready: F) -> anyhow::Result<()>
    where
        F: AsyncFn() -> anyhow::Result<()>,
    {
        if fs::metadata(&self.log).is_ok_and(|meta| meta.len() > LOG_BYTES_MAX) {
            fs::rename(&self.log, self.log.with_extension("old.log"))
                .with_context(|| format!("cannot rename {}", self.log.display()))?;
        }
        let child = Arc::new(Child::start(launch).await?);
        *self.child.lock() = Some(Arc::clone(&child));
        let deadline = Instant::now() + START_MAX;
        let mut pause = Duration::from_millis(5);
        loop {
            let Err(not_yet) = ready().await else {
                return Ok(());
            };
            if let Some(status) = child.status() {
                bail!(
                    "{} ended at its start ({status}); its log ends:\n{}",
                    self.name,
                    self.tail()
                );
            }
            if Instant::now() > deadline {
                self.kill().await;
                let why =
                    format!("{} did not get ready; its log ends:\n{}", self.name, self.tail());
                return Err(not_yet.context(why));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }

    /// The pid of the running child.
    pub(super) fn pid(&self) -> Option<Pid> {
        self.running().map(|child| child.pid())
    }

    fn running(&self) -> Option<Arc<Child>> {
        let child = self.child.lock().clone();
        child.filter(|child| child.status().is_none())
    }

    /// Ends it in order; kills it if that takes too long.
    pub(super) async fn stop(&self) -> anyhow::Result<()> {
        let Some(child) = self.running() else {
            return Ok(());
        };
        self.resume();
        child.signal(self.endings.orderly);
        if !child.ended_within(STOP_MAX).await {
            self.kill().await;
            bail!(
                "{} did not end in order and was killed; its log ends:\n{}",
                self.name,
                self.tail()
            );
        }
        Ok(())
    }

    /// Kills it and its own children with SIGKILL, and waits for its end.
    pub(super) async fn kill(&self) {
        let Some(child) = self.running() else {
            return;
        };
        // Stopped first, so that it cannot react to the death of its children.
        child.signal(Signal::STOP);
        signal_children(child.pid(), Signal::KILL);
        child.signal(Signal::KILL);
        child.ended_within(STOP_MAX).await;
    }

    /// Stops the clock of it and its children (SIGSTOP): it keeps its sockets and says nothing.
    pub(super) fn pause(&self) {
        if let Some(child) = self.running() {
            child.signal(Signal::STOP);
            signal_children(child.pid(), Signal::STOP);
        }
    }

    /// Undoes [`Server::pause`].
    pub(super) fn resume(&self) {
        if let Some(child) = self.running() {
            signal_children(child.pid(), Signal::CONT);
            child.signal(Signal::CONT);
        }
    }

    /// The end of its log, for an error.
    fn tail(&self) -> String {
        let tail = || -> std::io::Result<String> {
            let mut log = fs::File::open(&self.log)?;
            let length = log.metadata()?.len();
            log.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
            let mut bytes = Vec::new();
            log.read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        tail().unwrap_or_else(|err| format!("({} cannot be read: {err})", self.log.display()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(child) = self.child.get_mut().take() else {
            return;
        };
        signal_children(child.pid(), Signal::CONT);
        child.signal(Signal::CONT);
        child.signal(self.endings.abandoned);
        if !child.ended_within_blocking(Duration::from_secs(10)) {
            child.signal(Signal::KILL);
            child.ended_within_blocking(Duration::from_secs(1));
        }
    }
}

/// Sends a signal to the children of a process.
pub(super) fn signal_children(parent: Pid, signal: Signal) {
    for pid in children_of(parent) {
        let _ = kill_process(pid, signal);
    }
}

/// The children of a process: from `/proc`, elsewhere from `pgrep`.
fn children_of(parent: Pid) -> Vec<Pid> {
    let parent = parent.as_raw_nonzero().get();
    let read = |text: &str| -> Vec<Pid> {
        text.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
    };
    let path = format!("/proc/{parent}/task/{parent}/children");
    if let Ok(text) = fs::read_to_string(Path::new(&path)) {
        return read(&text);
    }
    let mut pgrep = Command::new("pgrep");
    pgrep.args(["-P", &parent.to_string()]).stdin(Stdio::null());
    pgrep.output().map(|output| read(&String::from_utf8_lossy(&output.stdout))).unwrap_or_default()
}

/// Asks again and again, for at most `max`, until the answer is yes.
pub(super) async fn poll_until(max: Duration, holds: impl Fn() -> bool) -> bool {
    let patience = Patience::of(max);
    while !holds() {
        if !patience.lasts().await {
            return false;
        }
    }
    true
}

/// How long something is asked for again and again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience(Instant);

impl Patience {
    /// Lasts for `max` from now.
    pub(super) fn of(max: Duration) -> Self {
        Self(Instant::now() + max)
    }

    /// Waits a moment; false when it has come to its end.
    pub(super) async fn lasts(self) -> bool {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Instant::now() <= self.0
    }
}
