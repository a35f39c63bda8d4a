//! A store that is away, comes back, or comes back empty: clear answers meanwhile, and the truth after.

use std::time::Duration;

use onsale::local::LocalStores;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::dump::{assert_unchanged, at_rest, dump};
use crate::support::proxy::Mode;
use crate::support::server::{Answer, Deployment, TestServer};
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

/// What cannot be confirmed is refused; what was confirmed before is not denied.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_is_asked_for_again_without_postgresql_stands_and_nobody_says_it_does_not() {
    let stores = own_stores().await;
    let deployment = Deployment::on(&stores, vec![concert(10, 1)]).await;
    let server = deployment.start().await;
    let concert = deployment.concert().clone();
    let token = server.admitted(&concert, 1).await;
    let hold = server.reserve(&token, &concert, 1, 1).await.expect(201);
    let mut redis = RawRedis::connect(stores.redis.socket()).await;
    let deadlines = format!("ZRANGE {} 0 -1 WITHSCORES", concert.keys.held(concert.dates[0]));
    let before = redis.say(&deadlines).await.texts();
    stores.postgres.stop().await.expect("PostgreSQL stops");

    let both = json!({"userId": 1, "seatNumbers": [1, 2]});
    for body in [json!({"userId": 1, "seatNumber": 1}), both] {
        let refused = server.post_as(&token, "/concert/reserve", body).await;
        assert_eq!(refused.refusal(), (503, "database-unavailable"));
        let detail = refused.text("detail");
        assert!(detail.contains("nothing changed"), "{detail}");
        assert!(!detail.contains("nothing is held"), "{detail}");
        assert_eq!(redis.say(&deadlines).await.texts(), before, "the first hold, and no other");
    }
    stores.postgres.restart().await.expect("PostgreSQL starts");
    let again = || async {
        let again = server.reserve(&token, &concert, 1, 1).await;
        again.status == 200 && again.body["reservationId"] == hold.body["reservationId"]
    };
    eventually("the same hold is answered again", again).await;
}

/// Longer than a request takes that no database answers, with room for a busy machine.
const TOLD_WITHIN: Duration = Duration::from_secs(2);

/// Asks, and fails unless the answer comes in time.
async fn told_in_time(asked: impl Future<Output = Answer>) -> Answer {
    let begun = Instant::now();
    let answer = asked.await;
    assert!(begun.elapsed() < TOLD_WITHIN, "after {:?}: {answer:?}", begun.elapsed());
    answer
}

async fn charge_with_key(server: &TestServer, token: &str) -> Answer {
    let request = server.request("POST", "/payment/charge").header("Queue-Token", token);
    let request = request.header("Idempotency-Key", "once");
    server.answer(request.json(&json!({"userId": 1, "amount": 5}))).await
}

/// The connections stay open and nothing comes: each request gives up within a second or so, however
/// many connections there are to try, and says whether something may have happened.
#[tokio::test(flavor = "multi_thread")]
pub async fn behind_a_silent_network_money_is_told_in_time_and_the_repeat_tells() {
    let mut deployment = Deployment::new(vec![concert(10, 1)]).await;
    deployment = deployment.with("database_connections", "40");
    let (proxy, direct) = (deployment.proxy_database().await, deployment.database().await);
    let server = deployment.start().await;
    let concert = deployment.concert().clone();
    let (one, two) = (server.admitted(&concert, 1).await, server.admitted(&concert, 2).await);
    server.charge(&one, 1, 1000).await;
    server.reserve(&one, &concert, 1, 1).await.expect(201);
    // Reads at once open connections for all that follows: what has to wait for one is not sent.
    let reads = (0..20).map(|_| server.get_as(&two, "/payment/balance?userId=2"));
    futures::future::join_all(reads).await;
    proxy.set(Mode::BlackHole { to_target: true, to_client: true });

    let unknown = (503, "outcome-unknown");
    let unavailable = (503, "database-unavailable");
    let (charged, paid, balance, reservations, reserved) = tokio::join!(
        told_in_time(charge_with_key(&server, &one)),
        told_in_time(server.pay(&one, 1)),
        told_in_time(server.get_as(&two, "/payment/balance?userId=2")),
        told_in_time(server.get_as(&two, "/user/reservations?userId=2")),
        told_in_time(server.reserve(&two, &concert, 2, 2)),
    );
    assert_eq!((charged.refusal(), paid.refusal()), (unknown, unknown));
    for refused in [balance, reservations, reserved] {
        assert_eq!(refused.refusal(), unavailable);
    }

    proxy.set(Mode::Pass);
    let works = || async { charge_with_key(&server, &one).await.status == 200 };
    eventually("the charge is made or told", works).await;
    let bought = || async { server.pay(&one, 1).await.status == 200 };
    eventually("the payment is made or told", bought).await;
    let balance = server.get_as(&one, "/payment/balance?userId=1").await.expect(200);
    assert_eq!(balance.body["balance"], 905, "charged once, paid once");
    let rows: Vec<i64> = sqlx::query_scalar("select amount from ledger order by amount")
        .fetch_all(&direct)
        .await
        .expect("the ledger");
    assert_eq!(rows, [-100, 5, 1000]);
    let free: Vec<Value> = (2..=10).map(Value::from).collect();
    let seats = server.get_as(&two, "/concert/available-seats?concertDate=2099-12-01").await;
    assert_eq!(seats.expect(200).body["availableSeats"], json!(free));
}

/// User 1 with money and a hold, on a server that has both stores.
struct Served {
    deployment: Deployment,
    token: String,
    reservation: String,
    redis: RawRedis,
    before: Vec<String>,
    _server: TestServer,
}

impl Served {
    async fn set() -> Self {
        let deployment = Deployment::new(vec![concert(10, 1)]).await;
        let server = deployment.start().await;
        let token = server.admitted(deployment.concert(), 1).await;
        server.charge(&token, 1, 1000).await;
        let hold = server.reserve(&token, deployment.concert(), 1, 1).await.expect(201);
        let reservation = hold.text("reservationId");
        let mut redis = RawRedis::shared().await;
        let before = at_rest(&deployment, &mut redis).await;
        Self { deployment, token, reservation, redis, before, _server: server }
    }

    /// Asks `cut_off`, which has not both stores, on every route of the sale: those for which `told`
    /// names a code are refused with it, the others are not asked, and nothing changes.
    async fn assert_refused(
        mut self,
        cut_off: &TestServer,
        told: impl Fn(&str, &str) -> Option<&'static str>,
    ) {
        for (method, path, body) in every_route(&self.reservation) {
            let route = path.split('?').next().unwrap_or_default();
            let Some(code) = told(method, route) else { continue };
            let answer = cut_off.send(method, &path, Some(&self.token), body).await;
            assert_eq!(answer.refusal(), (503, code), "{method} {path}");
            assert_eq!(answer.headers["retry-after"], "1", "{method} {path}");
        }
        assert_unchanged(&self.before, &dump(&self.deployment, &mut self.redis).await);
    }
}

/// A server that lost its Redis beside one that has it.
#[tokio::test(flavor = "multi_thread")]
pub async fn without_redis_every_route_says_so_and_nothing_happens() {
    let served = Served::set().await;
    let mut cut_off = served.deployment.clone();
    cut_off.redis_url = NOBODY_LISTENS_TO_REDIS.to_owned();
    let cut_off = cut_off.start_unready().await;
    served.assert_refused(&cut_off, |_, _| Some("redis-unavailable")).await;
}

/// The same for PostgreSQL: what it is needed for is refused, and no seat is offered before it was
/// asked which are sold.
#[tokio::test(flavor = "multi_thread")]
pub async fn without_postgresql_from_the_start_nothing_is_sold_and_nothing_happens() {
    let served = Served::set().await;
    let mut cut_off = served.deployment.clone();
    cut_off.database_url = NOBODY_LISTENS_TO_SQL.to_owned();
    let cut_off = cut_off.start_unready().await;
    let has_redis =
        || async { cut_off.get_as(&served.token, "/user/token/status").await.status == 200 };
    eventually("it has its Redis", has_redis).await;
    let told = |method: &str, route: &str| match (method, route) {
        ("GET", "/concert/available-dates" | "/concert/available-seats")
        | ("POST", "/concert/reserve") => Some("not-ready"),
        (_, "/payment/charge" | "/payment/balance" | "/payment" | "/user/reservations") => {
            Some("database-unavailable")
        }
        // The line needs no PostgreSQL, and neither does who gives something back.
        _ => None,
    };
    served.assert_refused(&cut_off, told).await;
}

/// Port 1 is nobody's.
const NOBODY_LISTENS_TO_REDIS: &str = "redis://127.0.0.1:1";
const NOBODY_LISTENS_TO_SQL: &str = "postgres://onsale@127.0.0.1:1/onsale";

/// A right request of user 1, who holds a seat, for every route of the sale.
fn every_route(reservation: &str) -> Vec<(&'static str, String, Option<Value>)> {
    let get = |path: &str| ("GET", path.to_owned(), None);
    let post = |path: &str, body: Value| ("POST", path.to_owned(), Some(body));
    vec![
        get("/user/token/status"),
        get("/concert/available-dates"),
        get("/concert/available-seats?concertDate=2099-12-01"),
        post("/concert/reserve", json!({"userId": 1, "seatNumber": 2})),
        post("/payment/charge", json!({"userId": 1, "amount": 5})),
        get("/payment/balance?userId=1"),
        post("/payment", json!({"userId": 1})),
        get("/user/reservations?userId=1"),
        ("DELETE", format!("/concert/reserve?userId=1&reservationId={reservation}"), None),
        post("/user/token", json!({"userId": 9})),
        ("DELETE", "/user/token".to_owned(), None),
    ]
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
