//! Stores that go away in the middle of a payment: the answer is the truth, or says that it is not
//! known.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use onsale::local::{LocalPostgres, LocalRedis, PostgresOptions, RedisOptions};
use onsale::payments::{PaymentError, PaymentsConfig};
use onsale::postgres;
use sqlx::PgPool;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixStream};

use super::stage::{
    PRICE, Stage, amount, assert_the_books_balance, connect, count, database, database_url, place,
    scripts, user, won,
};
use crate::support::{self, RawRedis, eventually, redis_at};

/// A proxy before PostgreSQL that can swallow answers: the statement is carried out, and its
/// connection is cut before a byte of the answer gets through.
struct Cutter {
    port: u16,
    /// How many connections are still to be cut at their next statement.
    cuts: Arc<AtomicU32>,
}

impl Cutter {
    async fn before(socket: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let cuts = Arc::new(AtomicU32::new(0));
        let accepted_cuts = cuts.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = UnixStream::connect(&socket).await.unwrap();
                tokio::spawn(carry(client, server, accepted_cuts.clone()));
            }
        });
        Self { port, cuts }
    }
}

/// Carries bytes both ways. A statement that moves money is known by its name, or, once prepared, by
/// the `Execute` that follows the `Bind`; its answer is dropped while cuts are left.
async fn carry(mut client: tokio::net::TcpStream, mut server: UnixStream, cuts: Arc<AtomicU32>) {
    let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
    let mut cut_next_answer = false;
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let Ok(count @ 1..) = read else { return };
                // 'B' opens a Bind: the statement is about to be carried out.
                let is_bind = up[0] == b'B';
                let take = |cuts: u32| cuts.checked_sub(1);
                if is_bind && cuts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok() {
                    cut_next_answer = true;
                }
                if server.write_all(&up[..count]).await.is_err() { return }
            }
            read = server.read(&mut down) => {
                let Ok(count @ 1..) = read else { return };
                if cut_next_answer { return }
                if client.write_all(&down[..count]).await.is_err() { return }
            }
        }
    }
}

/// A stage whose PostgreSQL is reached through a proxy, and the way around it.
async fn behind_a_cutter() -> (Cutter, Stage, PgPool) {
    let url = database_url().await;
    let sockets = url.split("host=").nth(1).unwrap().split('&').next().unwrap().to_owned();
    let cutter = Cutter::before(PathBuf::from(sockets).join(".s.PGSQL.5432")).await;
    let name = url.split('?').next().unwrap().rsplit('/').next().unwrap().to_owned();
    let owner = url.split("://").nth(1).unwrap().split('@').next().unwrap();
    let cut_url = format!("postgres://{owner}@127.0.0.1:{}/{name}?sslmode=disable", cutter.port);
    let stage = Stage::with(support::concert(50, 2), connect(&cut_url)).await;
    (cutter, stage, connect(&url))
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_and_is_the_truth() {
    let (cutter, stage, around) = behind_a_cutter().await;
    let mut raw = RawRedis::shared().await;
    let buyer = stage.buyer(&mut raw, 1).await;
    cutter.cuts.store(1, Ordering::SeqCst);
    assert_eq!(stage.charge(buyer.user, 50).await, won(10 * PRICE + 50));
    assert_eq!(cutter.cuts.load(Ordering::SeqCst), 0, "an answer was swallowed");
    cutter.cuts.store(1, Ordering::SeqCst);
    let payment = stage.pay(&buyer).await;
    assert_eq!(cutter.cuts.load(Ordering::SeqCst), 0, "an answer was swallowed");
    assert_eq!(payment.balance_after, won(9 * PRICE + 50));
    assert_eq!(stage.sold(&mut raw, 0).await, [1]);
    assert_eq!(count(&around, "select count(*) from ledger").await, 3);
    assert_the_books_balance(&around).await;
}

#[tokio::test]
async fn two_lost_answers_are_an_unknown_outcome_and_the_repeat_tells() {
    let (cutter, stage, around) = behind_a_cutter().await;
    let mut raw = RawRedis::shared().await;
    let buyer = stage.buyer(&mut raw, 1).await;
    cutter.cuts.store(2, Ordering::SeqCst);
    let unknown = stage.payments.pay(buyer.clone()).await;
    assert!(matches!(unknown, Err(PaymentError::OutcomeUnknown(_))), "{unknown:?}");
    let paying = stage.concert.keys.paying(buyer.place);
    let attempts = raw.say(&format!("ZCARD {paying}")).await.int();
    assert_eq!(attempts, 1, "the attempt stands: its statement may still act");
    let payment = stage.pay(&buyer).await;
    assert_eq!(payment.balance_after, won(9 * PRICE));
    assert_eq!(count(&around, "select count(*) from payments").await, 1);

    cutter.cuts.store(2, Ordering::SeqCst);
    let unknown = stage.payments.charge(buyer.user, amount(1), None).await;
    assert!(matches!(unknown, Err(PaymentError::OutcomeUnknown(_))), "{unknown:?}");
    assert_eq!(stage.payments.balance(buyer.user).await.unwrap(), won(9 * PRICE + 1));
    assert_the_books_balance(&around).await;
}

#[tokio::test]
async fn without_postgresql_nothing_happens_and_the_attempt_is_cancelled() {
    let server = LocalPostgres::throwaway(PostgresOptions::throwaway()).await.unwrap();
    let database = connect_quickly(&server.url());
    postgres::migrate(&database).await.unwrap();
    let stage = Stage::with(support::concert(50, 2), database).await;
    let mut raw = RawRedis::shared().await;
    let buyer = stage.buyer(&mut raw, 1).await;
    server.kill().await;
    // Idle connections are dead, and nobody knows what was sent on them; later nothing is sent.
    eventually("dead connections are gone", || async {
        matches!(
            stage.payments.charge(buyer.user, amount(1), None).await,
            Err(PaymentError::Database(_))
        )
    })
    .await;
    let refused = stage.payments.pay(buyer.clone()).await;
    assert!(matches!(refused, Err(PaymentError::Database(_))), "{refused:?}");
    let paying = stage.concert.keys.paying(buyer.place);
    eventually("no attempt is left", || async {
        let mut raw = RawRedis::shared().await;
        raw.say(&format!("ZRANGE {paying} 0 -1")).await.texts().is_empty()
    })
    .await;

    server.restart().await.unwrap();
    eventually("PostgreSQL is used again", || async {
        stage.payments.balance(buyer.user).await.is_ok()
    })
    .await;
    let payment = stage.pay(&buyer).await;
    assert_eq!(payment.balance_after, won(9 * PRICE));
    assert_the_books_balance(&stage.database).await;
    let idle = "select count(*) from pg_stat_activity where state like 'idle in transaction%'";
    assert_eq!(count(&stage.database, idle).await, 0);
}

fn connect_quickly(url: &str) -> PgPool {
    let config =
        postgres::PostgresConfig { connections_max: 4, ..postgres::PostgresConfig::new(url) };
    postgres::connect(&config).unwrap()
}

/// Its own connections cut by the administrator: some in the middle of a statement.
#[tokio::test]
async fn connections_that_are_cut_under_load_lose_no_money() {
    let url = database_url().await;
    let stage = Stage::with(support::concert(50, 2), connect(&url)).await;
    let cutting = connect(&url);
    let done = Arc::new(AtomicBool::new(false));
    let stop = done.clone();
    let cutter = tokio::spawn(async move {
        while !stop.load(Ordering::SeqCst) {
            sqlx::query(
                "select pg_terminate_backend(pid) from pg_stat_activity
                 where datname = current_database() and pid <> pg_backend_pid() limit 3",
            )
            .fetch_all(&cutting)
            .await
            .ok();
            tokio::task::yield_now().await;
        }
    });
    let (mut surely, mut perhaps) = (0, 0);
    for round in 0..40 {
        let charges = (0..10).map(|_| stage.payments.charge(user(7), amount(1), None));
        for charged in futures::future::join_all(charges).await {
            match charged {
                Ok(_) => surely += 1,
                Err(PaymentError::OutcomeUnknown(_)) => perhaps += 1,
                Err(PaymentError::Database(_)) => {}
                Err(other) => panic!("round {round}: {other}"),
            }
        }
    }
    done.store(true, Ordering::SeqCst);
    cutter.await.unwrap();
    // A pool of its own: the connections of every other one were cut.
    let around = connect(&url);
    let sum: i64 = count(&around, "select coalesce(sum(amount), 0)::bigint from ledger").await;
    assert!(
        (surely..=surely + perhaps).contains(&sum),
        "{surely} <= {sum} <= {surely} + {perhaps}"
    );
    assert_the_books_balance(&around).await;
}

/// Between the commit and Redis: the payment is made, the answer is 200, and Redis hears of it later.
#[tokio::test]
async fn a_redis_that_goes_away_after_the_commit_changes_no_answer() {
    let server = LocalRedis::throwaway(RedisOptions::durable()).await.unwrap();
    let redis = redis_at(&server.url(), scripts()).await;
    let config =
        PaymentsConfig { unsynced_after: std::time::Duration::ZERO, ..PaymentsConfig::default() };
    let stage = Stage::on(redis, support::concert(50, 2), database().await, config);
    let mut raw = RawRedis::connect(server.socket()).await;
    let buyer = stage.buyer(&mut raw, 1).await;
    // The statement waits for the buyer's row, so that Redis can go away in between.
    let mut lock = stage.database.begin().await.unwrap();
    sqlx::query("select from balances for update").execute(&mut *lock).await.unwrap();
    let paying = tokio::spawn({
        let (payments, buyer) = (stage.payments.clone(), buyer.clone());
        async move { payments.pay(buyer).await }
    });
    eventually("the payment waits for its row", || async {
        let blocked = "select count(*) from pg_stat_activity
             where wait_event_type = 'Lock' and datname = current_database()";
        count(&stage.database, blocked).await == 1
    })
    .await;
    drop(raw);
    server.kill().await;
    lock.rollback().await.unwrap();
    let payment = paying.await.unwrap().unwrap();
    assert_eq!(payment.balance_after, won(9 * PRICE));

    server.restart().await.unwrap();
    eventually("Redis was told", || async {
        let _ = stage.payments.clone().finish_unsynced().await;
        let unsynced = "select count(*) from payments where redis_synced_at is null";
        count(&stage.database, unsynced).await == 0
    })
    .await;
    let mut raw = RawRedis::connect(server.socket()).await;
    assert_eq!(stage.sold(&mut raw, 0).await, [1]);
    assert_eq!(stage.pay(&buyer).await, payment);
    assert_the_books_balance(&stage.database).await;
}

/// A client that goes away cancels nothing.
#[tokio::test]
async fn a_client_that_goes_away_has_paid_all_the_same() {
    let stage = Stage::new().await;
    let mut raw = RawRedis::shared().await;
    let buyer = stage.buyer(&mut raw, 1).await;
    {
        let paying = stage.payments.pay(buyer.clone());
        tokio::pin!(paying);
        // Polled once, so that it is under way, and dropped.
        assert!(futures::poll!(&mut paying).is_pending());
    }
    stage.payments.drain().await;
    assert_eq!(stage.sold(&mut raw, 0).await, [1]);
    assert_eq!(count(&stage.database, "select count(*) from payments").await, 1);
    assert_eq!(stage.pay(&buyer).await.place, place(buyer.place.get()));
    assert_the_books_balance(&stage.database).await;
}
