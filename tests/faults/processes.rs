//! One `onsale serve` in a process of its own, which is started, killed, stopped and started again
//! on the same address.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// The ports that servers get: below those that the system gives to outgoing connections, so that
/// a server that is away finds its port free.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// How long a server may take from SIGTERM to its end: its own limit is 10 s.
const STOP_MAX: Duration = Duration::from_secs(15);

/// Resident memory in KiB, open files, threads.
pub type Size = [u64; 3];

/// A server process and how to start it.
pub struct ServerProcess {
    pub name: String,
    pub address: SocketAddr,
    pub log: PathBuf,
    settings: Vec<(String, String)>,
    child: Mutex<Option<Child>>,
    size_at_start: Mutex<Size>,
}

impl ServerProcess {
    /// One that is not started yet; `settings` are variables of its environment.
    pub fn new(name: &str, log: PathBuf, settings: Vec<(String, String)>) -> anyhow::Result<Self> {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let (child, size_at_start) = (Mutex::new(None), Mutex::new([0; 3]));
        Ok(Self { name: name.to_owned(), address, log, settings, child, size_at_start })
    }

    /// Starts it and waits until it listens, whatever its stores do. With `crash_at` it kills
    /// itself at that point of its code.
    pub async fn start(&self, crash_at: Option<&str>) -> anyhow::Result<()> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        // The system ends it with this process, should this one be killed.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", env!("CARGO_BIN_EXE_onsale"), "serve"]);
        command.env_clear().envs(self.settings.iter().map(|(name, value)| (name, value)));
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("ONSALE_LISTEN", self.address.to_string());
        if let Some(point) = crash_at {
            command.env("ONSALE_CRASH_AT", point);
        }
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
        let child = command.spawn().context("cannot start a server")?;
        *self.child.lock() = Some(child);
        for _ in 0..1000 {
            if tokio::net::TcpStream::connect(self.address).await.is_ok() {
                if let Ok(size) = self.size() {
                    *self.size_at_start.lock() = size;
                }
                return Ok(());
            }
            if !self.is_running() {
                bail!("{} ended at its start: see {}", self.name, self.log.display());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("{} does not listen: see {}", self.name, self.log.display())
    }

    /// Whether it has not ended.
    pub fn is_running(&self) -> bool {
        self.child.lock().as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// What it uses now.
    pub fn size(&self) -> anyhow::Result<Size> {
        let pid = self.pid().map_or(0, |pid| pid.as_raw_nonzero().get());
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.trim().trim_end_matches(" kB").parse::<u64>()
        };
        let files = std::fs::read_dir(format!("/proc/{pid}/fd"))?.count();
        Ok([number("VmRSS:")?, u64::try_from(files)?, number("Threads:")?])
    }

    /// What it used when it listened.
    pub fn size_at_start(&self) -> Size {
        *self.size_at_start.lock()
    }

    /// Its process id, if it runs.
    pub fn pid(&self) -> Option<Pid> {
        let id = self.child.lock().as_ref()?.id()?;
        Pid::from_raw(i32::try_from(id).ok()?)
    }

    /// Sends it a signal, if it runs.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            // Not reaped yet, so the id is still its own.
            let _ = kill_process(pid, signal);
        }
    }

    /// Kills it (SIGKILL).
    pub async fn kill(&self) {
        let child = self.child.lock().take();
        if let Some(mut child) = child {
            let _ = child.kill().await;
        }
    }

    /// Asks it to end (SIGTERM) and waits.
    ///
    /// # Errors
    ///
    /// If it does not end in time; then it is killed.
    pub async fn terminate(&self) -> anyhow::Result<()> {
        self.signal(Signal::TERM);
        if !self.ended_within(STOP_MAX).await {
            self.kill().await;
            bail!("{} did not end within {STOP_MAX:?} of SIGTERM", self.name);
        }
        Ok(())
    }

    /// Waits for its end, at most this long: whether it has ended.
    pub async fn ended_within(&self, max: Duration) -> bool {
        let ended = async {
            while self.is_running() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(max, ended).await.is_ok()
    }
}

/// A port that nobody listens on.
fn free_port() -> anyhow::Result<u16> {
    use rand::Rng;
    let mut random = rand::rng();
    for _ in 0..100 {
        let port = random.random_range(PORTS);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port among {PORTS:?}")
}
