//! No 2xx before PostgreSQL's word, whatever happens to either store.

use std::time::Duration;

use futures::FutureExt;
use onsale::local::{LocalPostgres, PostgresOptions};
use onsale::postgres;
use onsale::seats::{SeatsConfig, SeatsError};

use super::Stage;
use super::stage::{connect, selection};
use crate::support::{self, eventually};

/// Redis lost a sale; PostgreSQL did not.
#[tokio::test]
async fn a_seat_sold_in_postgresql_and_lost_in_redis_is_refused_and_marked_again() {
    let stage = Stage::new(10, 1).await;
    let alice = stage.admit(1).await;
    stage.sell_in_postgres(&[4]).await;
    let refused = stage.reserve(alice, &[3, 4, 5]).await;
    assert!(matches!(refused, Err(SeatsError::Sold { seat }) if seat.get() == 4), "{refused:?}");
    assert_eq!(stage.list().await, [1, 2, 3, 5, 6, 7, 8, 9, 10]);
    let live = stage.seats.live_holds(&stage.concert, alice.user).await.unwrap();
    assert_eq!(live.holds, [], "the other two were given back");
    let sold = stage.concert.keys.sold(stage.date());
    assert_eq!(stage.say(&format!("GETBIT {sold} 4")).await.int(), 1);
    assert_eq!((stage.stat("corrected").await, stage.stat("released").await), (1, 2));
    // The next one does not even get as far as PostgreSQL.
    stage.database.close().await;
    let refused = stage.reserve(alice, &[4]).await;
    assert!(matches!(refused, Err(SeatsError::Sold { .. })), "{refused:?}");
}

/// The same for a hold that stood already: repeats are confirmed, too.
#[tokio::test]
async fn a_repeat_is_confirmed_as_well() {
    let stage = Stage::new(10, 1).await;
    let alice = stage.admit(1).await;
    stage.reserve(alice, &[4]).await.expect("held");
    stage.sell_in_postgres(&[4]).await;
    let refused = stage.reserve(alice, &[4]).await;
    assert!(matches!(refused, Err(SeatsError::Sold { .. })), "{refused:?}");
    let live = stage.seats.live_holds(&stage.concert, alice.user).await.unwrap();
    assert_eq!(live.holds, []);
}

/// The hold stands before PostgreSQL is asked about it, so that its token may pay for it meanwhile.
#[tokio::test]
async fn a_seat_that_the_same_token_paid_for_meanwhile_was_reserved() {
    let (stage, mut sale) = silent_about_seats("paid_meanwhile", Duration::from_secs(10)).await;
    let alice = stage.admit(1).await;
    let pay = async {
        eventually("the seat is held", || async { stage.stat("held").await == 1 }).await;
        let live = stage.seats.live_holds(&stage.concert, alice.user).await.unwrap();
        stage.sell(&mut sale, 4, live.holds[0].reservation).await;
        sale.commit().await.expect("a sale");
    };
    let (reserved, ()) = tokio::join!(stage.reserve(alice, &[4]), pay);
    assert!(reserved.expect("it was held when it was paid for").is_new);
    // Whoever comes later is refused, whatever Redis says.
    let refused = stage.reserve(alice, &[4]).await;
    assert!(matches!(refused, Err(SeatsError::Sold { .. })), "{refused:?}");
}

/// A stage whose database answers nothing about seats until the transaction ends.
async fn silent_about_seats(
    name: &str,
    timeout: Duration,
) -> (Stage, sqlx::Transaction<'static, sqlx::Postgres>) {
    let postgres = &support::stores().await.postgres;
    postgres.create_database(name, None).await.expect("a database");
    let stage = stage_on(&postgres.url_of(name), timeout).await;
    let mut sale = stage.database.begin().await.expect("a transaction");
    let lock = "lock table owned_seats in access exclusive mode";
    sqlx::query(lock).execute(&mut *sale).await.expect("nobody is answered about seats");
    (stage, sale)
}

/// What the token held before is in the same payment.
#[tokio::test]
async fn a_seat_more_that_the_same_token_paid_for_meanwhile_was_reserved_with_the_earlier_one() {
    let (stage, mut sale) =
        silent_about_seats("more_paid_meanwhile", Duration::from_secs(10)).await;
    let alice = stage.admit(1).await;
    stage.hold_new(alice, &[4]).await;
    let pay = async {
        eventually("both are held", || async { stage.stat("held").await == 2 }).await;
        let live = stage.seats.live_holds(&stage.concert, alice.user).await.unwrap();
        for (hold, number) in live.holds.iter().zip([4, 5]) {
            assert_eq!(hold.seat.get(), number);
            stage.sell(&mut sale, number, hold.reservation).await;
        }
        sale.commit().await.expect("a sale");
    };
    let (reserved, ()) = tokio::join!(stage.reserve(alice, &[4, 5]), pay);
    assert!(reserved.expect("both were held when they were paid for").is_new);
    let refused = stage.reserve(alice, &[4]).await;
    assert!(matches!(refused, Err(SeatsError::Sold { .. })), "{refused:?}");
}

/// Nobody may be told that nothing happened: what is gone was perhaps bought.
#[tokio::test]
async fn a_hold_that_is_gone_before_it_can_be_given_back_is_an_unknown_outcome() {
    // PostgreSQL ends the silent transaction after 2 s.
    let (stage, sale) = silent_about_seats("gone_meanwhile", Duration::from_secs(1)).await;
    let alice = stage.admit(1).await;
    let finish = async {
        eventually("the seat is held", || async { stage.stat("held").await == 1 }).await;
        let keys = &stage.concert.keys;
        // As the end of a payment leaves it.
        stage.say(&format!("ZREM {} 4", keys.held(stage.date()))).await;
        stage.say(&format!("HDEL {} 4", keys.hold(stage.date()))).await;
        stage.say(&format!("DEL {}", keys.holds(alice.user))).await;
    };
    let (refused, ()) = tokio::join!(stage.reserve(alice, &[4]), finish);
    assert!(matches!(refused, Err(SeatsError::Unconfirmed(_))), "{refused:?}");
    drop(sale);
}

async fn stage_on(database: &str, timeout: Duration) -> Stage {
    let pool = connect(database);
    postgres::migrate(&pool).await.expect("a schema");
    let config = SeatsConfig { database_timeout: timeout, ..SeatsConfig::default() };
    Stage::with(support::concert(10, 1), config, pool).await
}

#[tokio::test]
async fn without_postgresql_nothing_stays_held_and_an_earlier_hold_stays() {
    let postgres =
        LocalPostgres::throwaway(PostgresOptions::throwaway()).await.expect("PostgreSQL");
    let stage = stage_on(&postgres.url(), Duration::from_millis(400)).await;
    let alice = stage.admit(1).await;
    let first = stage.reserve(alice, &[1]).await.expect("held");
    let before = stage.snapshot().await;

    postgres.stop().await.expect("stopped");
    let refused = stage.reserve(alice, &[1, 2]).await;
    assert!(matches!(refused, Err(SeatsError::Database(_))), "{refused:?}");
    let refused = stage.reserve(alice, &[1]).await;
    assert!(matches!(refused, Err(SeatsError::Database(_))), "{refused:?}");
    let live = stage.seats.live_holds(&stage.concert, alice.user).await.unwrap();
    assert_eq!(live.holds, first.holds.holds);
    let after = stage.snapshot().await;
    let held = stage.concert.keys.held(stage.date());
    assert_eq!(after[held.as_str()], before[held.as_str()]);

    postgres.restart().await.expect("PostgreSQL starts again");
    eventually("PostgreSQL is asked again", || async { stage.reserve(alice, &[2]).await.is_ok() })
        .await;
}

#[tokio::test]
async fn a_silent_postgresql_costs_the_hold_and_no_more_than_the_timeout() {
    let postgres =
        LocalPostgres::throwaway(PostgresOptions::throwaway()).await.expect("PostgreSQL");
    let stage = stage_on(&postgres.url(), Duration::from_millis(400)).await;
    let (alice, bob) = (stage.admit(1).await, stage.admit(2).await);
    stage.reserve(alice, &[1]).await.expect("held");
    // Its first processes are enough: a paused child answers nobody.
    let pids = backends(&stage).await;
    pause(&pids, true);
    let started = std::time::Instant::now();
    let refused = stage.reserve(bob, &[2]).await;
    assert!(matches!(refused, Err(SeatsError::Database(_))), "{refused:?}");
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(stage.list().await.contains(&2));
    pause(&pids, false);
    eventually("PostgreSQL is asked again", || async { stage.reserve(bob, &[2]).await.is_ok() })
        .await;
}

/// The process ids of PostgreSQL's backends: pausing the postmaster stops no connection.
async fn backends(stage: &Stage) -> Vec<i32> {
    sqlx::query_scalar("select pid from pg_stat_activity where backend_type = 'client backend'")
        .fetch_all(&stage.database)
        .await
        .expect("process ids")
}

fn pause(pids: &[i32], pause: bool) {
    use rustix::process::{Pid, Signal, kill_process};
    let signal = if pause { Signal::STOP } else { Signal::CONT };
    for pid in pids {
        kill_process(Pid::from_raw(*pid).expect("a pid"), signal).expect("a signal");
    }
}

/// The client goes away in the middle: what was begun is brought to its end.
#[tokio::test]
async fn a_dropped_request_leaves_a_confirmed_hold_or_none() {
    let stage = Stage::new(10, 1).await;
    let alice = stage.admit(1).await;
    stage.sell_in_postgres(&[2]).await;
    let (date, wanted) = (Some(stage.date()), selection(&[2, 3]));
    let request = stage.seats.reserve(&stage.concert, alice, date, &wanted);
    assert!(request.now_or_never().is_none(), "polled once, then dropped");
    eventually("both seats are tried and given back", || async {
        stage.stat("held").await == 2 && stage.stat("corrected").await == 1
    })
    .await;
    eventually("nothing is left held", || async {
        stage.list().await == [1, 3, 4, 5, 6, 7, 8, 9, 10]
    })
    .await;
}

/// A hold that a second request was told of is not taken back by the first.
#[tokio::test]
async fn a_hold_confirmed_to_a_second_request_survives_the_first_ones_failure() {
    let stage = Stage::new(10, 1).await;
    // Takes connections and never says a word.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("an address").port();
    let nowhere = connect(&format!("postgres://nobody@127.0.0.1:{port}/none"));
    let config = SeatsConfig { database_timeout: Duration::from_secs(2), ..SeatsConfig::default() };
    let cut_off = onsale::seats::Seats::new(
        stage.redis.clone(),
        stage.concerts.clone(),
        stage.gates.clone(),
        nowhere,
        config,
    );
    let alice = stage.admit(1).await;
    let (date, wanted) = (Some(stage.date()), selection(&[6]));
    let first = async { cut_off.reserve(&stage.concert, alice, date, &wanted).await };
    let second = async {
        eventually("the first request holds the seat", || async { stage.stat("held").await == 1 })
            .await;
        stage.reserve(alice, &[6]).await
    };
    let (first, second) = tokio::join!(first, second);
    let held = second.expect("confirmed");
    assert!(matches!(first, Err(SeatsError::Unconfirmed(_))), "{first:?}");
    let live = stage.seats.live_holds(&stage.concert, alice.user).await.unwrap();
    assert_eq!(live.holds, held.holds.holds);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_of_many_requests_are_answered_each_by_its_own() {
    let stage = Stage::new(400, 1).await;
    let sold: Vec<u32> = (1..=400).filter(|number| number % 7 == 0).collect();
    stage.sell_in_postgres(&sold).await;
    let mut people = Vec::new();
    for user in 1..=200 {
        people.push(stage.admit(user).await);
    }
    let wishes: Vec<_> = (0..200_u32).map(|index| [2 * index + 2, 2 * index + 1]).collect();
    let answers = futures::future::join_all(
        people.iter().zip(&wishes).map(|(holder, wish)| stage.reserve(*holder, wish)),
    )
    .await;
    for (wish, answer) in wishes.iter().zip(answers) {
        match wish.iter().find(|number| **number % 7 == 0) {
            None => assert!(answer.is_ok(), "{wish:?}: {answer:?}"),
            Some(number) => assert!(
                matches!(&answer, Err(SeatsError::Sold { seat }) if seat.get() == *number),
                "{wish:?}: {answer:?}"
            ),
        }
    }
}
