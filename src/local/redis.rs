//! A private Redis.

use std::ffi::OsString;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{Duration, timeout};

use super::child::Launch;
use super::folder::DataFolder;
use super::programs;
use super::server::{Endings, Server};

const SOCKET: &str = "redis.sock";

/// How often a free TCP port is looked for: between the look and the use it can be lost.
const TCP_PORT_TRIES: u32 = 3;

/// How a private Redis is run.
#[derive(Debug, Clone)]
pub struct RedisOptions {
    /// The name of its part of the data folder; two servers in one folder need two names.
    pub name: String,
    /// Keep what it holds in an append-only file, so that it survives a restart.
    pub appendonly: bool,
    /// Wind up in order when it is dropped, or when this process dies; otherwise it is killed.
    pub orderly: bool,
    /// Listen on a free TCP port of 127.0.0.1 too.
    pub tcp: bool,
    /// Further settings, which win over those made here: `("maxmemory", "10mb")`.
    pub settings: Vec<(String, String)>,
}

impl RedisOptions {
    /// For data that stays.
    #[must_use]
    pub fn durable() -> Self {
        Self { appendonly: true, orderly: true, ..Self::throwaway() }
    }

    /// For tests: nothing is kept.
    #[must_use]
    pub fn throwaway() -> Self {
        Self {
            name: "redis".to_owned(),
            appendonly: false,
            orderly: false,
            tcp: false,
            settings: Vec::new(),
        }
    }
}

/// A private Redis as a child process. Dropping it stops it.
pub struct LocalRedis {
    // The order matters: the server ends before its folder goes.
    server: Server,
    program: PathBuf,
    part: PathBuf,
    socket: PathBuf,
    tcp_port: Option<u16>,
    options: RedisOptions,
    folder: DataFolder,
}

impl LocalRedis {
    /// Starts Redis in a data folder and waits until it answers.
    pub async fn start(folder: &DataFolder, options: RedisOptions) -> anyhow::Result<Self> {
        let program = programs::redis_server()?;
        let part = folder.part(&options.name, None)?;
        let socket = folder.socket_folder(&part, SOCKET, None)?.join(SOCKET);
        let abandoned = if options.orderly { Signal::TERM } else { Signal::KILL };
        let endings = Endings { orderly: Signal::TERM, abandoned };
        let server = Server::new("redis-server", part.join("redis.log"), endings);
        let folder = folder.clone();
        let mut redis = Self { server, program, part, socket, tcp_port: None, options, folder };
        let mut tries = if redis.options.tcp { TCP_PORT_TRIES } else { 1 };
        loop {
            if redis.options.tcp {
                redis.tcp_port = Some(free_port()?);
            }
            tries -= 1;
            match redis.run().await {
                Ok(()) => return Ok(redis),
                Err(err) if tries == 0 => return Err(err),
                // Somebody may have taken the port meanwhile.
                Err(_) => {}
            }
        }
    }

    /// Starts Redis in a folder that is removed with it.
    pub async fn throwaway(options: RedisOptions) -> anyhow::Result<Self> {
        Self::start(&DataFolder::throwaway().await?, options).await
    }

    /// Its address on the unix socket, as fred reads it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.socket.display())
    }

    /// Its address on TCP, if it was asked to listen there. It keeps its port over a restart.
    #[must_use]
    pub fn tcp_url(&self) -> Option<String> {
        self.tcp_port.map(|port| format!("redis://127.0.0.1:{port}"))
    }

    /// The path of its unix socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The folder of its append-only files (in `appendonlydir`), log and pid file.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.part
    }

    /// The data folder that it is a part of.
    #[must_use]
    pub fn folder(&self) -> &DataFolder {
        &self.folder
    }

    /// The process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        self.server.pid().map(|pid| pid.as_raw_nonzero().get())
    }

    /// Stops it in order: what it holds is written down first, if it keeps anything.
    ///
    /// # Errors
    ///
    /// When it did not end in time and was killed.
    pub async fn stop(&self) -> anyhow::Result<()> {
        self.server.stop().await
    }

    /// Kills it (SIGKILL).
    pub async fn kill(&self) {
        self.server.kill().await;
    }

    /// Starts it again on the same data and addresses, after stopping it if it still runs.
    pub async fn restart(&self) -> anyhow::Result<()> {
        self.stop().await?;
        self.run().await
    }

    /// Freezes it (SIGSTOP): connections stay open and nothing is answered.
    pub fn pause(&self) {
        self.server.pause();
    }

    /// Ends [`LocalRedis::pause`].
    pub fn resume(&self) {
        self.server.resume();
    }

    async fn run(&self) -> anyhow::Result<()> {
        let launch = Launch {
            program: &self.program,
            args: self.args(),
            account: None,
            work_dir: &self.part,
            log: self.part.join("redis.log"),
            on_parent_death: if self.options.orderly { Signal::TERM } else { Signal::KILL },
        };
        self.server.start(&launch, async || self.ping().await).await
    }

    fn args(&self) -> Vec<OsString> {
        let mut args = Vec::new();
        let mut set = |name: &str, value: OsString| {
            args.extend([format!("--{name}").into(), value]);
        };
        set("port", self.tcp_port.unwrap_or(0).to_string().into());
        set("bind", "127.0.0.1".into());
        set("unixsocket", self.socket.clone().into());
        set("unixsocketperm", "700".into());
        set("dir", self.part.clone().into());
        set("pidfile", self.part.join("redis.pid").into());
        set("daemonize", "no".into());
        // No snapshots: the append-only file alone is complete and its loss is bounded.
        set("save", "".into());
        set("appendonly", if self.options.appendonly { "yes" } else { "no" }.into());
        // Not `always`: it puts a disk write into every arrival, and nothing that matters for ever
        // rests on Redis. A power cut may cost the last second, which the line is built to survive.
        set("appendfsync", "everysec".into());
        // Any other policy would quietly drop people from the line when memory is short.
        set("maxmemory-policy", "noeviction".into());
        for (name, value) in &self.options.settings {
            set(name, value.into());
        }
        args
    }

    /// One PING over the socket; an error while it does not listen or still loads its data.
    async fn ping(&self) -> anyhow::Result<()> {
        let ping = async {
            let mut stream = UnixStream::connect(&self.socket).await?;
            stream.write_all(b"PING\r\n").await?;
            let mut answer = [0; 64];
            let length = stream.read(&mut answer).await?;
            Ok::<_, std::io::Error>(String::from_utf8_lossy(&answer[..length]).into_owned())
        };
        let answer = timeout(Duration::from_secs(2), ping).await.context("no answer to PING")?;
        let answer = answer.with_context(|| format!("cannot reach {}", self.socket.display()))?;
        ensure!(answer.starts_with("+PONG"), "the answer to PING was {:?}", answer.trim());
        Ok(())
    }
}

/// A TCP port that nobody listens on right now.
fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("no free TCP port")?;
    Ok(listener.local_addr()?.port())
}
