//! `onsale dev` in a process of its own, on a data folder of its own.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tokio::process::{Child, Command};

use super::process::signal_child;
use super::server::TestServer;

/// How long a start may take: the folder is made, the log of a killed server replayed.
const START_MAX: Duration = Duration::from_mins(1);

/// A folder in which `onsale dev` is run, with its data in `data`.
pub struct DevFolder(tempfile::TempDir);

impl DevFolder {
    pub fn empty() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        // As root PostgreSQL runs as another account, which must get through.
        let mode = fs::Permissions::from_mode(0o711);
        fs::set_permissions(folder.path(), mode).expect("a mode");
        Self(folder)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// `onsale dev` on a free port, with the built-in catalogue and nothing of this environment.
    pub fn command(&self) -> Command {
        self.prepared(Command::new(env!("CARGO_BIN_EXE_onsale")))
    }

    /// The same, started by another program.
    pub fn command_under(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg(env!("CARGO_BIN_EXE_onsale"));
        self.prepared(command)
    }

    fn prepared(&self, mut command: Command) -> Command {
        command.args(["dev", "--data", "data", "--listen", "127.0.0.1:0"]);
        command.current_dir(self.path()).stdin(Stdio::null()).kill_on_drop(true);
        command.env_clear().env("PATH", std::env::var_os("PATH").expect("a PATH"));
        command.stderr(self.file("log"));
        command
    }

    fn file(&self, name: &str) -> fs::File {
        fs::File::create(self.path().join(name)).expect("a file")
    }

    /// Runs it and waits until it says that it serves.
    pub async fn start(&self) -> Dev {
        self.run(self.command()).await
    }

    /// The same for a prepared command.
    pub async fn run(&self, mut command: Command) -> Dev {
        let child = command.stdout(self.file("said")).spawn().expect("the binary runs");
        let said = || fs::read_to_string(self.path().join("said")).expect("what it says");
        let banner = || async { said().contains("Stop with Ctrl-C.\n") };
        super::within(START_MAX, "dev serves", banner).await;
        let said = said();
        let (_, rest) = said.split_once("serves on http://").expect("an address");
        let address: SocketAddr = rest.split(' ').next().unwrap_or_default().parse().expect(rest);
        Dev {
            server: TestServer::at(address),
            said,
            child,
            stores: self.stores().expect("pid files"),
        }
    }

    /// A `PATH` with the stores' programs, and without the one that ties a child to its parent's
    /// life, as on another system than Linux.
    pub fn path_without_ties(&self) -> PathBuf {
        let programs = self.path().join("programs");
        fs::create_dir(&programs).expect("a folder");
        let path = std::env::var_os("PATH").expect("a PATH");
        let folders: Vec<_> = std::env::split_paths(&path).collect();
        for name in ["redis-server", "initdb", "postgres", "id"] {
            let mut found = folders.iter().map(|folder| folder.join(name));
            if let Some(program) = found.find(|program| program.is_file()) {
                symlink(program, programs.join(name)).expect("a link");
            }
        }
        programs
    }

    /// The pids of Redis and PostgreSQL, once both have written their files.
    pub fn stores(&self) -> Option<[i32; 2]> {
        let pid = |file| -> Option<i32> {
            let text = fs::read_to_string(self.path().join(file)).ok()?;
            text.lines().next()?.trim().parse().ok()
        };
        Some([pid("data/redis/redis.pid")?, pid("data/postgres/data/postmaster.pid")?])
    }
}

/// A running `onsale dev`.
pub struct Dev {
    pub server: TestServer,
    /// What it printed at its start.
    pub said: String,
    /// The pids of its Redis and its PostgreSQL.
    pub stores: [i32; 2],
    child: Child,
}

impl Dev {
    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        signal_child(&self.child, signal);
    }

    /// Sends it a signal, and waits for its end.
    pub async fn end(&mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        self.child.wait().await.expect("an exit status")
    }
}

/// Whether a process runs. One that has ended, but was not waited for, does not.
pub fn runs(pid: i32) -> bool {
    if cfg!(target_os = "linux") {
        // Without a command line it has ended.
        return fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty());
    }
    let mut ps = std::process::Command::new("ps");
    let listed = ps.args(["-p", &pid.to_string(), "-o", "stat="]).output().expect("ps runs");
    let state = String::from_utf8_lossy(&listed.stdout);
    !state.trim().is_empty() && !state.trim().starts_with('Z')
}
