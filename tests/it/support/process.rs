//! A server in a process of its own: the real binary, with its real log and its real limits.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use onsale::concerts::Concert;
use onsale::config::settings::SETTINGS;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::server::{Deployment, TestServer};

const CATALOGUE: &str = "concerts.toml";

/// A running `onsale serve`; dropping it kills it.
pub struct ServerProcess {
    /// Its routes, for asking.
    pub server: TestServer,
    child: Child,
    folder: tempfile::TempDir,
}

/// How a process ended, and all that it said.
pub struct Ended {
    pub exit_code: Option<i32>,
    pub said: String,
}

impl ServerProcess {
    /// Starts one and waits until it is ready. Its log filter must let `info` through.
    pub async fn start(deployment: &Deployment) -> Self {
        let process = Self::start_unready(deployment).await;
        let ready = || async { process.server.get("/readyz").await.status == 200 };
        super::eventually("the process is ready", ready).await;
        process
    }

    /// Starts one with more in its environment, and waits until it is ready.
    pub async fn start_with(deployment: &Deployment, environment: &[(&str, &Path)]) -> Self {
        let process = Self::spawn(deployment, |command| {
            command.envs(environment.iter().copied());
        })
        .await;
        let ready = || async { process.server.get("/readyz").await.status == 200 };
        super::eventually("the process is ready", ready).await;
        process
    }

    /// Starts one, whatever its stores do.
    pub async fn start_unready(deployment: &Deployment) -> Self {
        Self::spawn(deployment, |_| {}).await
    }

    async fn spawn(deployment: &Deployment, prepare: impl FnOnce(&mut Command)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let log = std::fs::File::create(folder.path().join("log")).expect("a log");
        let mut command = command(deployment, &folder);
        prepare(&mut command);
        let child = command.stderr(log).spawn().expect("the server starts");
        let path = folder.path().join("log");
        let address = || std::fs::read_to_string(&path).ok().and_then(|log| address_in(&log));
        super::eventually("the process serves", || async { address().is_some() }).await;
        let server = TestServer::at(address().expect("an address"));
        Self { server, child, folder }
    }

    /// Starts one with further variables of its environment, and waits until it is ready.
    pub async fn with(deployment: &Deployment, variables: &[(&str, &str)]) -> Self {
        let process = Self::spawn(deployment, |command| {
            command.envs(variables.iter().copied());
        })
        .await;
        let ready = || async { process.server.get("/readyz").await.status == 200 };
        super::eventually("the process is ready", ready).await;
        process
    }

    /// Starts one that kills itself at a crash point, and waits until it is ready.
    #[cfg(feature = "crash-points")]
    pub async fn doomed(deployment: &Deployment, crash_at: &str) -> Self {
        Self::with(deployment, &[("ONSALE_CRASH_AT", crash_at)]).await
    }

    /// Whether it stands still (SIGSTOP).
    #[cfg(feature = "crash-points")]
    pub fn is_stopped(&self) -> bool {
        let status = std::fs::read_to_string(self.proc("status")).expect("a live process");
        status.lines().any(|line| line.starts_with("State:") && line.contains('T'))
    }

    /// Waits for its end; whether it was killed.
    #[cfg(feature = "crash-points")]
    pub async fn was_killed(&mut self) -> bool {
        !self.child.wait().await.expect("an exit status").success()
    }

    /// Runs one that refuses to start.
    pub async fn refused(deployment: &Deployment) -> Ended {
        let folder = tempfile::tempdir().expect("a folder");
        end_of(command(deployment, &folder)).await
    }

    /// The file that it reads its catalogue from.
    fn catalogue(&self) -> PathBuf {
        self.folder.path().join(CATALOGUE)
    }

    pub fn read_catalogue(&self) -> String {
        std::fs::read_to_string(self.catalogue()).expect("a catalogue")
    }

    pub fn write_catalogue(&self, concerts: &[Concert]) {
        self.replace_catalogue(Some(&catalogue_of(concerts)));
    }

    /// Writes any text in its place, or takes the file away.
    pub fn replace_catalogue(&self, text: Option<&str>) {
        let replaced = match text {
            Some(text) => std::fs::write(self.catalogue(), text),
            None => std::fs::remove_file(self.catalogue()),
        };
        replaced.expect("a file that may be written");
    }

    /// Everything it said so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).expect("a log")
    }

    /// Its memory in KiB.
    pub fn memory_kib(&self) -> u64 {
        self.status_kib("VmRSS:")
    }

    /// The most memory in KiB that it ever had.
    pub fn memory_most_kib(&self) -> u64 {
        self.status_kib("VmHWM:")
    }

    fn status_kib(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(self.proc("status")).expect("a live process");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("its memory");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// How many files and sockets it has open.
    pub fn open_files(&self) -> usize {
        std::fs::read_dir(self.proc("fd")).expect("a live process").count()
    }

    fn proc(&self, file: &str) -> PathBuf {
        let pid = self.child.id().expect("a live process");
        PathBuf::from(format!("/proc/{pid}/{file}"))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        signal_child(&self.child, signal);
    }

    /// Asks it to stop, and waits for its exit code.
    pub async fn stop(mut self) -> (Option<i32>, String) {
        self.signal(Signal::TERM);
        let status = self.child.wait().await.expect("an exit status");
        (status.code(), self.log())
    }
}

/// Sends a signal to a child process.
pub fn signal_child(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    kill_process(pid.expect("a live process"), signal).expect("a signal");
}

/// Runs a subcommand to its end, with these variables and nothing else.
pub async fn run(subcommand: &str, variables: &[(&str, &str)]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onsale"));
    command.arg(subcommand).env_clear().envs(variables.iter().copied());
    end_of(command).await
}

async fn end_of(mut command: Command) -> Ended {
    let run = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let ended = tokio::time::timeout(std::time::Duration::from_secs(15), run);
    let output = ended.await.expect("it ends soon").expect("the binary runs");
    let said = [output.stdout, output.stderr].concat();
    Ended { exit_code: output.status.code(), said: String::from_utf8_lossy(&said).into_owned() }
}

/// `onsale serve` with the settings of `deployment` and nothing else.
fn command(deployment: &Deployment, folder: &tempfile::TempDir) -> Command {
    let catalogue = folder.path().join(CATALOGUE);
    std::fs::write(&catalogue, catalogue_of(&deployment.concerts)).expect("a catalogue");
    let mut command = Command::new(env!("CARGO_BIN_EXE_onsale"));
    command.arg("serve").env_clear().stdin(Stdio::null()).kill_on_drop(true);
    command.env("ONSALE_LISTEN", "127.0.0.1:0").env("ONSALE_CONCERTS", catalogue);
    for setting in SETTINGS.iter().filter(|setting| setting.name != "concerts") {
        if let Some(value) = deployment.setting(setting.name) {
            command.env(setting.variable(), value);
        }
    }
    command
}

/// Where the log says that it serves, in a log that is whole up to there.
fn address_in(log: &str) -> Option<SocketAddr> {
    if let Some((_, rest)) = log.split_once("serving address=") {
        let (address, _) = rest.split_once('\n')?;
        return address.trim().parse().ok();
    }
    let lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let serving = lines.into_iter().find(|line| line["message"] == "serving")?;
    serving["address"].as_str()?.parse().ok()
}

fn catalogue_of(concerts: &[Concert]) -> String {
    let mut text = String::new();
    for concert in concerts {
        let dates: Vec<String> = concert.dates.iter().map(|date| format!("\"{date}\"")).collect();
        let _ = write!(
            text,
            "[[concert]]\nid = {}\nname = \"{}\"\ndates = [{}]\nseats = {}\nprice = {}\ntime_zone = \"{}\"\n",
            concert.id,
            concert.name,
            dates.join(", "),
            concert.seats,
            concert.price,
            concert.time_zone,
        );
        if let Some(opens_at) = concert.opens_at {
            let _ = writeln!(text, "opens_at = \"{}\"", opens_at.to_rfc3339());
        }
        let _ = writeln!(text, "prequeue = \"{}\"", concert.prequeue.as_str());
    }
    text
}
