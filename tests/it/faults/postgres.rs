//! PostgreSQL is killed, hangs, is full, or its answers are lost: nothing is sold meanwhile, people
//! still wait in line, and a repeat tells the truth.

use std::time::Duration;

use futures::future::join_all;
use onsale::local::{LocalPostgres, PostgresOptions};
use serde_json::json;
use sqlx::{Connection, PgConnection};

use super::{assert_come_again, time_until};
use crate::payments::stage::assert_the_books_balance;
use crate::support::links::Links;
use crate::support::proxy::Mode;
use crate::support::server::{Answer, Deployment, TestServer};
use crate::support::{concert, eventually};

/// What may not wait longer than this when PostgreSQL cannot work for it now.
const SOON: Duration = Duration::from_secs(1);

/// When the statement of a payment may no longer act: no answer takes longer.
const STATEMENT_DEADLINE: Duration = Duration::from_secs(10);

/// A charge under a key.
async fn charge(server: &TestServer, token: &str, user: u64, key: &str) -> Answer {
    let request = server.request("POST", "/payment/charge").header("Queue-Token", token);
    let request = request.header("Idempotency-Key", key);
    server.answer(request.json(&json!({"userId": user, "amount": 100}))).await
}

/// Everything that needs PostgreSQL is refused; of three tries the shortest must be this short.
async fn assert_nothing_is_sold(
    server: &TestServer,
    token: &str,
    (user, seat): (u64, u32),
    within: Duration,
) -> Duration {
    let owner = json!({"userId": user});
    let routes = [
        ("POST", "/concert/reserve", Some(json!({"userId": user, "seatNumber": seat}))),
        ("POST", "/payment/charge", Some(json!({"userId": user, "amount": 100}))),
        ("GET", &*format!("/payment/balance?userId={user}"), None),
        ("POST", "/payment", Some(owner)),
    ];
    let mut longest = Duration::ZERO;
    for (method, path, body) in routes {
        let mut shortest = Duration::MAX;
        for _ in 0..3 {
            let begun = std::time::Instant::now();
            let answer = server.send(method, path, Some(token), body.clone()).await;
            assert_come_again(&answer, path);
            shortest = shortest.min(begun.elapsed());
        }
        assert!(shortest < within, "{path} took {shortest:?}");
        longest = longest.max(shortest);
    }
    longest
}

/// A sale on a PostgreSQL of its own and the shared Redis.
async fn own_postgres(options: PostgresOptions) -> (LocalPostgres, Deployment) {
    let postgres = LocalPostgres::throwaway(options).await.expect("a private PostgreSQL");
    let database = sqlx::PgPool::connect(&postgres.url()).await.expect("PostgreSQL answers");
    onsale::postgres::migrate(&database).await.expect("the schema");
    database.close().await;
    let mut deployment = Deployment::new(vec![concert(50, 1)]).await;
    deployment.database_url = postgres.url();
    (postgres, deployment)
}

#[tokio::test(flavor = "multi_thread")]
async fn without_postgresql_nothing_is_sold_the_line_moves_and_a_repeat_tells_the_truth() {
    let (postgres, deployment) = own_postgres(PostgresOptions::throwaway()).await;
    let server = deployment.start().await;
    let concert = deployment.concert().clone();
    let tokens = join_all((1..=8).map(|user| server.admitted(&concert, user))).await;
    for (token, user) in tokens.iter().zip(1..) {
        server.charge(token, user, 1000).await;
        server
            .reserve(token, &concert, user, u32::try_from(user).expect("a seat"))
            .await
            .expect(201);
    }
    // Killed while payments are under way: some are made, some not, some nobody knows.
    let paying = join_all(tokens.iter().zip(1..).map(|(token, user)| server.pay(token, user)));
    let (answers, ()) = tokio::join!(paying, postgres.kill());
    for answer in &answers {
        assert!(matches!(answer.status, 200 | 503), "{answer:?}");
    }
    let token = &tokens[0];
    let spare = server.admitted(&concert, 100).await;
    let longest = assert_nothing_is_sold(&server, &spare, (100, 20), SOON).await;
    server.get_as(&spare, "/user/token/status").await.expect(200);
    server.get_as(&spare, "/concert/available-dates").await.expect(200);
    let list = format!("/concert/available-seats?concertDate={}", concert.dates[0]);
    server.get_as(&spare, &list).await.expect(200);

    postgres.restart().await.expect("PostgreSQL starts");
    let works = || async { server.reserve(&spare, &concert, 100, 20).await.status == 201 };
    let back = time_until("a seat can be held", works).await;
    println!(
        "PostgreSQL killed: refused within {longest:?}, a seat held {back:?} after its return"
    );
    for ((token, user), before) in tokens.iter().zip(1..).zip(&answers) {
        let paid = || async { server.pay(token, user).await.status == 200 };
        eventually("the repeat pays or finds the payment", paid).await;
        let after = server.pay(token, user).await.expect(200);
        assert_eq!(after.body["balance"], 900);
        if before.status == 200 {
            assert_eq!(after.body, before.body);
        }
    }
    assert!(
        server.get_as(token, "/payment/balance?userId=1").await.expect(200).body["balance"] == 900
    );
    let database = sqlx::PgPool::connect(&postgres.url()).await.expect("PostgreSQL answers");
    assert_the_books_balance(&database).await;
}

/// Has the server open its 24 connections: as many charges wait for one row at the same time.
async fn open_all_connections(server: &TestServer, token: &str, url: &str) {
    let mut lock = PgConnection::connect(url).await.expect("a connection");
    charge(server, token, 1, "first").await.expect(200);
    let mut lock = lock.begin().await.expect("a transaction");
    let sql = "select from balances where user_id = 1 for update";
    sqlx::query(sql).execute(&mut *lock).await.expect("a lock");
    let keys: Vec<_> = (0..30).map(|number| format!("key-{number}")).collect();
    let count = "select count(*) from pg_stat_activity where application_name = 'onsale'";
    // On a busy machine a connection may take longer than its charge waits for it.
    let mut open = 0_i64;
    for _ in 0..5 {
        join_all(keys.iter().map(|key| charge(server, token, 1, key))).await;
        open = sqlx::query_scalar(count).fetch_one(&mut *lock).await.expect("a count");
        if open >= 20 {
            break;
        }
    }
    assert!(open >= 20, "only {open} connections are open");
    lock.rollback().await.expect("no lock");
}

/// Connections that stay open and say nothing, all 24 of them: no request tries them all.
#[tokio::test(flavor = "multi_thread")]
async fn a_postgresql_that_stands_still_costs_a_clear_answer_and_is_used_again_afterwards() {
    let (postgres, deployment) = own_postgres(PostgresOptions::throwaway()).await;
    let deployment = deployment.with("database_connections", "24");
    let (server, concert) = (deployment.start().await, deployment.concert().clone());
    let tokens = join_all((1..=4).map(|user| server.admitted(&concert, user))).await;
    server.charge(&tokens[3], 4, 1000).await;
    server.reserve(&tokens[3], &concert, 4, 4).await.expect(201);
    open_all_connections(&server, &tokens[0], &postgres.url()).await;
    postgres.pause();
    let timed = async |answer: &mut (dyn Future<Output = Answer> + Unpin)| {
        let begun = std::time::Instant::now();
        let answer = answer.await;
        assert_come_again(&answer, "while PostgreSQL stands still");
        (answer.code().to_owned(), begun.elapsed())
    };
    let (mut held, mut charged, mut shown, mut paid) = (
        Box::pin(server.reserve(&tokens[0], &concert, 1, 1)),
        Box::pin(charge(&server, &tokens[1], 2, "key")),
        Box::pin(server.get_as(&tokens[2], "/payment/balance?userId=3")),
        Box::pin(server.pay(&tokens[3], 4)),
    );
    let all =
        tokio::join!(timed(&mut held), timed(&mut charged), timed(&mut shown), timed(&mut paid));
    println!("PostgreSQL stands still: reserve, charge, balance, pay {all:?}");
    for (code, elapsed) in [&all.0, &all.1, &all.2, &all.3] {
        assert!(*elapsed < STATEMENT_DEADLINE, "{code} after {elapsed:?}");
    }
    server.get_as(&tokens[0], "/user/token/status").await.expect(200);
    postgres.resume();
    let works =
        || async { matches!(server.reserve(&tokens[0], &concert, 1, 1).await.status, 200 | 201) };
    let back = time_until("a seat can be held", works).await;
    println!("a seat held {back:?} after PostgreSQL went on");
    assert_eq!(charge(&server, &tokens[1], 2, "key").await.expect(200).body["balance"], 100);
    assert_eq!(server.pay(&tokens[3], 4).await.expect(200).body["balance"], 900);
    let database = sqlx::PgPool::connect(&postgres.url()).await.expect("PostgreSQL answers");
    assert_the_books_balance(&database).await;
}

/// Every answer of PostgreSQL is lost for a while, whatever it was asked.
#[tokio::test(flavor = "multi_thread")]
async fn answers_of_postgresql_that_are_lost_leave_one_effect_and_the_repeat_tells_which() {
    // An attempt of unknown outcome keeps its holds for twice this.
    let around = Deployment::new(vec![concert(50, 1)]).await.with("payment_deadline", "1s");
    let links = Links::of(&around).await;
    let (server, concert) = (links.deployment.start().await, around.concert().clone());
    let users: Vec<u64> = (1..=12).collect();
    let tokens = join_all(users.iter().map(|user| server.admitted(&concert, *user))).await;
    let buyers: Vec<_> = tokens.iter().zip(&users).map(|(token, user)| (token, *user)).collect();
    let (mut lost, mut known) = (0, 0);
    for (index, (token, user)) in buyers.iter().enumerate() {
        let seat = u32::try_from(*user).expect("a seat");
        // One answer of each request is lost for the first half, and about every one for the rest.
        let cut = || links.to_postgres.set(Mode::CutAnswers);
        let requests = async {
            cut();
            let charged = charge(&server, token, *user, "first").await;
            cut();
            let held = server.reserve(token, &concert, *user, seat).await;
            cut();
            let balance = server.get_as(token, &format!("/payment/balance?userId={user}")).await;
            cut();
            (charged, held, balance, server.pay(token, *user).await)
        };
        let storm = async {
            while index >= buyers.len() / 2 {
                cut();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            std::future::pending::<()>().await;
        };
        let (charged, held, balance, paid) = tokio::select! {
            answers = requests => answers,
            () = storm => continue,
        };
        for (what, answer) in
            [("charge", charged), ("reserve", held), ("balance", balance), ("pay", paid)]
        {
            let right = matches!(answer.status, 200 | 201 | 503)
                // What came before it may not have happened.
                || what == "pay" && matches!(answer.status, 402 | 409);
            assert!(right, "{what}: {answer:?}");
            if answer.status == 503 { lost += 1 } else { known += 1 }
        }
    }
    println!("answers cut: {known} known all the same, {lost} not");
    links.to_postgres.set(Mode::Pass);
    for (token, user) in &buyers {
        let seat = u32::try_from(*user).expect("a seat");
        // A token that has bought charges nobody any more.
        let charged = || async {
            let answer = charge(&server, token, *user, "first").await;
            matches!(answer.status, 200 | 401)
        };
        eventually("the repeated charge is answered", charged).await;
        // Who has bought already holds nothing any more.
        let bought = || async {
            server.reserve(token, &concert, *user, seat).await;
            server.pay(token, *user).await.status == 200
        };
        eventually("the repeat pays or finds the payment", bought).await;
        let paid = server.pay(token, *user).await.expect(200);
        assert_eq!(paid.body["balance"], 0, "one charge, one payment");
    }
    let database = around.database().await;
    let count = |sql: &'static str| sqlx::query_scalar::<_, i64>(sql).fetch_one(&database);
    assert_eq!(count("select count(*) from payments").await.expect("a count"), 12);
    assert_eq!(count("select count(*) from ledger").await.expect("a count"), 24);
    assert_the_books_balance(&database).await;
}

/// One person's row is locked: that one is told soon, and nobody else waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_locked_costs_its_owner_a_clear_answer_and_nobody_else_anything() {
    let deployment = Deployment::new(vec![concert(50, 1)]).await;
    let (server, concert) = (deployment.start().await, deployment.concert().clone());
    let (one, two) = (server.admitted(&concert, 1).await, server.admitted(&concert, 2).await);
    server.charge(&one, 1, 1000).await;
    server.charge(&two, 2, 1000).await;
    server.reserve(&one, &concert, 1, 1).await.expect(201);
    let mut lock = PgConnection::connect(&deployment.database_url).await.expect("a connection");
    let mut lock = lock.begin().await.expect("a transaction");
    let sql = "select from balances where user_id = 1 for update";
    sqlx::query(sql).execute(&mut *lock).await.expect("a lock");
    let mut shortest = Duration::MAX;
    for _ in 0..3 {
        let begun = std::time::Instant::now();
        for answer in [charge(&server, &one, 1, "key").await, server.pay(&one, 1).await] {
            assert_come_again(&answer, "the owner of the row");
            assert_eq!(answer.code(), "database-unavailable", "nothing happened, and it says so");
        }
        shortest = shortest.min(begun.elapsed() / 2);
        server.charge(&two, 2, 1).await;
    }
    println!("a locked row: refused after {shortest:?}");
    assert!(shortest < SOON, "{shortest:?}");
    lock.rollback().await.expect("no lock");
    assert_eq!(charge(&server, &one, 1, "key").await.expect(200).body["balance"], 1100);
    assert_eq!(server.pay(&one, 1).await.expect(200).body["balance"], 1000);
}

/// All connections of the pool are busy with one locked row.
#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_is_exhausted_is_told_soon_and_is_whole_afterwards() {
    let deployment = Deployment::new(vec![concert(50, 1)]).await.with("database_connections", "2");
    let (server, concert) = (deployment.start().await, deployment.concert().clone());
    let tokens = join_all((1..=6).map(|user| server.admitted(&concert, user))).await;
    server.charge(&tokens[0], 1, 100).await;
    let mut lock = PgConnection::connect(&deployment.database_url).await.expect("a connection");
    let mut lock = lock.begin().await.expect("a transaction");
    let sql = "select from balances where user_id = 1 for update";
    sqlx::query(sql).execute(&mut *lock).await.expect("a lock");
    // The owner of the row keeps every connection in use.
    let busy = async {
        for round in 0..3 {
            let keys: Vec<_> = (0..6).map(|n| format!("{round}-{n}")).collect();
            let charges = keys.iter().map(|key| charge(&server, &tokens[0], 1, key));
            for answer in join_all(charges).await {
                assert_come_again(&answer, "the owner of the row");
            }
        }
    };
    let others = async {
        let mut shortest = Duration::MAX;
        for (token, user) in tokens.iter().zip(1..).skip(1) {
            let begun = std::time::Instant::now();
            let answer = charge(&server, token, user, "key").await;
            if answer.status == 503 {
                shortest = shortest.min(begun.elapsed());
            }
            assert!(matches!(answer.status, 200 | 503), "{answer:?}");
        }
        shortest
    };
    let ((), shortest) = tokio::join!(busy, others);
    println!("an exhausted pool: refused after {shortest:?}");
    lock.rollback().await.expect("no lock");
    for (token, user) in tokens.iter().zip(1..) {
        let works = || async { charge(&server, token, user, "key").await.status == 200 };
        eventually("the pool is whole", works).await;
    }
    assert_the_books_balance(&deployment.database().await).await;
}

/// Others have taken all connections that PostgreSQL has.
#[tokio::test(flavor = "multi_thread")]
async fn a_postgresql_without_a_connection_left_is_told_soon_and_used_again_when_it_has_one() {
    let options = PostgresOptions { connections_max: 12, ..PostgresOptions::throwaway() };
    let (postgres, deployment) = own_postgres(options).await;
    let server = deployment.start().await;
    let token = server.admitted(deployment.concert(), 1).await;
    // The server's own are cut, and somebody else is quicker.
    let mut admin = PgConnection::connect(&postgres.url()).await.expect("a connection");
    let mut others = Vec::new();
    let all_are_taken = async {
        loop {
            let cut = "select pg_terminate_backend(pid) from pg_stat_activity
                       where application_name = 'onsale'";
            let cut = sqlx::query(cut).execute(&mut admin).await.expect("they are cut");
            let before = others.len();
            while let Ok(one) = PgConnection::connect(&postgres.url()).await {
                others.push(one);
            }
            if cut.rows_affected() == 0 && others.len() == before {
                return;
            }
        }
    };
    let limit = tokio::time::timeout(Duration::from_secs(15), all_are_taken).await;
    limit.expect("all connections are taken");
    let longest = assert_nothing_is_sold(&server, &token, (1, 1), SOON).await;
    println!("no connection left: refused within {longest:?}");
    server.get_as(&token, "/user/token/status").await.expect(200);
    drop(others);
    let works = || async { server.reserve(&token, deployment.concert(), 1, 1).await.status == 201 };
    eventually("a seat can be held", works).await;
}
