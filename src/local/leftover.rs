//! Servers that a killed process left behind, found by the pid files that the servers write.
//!
//! A pid alone proves nothing, because the system gives it out again: a process counts as ours
//! only if its command line or its working folder names the data folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::ensure;
use rustix::process::{Pid, Signal, kill_process};

use super::server::{poll_until, signal_children};

/// How long a server gets to write its data down before it is killed.
const GRACE: Duration = Duration::from_secs(20);

/// A pid file and the server that wrote it.
struct Leftover {
    pid_file: PathBuf,
    pid: Pid,
    program: &'static str,
    folder: PathBuf,
    /// Asks for an orderly end that waits for nobody.
    stop: Signal,
}

/// Stops, in order, whatever still runs in the parts of a data folder, and clears its pid files.
///
/// A pid file that stays would make PostgreSQL refuse to start once the system has given the pid
/// to somebody else; here the folder's lock and the check of the process are the better proof.
pub(super) async fn stop_all(root: &Path) -> anyhow::Result<()> {
    for server in found(root) {
        if server.runs() {
            server.stop().await?;
        }
        let _ = fs::remove_file(&server.pid_file);
    }
    Ok(())
}

/// Kills whatever still runs there: its data is about to be deleted.
pub(super) async fn kill_all(root: &Path) {
    for server in found(root).into_iter().filter(Leftover::runs) {
        let _ = kill_process(server.pid, Signal::STOP);
        signal_children(server.pid, Signal::KILL);
        let _ = kill_process(server.pid, Signal::KILL);
        poll_until(Duration::from_secs(5), || !server.runs()).await;
    }
}

fn found(root: &Path) -> Vec<Leftover> {
    let Ok(parts) = fs::read_dir(root) else {
        return Vec::new();
    };
    parts
        .flatten()
        .flat_map(|part| {
            let (part, data) = (part.path(), part.path().join("data"));
            [
                Leftover::read(part.join("redis.pid"), "redis-server", part, Signal::TERM),
                Leftover::read(data.join("postmaster.pid"), "postgres", data, Signal::INT),
            ]
        })
        .flatten()
        .collect()
}

impl Leftover {
    fn read(
        pid_file: PathBuf,
        program: &'static str,
        folder: PathBuf,
        stop: Signal,
    ) -> Option<Self> {
        let text = fs::read_to_string(&pid_file).ok()?;
        let pid = Pid::from_raw(text.lines().next()?.trim().parse().ok()?)?;
        Some(Self { pid_file, pid, program, folder, stop })
    }

    async fn stop(&self) -> anyhow::Result<()> {
        let pid = self.pid.as_raw_nonzero();
        tracing::info!(pid, program = self.program, "stopping a server that was left behind");
        // A stopped process handles no other signal.
        signal_children(self.pid, Signal::CONT);
        let _ = kill_process(self.pid, Signal::CONT);
        let _ = kill_process(self.pid, self.stop);
        if poll_until(GRACE, || !self.runs()).await {
            return Ok(());
        }
        let _ = kill_process(self.pid, Signal::KILL);
        let killed = poll_until(GRACE, || !self.runs()).await;
        ensure!(killed, "the {} with pid {pid} of an earlier run does not end", self.program);
        Ok(())
    }

    /// Whether the pid still is that server in that folder. A zombie does not count.
    fn runs(&self) -> bool {
        let pid = self.pid.as_raw_nonzero();
        let Some(line) = command_line(pid.get()) else {
            return false;
        };
        let is_program = line.split(' ').next().is_some_and(|first| {
            first.trim_end_matches(':').rsplit('/').next() == Some(self.program)
        });
        // Redis replaces its command line, but stays in its folder; the other server's folder may
        // be hidden from us because it runs as another account, but its command line says it.
        let in_folder =
            fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == self.folder);
        is_program && (in_folder || line.contains(&*self.folder.to_string_lossy()))
    }
}

/// The command line of a live process, its arguments separated by spaces.
pub(super) fn command_line(pid: i32) -> Option<String> {
    let line = if cfg!(target_os = "linux") {
        let raw = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        String::from_utf8_lossy(&raw).replace('\0', " ")
    } else {
        let mut ps = Command::new("ps");
        ps.args(["-p", &pid.to_string(), "-o", "command="]).stdin(Stdio::null());
        String::from_utf8_lossy(&ps.output().ok()?.stdout).into_owned()
    };
    (!line.trim().is_empty()).then_some(line)
}
