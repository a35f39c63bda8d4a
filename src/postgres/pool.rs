//! The pool, and how one statement is run on one of its connections.

use std::str::FromStr;
use std::time::Duration;

use futures::future::BoxFuture;
use secrecy::ExposeSecret;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool, Postgres};

use super::{PgError, PostgresConfig};

/// How long a caller waits for an answer. Longer than any timeout that PostgreSQL itself keeps, so
/// that it passes only when the connection, not the statement, is in trouble.
pub const ANSWER_TIMEOUT: Duration = Duration::from_millis(2_500);

/// The answer of a statement, on its way.
pub type Answer<'c, T> = BoxFuture<'c, Result<T, sqlx::Error>>;

/// A pool that opens its connections when they are needed: starts without a database.
///
/// # Errors
///
/// If the URL cannot be understood; the message does not contain it.
pub fn connect(config: &PostgresConfig) -> anyhow::Result<PgPool> {
    let options = PgConnectOptions::from_str(config.url.expose_secret())
        .map_err(|_| anyhow::anyhow!("the PostgreSQL URL is not understood"))?
        .application_name("onsale")
        // On the server, because a client that gives up leaves a statement running.
        .options([
            ("statement_timeout", millis(config.statement_timeout)),
            ("lock_timeout", millis(config.lock_timeout)),
            ("idle_in_transaction_session_timeout", "2000".to_owned()),
            // What the functions in `migrations/` are written for, whatever the server's default.
            ("default_transaction_isolation", "read committed".to_owned()),
        ]);
    let pool = PgPoolOptions::new()
        .max_connections(config.connections_max)
        .min_connections(config.connections_max / 2)
        .acquire_timeout(config.acquire_timeout)
        // A ping would double the round trips of every statement; [`recover`] replaces it.
        .test_before_acquire(false)
        .connect_lazy_with(options);
    Ok(pool)
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

/// A connection for one statement.
///
/// # Errors
///
/// [`PgError::NotSent`]
pub async fn acquire(pool: &PgPool) -> Result<PoolConnection<Postgres>, PgError> {
    pool.acquire().await.map_err(PgError::NotSent)
}

/// A connection that answered just now: for the second attempt after a lost answer, because after
/// a restart of PostgreSQL every idle connection is dead.
///
/// # Errors
///
/// [`PgError::NotSent`]
pub async fn acquire_tested(pool: &PgPool) -> Result<PoolConnection<Postgres>, PgError> {
    loop {
        let mut connection = acquire(pool).await?;
        let ping = connection.ping();
        if let Ok(Ok(())) = tokio::time::timeout(ANSWER_TIMEOUT / 5, ping).await {
            return Ok(connection);
        }
        drop(connection.detach());
    }
}

/// Waits for the answer of a statement on `connection`, and lets go of the connection.
///
/// `statement` must read everything that PostgreSQL sends (`fetch_all`, `execute`): `fetch_one` is
/// content with the first row, which may come although the commit fails afterwards.
///
/// # Errors
///
/// [`PgError::Refused`] or [`PgError::Lost`].
pub async fn answer<T>(
    mut connection: PoolConnection<Postgres>,
    statement: impl for<'c> FnOnce(&'c mut PgConnection) -> Answer<'c, T>,
) -> Result<T, PgError> {
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, statement(&mut connection)).await;
    let result = match answer {
        Ok(result) => result.map_err(PgError::of_statement),
        Err(_) => Err(PgError::unanswered()),
    };
    if matches!(result, Err(PgError::Lost(_))) {
        // Returned, it would be pinged by the pool, for ever if its peer is silently gone.
        drop(connection.detach());
    }
    result
}

/// Asks PostgreSQL something; if the answer is lost, once more on a connection that lives. For
/// reads, and for writes that change nothing when repeated.
///
/// # Errors
///
/// See [`PgError`].
pub async fn ask<T>(
    pool: &PgPool,
    statement: impl for<'c> Fn(&'c mut PgConnection) -> Answer<'c, T>,
) -> Result<T, PgError> {
    let connection = acquire(pool).await?;
    match answer(connection, &statement).await {
        Err(PgError::Lost(_)) => {
            let connection = acquire_tested(pool).await?;
            answer(connection, &statement).await
        }
        answer => answer,
    }
}

/// Replaces idle connections that are dead, for example after a restart of PostgreSQL.
///
/// Called when a statement met one. Bounded by the size of the pool.
pub async fn recover(pool: &PgPool) {
    for _ in 0..pool.num_idle() {
        let Some(mut connection) = pool.try_acquire() else {
            return;
        };
        let ping = tokio::time::timeout(ANSWER_TIMEOUT / 5, connection.ping()).await;
        if !matches!(ping, Ok(Ok(()))) {
            drop(connection.detach());
        }
    }
}
