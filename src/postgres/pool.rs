//! The pool, and how one statement is run on one of its connections.

use std::str::FromStr;
use std::time::Duration;

use futures::future::BoxFuture;
use secrecy::ExposeSecret;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection as _, PgConnection, PgPool, Postgres};

use super::{PgError, PostgresConfig};

/// How long a caller waits for an answer while PostgreSQL lives. Longer than any timeout that
/// PostgreSQL itself keeps, so that it passes only when the connection, not the statement, is in
/// trouble.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(2_500);

/// How long a statement may be silent before PostgreSQL is asked whether it lives. If it does not,
/// nobody waits any longer: together with the search for a better connection it is a second.
const DOUBT_AFTER: Duration = Duration::from_millis(300);

/// How long PostgreSQL may take to say that it lives.
const PING_TIMEOUT: Duration = Duration::from_millis(250);

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

/// A connection that is lent for one statement.
pub struct Connection {
    connection: PoolConnection<Postgres>,
    pool: PgPool,
}

/// A connection for one statement.
///
/// # Errors
///
/// [`PgError::NotSent`]
pub async fn acquire(pool: &PgPool) -> Result<Connection, PgError> {
    let connection = pool.acquire().await.map_err(PgError::NotSent)?;
    Ok(Connection { connection, pool: pool.clone() })
}

/// A connection for the second attempt after a lost answer: no idle one is left that is dead, as all
/// of them are after a restart of PostgreSQL.
///
/// # Errors
///
/// [`PgError::NotSent`]
pub async fn acquire_tested(pool: &PgPool) -> Result<Connection, PgError> {
    recover(pool).await;
    acquire(pool).await
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
    connection: Connection,
    statement: impl for<'c> FnOnce(&'c mut PgConnection) -> Answer<'c, T>,
) -> Result<T, PgError> {
    let Connection { mut connection, pool } = connection;
    let result = tokio::select! {
        biased;
        answer = statement(&mut connection) => answer.map_err(PgError::of_statement),
        () = too_long(pool) => Err(PgError::unanswered()),
    };
    if matches!(result, Err(PgError::Lost(_))) {
        // Returned, it would be pinged by the pool, for ever if its peer is silently gone.
        drop(connection.detach());
    }
    result
}

/// Ends when a statement that was sent now is not worth waiting for any longer.
async fn too_long(pool: PgPool) {
    // The usual answer comes earlier, and costs no more than this one timer.
    tokio::time::sleep(DOUBT_AFTER).await;
    // In a task of its own: an answer that comes meanwhile must not cut the ping short.
    let doubt = tokio::spawn(lives(pool));
    let until_it_is_dead = async {
        if doubt.await.unwrap_or(true) {
            futures::future::pending::<()>().await;
        }
    };
    // An error is the end of the patience, too.
    let _ =
        tokio::time::timeout(ANSWER_TIMEOUT.saturating_sub(DOUBT_AFTER), until_it_is_dead).await;
}

/// Whether PostgreSQL answers on another connection.
///
/// With every connection in use it seems dead if none of them is given back in time. By then
/// PostgreSQL has given up whatever waits for a lock.
async fn lives(pool: PgPool) -> bool {
    match pool.acquire().await {
        Ok(connection) => is_alive(connection).await,
        Err(_) => false,
    }
}

/// Pings a connection and gives it back to its pool, or closes it.
async fn is_alive(mut connection: PoolConnection<Postgres>) -> bool {
    let is_alive =
        matches!(tokio::time::timeout(PING_TIMEOUT, connection.ping()).await, Ok(Ok(())));
    if !is_alive {
        drop(connection.detach());
    }
    is_alive
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

/// Closes idle connections that are dead, for example after a restart of PostgreSQL.
///
/// Called when a statement met one. All are asked at once, so it takes no longer than one.
pub async fn recover(pool: &PgPool) {
    let idle: Vec<_> = (0..pool.num_idle()).map_while(|_| pool.try_acquire()).collect();
    futures::future::join_all(idle.into_iter().map(is_alive)).await;
}
