//! The way of a call to Redis: permit → the node of its key → breaker → options → timeout.
//!
//! What cannot be answered in time is refused before it is sent, so a dead Redis costs nobody a
//! wait and no queue grows.

use std::sync::Arc;
use std::time::Duration;

use fred::bytes_utils::Str;
use fred::types::Value;
use fred::types::config::Server;
use futures::future::BoxFuture;
use parking_lot::RwLock;
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;

use super::node::Node;
use super::options::{Plan, Source};
use super::together::Reads;
use super::watch::{Map, Observer, Watch};
use super::{Key, LuaScript, RedisConfig, RedisError};
use crate::metrics::Calls;

/// How often a call follows a slot that has moved.
const REPEATS_MAX: u32 = 2;

/// What must be true before scripts are loaded into a Redis that does not know them.
type Settle = Arc<dyn Fn(Shard) -> BoxFuture<'static, Result<(), RedisError>> + Send + Sync>;

/// The guarded connections to Redis, whether it is one, one of several under Sentinels, or a
/// cluster. Cheap to clone.
#[derive(Clone)]
pub struct Redis(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) timeout: Duration,
    pub(super) permits: Semaphore,
    pub(super) calls_max: usize,
    pub(super) scripts: &'static [&'static LuaScript],
    pub(super) settle: RwLock<Option<Settle>>,
    pub(super) reads: Reads,
    /// How the reads went that travel alone.
    pub(super) plain_reads: Calls,
    watch: Arc<Watch>,
    plan: Arc<Plan>,
    breaker_failures: u32,
    _observer: Option<AbortOnDropHandle<()>>,
}

/// The part of the keys that one Redis serves.
pub struct Shard {
    map: Arc<Map>,
    node: Arc<Node>,
}

impl Shard {
    /// Whether `key` is in it.
    #[must_use]
    pub fn has(&self, key: &Key) -> bool {
        self.map.node(&key.0).is_some_and(|node| Arc::ptr_eq(node, &self.node))
    }
}

impl Redis {
    /// Starts to connect, and goes on trying for ever in the background.
    ///
    /// Returns at once, so that a server starts without Redis; [`Self::ping`] says how it went.
    /// `scripts` are loaded together whenever a Redis turns out not to know one.
    ///
    /// # Errors
    ///
    /// If the URL cannot be understood; the message does not contain it.
    pub fn connect(
        config: &RedisConfig,
        scripts: &'static [&'static LuaScript],
    ) -> anyhow::Result<Self> {
        let plan = Arc::new(Plan::read(config)?);
        let (watch, observer) = match plan.source {
            Source::One => {
                let node = Node::open(&plan.node, config.command_timeout, config.breaker_failures)?;
                (Arc::new(Watch::new(Map::one(node))), None)
            }
            Source::Sentinels { .. } | Source::Cluster => {
                let watch = Arc::new(Watch::new(Map::default()));
                let observer = Observer::new(Arc::clone(&watch), Arc::clone(&plan), config);
                (watch, Some(AbortOnDropHandle::new(tokio::spawn(observer.run()))))
            }
        };
        Ok(Self(Arc::new(Inner {
            timeout: config.command_timeout,
            permits: Semaphore::new(config.calls_max),
            scripts,
            settle: RwLock::new(None),
            reads: Reads::default(),
            plain_reads: Calls::new(),
            calls_max: config.calls_max,
            watch,
            plan,
            breaker_failures: config.breaker_failures,
            _observer: observer,
        })))
    }

    /// Whether keys are spread over several servers, so that a call must not mix their slots.
    #[must_use]
    pub fn is_cluster(&self) -> bool {
        matches!(self.0.plan.source, Source::Cluster)
    }

    /// Whether it is asked again and again who takes writes.
    pub(super) fn is_watched(&self) -> bool {
        !matches!(self.0.plan.source, Source::One)
    }

    /// What the URL says.
    pub(super) fn plan(&self) -> &Plan {
        &self.0.plan
    }

    /// The servers that take writes now.
    pub(super) fn map(&self) -> Arc<Map> {
        self.0.watch.map()
    }

    /// One more server, for questions about itself.
    pub(super) fn open_node(&self, server: &Server) -> anyhow::Result<Node> {
        Node::open(&self.0.plan.node_at(server), self.0.timeout, self.0.breaker_failures)
    }

    /// The server of a key.
    pub(super) fn node_of(&self, key: &str) -> Result<Arc<Node>, RedisError> {
        self.map().node(key).cloned().ok_or_else(|| self.away())
    }

    /// Nobody is known to serve this; that may have changed.
    pub(super) fn away(&self) -> RedisError {
        self.0.watch.suspect();
        RedisError::Unavailable
    }

    /// The keys of `node`.
    pub(super) fn shard(&self, node: &Arc<Node>) -> Shard {
        Shard { map: self.map(), node: Arc::clone(node) }
    }

    /// Sends one command about a key.
    pub(super) async fn send(&self, command: Command) -> Result<Value, RedisError> {
        let _permit = self.0.permits.try_acquire().map_err(|_| RedisError::Overloaded)?;
        if self.is_cluster() {
            return Box::pin(self.send_and_follow(command)).await;
        }
        let node = self.node_of("")?;
        self.send_to(&node, command).await
    }

    /// In a cluster a slot may have moved since the last look: then this looks again. A slot that
    /// is being moved is not followed to where half of it may be.
    async fn send_and_follow(&self, command: Command) -> Result<Value, RedisError> {
        for _ in 0..REPEATS_MAX {
            let node = self.node_of(command.key())?;
            match self.send_to(&node, command.clone()).await {
                Err(error) if error.is_refusal("MOVED") => self.0.watch.look(self.0.timeout).await,
                outcome => return outcome,
            }
        }
        let node = self.node_of(command.key())?;
        self.send_to(&node, command).await
    }

    /// Sends a command to one server, and sees whether the answer raises doubts about who serves.
    pub(super) async fn send_to(
        &self,
        node: &Arc<Node>,
        command: Command,
    ) -> Result<Value, RedisError> {
        let outcome = node.send(command).await;
        if let Err(error) = &outcome {
            let is_demoted = error.is_refusal("READONLY") || error.is_refusal("MASTERDOWN");
            let is_away = matches!(error, RedisError::Unavailable | RedisError::Lost { .. });
            if self.is_watched() {
                if is_demoted || is_away || error.is_refusal("MOVED") {
                    self.0.watch.suspect();
                }
            } else if is_demoted {
                node.reconnect();
            }
        }
        outcome
    }

    /// Closes the connections.
    pub async fn close(&self) {
        // It holds this very connection.
        *self.0.settle.write() = None;
        for node in self.map().nodes() {
            node.close().await;
        }
    }
}

/// One command on its way.
#[derive(Clone)]
pub(super) struct Command {
    /// What errors and logs call it: a script's name, or the command's.
    pub(super) what: &'static str,
    /// The command.
    pub(super) name: &'static str,
    /// Which of the arguments is the key that says where it goes.
    pub(super) key_at: usize,
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
        Self { what: name, name, key_at: usize::MAX, args, timeout: None, only_reads: false }
    }

    pub(super) fn key(&self) -> &str {
        match self.args.get(self.key_at) {
            Some(Value::String(key)) => key,
            _ => "",
        }
    }
}

/// The part of a key that says which keys are served together: up to its hash tag's end.
pub(super) fn tag_of(key: &Str) -> Str {
    let end = key.find('}').map_or(key.len(), |end| end + 1);
    key.slice(..end)
}
