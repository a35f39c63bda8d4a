//! Every code of the error table, as a real server answers it: a whole problem, and nothing changes.
//!
//! [`reached`] says of each code how a client gets it. It is a match without a rest: a code that is
//! added does not compile before somebody says so here.

use onsale::concerts::Concert;
use onsale::http::Code;
use serde_json::{Value, json};

use crate::outages::behind_a_silent_network_money_is_told_in_time_and_the_repeat_tells as behind_a_silent_network;
use crate::outages::without_postgresql_from_the_start_nothing_is_sold_and_nothing_happens as without_postgresql;
use crate::outages::without_redis_every_route_says_so_and_nothing_happens as without_redis;
use crate::support::dump::{assert_unchanged, at_rest, dump};
use crate::support::raw_http::exchange;
use crate::support::server::{Answer, Deployment, TestServer, place_of};
use crate::support::{RawRedis, concert, eventually};

const ADMIN_TOKEN: &str = "the-operators-token-of-a-test";

/// How a code is reached.
enum Reached {
    /// In the sale of this module.
    Here(Answer),
    /// By a test of its own, because it needs a server or a store of its own.
    By(fn()),
    /// By no request: it would be a bug. That a panic becomes it is shown without a real server, in
    /// `src/http/tests/surroundings.rs`.
    Never,
}

/// A sale with people at every stage of it.
struct Sale {
    deployment: Deployment,
    server: TestServer,
    /// A second server of the same sale, for which one arrival a second is enough.
    strict: TestServer,
    /// User 1: holds seat 1, as many as allowed, and has no money.
    holder: String,
    /// User 2: has used the key `once`, and never held a seat.
    idle: String,
    /// User 3.
    waiting: String,
    /// User 4: has bought seat 4.
    consumed: String,
    /// User 5: gave a hold back.
    released: String,
    /// User 6: was let in 25 minutes ago.
    ending: String,
    /// User 7: holds seat 7, and a payment of it was begun and not ended.
    paying: String,
    paying_hold: String,
    /// Nobody's yet.
    anonymous: String,
}

async fn open() -> Sale {
    let deployment =
        Deployment::new(vec![concert(10, 1), concert(10, 1), concert(1, 1), over()]).await;
    let deployment = deployment.with("capacity", "6").with("claim_ttl", "10m");
    let deployment = deployment.with("max_seats_per_user", "1").with("admin_token", ADMIN_TOKEN);
    let server = deployment.start().await;
    let strict = deployment.clone().with("arrivals_per_address", "1").start().await;
    let (first, third) = (deployment.concert(), &deployment.concerts[2]);
    let buy = async |concert, user: u64, seat| {
        let token = server.admitted(concert, user).await;
        server.charge(&token, user, 1000).await;
        server.reserve(&token, concert, user, seat).await.expect(201);
        server.pay(&token, user).await.expect(200);
        token
    };
    buy(third, 9, 1).await;
    let consumed = buy(first, 4, 4).await;

    let holder = server.admitted(first, 1).await;
    server.reserve(&holder, first, 1, 1).await.expect(201);
    let idle = server.admitted(first, 2).await;
    charge_once(&server, &idle, 5).await.expect(200);
    let released = server.admitted(first, 5).await;
    let hold = server.reserve(&released, first, 5, 5).await.expect(201).text("reservationId");
    let path = format!("/concert/reserve?userId=5&reservationId={hold}");
    server.delete_as(&released, &path).await.expect(200);
    let ending = server.admitted(first, 6).await;
    server.get_as(&ending, "/payment/balance?userId=6").await.expect(200);
    let paying = server.admitted(first, 7).await;
    let hold = server.reserve(&paying, first, 7, 7).await.expect(201);
    let anonymous = server.post("/user/token", json!({"concertId": first.id})).await.expect(201);
    let anonymous = anonymous.text("token");
    server.wait_until_active(&anonymous).await;
    let waiting = server.join(first, 3).await;

    let mut redis = RawRedis::shared().await;
    // As if the time had passed, and as a server leaves it that was killed in the middle.
    let token = first.keys.token(place_of(&ending));
    let value = redis.say(&format!("GET {token}")).await.text().to_owned();
    let (whose, promoted_ms) = value.rsplit_once(':').expect("a token");
    let earlier_ms = promoted_ms.parse::<u64>().expect("a moment") - 25 * 60_000;
    redis.say(&format!("SET {token} {whose}:{earlier_ms} KEEPTTL")).await;
    let attempts = first.keys.paying(place_of(&paying));
    redis.say(&format!("ZADD {attempts} {} attempt", u64::MAX >> 12)).await;
    let arrives = json!({"concertId": third.id});
    let told = || async { server.post("/user/token", arrives.clone()).await.status == 409 };
    eventually("the third concert is sold out", told).await;
    let paying_hold = hold.text("reservationId");
    Sale {
        deployment,
        server,
        strict,
        holder,
        idle,
        waiting,
        consumed,
        released,
        ending,
        paying,
        paying_hold,
        anonymous,
    }
}

/// A sale that has ended.
fn over() -> Concert {
    let closes_at = "2020-01-01T00:00:00+09:00".parse().expect("a moment");
    Concert { closes_at: Some(closes_at), ..concert(1, 1) }
}

async fn charge_once(server: &TestServer, token: &str, amount: u64) -> Answer {
    let request = server.request("POST", "/payment/charge").header("Queue-Token", token);
    let request = request.header("Idempotency-Key", "once");
    server.answer(request.json(&json!({"userId": 2, "amount": amount}))).await
}

/// Arrivals that are wrong, until even that is too often.
async fn arrive_too_often(server: &TestServer) -> Answer {
    loop {
        let answer = server.post("/user/token", json!({"userId": 0})).await;
        if answer.status != 422 {
            return answer;
        }
    }
}

async fn reached(code: Code, sale: &Sale) -> Reached {
    let Sale { deployment, server, holder, idle, .. } = sale;
    let [first, second, third, over] = &deployment.concerts[..] else { panic!("four concerts") };
    let (dates, balance) = ("/concert/available-dates", "/payment/balance?userId=1");
    let post_as_holder = |path, body: Value| server.post_as(holder, path, body);
    Reached::Here(match code {
        Code::BadRequest => post_as_holder("/payment", json!({})).await,
        Code::AmbiguousInput => {
            server.send("GET", balance, Some(holder), Some(json!({"userId": 2}))).await
        }
        Code::TokenMissing => server.get(dates).await,
        Code::TokenInvalid => server.get_as("nonsense", dates).await,
        Code::TokenExpired => server.get_as(&sale.consumed, dates).await,
        Code::Unauthenticated => server.get("/admin/concerts").await,
        Code::InsufficientBalance => server.pay(holder, 1).await,
        Code::StillWaiting => server.get_as(&sale.waiting, dates).await,
        Code::NotYours => server.pay(holder, 2).await,
        Code::WrongConcert => server.reserve(holder, second, 1, 1).await,
        Code::NotFound => server.get("/nowhere").await,
        Code::UnknownConcert => server.post("/user/token", json!({"concertId": 4_000_000})).await,
        Code::UnknownDate => {
            server.get_as(holder, "/concert/available-seats?concertDate=2099-12-31").await
        }
        Code::UnknownSeat => server.reserve(idle, first, 2, 11).await,
        Code::UnknownReservation => {
            let nobodys = uuid::Uuid::now_v7();
            let path = format!("/concert/reserve?userId=1&reservationId={nobodys}");
            server.delete_as(holder, &path).await
        }
        Code::MethodNotAllowed => server.send("PUT", "/payment", None, None).await,
        Code::PayloadTooLarge => {
            post_as_holder("/payment", json!({"userId": "1".repeat(17 * 1024)})).await
        }
        Code::UnsupportedMediaType => {
            let request = server.request("POST", "/payment").header("content-type", "text/plain");
            server.answer(request.body("{}")).await
        }
        Code::SeatTaken => server.reserve(idle, first, 2, 1).await,
        Code::SeatSold => server.reserve(idle, first, 2, 4).await,
        Code::HoldLimit => server.reserve(holder, first, 1, 2).await,
        Code::SessionEnding => server.reserve(&sale.ending, first, 6, 6).await,
        Code::NothingToPay => server.pay(idle, 2).await,
        Code::HoldExpired => server.pay(&sale.released, 5).await,
        Code::PaymentInProgress => server.delete_as(&sale.paying, "/user/token").await,
        Code::UserHasToken => server.get_as(&sale.anonymous, balance).await,
        Code::SoldOut => server.post("/user/token", json!({"concertId": third.id})).await,
        Code::BeaconNotAwaited => {
            let body = json!({"concertId": first.id, "beacon": "0123456789abcdef"});
            let request = server.request("PATCH", "/admin/concerts").bearer_auth(ADMIN_TOKEN);
            server.answer(request.json(&body)).await
        }
        Code::Closed => server.post("/user/token", json!({"concertId": over.id})).await,
        Code::OutOfRange => {
            post_as_holder("/payment/charge", json!({"userId": 1, "amount": 0})).await
        }
        Code::IdempotencyKeyReused => charge_once(server, idle, 6).await,
        Code::TooManyRequests => arrive_too_often(&sale.strict).await,
        Code::HeadersTooLarge => {
            let request = server.request("GET", dates).header("X", "a".repeat(40_000));
            server.answer(request).await
        }
        Code::RequestTimeout => return Reached::By(a_head_that_never_ends_is_answered_too),
        Code::Overloaded => return Reached::By(a_server_without_room_refuses_and_nothing_happens),
        Code::RedisUnavailable => return Reached::By(without_redis),
        Code::DatabaseUnavailable | Code::NotReady => return Reached::By(without_postgresql),
        Code::OutcomeUnknown => return Reached::By(behind_a_silent_network),
        Code::Internal => return Reached::Never,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_code_of_the_table_is_a_whole_problem_of_a_real_server_and_changes_nothing() {
    let sale = open().await;
    let mut redis = RawRedis::shared().await;
    let before = at_rest(&sale.deployment, &mut redis).await;
    let mut elsewhere = Vec::new();
    for code in Code::ALL {
        let answer = match reached(*code, &sale).await {
            Reached::Here(answer) => answer,
            Reached::By(test) => {
                elsewhere.push(test);
                continue;
            }
            Reached::Never => continue,
        };
        let wanted = (code.status().as_u16(), code.as_str());
        assert_eq!(answer.refusal(), wanted, "{answer:?}");
        let body = &answer.body;
        assert_eq!(body["type"], format!("/problems/{}", code.as_str()));
        assert_eq!((&body["title"], &body["status"]), (&json!(code.title()), &json!(wanted.0)));
        assert!(body["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{answer:?}");
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        assert_eq!(answer.headers["x-request-id"], body["requestId"].as_str().expect("an id"));
        let needs_a_wait = *code == Code::StillWaiting || matches!(wanted.0, 429 | 503);
        let wait = answer.headers.get("retry-after").map(|wait| wait.to_str().expect("text"));
        let is_whole = wait.is_some_and(|wait| wait.parse::<u32>().is_ok_and(|wait| wait >= 1));
        assert_eq!(is_whole, needs_a_wait, "{answer:?}");
    }
    assert!(elsewhere.len() < Code::ALL.len() / 4, "most are reached here");
    assert_unchanged(&before, &dump(&sale.deployment, &mut redis).await);
}

/// What a payment is about stays as it is, until its attempt is over; then all goes on.
#[tokio::test(flavor = "multi_thread")]
async fn while_a_payment_is_under_way_its_token_and_its_holds_stay_as_they_are() {
    let Sale { deployment, server, paying, paying_hold, .. } = open().await;
    let mut redis = RawRedis::shared().await;
    let before = at_rest(&deployment, &mut redis).await;
    let release = format!("/concert/reserve?userId=7&reservationId={paying_hold}");
    for answer in [
        server.delete_as(&paying, &release).await,
        server.delete_as(&paying, "/user/token").await,
        server.reserve(&paying, deployment.concert(), 7, 8).await,
    ] {
        assert_eq!(answer.refusal(), (409, "payment-in-progress"));
    }
    assert_unchanged(&before, &dump(&deployment, &mut redis).await);
    let attempts = deployment.concert().keys.paying(place_of(&paying));
    redis.say(&format!("DEL {attempts}")).await;
    server.charge(&paying, 7, 100).await;
    server.pay(&paying, 7).await.expect(200);
}

/// Whoever is not its holder learns nothing of a hold, and whoever was can end it once.
#[tokio::test(flavor = "multi_thread")]
async fn a_reservation_that_is_unknown_over_or_somebody_elses_is_404_and_no_hold_ends_by_it() {
    let deployment = Deployment::new(vec![concert(10, 1)]).await;
    let server = deployment.start().await;
    let concert = deployment.concert();
    let (one, two) = (server.admitted(concert, 1).await, server.admitted(concert, 2).await);
    let theirs = server.reserve(&one, concert, 1, 1).await.expect(201).text("reservationId");
    let mine = server.reserve(&two, concert, 2, 2).await.expect(201).text("reservationId");
    let path = |id: &str| format!("/concert/reserve?userId=2&reservationId={id}");
    server.delete_as(&two, &path(&mine)).await.expect(200);
    let mut redis = RawRedis::shared().await;
    let before = at_rest(&deployment, &mut redis).await;
    for id in [mine, theirs, uuid::Uuid::now_v7().to_string()] {
        let answer = server.delete_as(&two, &path(&id)).await;
        assert_eq!(answer.refusal(), (404, "unknown-reservation"), "{id}");
    }
    assert_unchanged(&before, &dump(&deployment, &mut redis).await);
}

#[tokio::test(flavor = "multi_thread")]
pub async fn a_head_that_never_ends_is_answered_too() {
    let server = Deployment::new(vec![concert(10, 1)]).await.start().await;
    let answer = exchange(server.address, b"GET /healthz HTTP/1.1\r\nHost: x\r\n").await;
    assert_eq!(answer.refusal("half a head"), (408, "request-timeout".to_owned()));
}

/// One request is in work because a row is locked; there is no room for a second.
#[tokio::test(flavor = "multi_thread")]
pub async fn a_server_without_room_refuses_and_nothing_happens() {
    let deployment = Deployment::new(vec![concert(10, 1)]).await;
    let server = deployment.start().await;
    let token = server.admitted(deployment.concert(), 1).await;
    server.charge(&token, 1, 1000).await;
    let full = deployment.clone().with("requests_max", "1").start().await;
    let mut redis = RawRedis::shared().await;
    let before = at_rest(&deployment, &mut redis).await;
    let database = deployment.database().await;
    let mut lock = database.begin().await.expect("a transaction");
    sqlx::query("select from balances for update").execute(&mut *lock).await.expect("a lock");

    let refused = std::sync::atomic::AtomicBool::new(false);
    let in_work = async {
        // Each waits for the row for half a second, and is told so.
        while !refused.load(std::sync::atomic::Ordering::SeqCst) {
            let body = json!({"userId": 1, "amount": 5});
            let answer = full.post_as(&token, "/payment/charge", body).await;
            assert_eq!(answer.status, 503, "{answer:?}");
        }
    };
    let others = async {
        for (path, body) in [
            ("/payment/charge", json!({"userId": 1, "amount": 7})),
            ("/user/token", json!({"userId": 0})),
        ] {
            let told = || async {
                let answer = full.post_as(&token, path, body.clone()).await;
                assert!(answer.headers.contains_key("retry-after"), "{answer:?}");
                answer.refusal() == (503, "overloaded")
            };
            eventually("there is no room", told).await;
        }
        full.get("/healthz").await.expect(200);
        refused.store(true, std::sync::atomic::Ordering::SeqCst);
    };
    tokio::join!(in_work, others);
    lock.rollback().await.expect("the lock ends");
    assert_unchanged(&before, &dump(&deployment, &mut redis).await);
}
