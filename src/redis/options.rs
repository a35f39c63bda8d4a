//! The client library's settings, and the URLs that it may be given.

use std::time::Duration;

use fred::types::config::{
    Config, ReconnectPolicy, Server, ServerConfig, TcpConfig, UnresponsiveConfig,
};
use fred::types::{Builder, RespVersion};
use secrecy::ExposeSecret;

use super::RedisConfig;

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

/// How it is found out who takes writes.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// The URL names it.
    One,
    /// The Sentinels that the URL names know it.
    Sentinels {
        /// What they call it.
        service: String,
    },
    /// The nodes of a cluster know it, each for some of the slots.
    Cluster,
}

/// What a URL says.
pub(super) struct Plan {
    pub source: Source,
    /// The servers that the URL names.
    pub seeds: Vec<Server>,
    /// How to talk to a server that holds data; with [`Source::One`], the one.
    pub node: Config,
    /// How to talk to those who know where such a server is.
    informant: Config,
}

impl Plan {
    /// Reads the URL; an error does not contain it, because it may hold a password.
    pub fn read(config: &RedisConfig) -> anyhow::Result<Self> {
        let url = config.url.expose_secret();
        let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
        // The library would take http:// for a Redis URL.
        anyhow::ensure!(
            SCHEMES.contains(&scheme),
            "must start with one of {}://",
            SCHEMES.join("://, ")
        );
        let mut node = Config::from_url(url)
            .map_err(|error| anyhow::anyhow!("is no Redis URL: {}", error.details()))?;
        // Start without Redis, and go on trying.
        node.fail_fast = false;
        node.version = RespVersion::RESP3;
        let mut informant = node.clone();
        let (source, seeds) = match &node.server {
            ServerConfig::Centralized { .. } | ServerConfig::Unix { .. } => {
                (Source::One, Vec::new())
            }
            ServerConfig::Clustered { hosts, .. } => (Source::Cluster, hosts.clone()),
            ServerConfig::Sentinel { hosts, service_name, username, password } => {
                // They have passwords of their own, and no databases.
                informant.username.clone_from(username);
                informant.password.clone_from(password);
                informant.database = None;
                (Source::Sentinels { service: service_name.clone() }, hosts.clone())
            }
        };
        Ok(Self { source, seeds, node, informant })
    }

    pub fn node_at(&self, server: &Server) -> Config {
        at(&self.node, server)
    }

    pub fn informant_at(&self, server: &Server) -> Config {
        at(&self.informant, server)
    }
}

fn at(config: &Config, server: &Server) -> Config {
    Config { server: ServerConfig::Centralized { server: server.clone() }, ..config.clone() }
}

/// What people call a server.
pub(super) fn name_of(server: &ServerConfig) -> String {
    let names: Vec<_> = match server {
        ServerConfig::Unix { path } => vec![path.display().to_string()],
        others => others.hosts().iter().map(ToString::to_string).collect(),
    };
    names.join(", ")
}

/// The client library's settings. All of its defaults that matter here are unsafe: no reconnect
/// policy, no command timeout, Nagle's algorithm on.
pub(super) fn builder(config: Config, timeout: Duration) -> Builder {
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
            // The library would give an answer like READONLY to every call in flight, though it is
            // one call's; and connect to the same address again. The caller knows better.
            connection.reconnect_errors = Vec::new();
        });
    builder
}
