//! Redis is emptied while 50,000 seats are sold: closed until they are marked again, and at no
//! moment a yes for one of them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::future::join_all;
use onsale::concerts::Concert;
use onsale::local::{LocalRedis, RedisOptions};
use serde_json::{Value, json};
use sqlx::PgPool;

use super::time_until;
use crate::support::server::{Deployment, TestServer};
use crate::support::{RawRedis, concert};

const SEATS: u32 = 50_000;
/// All but the last ones are sold.
const SOLD: u32 = 49_990;

/// Sells the first seats, without Redis; all but a thousand longer than an hour ago. What is paid
/// within the hour is finished again, which another test times for all fifty thousand.
async fn sell(database: &PgPool, concert: &Concert) {
    sqlx::query(
        "with paid as (
             insert into payments (id, user_id, concert_id, place, total, paid_at)
             select gen_random_uuid(), n, $1, n, 100,
                 clock_timestamp() - case when n > 1000 then interval '2 h' else interval '0' end
             from generate_series(1, $3) n
             returning id, user_id
         ), owned as (
             insert into owned_seats
                 (concert_id, concert_date, seat_number, payment_id, reservation_id, price)
             select $1, $2, user_id, id, gen_random_uuid(), 100 from paid
         ), purse as (
             insert into balances (user_id, balance) select user_id, 0 from paid
         )
         insert into ledger (user_id, request_id, amount, balance_after, payment_id, created_at)
         select user_id, gen_random_uuid(), -100, 0, id, clock_timestamp() from paid",
    )
    .bind(i32::try_from(concert.id.get()).expect("a small id"))
    .bind(concert.dates[0])
    .bind(i32::try_from(SOLD).expect("few"))
    .execute(database)
    .await
    .expect("they are sold");
}

/// Comes again and again, and wants seats that are sold: how often that was refused for that reason.
async fn want_sold_seats(
    server: &TestServer,
    concert: &Concert,
    user: u64,
    over: &AtomicBool,
    refused: &AtomicU64,
) {
    let list = format!(
        "/concert/available-seats?concertId={}&concertDate={}",
        concert.id, concert.dates[0]
    );
    let body = json!({"concertId": concert.id, "userId": user});
    let mut number = u32::try_from(user).expect("small");
    while !over.load(Ordering::SeqCst) {
        let arrived = server.post("/user/token", body.clone()).await;
        if !matches!(arrived.status, 200 | 201) {
            // Told to come again; a tenth of that here.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        }
        let token = arrived.text("token");
        number = number % SOLD + 37;
        let held = server.reserve(&token, concert, user, number.min(SOLD)).await;
        assert!(held.status >= 400, "a sold seat was held: {held:?}");
        refused.fetch_add(u64::from(held.refusal() == (409, "seat-sold")), Ordering::SeqCst);
        let seats = server.get_as(&token, &list).await;
        if seats.status == 200 {
            let free = seats.body["availableSeats"].as_array().expect("seats");
            let sold = free.iter().filter_map(Value::as_u64).find(|seat| *seat <= u64::from(SOLD));
            assert_eq!(sold, None, "a sold seat is offered");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The server takes people in and shows what is free.
async fn sells(server: &TestServer, concert: &Concert, user: u64) -> bool {
    let ready = server.get("/readyz").await.status == 200;
    let arrived =
        server.post("/user/token", json!({"concertId": concert.id, "userId": user})).await;
    ready && matches!(arrived.status, 200 | 201)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_emptied_with_fifty_thousand_sold_seats_never_says_yes_to_one_of_them() {
    let redis = LocalRedis::throwaway(RedisOptions::throwaway()).await.expect("a private Redis");
    let mut deployment = Deployment::new(vec![concert(SEATS, 1)]).await;
    deployment.redis_url = redis.url();
    let concert = deployment.concert().clone();
    let database = deployment.database().await;
    sell(&database, &concert).await;
    let servers = [deployment.start_unready().await, deployment.start_unready().await];
    let ready = || async {
        servers[0].get("/readyz").await.status == 200
            && servers[1].get("/readyz").await.status == 200
    };
    let started = time_until("both servers are ready", ready).await;

    let (over, refused) = (AtomicBool::new(false), AtomicU64::new(0));
    let wanting = join_all((0..6).map(|n: u64| {
        let server = &servers[usize::try_from(n % 2).expect("two")];
        want_sold_seats(server, &concert, 1_000_000 + n * 7, &over, &refused)
    }));
    let losing = async {
        let mut raw = RawRedis::connect(redis.socket()).await;
        raw.say("FLUSHALL").await;
        let both_sell = async |user: u64| {
            let one = sells(&servers[0], &concert, user).await;
            one && sells(&servers[1], &concert, user).await
        };
        // Ready may be an answer of just before; the epoch is set again at the end of the rebuild.
        let epoch = || async {
            let mut raw = RawRedis::connect(redis.socket()).await;
            raw.say(&format!("EXISTS {}", concert.keys.epoch)).await.int() == 1
                && both_sell(2_000_000).await
        };
        let emptied = time_until("both servers sell again", epoch).await;
        redis.kill().await;
        redis.restart().await.expect("Redis starts");
        let restarted = time_until("both servers sell again", epoch).await;
        println!("50,000 sold seats: ready {started:?} after the start");
        println!("after FLUSHALL: {emptied:?}, after a restart without a file: {restarted:?}");
        let before = refused.load(Ordering::SeqCst);
        let told = || async { refused.load(Ordering::SeqCst) > before };
        time_until("people are told that seats are sold", told).await;
        over.store(true, Ordering::SeqCst);
    };
    tokio::join!(wanting, losing);
    let mut raw = RawRedis::connect(redis.socket()).await;
    let marked = raw.say(&format!("BITCOUNT {}", concert.keys.sold(concert.dates[0]))).await.int();
    assert_eq!(marked, i64::from(SOLD));
    println!("{} times a sold seat was refused as sold", refused.into_inner());
}
