//! Settings of the connections to PostgreSQL.

use std::str::FromStr;
use std::time::Duration;

use secrecy::ExposeSecret;
use sqlx::postgres::PgConnectOptions;

/// Settings of the PostgreSQL pool. Only the URL is meant to be changed in operation.
#[derive(Clone)]
pub struct PostgresConfig {
    /// `postgres://…`. May carry a password, so it is never printed.
    pub url: secrecy::SecretString,
    /// The most connections of this process; half of them are kept open.
    ///
    /// More than PostgreSQL has cores for only makes them wait there instead of here; the sum over
    /// all servers must stay below its `max_connections`.
    pub connections_max: u32,
    /// How long a request waits for a free connection before it is answered 503.
    pub acquire_timeout: Duration,
    /// How long PostgreSQL lets a statement wait for a lock. Together with the wait for a
    /// connection it bounds how long a blocked row keeps a client waiting.
    pub lock_timeout: Duration,
    /// How long PostgreSQL lets a statement run.
    pub statement_timeout: Duration,
}

impl PostgresConfig {
    /// The defaults, for `url`.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self {
            url: secrecy::SecretString::from(url),
            connections_max: 24,
            acquire_timeout: Duration::from_millis(300),
            lock_timeout: Duration::from_millis(500),
            statement_timeout: Duration::from_secs(2),
        }
    }

    /// Whether the URL can be understood.
    ///
    /// # Errors
    ///
    /// A sentence that does not contain the URL.
    pub fn check(&self) -> Result<(), &'static str> {
        let url = self.url.expose_secret();
        let scheme = url.split_once("://").map(|(scheme, _)| scheme);
        // The driver does not look at the scheme.
        match (scheme, PgConnectOptions::from_str(url)) {
            (Some("postgres" | "postgresql"), Ok(_)) => Ok(()),
            _ => Err("must be like postgres://user:password@host:5432/database"),
        }
    }
}
