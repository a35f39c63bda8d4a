//! The pool, and how one statement is run on one of its connections.

use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared, WeakShared};
use parking_lot::Mutex;
use secrecy::ExposeSecret;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection as _, PgConnection, PgPool, Postgres};

use super::{PgError, PostgresConfig, Statement};

/// The wait for a connection.
pub(super) static ACQUIRE: Statement = Statement::new("acquire");

/// How long a caller waits for an answer while PostgreSQL lives. Longer than any timeout that
/// PostgreSQL itself keeps, so that it passes only when the connection, not the statement, is in
/// trouble.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(2_500);

/// How long a statement may be silent before PostgreSQL is asked whether it lives. If it does not,
/// nobody waits any longer: together with the search for a better connection it is a second.
const DOUBT_AFTER: Duration = Duration::from_millis(300);

/// How long PostgreSQL may take to say that it lives.
const PING_TIMEOUT: Duration = Duration::from_millis(250);

/// The same where a connection must be made first, with what that costs a busy machine.
const NEWCOMER_TIMEOUT: Duration = Duration::from_millis(500);

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
    let asked = Instant::now();
    let connection = pool.acquire().await.map_err(PgError::NotSent);
    ACQUIRE.count(asked, &connection);
    Ok(Connection { connection: connection?, pool: pool.clone() })
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

/// Waits for the answer of `statement` on `connection`, and lets go of the connection.
///
/// `run` must read everything that PostgreSQL sends (`fetch_all`, `execute`): `fetch_one` is
/// content with the first row, which may come although the commit fails afterwards.
///
/// # Errors
///
/// [`PgError::Refused`] or [`PgError::Lost`].
pub async fn answer<T>(
    connection: Connection,
    statement: &Statement,
    run: impl for<'c> FnOnce(&'c mut PgConnection) -> Answer<'c, T>,
) -> Result<T, PgError> {
    let sent = Instant::now();
    let Connection { mut connection, pool } = connection;
    let result = tokio::select! {
        biased;
        answer = run(&mut connection) => answer.map_err(PgError::of_statement),
        () = too_long(pool) => Err(PgError::unanswered()),
    };
    statement.count(sent, &result);
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
    let until_it_is_dead = async {
        if lives(&pool).await {
            futures::future::pending::<()>().await;
        }
    };
    // An error is the end of the patience, too.
    let _ =
        tokio::time::timeout(ANSWER_TIMEOUT.saturating_sub(DOUBT_AFTER), until_it_is_dead).await;
}

/// The probes that somebody waits for, one for each pool, which is known by its options: many
/// statements are late at the same moment, and what they want to know is the same.
static PROBES: Mutex<Vec<(Arc<PgConnectOptions>, WeakShared<Probe>)>> = Mutex::new(Vec::new());

type Probe = BoxFuture<'static, bool>;

/// Whether PostgreSQL answers on another connection: joins the probe that is under way, or begins
/// one.
fn lives(pool: &PgPool) -> Shared<Probe> {
    let options = pool.connect_options();
    let mut probes = PROBES.lock();
    probes.retain(|(_, probe)| probe.upgrade().is_some());
    let of_this = probes.iter().find(|(of, _)| Arc::ptr_eq(of, &options));
    if let Some(probe) = of_this.and_then(|(_, probe)| probe.upgrade()) {
        return probe;
    }
    // In a task of its own: an answer that comes meanwhile must not cut the ping short.
    let asked = tokio::spawn(probe(pool.clone()));
    let begun = asked.map(|lives| lives.unwrap_or(true)).boxed().shared();
    probes.extend(begun.downgrade().map(|probe| (options, probe)));
    begun
}

/// Asks on a connection that nobody uses. Waiting until one is given back would prove nothing:
/// where all are in use, one slow moment of a disk holds up all of them.
async fn probe(pool: PgPool) -> bool {
    if let Some(connection) = pool.try_acquire() {
        match ping(connection).await {
            Ok(()) => return true,
            Err(Dead::Silent) => return false,
            // Somebody has ended it, which says nothing of the others.
            Err(Dead::Ended) => {}
        }
    }
    answers_a_newcomer(&pool.connect_options()).await
}

/// Asks on a connection outside the pool, which is made for it.
async fn answers_a_newcomer(options: &PgConnectOptions) -> bool {
    let asked = async {
        let mut connection = PgConnection::connect_with(options).await?;
        connection.ping().await?;
        connection.close().await
    };
    match tokio::time::timeout(NEWCOMER_TIMEOUT, asked).await {
        // A refusal, of one connection too many for example, is a sign of life.
        Ok(Ok(()) | Err(sqlx::Error::Database(_))) => true,
        Ok(Err(_)) | Err(_) => false,
    }
}

/// Why a connection is of no use.
enum Dead {
    /// It does not answer in time.
    Silent,
    /// It is closed.
    Ended,
}

/// Pings a connection and gives it back to its pool, or closes it.
async fn ping(mut connection: PoolConnection<Postgres>) -> Result<(), Dead> {
    let dead = match tokio::time::timeout(PING_TIMEOUT, connection.ping()).await {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(_)) => Dead::Ended,
        Err(_) => Dead::Silent,
    };
    drop(connection.detach());
    Err(dead)
}

/// Asks PostgreSQL something; if the answer is lost, once more on a connection that lives. For
/// reads, and for writes that change nothing when repeated.
///
/// # Errors
///
/// See [`PgError`].
pub async fn ask<T>(
    pool: &PgPool,
    statement: &Statement,
    run: impl for<'c> Fn(&'c mut PgConnection) -> Answer<'c, T>,
) -> Result<T, PgError> {
    let connection = acquire(pool).await?;
    match answer(connection, statement, &run).await {
        Err(PgError::Lost(_)) => {
            let connection = acquire_tested(pool).await?;
            answer(connection, statement, &run).await
        }
        answer => answer,
    }
}

/// Closes idle connections that are dead, for example after a restart of PostgreSQL.
///
/// Called when a statement met one. All are asked at once, so it takes no longer than one.
pub async fn recover(pool: &PgPool) {
    let idle: Vec<_> = (0..pool.num_idle()).map_while(|_| pool.try_acquire()).collect();
    futures::future::join_all(idle.into_iter().map(ping)).await;
}
