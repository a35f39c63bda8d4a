//! A child process that is signalled safely and does not outlive its parent where the system can
//! see to that.
//!
//! Children are started by one thread that lives as long as the process, because Linux sends the
//! parent-death signal when the *thread* that started the child ends, and a test's runtime ends its
//! threads long before the process ends. The signal itself is asked for through `setpriv`
//! (util-linux): asking for it between fork and exec would need unsafe code. Where `setpriv` is
//! missing, pid files and the next start do the work (see [`super::leftover`]).
//!
//! Not here: what is started, and when it counts as ready.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::{Duration, Instant};

use anyhow::Context;
use parking_lot::{Condvar, Mutex};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tokio::sync::{oneshot, watch};

use super::account::Account;

/// What to start and how.
pub(super) struct Launch<'a> {
    pub(super) program: &'a Path,
    pub(super) args: Vec<OsString>,
    /// Further variables of its environment.
    pub(super) variables: &'a [(String, String)],
    /// Another account to run as, when this process is root and the program refuses root.
    pub(super) account: Option<&'a Account>,
    pub(super) work_dir: &'a Path,
    /// Both outputs go to the end of this file.
    pub(super) log: PathBuf,
    /// Sent to the child when this process dies.
    pub(super) on_parent_death: Signal,
}

impl Launch<'_> {
    /// The command, wrapped into `setpriv --pdeathsig` where there is one.
    ///
    /// It runs in a process group of its own, so that Ctrl-C in a terminal reaches this process
    /// alone, which then stops its children in order. The account is set before `setpriv` runs:
    /// a change of account afterwards would clear the signal.
    fn command(&self) -> anyhow::Result<Command> {
        let mut command = match signal_name(self.on_parent_death) {
            Some(name) if setpriv_knows_pdeathsig() => {
                let mut command = Command::new("setpriv");
                command.args(["--pdeathsig", name, "--"]).arg(self.program);
                command
            }
            _ => Command::new(self.program),
        };
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.with_context(|| format!("cannot open {}", self.log.display()))?;
        command.args(&self.args).current_dir(self.work_dir).process_group(0);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        if let Some(account) = self.account {
            account.apply(&mut command);
        }
        Ok(command)
    }
}

/// A running child. Dropping it does not stop it: [`super::server::Server`] decides how to.
pub(super) struct Child {
    pid: Pid,
    shared: Arc<Shared>,
    exited: watch::Receiver<Option<ExitStatus>>,
}

/// What the reaper thread and the signallers share. While the lock is held and no status is
/// there, the pid cannot belong to another process.
#[derive(Default)]
struct Shared {
    status: Mutex<Option<ExitStatus>>,
    ended: Condvar,
}

impl Child {
    /// Starts it.
    pub(super) async fn start(launch: &Launch<'_>) -> anyhow::Result<Self> {
        let mut child = start_on_the_lasting_thread(launch.command()?)
            .await
            .with_context(|| format!("cannot start {}", launch.program.display()))?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("no pid")?;
        let shared = Arc::new(Shared::default());
        let (announce, exited) = watch::channel(None);
        let theirs = Arc::clone(&shared);
        let reaper = std::thread::Builder::new()
            .name(format!("reap-{}", pid.as_raw_nonzero()))
            .spawn(move || reap(pid, &mut child, &theirs, &announce));
        if let Err(err) = reaper {
            let _ = kill_process(pid, Signal::KILL);
            return Err(err).context("cannot start a thread");
        }
        Ok(Self { pid, shared, exited })
    }

    /// The process id.
    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// How it ended, if it did.
    pub(super) fn status(&self) -> Option<ExitStatus> {
        *self.shared.status.lock()
    }

    /// Sends a signal, unless the child has ended.
    pub(super) fn signal(&self, signal: Signal) {
        let status = self.shared.status.lock();
        if status.is_none() {
            // A child that has ended in this moment is a zombie: the signal reaches nobody else.
            let _ = kill_process(self.pid, signal);
        }
    }

    /// Waits until it has ended; false after `timeout`.
    pub(super) async fn ended_within(&self, timeout: Duration) -> bool {
        let mut exited = self.exited.clone();
        let ended = exited.wait_for(Option::is_some);
        tokio::time::timeout(timeout, ended).await.is_ok()
    }

    /// The same for destructors, where nothing can be awaited.
    pub(super) fn ended_within_blocking(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut status = self.shared.status.lock();
        while status.is_none() {
            if self.shared.ended.wait_until(&mut status, deadline).timed_out() {
                return status.is_some();
            }
        }
        true
    }
}

/// Waits for the end of a child and takes its status off the process table under the lock.
fn reap(
    pid: Pid,
    child: &mut std::process::Child,
    shared: &Shared,
    announce: &watch::Sender<Option<ExitStatus>>,
) {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while matches!(waitid(WaitId::Pid(pid), options), Err(rustix::io::Errno::INTR)) {}
    let mut status = shared.status.lock();
    let ended = child.wait().unwrap_or_default();
    *status = Some(ended);
    shared.ended.notify_all();
    drop(status);
    announce.send_replace(Some(ended));
}

type Order = (Command, oneshot::Sender<io::Result<std::process::Child>>);

async fn start_on_the_lasting_thread(command: Command) -> io::Result<std::process::Child> {
    static ORDERS: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    let orders = ORDERS.get_or_init(|| {
        let (sender, receiver) = mpsc::channel::<Order>();
        // Should the thread not start, the receiver is gone and every order is refused below.
        let _ = std::thread::Builder::new().name("children".to_owned()).spawn(move || {
            for (mut command, answer) in receiver {
                if let Err(Ok(mut orphan)) = answer.send(command.spawn()) {
                    // Whoever ordered it has gone away meanwhile.
                    let _ = orphan.kill();
                    let _ = orphan.wait();
                }
            }
        });
        sender
    });
    let (answer, started) = oneshot::channel();
    let gone = || io::Error::other("the thread that starts child processes is gone");
    orders.send((command, answer)).map_err(|_| gone())?;
    started.await.map_err(|_| gone())?
}

fn signal_name(signal: Signal) -> Option<&'static str> {
    match signal {
        Signal::TERM => Some("TERM"),
        Signal::INT => Some("INT"),
        Signal::QUIT => Some("QUIT"),
        Signal::KILL => Some("KILL"),
        _ => None,
    }
}

fn setpriv_knows_pdeathsig() -> bool {
    static KNOWS: OnceLock<bool> = OnceLock::new();
    *KNOWS.get_or_init(|| {
        cfg!(target_os = "linux")
            && Command::new("setpriv")
                .arg("--help")
                .stdin(Stdio::null())
                .output()
                .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("--pdeathsig"))
    })
}
