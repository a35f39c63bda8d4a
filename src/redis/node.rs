//! One Redis: two pipelining connections behind a breaker.
//!
//! Scripts have one connection and plain reads the other. Redis answers a connection in order, so a
//! read behind fifty holds would wait for all of them; more than two gain nothing.
//!
//! Both go to the same address for as long as the node is used, so no read comes from one process
//! and a script's answer from another that took over. Dropping the node closes them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use fred::clients::Client;
use fred::error::Error as FredError;
use fred::interfaces::ClientLike;
use fred::types::config::{Config, Options};
use fred::types::{ClientState, ClusterHash, CustomCommand, Value};
use tokio::sync::Mutex;
use tokio_util::task::AbortOnDropHandle;

use super::client::Command;
use super::error::classify;
use super::{RedisError, options};

/// How often an open breaker asks whether Redis answers again.
const PROBE_EVERY: Duration = Duration::from_millis(100);

/// The pause before a connection is begun anew that the library gave up for good.
const BEGIN_ANEW_AFTER: Duration = Duration::from_millis(200);

/// One Redis.
pub(super) struct Node {
    /// What people call it.
    pub name: String,
    pub scripts: Link,
    reader: Link,
    timeout: Duration,
    breaker: Breaker,
    is_reconnecting: AtomicBool,
    /// How often the scripts were loaded; also the single flight of loading them.
    pub loads: AtomicU64,
    pub loading: Mutex<()>,
}

/// Stops sending after a row of failures, until Redis answers a `PING` again.
struct Breaker {
    failures: AtomicU32,
    failures_max: u32,
    open: AtomicBool,
    /// How often it opened.
    opened: AtomicU64,
}

/// A connection that is begun anew however it ends, until it is dropped.
pub(super) struct Link {
    client: Client,
    _kept: AbortOnDropHandle<()>,
}

impl Link {
    /// Starts to connect, and goes on trying for ever in the background.
    pub fn open(config: Config, timeout: Duration) -> anyhow::Result<Self> {
        let client = options::builder(config, timeout).build()?;
        let kept = AbortOnDropHandle::new(tokio::spawn(keep_open(client.clone())));
        Ok(Self { client, _kept: kept })
    }

    pub fn is_open(&self) -> bool {
        self.client.state() == ClientState::Connected
    }

    /// Sends a command; its answer, or what the library says came instead.
    pub async fn send(&self, command: Command, timeout: Duration) -> Result<Value, FredError> {
        let options = Options {
            max_attempts: Some(2),
            timeout: Some(timeout),
            fail_fast: true,
            ..Options::default()
        };
        let custom = CustomCommand::new_static(command.name, ClusterHash::Random, false);
        self.client.with_options(&options).custom(custom, command.args).await
    }

    async fn close(&self) {
        if let Err(error) = self.client.quit().await {
            tracing::debug!(%error, "closing a Redis connection");
        }
    }
}

async fn keep_open(client: Client) {
    loop {
        // It ends in order when it is closed, and otherwise at faults that the library has not
        // foreseen.
        match AbortOnDropHandle::new(client.connect()).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => tracing::warn!(%error, "a Redis connection is begun anew"),
            Err(error) => tracing::warn!(%error, "a Redis connection is begun anew"),
        }
        tokio::time::sleep(BEGIN_ANEW_AFTER).await;
    }
}

impl Node {
    /// Starts to connect; returns at once.
    pub fn open(config: &Config, timeout: Duration, failures_max: u32) -> anyhow::Result<Self> {
        Ok(Self {
            name: options::name_of(&config.server),
            scripts: Link::open(config.clone(), timeout)?,
            reader: Link::open(config.clone(), timeout)?,
            timeout,
            breaker: Breaker {
                failures: AtomicU32::new(0),
                failures_max,
                open: AtomicBool::new(false),
                opened: AtomicU64::new(0),
            },
            is_reconnecting: AtomicBool::new(false),
            loads: AtomicU64::new(0),
            loading: Mutex::new(()),
        })
    }

    /// Whether a call would be sent now.
    pub fn is_up(&self) -> bool {
        self.scripts.is_open()
            && self.reader.is_open()
            && !self.breaker.open.load(Ordering::Relaxed)
    }

    /// How often calls were refused because too many in a row had failed.
    pub fn breaker_opened(&self) -> u64 {
        self.breaker.opened.load(Ordering::Relaxed)
    }

    /// Sends one command: breaker → options → timeout.
    pub async fn send(self: &Arc<Self>, command: Command) -> Result<Value, RedisError> {
        if !self.is_up() {
            return Err(RedisError::Unavailable);
        }
        let what = command.what;
        // Boxed: every handler's future would have room for the library's, several times over.
        match Box::pin(self.raw(command)).await {
            Ok(value) => {
                self.breaker.failures.store(0, Ordering::Relaxed);
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
        let timeout = command.timeout.unwrap_or(self.timeout);
        let link = if command.only_reads { &self.reader } else { &self.scripts };
        link.send(command, timeout).await
    }

    fn count_failure(self: &Arc<Self>) {
        let breaker = &self.breaker;
        let failures = breaker.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if failures >= breaker.failures_max && !breaker.open.swap(true, Ordering::Relaxed) {
            breaker.opened.fetch_add(1, Ordering::Relaxed);
            let redis = &self.name;
            tracing::warn!(
                failures,
                redis,
                "Redis does not answer: calls are refused until it does"
            );
            tokio::spawn(probe(Arc::downgrade(self)));
        }
    }

    /// Connects both again, unless that is under way: whoever answered there is no primary any
    /// more, and the address may lead to another one by now.
    pub fn reconnect(self: &Arc<Self>) {
        if self.is_reconnecting.swap(true, Ordering::Relaxed) {
            return;
        }
        let node = Arc::clone(self);
        tokio::spawn(async move {
            for link in [&node.scripts, &node.reader] {
                if let Err(error) = link.client.force_reconnection().await {
                    tracing::debug!(%error, "connecting to Redis again");
                }
            }
            tokio::time::sleep(BEGIN_ANEW_AFTER).await;
            node.is_reconnecting.store(false, Ordering::Relaxed);
        });
    }

    /// Closes the connections in order.
    pub async fn close(&self) {
        tokio::join!(self.scripts.close(), self.reader.close());
    }
}

/// Closes the breaker of a node as soon as one `PING` is answered.
async fn probe(node: std::sync::Weak<Node>) {
    loop {
        tokio::time::sleep(PROBE_EVERY).await;
        // Nobody uses it any more.
        let Some(node) = node.upgrade() else { return };
        if node.raw(Command::of_server("PING", Vec::new())).await.is_ok() {
            node.breaker.failures.store(0, Ordering::Relaxed);
            node.breaker.open.store(false, Ordering::Relaxed);
            tracing::info!(redis = node.name, "Redis answers again");
            return;
        }
    }
}
