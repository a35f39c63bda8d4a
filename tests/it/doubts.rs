//! Statements without an answer for a while: a PostgreSQL that is slow, and one that is silent.

use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use onsale::postgres::{self, PgError, PostgresConfig, Statement, pool};
use sqlx::{Executor, PgPool};
use tokio::time::Instant;

use crate::support::proxy::{Mode, Proxy};
use crate::support::server::Deployment;
use crate::support::{concert, eventually};

const CONNECTIONS: u32 = 6;

/// A pool with all its connections, behind a network.
async fn small_pool() -> (PgPool, Proxy) {
    let mut deployment = Deployment::new(vec![concert(10, 1)]).await;
    let proxy = deployment.proxy_database().await;
    let mut config = PostgresConfig::new(&deployment.database_url);
    config.connections_max = CONNECTIONS;
    let database = postgres::connect(&config).expect("a URL");
    let mut all = Vec::new();
    while all.len() < CONNECTIONS as usize {
        // A busy machine may need longer than a request waits.
        all.extend(database.acquire().await);
    }
    drop(all);
    // Each is asked for a sign of life before it is given back.
    eventually("all are idle", || async { database.num_idle() == CONNECTIONS as usize }).await;
    (database, proxy)
}

static DOUBTFUL: Statement = Statement::new("doubtful");

/// Keeps every connection in use for `seconds`, and tells which process served which statement.
async fn in_all_connections(database: &PgPool, seconds: &str) -> Vec<Result<Vec<i32>, PgError>> {
    let sql = format!("select pg_backend_pid() from pg_sleep({seconds})");
    join_all((0..CONNECTIONS).map(|_| async {
        let connection = pool::acquire(database).await?;
        let sql = sqlx::AssertSqlSafe(sql.clone());
        pool::answer(connection, &DOUBTFUL, |c| sqlx::query_scalar(sql).fetch_all(c).boxed()).await
    }))
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_that_are_slow_in_a_full_pool_are_waited_for_and_doubted_once() {
    let (database, proxy) = small_pool().await;
    // So that a probe lasts long enough to be seen.
    proxy.set(Mode::Delay(Duration::from_millis(20)));
    let mut most = 0;
    let mut slow = std::pin::pin!(in_all_connections(&database, "1.2"));
    let answers = loop {
        tokio::select! {
            answers = &mut slow => break answers,
            () = tokio::time::sleep(Duration::from_millis(2)) => most = most.max(proxy.connections()),
        }
    };
    for answer in &answers {
        assert!(answer.is_ok(), "{answer:?}");
    }
    assert_eq!(database.size(), CONNECTIONS, "none was given up");
    assert_eq!(most, CONNECTIONS as usize + 1, "one more, to ask whether PostgreSQL lives");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_every_connection_in_use_a_silent_network_is_noticed_all_the_same() {
    let (database, proxy) = small_pool().await;
    proxy.set(Mode::BlackHole { to_target: true, to_client: true });
    let begun = Instant::now();
    for answer in in_all_connections(&database, "0").await {
        assert!(matches!(answer, Err(PgError::Lost(_))), "{answer:?}");
    }
    // Who does not ask waits for two and a half.
    assert!(begun.elapsed() < Duration::from_secs(2), "after {:?}", begun.elapsed());
    proxy.set(Mode::Pass);
    eventually("new ones are made", || async { database.execute("select").await.is_ok() }).await;
}
