//! The connections: two pipelining clients behind an in-flight limit and a breaker.
//!
//! The order of a call is permit → breaker → options → timeout: what cannot be answered in time is
//! refused before it is sent, so a dead Redis costs nobody a wait and no queue grows.
//!
//! Scripts have one connection and plain reads the other. Redis answers a connection in order, so a
//! read behind fifty holds would wait for all of them; more than two gain nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use fred::clients::Client;
use fred::error::{Error as FredError, ErrorKind};
use fred::interfaces::ClientLike;
use fred::types::config::Options;
use fred::types::{ClientState, ClusterHash, CustomCommand, Value};
use futures::future::BoxFuture;
use parking_lot::RwLock;
use tokio::sync::{Mutex, Semaphore};

use super::together::Reads;
use super::{LuaScript, RedisConfig, RedisError, options};

/// How often an open breaker asks whether Redis answers again.
const PROBE_EVERY: Duration = Duration::from_millis(100);

/// What must be true before scripts are loaded into a Redis that does not know them.
type Settle = Arc<dyn Fn() -> BoxFuture<'static, Result<(), RedisError>> + Send + Sync>;

/// The guarded connection to Redis. Cheap to clone.
#[derive(Clone)]
pub struct Redis(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) client: Client,
    reader: Client,
    pub(super) timeout: Duration,
    permits: Semaphore,
    breaker: Breaker,
    pub(super) scripts: &'static [&'static LuaScript],
    pub(super) settle: RwLock<Option<Settle>>,
    /// How often the scripts were loaded; also the single flight of loading them.
    pub(super) loads: AtomicU64,
    pub(super) loading: Mutex<()>,
    pub(super) reads: Reads,
}

/// Stops sending after a row of failures, until Redis answers a `PING` again.
struct Breaker {
    failures: AtomicU32,
    failures_max: u32,
    open: AtomicBool,
}

impl Redis {
    /// Starts to connect, and goes on trying for ever in the background.
    ///
    /// Returns at once, so that a server starts without Redis; [`Self::is_up`] says how it went.
    /// `scripts` are loaded together whenever Redis turns out not to know one.
    ///
    /// # Errors
    ///
    /// If the URL cannot be understood; the message does not contain it.
    pub fn connect(
        config: &RedisConfig,
        scripts: &'static [&'static LuaScript],
    ) -> anyhow::Result<Self> {
        let client = || -> anyhow::Result<Client> {
            let url = options::parse_url(config)?;
            let client = options::builder(url, config.command_timeout).build()?;
            let _connection = client.connect();
            Ok(client)
        };
        let (client, reader) = (client()?, client()?);
        let redis = Self(Arc::new(Inner {
            client,
            reader,
            timeout: config.command_timeout,
            permits: Semaphore::new(config.calls_max),
            breaker: Breaker {
                failures: AtomicU32::new(0),
                failures_max: config.breaker_failures,
                open: AtomicBool::new(false),
            },
            scripts,
            settle: RwLock::new(None),
            loads: AtomicU64::new(0),
            loading: Mutex::new(()),
            reads: Reads::default(),
        }));
        Ok(redis)
    }

    /// Whether a call would be sent now.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.0.client.state() == ClientState::Connected
            && self.0.reader.state() == ClientState::Connected
            && !self.0.breaker.open.load(Ordering::Relaxed)
    }

    /// Sends one command: permit → breaker → options → timeout.
    pub(super) async fn send(&self, command: Command) -> Result<Value, RedisError> {
        let _permit = self.0.permits.try_acquire().map_err(|_| RedisError::Overloaded)?;
        if !self.is_up() {
            return Err(RedisError::Unavailable);
        }
        let what = command.what;
        // Boxed: every handler's future would have room for the library's, several times over.
        match Box::pin(self.raw(command)).await {
            Ok(value) => {
                self.0.breaker.failures.store(0, Ordering::Relaxed);
                Ok(value)
            }
            Err(source) => {
                let error = classify(what, source);
                if matches!(error, RedisError::Lost { .. }) {
                    self.count_failure();
                }
                Err(error)
            }
        }
    }

    async fn raw(&self, command: Command) -> Result<Value, FredError> {
        let options = Options {
            // 2, not 1: the library counts a cluster redirection as an attempt.
            max_attempts: Some(2),
            timeout: Some(command.timeout.unwrap_or(self.0.timeout)),
            fail_fast: true,
            ..Options::default()
        };
        let custom = CustomCommand::new_static(command.name, command.hash, false);
        let client = if command.only_reads { &self.0.reader } else { &self.0.client };
        client.with_options(&options).custom(custom, command.args).await
    }

    fn count_failure(&self) {
        let breaker = &self.0.breaker;
        let failures = breaker.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if failures >= breaker.failures_max && !breaker.open.swap(true, Ordering::Relaxed) {
            tracing::warn!(failures, "Redis does not answer: calls are refused until it does");
            tokio::spawn(self.clone().probe());
        }
    }

    /// Closes the breaker as soon as one `PING` is answered.
    async fn probe(self) {
        loop {
            tokio::time::sleep(PROBE_EVERY).await;
            if self.raw(Command::of_server("PING", Vec::new())).await.is_ok() {
                self.0.breaker.failures.store(0, Ordering::Relaxed);
                self.0.breaker.open.store(false, Ordering::Relaxed);
                tracing::info!("Redis answers again");
                return;
            }
        }
    }

    /// Closes the connection.
    pub async fn close(&self) {
        for client in [&self.0.client, &self.0.reader] {
            if let Err(error) = client.quit().await {
                tracing::debug!(%error, "closing a Redis connection");
            }
        }
    }
}

/// One command on its way.
pub(super) struct Command {
    /// What errors and logs call it: a script's name, or the command's.
    pub(super) what: &'static str,
    /// The command.
    pub(super) name: &'static str,
    /// Where its key stands, for a cluster.
    pub(super) hash: ClusterHash,
    /// Everything after the name.
    pub(super) args: Vec<Value>,
    /// How long it may take, if not the usual time.
    pub(super) timeout: Option<Duration>,
    /// Whether it changes nothing and need not keep its turn behind scripts.
    pub(super) only_reads: bool,
}

impl Command {
    /// A command about the server, not about a key.
    pub(super) fn of_server(name: &'static str, args: Vec<Value>) -> Self {
        let hash = ClusterHash::Random;
        Self { what: name, name, hash, args, timeout: None, only_reads: false }
    }
}

/// An answer by Redis itself is a refusal; everything else happened on the way.
pub(super) fn classify(what: &'static str, source: FredError) -> RedisError {
    match source.kind() {
        ErrorKind::Timeout
        | ErrorKind::IO
        | ErrorKind::Canceled
        | ErrorKind::Tls
        | ErrorKind::Protocol
        | ErrorKind::Parse
        | ErrorKind::Backpressure => RedisError::Lost { what, source },
        ErrorKind::Routing | ErrorKind::Sentinel | ErrorKind::Config | ErrorKind::Auth => {
            tracing::debug!(what, error = %source, "not sent");
            RedisError::Unavailable
        }
        _ => RedisError::Refused { what, source },
    }
}
