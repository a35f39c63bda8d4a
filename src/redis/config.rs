//! Settings of the connection to Redis.

use std::time::Duration;

/// Settings of the Redis connection. Only the URL is meant to be changed in operation.
#[derive(Clone)]
pub struct RedisConfig {
    /// `redis://`, `rediss://`, `redis+unix://`, `redis-sentinel://` or `redis-cluster://`.
    ///
    /// May carry a password, so it is never printed.
    pub url: secrecy::SecretString,
    /// How long one command may take before its caller gets an error. 50 ms to 5 s.
    ///
    /// Too low, and a busy Redis looks dead; too high, and requests pile up behind a dead one. The
    /// library's own default is to wait for ever, so this is always passed on explicitly.
    pub command_timeout: Duration,
    /// The most calls in flight in this process; above it calls fail at once.
    pub calls_max: usize,
    /// How many I/O errors or timeouts in a row open the breaker.
    pub breaker_failures: u32,
}

impl RedisConfig {
    /// The defaults, for `url`.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self {
            url: secrecy::SecretString::from(url),
            command_timeout: Duration::from_millis(300),
            calls_max: 20_000,
            breaker_failures: 5,
        }
    }

    /// Whether the URL can be understood.
    ///
    /// # Errors
    ///
    /// A sentence that does not contain the URL.
    pub fn check(&self) -> Result<(), String> {
        super::options::Plan::read(self).map(|_| ()).map_err(|error| error.to_string())
    }
}
