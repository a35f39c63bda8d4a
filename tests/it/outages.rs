//! A store that is away, comes back, or comes back empty: clear answers meanwhile, and the truth after.

use onsale::local::LocalStores;
use serde_json::json;

use crate::support::server::Deployment;
use crate::support::{RawRedis, concert, eventually};

async fn own_stores() -> LocalStores {
    LocalStores::throwaway().await.expect("private stores")
}

#[tokio::test(flavor = "multi_thread")]
async fn without_postgresql_people_still_arrive_and_wait_and_nothing_is_sold() {
    let stores = own_stores().await;
    let deployment = Deployment::on(&stores, vec![concert(10, 1)]).await;
    let server = deployment.start().await;
    let concert = deployment.concert().clone();
    let token = server.admitted(&concert, 1).await;
    stores.postgres.stop().await.expect("PostgreSQL stops");

    let arrival = server.post("/user/token", json!({"concertId": concert.id, "userId": 2})).await;
    let late = arrival.expect(201).text("token");
    server.get_as(&late, "/user/token/status").await.expect(200);
    let refused = server.reserve(&token, &concert, 1, 3).await;
    assert_eq!(refused.refusal(), (503, "database-unavailable"));
    let charge = server.post_as(&token, "/payment/charge", json!({"userId": 1, "amount": 5})).await;
    assert_eq!(charge.refusal(), (503, "database-unavailable"));
    let ready = server.get("/readyz").await;
    assert_eq!(ready.refusal(), (503, "not-ready"));
    assert!(ready.body["missing"].to_string().contains("PostgreSQL"), "{ready:?}");

    stores.postgres.restart().await.expect("PostgreSQL starts");
    let works = || async { server.reserve(&token, &concert, 1, 3).await.status == 201 };
    eventually("the refused seat was not kept, and can be held", works).await;
    server.charge(&token, 1, 100).await;
    server.pay(&token, 1).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_every_request_is_told_at_once_and_the_line_goes_on_afterwards() {
    let stores = own_stores().await;
    let deployment = Deployment::on(&stores, vec![concert(10, 1)]).await;
    let server = deployment.start().await;
    let concert = deployment.concert().clone();
    let token = server.admitted(&concert, 1).await;
    stores.redis.kill().await;
    let away = || async { server.get_as(&token, "/payment/balance?userId=1").await.status == 503 };
    eventually("Redis is noticed to be away", away).await;
    for (method, path) in
        [("POST", "/user/token"), ("GET", "/concert/available-dates"), ("POST", "/payment")]
    {
        let body = (path == "/payment").then(|| json!({"userId": 1}));
        let answer = server.send(method, path, Some(&token), body).await;
        assert_eq!(answer.status, 503, "{method} {path}: {answer:?}");
        assert!(answer.headers.contains_key("retry-after"));
    }
    server.get("/healthz").await.expect(200);
    stores.redis.restart().await.expect("Redis starts");
    let works = || async {
        server.post("/user/token", json!({"concertId": concert.id})).await.status == 201
    };
    eventually("people arrive again", works).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_was_emptied_never_sells_a_seat_again() {
    let stores = own_stores().await;
    let deployment = Deployment::on(&stores, vec![concert(10, 1)]).await;
    let server = deployment.start().await;
    let concert = deployment.concert().clone();
    let token = server.admitted(&concert, 1).await;
    server.charge(&token, 1, 1000).await;
    server.reserve(&token, &concert, 1, 3).await.expect(201);
    let paid = server.pay(&token, 1).await.expect(200);
    let waiting = server.admitted(&concert, 2).await;

    RawRedis::connect(stores.redis.socket()).await.say("FLUSHALL").await;
    let forgotten = || async {
        server.get_as(&waiting, "/user/token/status").await.refusal() == (401, "token-expired")
    };
    eventually("a forgotten token is told", forgotten).await;
    let arrives = || async {
        let body = json!({"concertId": concert.id, "userId": 3});
        matches!(server.post("/user/token", body).await.status, 200 | 201)
    };
    eventually("people arrive again", arrives).await;
    let third = server.admitted(&concert, 3).await;
    let seats =
        server.get_as(&third, "/concert/available-seats?concertDate=2099-12-01").await.expect(200);
    assert_eq!(seats.body["availableSeats"], json!([1, 2, 4, 5, 6, 7, 8, 9, 10]));
    let sold = server.reserve(&third, &concert, 3, 3).await;
    assert_eq!(sold.refusal(), (409, "seat-sold"));
    let again = server.pay(&token, 1).await.expect(200);
    assert_eq!(again.body, paid.body, "the old token still answers its payment");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_starts_without_its_stores_says_what_is_missing_and_recovers_by_itself() {
    let stores = own_stores().await;
    let deployment = Deployment::on(&stores, vec![concert(10, 1)]).await;
    stores.postgres.stop().await.expect("PostgreSQL stops");
    stores.redis.stop().await.expect("Redis stops");
    let server = deployment.start_unready().await;
    server.get("/healthz").await.expect(200);
    let missing = server.get("/readyz").await.expect(503).body["missing"].to_string();
    assert!(missing.contains("Redis") && missing.contains("PostgreSQL"), "{missing}");
    stores.redis.restart().await.expect("Redis starts");
    stores.postgres.restart().await.expect("PostgreSQL starts");
    let ready = || async { server.get("/readyz").await.status == 200 };
    eventually("the server is ready", ready).await;
    let concert = deployment.concert().clone();
    server.admitted(&concert, 1).await;
}

/// Anybody may ask whether a server is ready, and as often as they like.
#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_who_ask_at_once_whether_it_is_ready_cost_the_stores_a_few_looks() {
    let stores = own_stores().await;
    let deployment = Deployment::on(&stores, vec![concert(10, 1)]).await;
    let server = deployment.start().await;
    let mut redis = RawRedis::connect(stores.redis.socket()).await;
    redis.say("CONFIG RESETSTAT").await;
    // Long enough for all of them to have asked, and short enough for every answer.
    redis.say("CLIENT PAUSE 200 ALL").await;
    let asked = (0..500).map(|_| server.get("/readyz"));
    for answer in futures::future::join_all(asked).await {
        answer.expect(200);
    }
    let stats = redis.say("INFO commandstats").await;
    let line = stats.text().lines().find(|line| line.starts_with("cmdstat_config|get:"));
    let calls = line.and_then(|line| line.split_once("calls=")?.1.split(',').next());
    let looks: usize = calls.expect("a look").parse().expect("a number");
    println!("{looks} looks");
    assert!((1..=250).contains(&looks), "{looks} looks");
}

/// One group of reads is out when Redis stops; those that came meanwhile wait no longer for that.
#[tokio::test(flavor = "multi_thread")]
async fn with_a_redis_that_hangs_requests_that_wait_for_a_group_are_told_within_half_a_second() {
    let stores = own_stores().await;
    let deployment = Deployment::on(&stores, vec![concert(10, 1)]).await;
    let server = deployment.start().await;
    let token = server.admitted(&deployment.concert().clone(), 1).await;
    stores.redis.pause();
    let asked = (0..40).map(|n| {
        let (server, token) = (&server, &token);
        async move {
            tokio::time::sleep(std::time::Duration::from_millis(20 * n)).await;
            let asked = tokio::time::Instant::now();
            let answer = server.get_as(token, "/payment/balance?userId=1").await;
            (answer.status, asked.elapsed())
        }
    });
    for (status, elapsed) in futures::future::join_all(asked).await {
        assert_eq!(status, 503);
        assert!(elapsed < std::time::Duration::from_millis(500), "after {elapsed:?}");
    }
    stores.redis.resume();
    let works = || async { server.get_as(&token, "/payment/balance?userId=1").await.status == 200 };
    eventually("the token is good again", works).await;
}
