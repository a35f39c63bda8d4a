//! The client library's settings, and the URLs that it may be given.

use std::time::Duration;

use fred::types::config::{Config, ReconnectError, ReconnectPolicy, TcpConfig, UnresponsiveConfig};
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
            connection.reconnect_errors = vec![
                ReconnectError::ClusterDown,
                ReconnectError::Loading,
                ReconnectError::ReadOnly,
                ReconnectError::MasterDown,
            ];
        });
    builder
}
