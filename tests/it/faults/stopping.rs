//! A server that is asked to stop under load finishes what it has begun, and takes nothing new.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use rustix::process::Signal;
use serde_json::json;
use sqlx::{Connection, PgConnection, PgPool};

use crate::payments::stage::assert_the_books_balance;
use crate::support::process::ServerProcess;
use crate::support::server::{Deployment, TestServer};
use crate::support::{concert, eventually};

/// What clients of the load know of their charges.
#[derive(Default)]
struct Known {
    done: AtomicU64,
    /// Done or not: the connection ended without an answer, or the answer says so.
    perhaps: AtomicU64,
}

/// Charges one won again and again, each on a connection of its own, until nobody listens.
async fn load(address: std::net::SocketAddr, token: &str, user: u64, known: &Known) {
    loop {
        let client = reqwest::Client::new();
        let request = client.post(format!("http://{address}/payment/charge"));
        let request =
            request.header("Queue-Token", token).json(&json!({"userId": user, "amount": 1}));
        match request.send().await {
            Ok(answer) if answer.status() == 200 => known.done.fetch_add(1, Ordering::SeqCst),
            Ok(answer) => {
                assert_eq!(answer.status(), 503);
                known.perhaps.fetch_add(1, Ordering::SeqCst)
            }
            Err(error) if error.is_connect() => return,
            Err(_) => known.perhaps.fetch_add(1, Ordering::SeqCst),
        };
    }
}

async fn number(database: &PgPool, sql: &'static str) -> u64 {
    let number: i64 = sqlx::query_scalar(sql).fetch_one(database).await.expect("a number");
    u64::try_from(number).expect("not negative")
}

/// Every charge that was answered is there, and none that nobody asked for.
async fn assert_nothing_was_lost(database: &PgPool, known: Known) {
    let (done, perhaps) = (known.done.into_inner(), known.perhaps.into_inner());
    println!("{done} charges answered, {perhaps} perhaps made");
    assert!(done > 0, "there was no load");
    let sum = number(database, "select count(*) from ledger where user_id > 2").await;
    assert!((done..=done + perhaps).contains(&sum), "{done} <= {sum} <= {done} + {perhaps}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_stopped_under_load_finishes_what_it_has_begun_and_loses_nothing() {
    let deployment = Deployment::new(vec![concert(50, 1)]).await.with("database_connections", "20");
    let process = ServerProcess::start(&deployment).await;
    let (server, concert) = (TestServer::at(process.server.address), deployment.concert().clone());
    let tokens = join_all((1..=10).map(|user| server.admitted(&concert, user))).await;
    server.charge(&tokens[0], 1, 1000).await;
    server.charge(&tokens[1], 2, 1000).await;
    server.reserve(&tokens[0], &concert, 1, 1).await.expect(201);
    let database = deployment.database().await;

    let known = Known::default();
    let load = join_all(
        tokens
            .iter()
            .zip(1..)
            .skip(2)
            .map(|(token, user)| load(server.address, token, user, &known)),
    );
    let stopping = async {
        // In the middle of a payment and of two charges.
        let mut lock = PgConnection::connect(&deployment.database_url).await.expect("a connection");
        let mut lock = lock.begin().await.expect("a transaction");
        let sql = "select from balances where user_id in (1, 2) for update";
        sqlx::query(sql).execute(&mut *lock).await.expect("a lock");
        let begun = async {
            let money = json!({"userId": 2, "amount": 7});
            let charge = || server.post_as(&tokens[1], "/payment/charge", money.clone());
            tokio::join!(server.pay(&tokens[0], 1), charge(), charge())
        };
        let stop = async {
            let waiting = "select count(*) from pg_stat_activity
                           where wait_event_type = 'Lock' and datname = current_database()";
            eventually("they wait for their rows", || async {
                number(&database, waiting).await > 0
            })
            .await;
            process.signal(Signal::TERM);
            let refused =
                || async { tokio::net::TcpStream::connect(server.address).await.is_err() };
            eventually("nothing new is taken", refused).await;
            lock.rollback().await.expect("no lock");
        };
        let begun_at = Instant::now();
        let ((paid, one, two), ()) = tokio::join!(begun, stop);
        // On a busy machine the lock may have been kept for longer than a statement waits for it.
        for answer in [&paid, &one, &two] {
            assert!(matches!(answer.status, 200 | 503), "{answer:?}");
        }
        let (exit_code, log) = process.stop().await;
        println!(
            "stopped {:?} after the begin: {:?}",
            begun_at.elapsed(),
            (paid.status, one.status)
        );
        assert!(begun_at.elapsed() < Duration::from_secs(15), "{:?}", begun_at.elapsed());
        assert_eq!(exit_code, Some(0), "{log}");
        assert!(log.contains("abandoned: 0"), "{log}");
        (paid.status == 200, [one, two].iter().filter(|answer| answer.status == 200).count())
    };
    let (_, (paid, charged)) = tokio::join!(load, stopping);

    assert_nothing_was_lost(&database, known).await;
    let entries = "select count(*) from ledger where user_id = 2 and amount = 7";
    assert_eq!(number(&database, entries).await, charged as u64);
    assert_eq!(number(&database, "select count(*) from payments").await, u64::from(paid));
    let open = "select count(*) from pg_stat_activity
                where application_name = 'onsale' and datname = current_database()";
    assert_eq!(number(&database, open).await, 0, "it has closed its connections");
    assert_the_books_balance(&database).await;
}
