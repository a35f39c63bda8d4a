//! A private Redis: one server on its own, a node of a cluster, or a Sentinel.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use rustix::process::Signal;

use super::ask;
use super::child::Launch;
use super::folder::DataFolder;
use super::ports::Ports;
use super::programs;
use super::server::{Endings, Server};

const SOCKET: &str = "redis.sock";

/// How often a free TCP port is looked for: between the look and the use it can be lost.
const TCP_PORT_TRIES: u32 = 3;

/// The file that a server with a TCP port writes down what it is told while it runs (`CONFIG
/// REWRITE`): whom it follows, or what a Sentinel has found out.
const CONFIG: &str = "redis.conf";

/// What a Redis is to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedisKind {
    /// A server on its own; it may be told to follow another one.
    Single,
    /// A node of a cluster, with a second port for the other nodes.
    ClusterNode,
    /// A Sentinel: it watches servers and holds no data.
    Sentinel,
}

/// The files of a server that talks TLS.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The certificate of the authority that signed the server's.
    pub ca: PathBuf,
    /// The server's certificate, for 127.0.0.1.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

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
    /// Talk TLS on that port, to clients and to other servers.
    pub tls: Option<TlsFiles>,
    /// What it is to others. All but [`RedisKind::Single`] need `tcp`.
    pub kind: RedisKind,
    /// Further settings, which win over those made here: `("maxmemory", "10mb")`.
    pub settings: Vec<(String, String)>,
    /// Further variables of its environment, for example another clock's.
    pub variables: Vec<(String, String)>,
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
            tls: None,
            kind: RedisKind::Single,
            settings: Vec::new(),
            variables: Vec::new(),
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
    ports: Option<Ports>,
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
        let mut redis = Self { server, program, part, socket, ports: None, options, folder };
        if !redis.options.tcp {
            redis.run().await?;
            return Ok(redis);
        }
        let mut ports = Ports::of_last_time(&redis.part).map_or_else(Ports::free, Ok)?;
        for _ in 1..TCP_PORT_TRIES {
            redis.ports = Some(ports);
            if redis.run().await.is_ok() {
                ports.remember(&redis.part)?;
                return Ok(redis);
            }
            // Somebody may have taken a port meanwhile.
            ports = Ports::free()?;
        }
        redis.ports = Some(ports);
        redis.run().await?;
        ports.remember(&redis.part)?;
        Ok(redis)
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
        let scheme = if self.options.tls.is_some() { "rediss" } else { "redis" };
        self.port().map(|port| format!("{scheme}://127.0.0.1:{port}"))
    }

    /// Its TCP port, if it has one.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.ports.map(|ports| ports.clients)
    }

    /// Whether its TCP port talks TLS.
    pub(super) fn has_tls(&self) -> bool {
        self.options.tls.is_some()
    }

    /// Its port for the other nodes of a cluster.
    pub(super) fn bus_port(&self) -> Option<u16> {
        self.ports.map(|ports| ports.bus)
    }

    /// Says one command to it, on its unix socket: every value of the answer as text, in order.
    ///
    /// # Errors
    ///
    /// If it does not answer within 2 s, or refuses.
    pub async fn ask(&self, words: &[&str]) -> anyhow::Result<Vec<String>> {
        ask::ask(&self.socket, words).await
    }

    /// The same, with the words of `line`: for commands without spaces in an argument.
    pub async fn say(&self, line: &str) -> anyhow::Result<Vec<String>> {
        let words: Vec<_> = line.split(' ').collect();
        self.ask(&words).await
    }

    /// The fields of a section of `INFO` (or of `CLUSTER INFO`, for `cluster info`), one by one.
    pub(super) async fn field(&self, command: &str, field: &str) -> anyhow::Result<String> {
        let text = self.say(command).await?.concat();
        let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.map(str::to_owned).with_context(|| format!("{command} does not say {field}"))
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
        let config = self.part.join(CONFIG);
        if self.options.tcp && !config.exists() {
            fs::write(&config, "").context("cannot write a configuration file")?;
        }
        let launch = Launch {
            program: &self.program,
            args: self.args(),
            variables: &self.options.variables,
            account: None,
            work_dir: &self.part,
            log: self.part.join("redis.log"),
            on_parent_death: if self.options.orderly { Signal::TERM } else { Signal::KILL },
        };
        self.server.start(&launch, async || self.ping().await).await
    }

    fn args(&self) -> Vec<OsString> {
        let mut args = Vec::new();
        if self.options.tcp {
            args.push(self.part.join(CONFIG).into());
        }
        if self.options.kind == RedisKind::Sentinel {
            args.push("--sentinel".into());
        }
        let mut set = |name: &str, value: OsString| {
            args.extend([format!("--{name}").into(), value]);
        };
        let port = self.port().unwrap_or(0).to_string();
        match &self.options.tls {
            None => set("port", port.into()),
            Some(files) => {
                set("port", "0".into());
                set("tls-port", port.into());
                set("tls-ca-cert-file", files.ca.clone().into());
                set("tls-cert-file", files.certificate.clone().into());
                set("tls-key-file", files.key.clone().into());
                // A server shows who it is; clients show it by their password.
                set("tls-auth-clients", "no".into());
                set("tls-replication", "yes".into());
            }
        }
        set("bind", "127.0.0.1".into());
        set("unixsocket", self.socket.clone().into());
        set("unixsocketperm", "700".into());
        set("dir", self.part.clone().into());
        set("pidfile", self.part.join("redis.pid").into());
        set("daemonize", "no".into());
        if self.options.kind != RedisKind::Sentinel {
            self.keep_data(&mut set);
        }
        if self.options.kind == RedisKind::ClusterNode {
            set("cluster-enabled", "yes".into());
            set("cluster-config-file", "nodes.conf".into());
            set("cluster-port", self.bus_port().unwrap_or(0).to_string().into());
            set("tls-cluster", if self.options.tls.is_some() { "yes" } else { "no" }.into());
        }
        for (name, value) in &self.options.settings {
            set(name, value.into());
        }
        args
    }

    /// The settings of a server that holds data.
    fn keep_data(&self, set: &mut impl FnMut(&str, OsString)) {
        // No snapshots: the append-only file alone is complete and its loss is bounded.
        set("save", "".into());
        set("appendonly", if self.options.appendonly { "yes" } else { "no" }.into());
        // Not `always`: it puts a disk write into every arrival, and nothing that matters for ever
        // rests on Redis. A power cut may cost the last second, which the line is built to survive.
        set("appendfsync", "everysec".into());
        // Any other policy would quietly drop people from the line when memory is short.
        set("maxmemory-policy", "noeviction".into());
        // A new replica gets its copy at once, not after the 5 s in which others may join.
        set("repl-diskless-sync-delay", "0".into());
    }

    /// One PING over the socket; an error while it does not listen or still loads its data.
    async fn ping(&self) -> anyhow::Result<()> {
        let answer = self.say("PING").await?;
        ensure!(answer == ["PONG"], "the answer to PING was {answer:?}");
        Ok(())
    }
}
