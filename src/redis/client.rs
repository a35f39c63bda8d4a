//! The connection: one pipelining client behind an in-flight limit and a breaker.
//!
//! The order of a call is permit → breaker → options → timeout: what cannot be answered in time is
//! refused before it is sent, so a dead Redis costs nobody a wait and no queue grows.
//!
//! One client is enough: it is one task that pipelines whatever arrives together.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use fred::clients::Client;
use fred::error::{Error as FredError, ErrorKind};
use fred::interfaces::{ClientLike, LuaInterface};
use fred::types::config::{
    Config, Options, ReconnectError, ReconnectPolicy, TcpConfig, UnresponsiveConfig,
};
use fred::types::{Builder, ClientState, ClusterHash, CustomCommand, RespVersion, Value};
use futures::future::BoxFuture;
use parking_lot::RwLock;
use secrecy::ExposeSecret;
use tokio::sync::{Mutex, Semaphore};

use super::{Args, Key, LuaScript, RedisConfig, RedisError, Reply, ReplyFault, ScriptCall};

/// How often a call that meets `NOSCRIPT` lets the scripts be loaded again before it gives up.
const RELOADS_MAX: u32 = 3;
/// How often an open breaker asks whether Redis answers again.
const PROBE_EVERY: Duration = Duration::from_millis(100);

/// The URL schemes that mean a Redis.
const SCHEMES: [&str; 7] = [
    "redis",
    "rediss",
    "redis+unix",
    "redis-sentinel",
    "rediss-sentinel",
    "redis-cluster",
    "rediss-cluster",
];

/// What must be true before scripts are loaded into a Redis that does not know them.
type Settle = Arc<dyn Fn() -> BoxFuture<'static, Result<(), RedisError>> + Send + Sync>;

/// The guarded connection to Redis. Cheap to clone.
#[derive(Clone)]
pub struct Redis(Arc<Inner>);

struct Inner {
    client: Client,
    timeout: Duration,
    permits: Semaphore,
    breaker: Breaker,
    scripts: &'static [&'static LuaScript],
    settle: RwLock<Option<Settle>>,
    /// How often the scripts were loaded; also the single flight of loading them.
    loads: AtomicU64,
    loading: Mutex<()>,
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
        let client = builder(parse_url(config)?, config.command_timeout).build()?;
        let _connection = client.connect();
        let redis = Self(Arc::new(Inner {
            client,
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
        }));
        Ok(redis)
    }

    /// Sets what runs before the scripts are loaded into a Redis that has forgotten them.
    pub fn on_forgotten(
        &self,
        settle: impl Fn() -> BoxFuture<'static, Result<(), RedisError>> + Send + Sync + 'static,
    ) {
        *self.0.settle.write() = Some(Arc::new(settle));
    }

    /// Whether a call would be sent now.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.0.client.state() == ClientState::Connected
            && !self.0.breaker.open.load(Ordering::Relaxed)
    }

    /// Whether the connection was up and `PING` was answered just now.
    pub async fn ping(&self) -> Result<(), RedisError> {
        self.send("PING", ClusterHash::Random, Vec::new(), self.0.timeout)
            .await
            .map(|_| ())
    }

    /// Runs `call` with the usual timeout.
    ///
    /// # Errors
    ///
    /// See [`RedisError`]; after [`RedisError::Lost`] the script may have run.
    pub async fn run<C: ScriptCall>(&self, call: &C) -> Result<C::Outcome, RedisError> {
        self.run_within(call, self.0.timeout).await
    }

    /// Runs `call` with a timeout of its own, for the few scripts that move much data.
    pub async fn run_within<C: ScriptCall>(
        &self,
        call: &C,
        timeout: Duration,
    ) -> Result<C::Outcome, RedisError> {
        let script = C::script();
        for _ in 0..RELOADS_MAX {
            let loads = self.0.loads.load(Ordering::Acquire);
            let mut args = Args::default();
            call.write(&mut args);
            let command = args.into_command(script.sha().clone());
            let what = EVALSHA.with(script.name);
            match self.send_as(what, command, timeout).await {
                Err(RedisError::Refused { source, .. }) if is_noscript(&source) => {
                    self.load_scripts(loads).await?;
                }
                reply => return decode::<C>(reply?),
            }
        }
        Err(RedisError::NotReady(format!(
            "script {} is forgotten again and again",
            script.name
        )))
    }

    /// Runs `call` by its source: only for the step that must come before scripts are loaded.
    pub async fn run_unloaded<C: ScriptCall>(&self, call: &C) -> Result<C::Outcome, RedisError> {
        let mut args = Args::default();
        call.write(&mut args);
        let command = args.into_command(C::script().source.into());
        decode::<C>(
            self.send_as(EVAL.with(C::script().name), command, self.0.timeout)
                .await?,
        )
    }

    /// Settles and loads all scripts, unless another call did since `seen` loads.
    async fn load_scripts(&self, seen: u64) -> Result<(), RedisError> {
        let _single_flight = self.0.loading.lock().await;
        if self.0.loads.load(Ordering::Acquire) != seen {
            return Ok(());
        }
        let settle = self.0.settle.read().clone();
        if let Some(settle) = settle {
            settle().await?;
        }
        for script in self.0.scripts {
            let loaded: Result<Value, FredError> = if self.0.client.is_clustered() {
                self.0.client.script_load_cluster(script.source).await
            } else {
                self.0.client.script_load(script.source).await
            };
            loaded.map_err(|source| classify(script.name, source))?;
        }
        self.0.loads.fetch_add(1, Ordering::Release);
        tracing::info!(
            scripts = self.0.scripts.len(),
            "loaded the scripts into Redis"
        );
        Ok(())
    }

    /// `GET`.
    pub async fn get(&self, key: &Key) -> Result<Option<String>, RedisError> {
        let value = self.read("GET", key, []).await?;
        Ok(value.into_string())
    }

    /// `GET` and `PTTL` of one key, pipelined: its value and the milliseconds it has left.
    pub async fn get_with_ttl(&self, key: &Key) -> Result<Option<(String, u64)>, RedisError> {
        let (value, ttl) = tokio::join!(self.read("GET", key, []), self.read("PTTL", key, []));
        let ttl = ttl?.as_i64().and_then(|ttl| u64::try_from(ttl).ok());
        Ok(value?.into_string().zip(ttl))
    }

    /// `ZCOUNT key score score`: whether a member has exactly this score.
    pub async fn has_score(&self, key: &Key, score: u64) -> Result<bool, RedisError> {
        let score = Value::String(score.to_string().into());
        let count = self.read("ZCOUNT", key, [score.clone(), score]).await?;
        Ok(count.as_u64().is_some_and(|count| count > 0))
    }

    /// `GET` of a value that is no text: a bitmap.
    pub async fn bytes(&self, key: &Key) -> Result<Option<bytes::Bytes>, RedisError> {
        let value = self.read("GET", key, []).await?;
        Ok(value.into_bytes())
    }

    /// `HGETALL`: the fields of a small hash, with their values.
    pub async fn hash(&self, key: &Key) -> Result<Vec<(String, String)>, RedisError> {
        let value = self.read("HGETALL", key, []).await?;
        let fields = value
            .into_map()
            .map(fred::types::Map::inner)
            .unwrap_or_default();
        let text = |(field, value): (fred::types::Key, Value)| {
            field.into_string().zip(value.into_string())
        };
        Ok(fields.into_iter().filter_map(text).collect())
    }

    /// `INFO section`, as text.
    pub async fn info(&self, section: &'static str) -> Result<String, RedisError> {
        let args = vec![Value::from_static_str(section)];
        let value = self
            .send("INFO", ClusterHash::Random, args, self.0.timeout)
            .await?;
        Ok(value.into_string().unwrap_or_default())
    }

    /// `CONFIG GET name`: the value of one setting of the server.
    pub async fn config_get(&self, name: &'static str) -> Result<Option<String>, RedisError> {
        let args = vec![Value::from_static_str("GET"), Value::from_static_str(name)];
        let value = self
            .send("CONFIG", ClusterHash::Random, args, self.0.timeout)
            .await?;
        let entry = value
            .into_map()
            .ok()
            .and_then(|map| map.inner().into_values().next());
        Ok(entry.and_then(Value::into_string))
    }

    async fn read<const N: usize>(
        &self,
        command: &'static str,
        key: &Key,
        rest: [Value; N],
    ) -> Result<Value, RedisError> {
        let mut args = Vec::with_capacity(1 + N);
        args.push(Value::String(key.0.clone()));
        args.extend(rest);
        self.send(command, ClusterHash::FirstKey, args, self.0.timeout)
            .await
    }

    async fn send_as(
        &self,
        what: Named,
        args: Vec<Value>,
        timeout: Duration,
    ) -> Result<Value, RedisError> {
        self.guarded(what, ClusterHash::Offset(2), args, timeout)
            .await
    }

    async fn send(
        &self,
        command: &'static str,
        hash: ClusterHash,
        args: Vec<Value>,
        timeout: Duration,
    ) -> Result<Value, RedisError> {
        self.guarded(
            Named {
                command,
                name: command,
            },
            hash,
            args,
            timeout,
        )
        .await
    }

    /// Permit → breaker → options → timeout.
    async fn guarded(
        &self,
        what: Named,
        hash: ClusterHash,
        args: Vec<Value>,
        timeout: Duration,
    ) -> Result<Value, RedisError> {
        let _permit = self
            .0
            .permits
            .try_acquire()
            .map_err(|_| RedisError::Overloaded)?;
        if !self.is_up() {
            return Err(RedisError::Unavailable);
        }
        let reply = self.raw(what.command, hash, args, timeout).await;
        match reply {
            Ok(value) => {
                self.0.breaker.failures.store(0, Ordering::Relaxed);
                Ok(value)
            }
            Err(source) => {
                let error = classify(what.name, source);
                if matches!(error, RedisError::Lost { .. }) {
                    self.count_failure();
                }
                Err(error)
            }
        }
    }

    async fn raw(
        &self,
        command: &'static str,
        hash: ClusterHash,
        args: Vec<Value>,
        timeout: Duration,
    ) -> Result<Value, FredError> {
        let options = Options {
            // 2, not 1: the library counts a cluster redirection as an attempt.
            max_attempts: Some(2),
            timeout: Some(timeout),
            fail_fast: true,
            ..Options::default()
        };
        let custom = CustomCommand::new_static(command, hash, false);
        self.0
            .client
            .with_options(&options)
            .custom(custom, args)
            .await
    }

    fn count_failure(&self) {
        let breaker = &self.0.breaker;
        let failures = breaker.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if failures >= breaker.failures_max && !breaker.open.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                failures,
                "Redis does not answer: calls are refused until it does"
            );
            tokio::spawn(self.clone().probe());
        }
    }

    /// Closes the breaker as soon as one `PING` is answered.
    async fn probe(self) {
        loop {
            tokio::time::sleep(PROBE_EVERY).await;
            let answer = self
                .raw("PING", ClusterHash::Random, Vec::new(), self.0.timeout)
                .await;
            if answer.is_ok() {
                self.0.breaker.failures.store(0, Ordering::Relaxed);
                self.0.breaker.open.store(false, Ordering::Relaxed);
                tracing::info!("Redis answers again");
                return;
            }
        }
    }

    /// Closes the connection.
    pub async fn close(&self) {
        if let Err(error) = self.0.client.quit().await {
            tracing::debug!(%error, "closing the Redis connection");
        }
    }
}

/// A command with the name that errors and logs give it.
#[derive(Clone, Copy)]
struct Named {
    command: &'static str,
    name: &'static str,
}

const EVALSHA: Named = Named {
    command: "EVALSHA",
    name: "EVALSHA",
};
const EVAL: Named = Named {
    command: "EVAL",
    name: "EVAL",
};

impl Named {
    const fn with(self, name: &'static str) -> Self {
        Self {
            command: self.command,
            name,
        }
    }
}

/// Reads the URL; an error does not contain it, because it may hold a password.
pub(super) fn parse_url(config: &RedisConfig) -> anyhow::Result<Config> {
    let url = config.url.expose_secret();
    let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
    // The library would take http:// for a Redis URL.
    anyhow::ensure!(
        SCHEMES.contains(&scheme),
        "must start with one of {}://",
        SCHEMES.join("://, ")
    );
    let mut parsed = Config::from_url(url)
        .map_err(|error| anyhow::anyhow!("is no Redis URL: {}", error.details()))?;
    // Start without Redis, and go on trying.
    parsed.fail_fast = false;
    parsed.version = RespVersion::RESP3;
    Ok(parsed)
}

/// The client library's settings. All of its defaults that matter here are unsafe: no reconnect
/// policy, no command timeout, Nagle's algorithm on.
fn builder(config: Config, timeout: Duration) -> Builder {
    let mut policy = ReconnectPolicy::new_exponential(0, 20, 2000, 2);
    policy.set_jitter(20);
    let mut builder = Builder::from_config(config);
    builder
        .set_policy(policy)
        .with_performance_config(|performance| performance.default_command_timeout = timeout)
        .with_connection_config(|connection| {
            connection.connection_timeout = Duration::from_secs(2);
            connection.internal_command_timeout = Duration::from_secs(3);
            connection.max_command_attempts = 2;
            // Unlimited on purpose: a full queue would also reject the library's own reconnect.
            connection.max_command_buffer_len = 0;
            connection.unresponsive = UnresponsiveConfig {
                max_timeout: Some(Duration::from_secs(3)),
                interval: Duration::from_millis(500),
            };
            connection.tcp = TcpConfig {
                nodelay: Some(true),
                #[cfg(target_os = "linux")]
                user_timeout: Some(Duration::from_secs(2)),
                ..TcpConfig::default()
            };
            connection.reconnect_errors = vec![
                ReconnectError::ClusterDown,
                ReconnectError::Loading,
                ReconnectError::ReadOnly,
                ReconnectError::MasterDown,
            ];
        });
    builder
}

fn decode<C: ScriptCall>(value: Value) -> Result<C::Outcome, RedisError> {
    let read = |value| -> Result<C::Outcome, ReplyFault> {
        let mut reply = Reply::new(value)?;
        let tag = reply.text()?;
        C::decode(&tag, reply)
    };
    read(value).map_err(|source| RedisError::Reply {
        script: C::script().name,
        source,
    })
}

fn is_noscript(error: &FredError) -> bool {
    error.details().starts_with("NOSCRIPT")
}

/// An answer by Redis itself is a refusal; everything else happened on the way.
fn classify(what: &'static str, source: FredError) -> RedisError {
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
