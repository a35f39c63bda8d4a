//! The HTTP contract from outside: every route's answer in the given shape, every code of the error
//! table, and that a refusal changes nothing.

use serde_json::{Value, json};

use crate::support::server::{Answer, Deployment, TestServer};
use crate::support::{RawRedis, concert, date, eventually};

/// The names of the fields of a JSON object.
fn fields(value: &Value) -> Vec<&str> {
    let mut names: Vec<&str> =
        value.as_object().expect("an object").keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

/// Holds every one of `wanted` among the fields of `value`.
#[track_caller]
fn has_fields(value: &Value, wanted: &[&str]) {
    for name in wanted {
        assert!(value.get(name).is_some(), "no {name} in {value}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sale_runs_from_the_first_arrival_to_the_paid_seat_in_the_given_shapes() {
    let deployment = Deployment::new(vec![concert(50, 1)]).await;
    let server = deployment.start().await;
    let user = 1;

    let arrival = server
        .post("/user/token", json!({"concertId": deployment.concert().id, "userId": user}))
        .await;
    let arrival = arrival.expect(201);
    has_fields(
        &arrival.body,
        &["token", "queuePosition", "estimatedWaitTime", "status", "pollAfter"],
    );
    let token = arrival.text("token");
    assert_eq!(token.split('_').count(), 2, "{token}");
    assert_eq!(token.split('_').next().map(str::len), Some(36));
    assert!(arrival.headers.contains_key("retry-after"));

    server.wait_until_active(&token).await;
    let status = server.get_as(&token, "/user/token/status").await.expect(200);
    assert_eq!(status.body["queuePosition"], 0);
    assert_eq!(status.body["estimatedWaitTime"], 0);
    has_fields(&status.body, &["status", "concertId", "expiresIn", "pollAfter"]);

    let dates = server.get_as(&token, "/concert/available-dates").await.expect(200);
    assert_eq!(dates.body, json!({"availableDates": ["2099-12-01"]}));

    let path = format!(
        "/concert/available-seats?concertId={}&concertDate=2099-12-01",
        deployment.concert().id
    );
    let seats = server.get_as(&token, &path).await.expect(200);
    assert_eq!(seats.body, json!({"availableSeats": (1..=50).collect::<Vec<_>>()}));

    let body = json!({"userId": user, "concertId": deployment.concert().id, "seatNumber": 12});
    let held = server.post_as(&token, "/concert/reserve", body.clone()).await.expect(201);
    assert_eq!(held.body["concertDate"], "2099-12-01");
    assert_eq!(held.body["seatNumber"], 12);
    assert_eq!(held.body["status"], "reserved");
    let expire_at = held.text("expireAt");
    assert!(
        chrono::NaiveDateTime::parse_from_str(&expire_at, "%Y-%m-%d %H:%M:%S").is_ok(),
        "{expire_at}"
    );
    assert!((1..=300).contains(&held.body["expiresIn"].as_i64().expect("seconds")));
    assert_eq!(held.body["price"], 100);
    let repeat = server.post_as(&token, "/concert/reserve", body).await.expect(200);
    assert_eq!(repeat.body["reservationId"], held.body["reservationId"]);

    let charged =
        server.post_as(&token, "/payment/charge", json!({"userId": user, "amount": 30000})).await;
    let wanted = json!({"userId": 1, "balance": 30000, "message": "Balance charged successfully."});
    assert_eq!(charged.expect(200).body, wanted);
    let balance = server.get_as(&token, "/payment/balance?userId=1").await.expect(200);
    assert_eq!(balance.body, json!({"userId": 1, "balance": 30000}));

    let mine = server.get_as(&token, "/user/reservations?userId=1").await.expect(200);
    assert_eq!(fields(&mine.body), ["holds", "owned"]);
    let hold_fields = [
        "concertDate",
        "concertId",
        "expireAt",
        "expiresIn",
        "price",
        "reservationId",
        "seatNumber",
    ];
    assert_eq!(fields(&mine.body["holds"][0]), hold_fields);

    let paid = server.pay(&token, user).await.expect(200);
    assert_eq!(paid.body["userId"], 1);
    assert_eq!(paid.body["status"], "completed");
    assert_eq!(paid.body["message"], "Payment successful and ownership assigned.");
    assert_eq!(paid.body["balance"], 29900);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumed_token_goes_on_where_money_is_shown_and_nowhere_else() {
    let deployment = Deployment::new(vec![concert(50, 1)]).await;
    let server = deployment.start().await;
    let token = server.admitted(deployment.concert(), 1).await;
    server.charge(&token, 1, 1000).await;
    server.reserve(&token, deployment.concert(), 1, 12).await.expect(201);
    let paid = server.pay(&token, 1).await.expect(200);
    let owned = server.get_as(&token, "/user/reservations?userId=1").await.expect(200);
    let seat = [
        "amount",
        "concertDate",
        "concertId",
        "paidAt",
        "paymentId",
        "reservationId",
        "seatNumber",
    ];
    assert_eq!(fields(&owned.body["owned"][0]), seat);
    assert_eq!(owned.body["owned"], paid.body["payments"]);
    assert_eq!(owned.body["holds"], json!([]));
    server.get_as(&token, "/payment/balance?userId=1").await.expect(200);
    assert_eq!(server.pay(&token, 1).await.expect(200).body, paid.body);
    // And every ¹ route does not.
    let refused = server.get_as(&token, "/concert/available-dates").await;
    assert_eq!(refused.refusal(), (401, "token-expired"));
    let other = server.get_as(&token, "/payment/balance?userId=2").await;
    assert_eq!(other.refusal(), (403, "not-yours"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_given_requests_work_as_they_are_given() {
    let deployment = Deployment::new(vec![concert(50, 1)]).await;
    let server = deployment.start().await;
    // No body at all; the token in a JSON body of a GET; what a GET takes in a JSON body.
    let token = server.send("POST", "/user/token", None, None).await.expect(201).text("token");
    server.wait_until_active(&token).await;
    let by_body =
        server.send("GET", "/user/token/status", None, Some(json!({"token": token}))).await;
    assert_eq!(by_body.expect(200).body["queuePosition"], 0);
    let by_query = server.get(&format!("/user/token/status?token={token}")).await;
    assert_eq!(by_query.expect(200).body["queuePosition"], 0);
    let asked = json!({"concertId": deployment.concert().id, "concertDate": "2099-12-01"});
    let seats = server.send("GET", "/concert/available-seats", Some(&token), Some(asked)).await;
    assert_eq!(seats.expect(200).body["availableSeats"].as_array().map(Vec::len), Some(50));
    let bearer = server.request("GET", "/user/token/status").bearer_auth(&token);
    server.answer(bearer).await.expect(200);
    let both = format!("/concert/available-seats?concertId={}", deployment.concert().id);
    let differ = server.send("GET", &both, Some(&token), Some(json!({"concertId": 1}))).await;
    assert_eq!(differ.refusal(), (400, "ambiguous-input"));
}

/// A problem has all members of RFC 9457 and ours, and the right media type.
#[track_caller]
fn is_problem(answer: &Answer) {
    has_fields(&answer.body, &["type", "title", "status", "detail", "code", "requestId"]);
    assert_eq!(answer.body["type"], format!("/problems/{}", answer.code()));
    assert_eq!(answer.body["status"], answer.status);
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    assert_eq!(answer.headers["x-request-id"], answer.body["requestId"].as_str().expect("an id"));
    if matches!(answer.status, 429 | 503) || answer.code() == "still-waiting" {
        let retry = answer.headers["retry-after"].to_str().expect("text");
        assert!(retry.parse::<u32>().is_ok_and(|seconds| seconds >= 1), "{retry}");
    }
}

/// Requests that need an active token, with a correct body for `user`.
fn protected(
    user: u64,
    concert: impl serde::Serialize + Copy,
) -> Vec<(&'static str, String, Option<Value>)> {
    let id = serde_json::to_value(concert).expect("an id");
    vec![
        ("GET", format!("/concert/available-dates?concertId={id}"), None),
        ("GET", format!("/concert/available-seats?concertId={id}&concertDate=2099-12-01"), None),
        (
            "POST",
            "/concert/reserve".into(),
            Some(json!({"userId": user, "concertId": id, "seatNumber": 1})),
        ),
        ("POST", "/payment/charge".into(), Some(json!({"userId": user, "amount": 5}))),
        ("GET", format!("/payment/balance?userId={user}"), None),
        ("POST", "/payment".into(), Some(json!({"userId": user}))),
        ("GET", format!("/user/reservations?userId={user}"), None),
        (
            "DELETE",
            format!(
                "/concert/reserve?userId={user}&reservationId=0190a5c0-0000-7000-8000-000000000000"
            ),
            None,
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_protected_route_refuses_a_wrong_token_and_nothing_changes() {
    let deployment = Deployment::new(vec![concert(50, 1), concert(50, 1)]).await;
    let deployment = deployment.with("capacity", "2");
    let server = deployment.start().await;
    let (first, second) = (deployment.concerts[0].clone(), deployment.concerts[1].clone());
    let mine = server.admitted(&first, 1).await;
    let foreign = server.admitted(&second, 1).await;
    let theirs = server.admitted(&first, 2).await;
    let waiting = server.join(&first, 3).await;
    let forged = format!("{}_0", uuid::Uuid::now_v7());

    let mut redis = RawRedis::shared().await;
    let seats_before = redis.say(&format!("GET {}", first.keys.version(date(1)))).await;
    for (method, path, body) in protected(1, first.id) {
        let call = async |token: Option<&str>| {
            let answer = server.send(method, &path, token, body.clone()).await;
            is_problem(&answer);
            (answer.status, answer.code().to_owned())
        };
        let told = |status: u16, code: &str| (status, code.to_owned());
        assert_eq!(call(None).await, told(401, "token-missing"), "{method} {path}");
        assert_eq!(call(Some(&forged)).await, told(401, "token-invalid"), "{method} {path}");
        assert_eq!(call(Some("nonsense")).await, told(401, "token-invalid"), "{method} {path}");
        assert_eq!(call(Some(&waiting)).await, told(403, "still-waiting"), "{method} {path}");
        if path.contains("oncertId")
            || body.as_ref().is_some_and(|body| body.get("concertId").is_some())
        {
            assert_eq!(call(Some(&foreign)).await, told(403, "wrong-concert"), "{method} {path}");
        }
        if path.contains("userId") || body.as_ref().is_some_and(|body| body.get("userId").is_some())
        {
            assert_eq!(call(Some(&theirs)).await, told(403, "not-yours"), "{method} {path}");
        }
    }
    assert_eq!(redis.say(&format!("GET {}", first.keys.version(date(1)))).await, seats_before);
    let balance = server.get_as(&mine, "/payment/balance?userId=1").await.expect(200);
    assert_eq!(balance.body["balance"], 0);

    server.delete_as(&theirs, "/user/token").await.expect(200);
    let gone = server.get_as(&theirs, "/concert/available-dates").await;
    assert_eq!(gone.refusal(), (401, "token-expired"));
}

#[tokio::test(flavor = "multi_thread")]
async fn seats_and_dates_that_do_not_exist_are_told_apart() {
    let deployment = Deployment::new(vec![concert(5, 2)]).await;
    let server = deployment.start().await;
    let concert = deployment.concert().clone();
    let token = server.admitted(&concert, 1).await;
    let reserve = async |change: Value| {
        let mut body = json!({"userId": 1, "seatNumber": 1, "concertDate": "2099-12-01"});
        for (name, value) in change.as_object().expect("an object") {
            body[name] = value.clone();
        }
        let answer = server.post_as(&token, "/concert/reserve", body).await;
        is_problem(&answer);
        (answer.status, answer.code().to_owned())
    };
    let told = |status: u16, code: &str| (status, code.to_owned());
    assert_eq!(reserve(json!({"seatNumber": 6})).await, told(404, "unknown-seat"));
    assert_eq!(reserve(json!({"seatNumber": 0})).await, told(422, "out-of-range"));
    assert_eq!(reserve(json!({"seatNumber": -1})).await, told(422, "out-of-range"));
    assert_eq!(reserve(json!({"seatNumber": 100_001})).await, told(422, "out-of-range"));
    assert_eq!(reserve(json!({"seatNumber": 1.0})).await, told(400, "bad-request"));
    assert_eq!(reserve(json!({"seatNumber": "1"})).await, told(400, "bad-request"));
    assert_eq!(reserve(json!({"concertDate": "2099-12-03"})).await, told(404, "unknown-date"));
    assert_eq!(reserve(json!({"concertDate": "2025-02-29"})).await, told(400, "bad-request"));
    assert_eq!(reserve(json!({"concertDate": ""})).await, told(400, "bad-request"));
    assert_eq!(reserve(json!({"colour": "red"})).await, told(400, "bad-request"));
    assert_eq!(reserve(json!({"userId": 0})).await, told(422, "out-of-range"));
    assert_eq!(
        reserve(json!({"userId": 9_007_199_254_740_992_u64})).await,
        told(422, "out-of-range")
    );
    // Without a date, a concert of two dates cannot know which one is meant.
    let undated =
        server.post_as(&token, "/concert/reserve", json!({"userId": 1, "seatNumber": 1})).await;
    assert_eq!(undated.refusal(), (400, "bad-request"));
    assert_eq!(undated.body["availableDates"], json!(["2099-12-01", "2099-12-02"]));
    let nowhere = server.post("/user/token", json!({"concertId": 4_000_000})).await;
    assert_eq!(nowhere.refusal(), (404, "unknown-concert"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seat_that_is_not_free_is_refused_with_the_reason() {
    let deployment = Deployment::new(vec![concert(10, 1)]).await;
    let server = deployment.start().await;
    let concert = deployment.concert().clone();
    let (one, two) = (server.admitted(&concert, 1).await, server.admitted(&concert, 2).await);
    let held = server.reserve(&one, &concert, 1, 3).await.expect(201);
    let taken = server.reserve(&two, &concert, 2, 3).await;
    is_problem(&taken);
    assert_eq!(taken.refusal(), (409, "seat-taken"));
    assert_eq!(taken.body["seatNumber"], 3);

    let poor = server.pay(&one, 1).await;
    is_problem(&poor);
    assert_eq!(poor.refusal(), (402, "insufficient-balance"));
    assert_eq!((&poor.body["required"], &poor.body["balance"]), (&json!(100), &json!(0)));
    let nothing = server.pay(&two, 2).await;
    assert_eq!(nothing.refusal(), (409, "nothing-to-pay"));

    let several = json!({"userId": 2, "seatNumbers": [4, 5, 6, 7]});
    let all = server.post_as(&two, "/concert/reserve", several).await.expect(201);
    assert_eq!(all.body["seats"].as_array().map(Vec::len), Some(4));
    let limit = server.reserve(&two, &concert, 2, 8).await;
    assert_eq!(limit.refusal(), (409, "hold-limit"));

    let id = held.text("reservationId");
    let wrong =
        server.delete_as(&two, &format!("/concert/reserve?userId=2&reservationId={id}")).await;
    assert!(
        matches!(wrong.refusal(), (403, "not-yours") | (404, "unknown-reservation")),
        "{wrong:?}"
    );
    server
        .delete_as(&one, &format!("/concert/reserve?userId=1&reservationId={id}"))
        .await
        .expect(200);
    let expired = server.pay(&one, 1).await;
    assert_eq!(expired.refusal(), (409, "hold-expired"), "it held something before");

    server.charge(&two, 2, 1000).await;
    server.pay(&two, 2).await.expect(200);
    let sold = server.reserve(&one, &concert, 1, 4).await;
    is_problem(&sold);
    assert_eq!(sold.refusal(), (409, "seat-sold"));
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_methods_and_media_types_are_refused_as_http_says() {
    let deployment = Deployment::new(vec![concert(5, 1)]).await;
    let server = deployment.start().await;
    let nowhere = server.get("/nowhere").await;
    is_problem(&nowhere);
    assert_eq!(nowhere.refusal(), (404, "not-found"));
    let method = server.send("PUT", "/user/token", None, None).await;
    is_problem(&method);
    assert_eq!(method.status, 405);
    assert!(method.headers.contains_key("allow"));
    let plain =
        server.request("POST", "/payment/charge").header("content-type", "text/plain").body("{}");
    let plain = server.answer(plain).await;
    is_problem(&plain);
    assert_eq!(plain.status, 415);
    let large = format!("{{\"userId\": {}}}", " ".repeat(17 * 1024));
    let large =
        server.request("POST", "/payment").header("content-type", "application/json").body(large);
    let large = server.answer(large).await;
    is_problem(&large);
    assert_eq!(large.status, 413);
    let health = server.get("/healthz").await.expect(200);
    assert_eq!(health.body["status"], "alive");
    let given = server.request("GET", "/healthz").header("x-request-id", "abc-123");
    assert_eq!(server.answer(given).await.headers["x-request-id"], "abc-123");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_user_has_one_place_and_an_anonymous_token_takes_its_first_user() {
    let deployment = Deployment::new(vec![concert(5, 1)]).await;
    let server = deployment.start().await;
    let concert = deployment.concert().clone();
    let body = json!({"concertId": concert.id, "userId": 1});
    let first = server.post("/user/token", body.clone()).await.expect(201);
    let again = server.post("/user/token", body).await.expect(200);
    let id = |answer: &Answer| answer.text("token").split('_').next().map(str::to_owned);
    assert_eq!(id(&first), id(&again));

    let anonymous = server.post("/user/token", json!({"concertId": concert.id})).await.expect(201);
    let anonymous = anonymous.text("token");
    server.wait_until_active(&anonymous).await;
    let mine = server.get_as(&anonymous, "/payment/balance?userId=1").await;
    assert_eq!(mine.refusal(), (409, "user-has-token"));
    server.get_as(&anonymous, "/payment/balance?userId=5").await.expect(200);
    let bound = server.get_as(&anonymous, "/payment/balance?userId=6").await;
    assert_eq!(bound.refusal(), (403, "not-yours"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sold_out_concert_says_so() {
    let deployment = Deployment::new(vec![concert(1, 1)]).await.with("capacity", "1");
    let server = deployment.start().await;
    let concert = deployment.concert().clone();
    let winner = server.admitted(&concert, 1).await;
    let waiting = server.join(&concert, 2).await;
    server.charge(&winner, 1, 100).await;
    server.reserve(&winner, &concert, 1, 1).await.expect(201);
    server.pay(&winner, 1).await.expect(200);
    // Without a name: whoever has a name and arrives before the server knows keeps that place.
    let body = json!({"concertId": concert.id});
    let told =
        || async { server.post("/user/token", body.clone()).await.refusal() == (409, "sold-out") };
    eventually("arrivals are told", told).await;
    let told = || async {
        server.get_as(&waiting, "/user/token/status").await.body["status"] == "sold-out"
    };
    eventually("waiting people are told", told).await;
}

/// Nobody gets a place any more, but whoever has one is answered with it, as at any time.
#[tokio::test(flavor = "multi_thread")]
async fn a_live_token_is_answered_again_after_the_sell_out() {
    let deployment = Deployment::new(vec![concert(1, 1)]).await.with("capacity", "2");
    let server = deployment.start().await;
    let concert = deployment.concert().clone();
    let winner = server.admitted(&concert, 1).await;
    let active = server.admitted(&concert, 2).await;
    let waiting = server.join(&concert, 3).await;
    server.charge(&winner, 1, 100).await;
    server.reserve(&winner, &concert, 1, 1).await.expect(201);
    server.pay(&winner, 1).await.expect(200);
    let join = async |user: u64| {
        server.post("/user/token", json!({"concertId": concert.id, "userId": user})).await
    };
    let told = || async {
        server.get_as(&waiting, "/user/token/status").await.body["status"] == "sold-out"
    };
    eventually("the server knows", told).await;

    let uuid = |token: &str| token.split('_').next().map(str::to_owned);
    for (user, token, status, position) in [(2, &active, "active", 0), (3, &waiting, "sold-out", 1)]
    {
        let again = join(user).await.expect(200);
        assert_eq!(uuid(&again.text("token")), uuid(token), "user {user}");
        assert_eq!(
            (&again.body["status"], &again.body["queuePosition"]),
            (&json!(status), &json!(position))
        );
    }
    for nobody in [
        join(1).await,
        join(4).await,
        server.post("/user/token", json!({"concertId": concert.id})).await,
    ] {
        assert_eq!(nobody.refusal(), (409, "sold-out"), "no live place");
    }
    let issued = format!("HGET {} issued", concert.keys.stats);
    assert_eq!(RawRedis::shared().await.say(&issued).await.int(), 3, "nobody got a place");
    server.delete_as(&waiting, "/user/token").await.expect(200);
    assert_eq!(join(3).await.refusal(), (409, "sold-out"), "it was given up");
}

/// Starts a deployment of concerts whose line lets people in slowly.
async fn small_line() -> (Deployment, TestServer) {
    let deployment = Deployment::new(vec![concert(5, 1)]).await.with("capacity", "1");
    let server = deployment.start().await;
    (deployment, server)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_person_sees_an_honest_place_and_may_leave() {
    let (deployment, server) = small_line().await;
    let concert = deployment.concert().clone();
    let _active = server.admitted(&concert, 1).await;
    let tokens: Vec<String> =
        futures::future::join_all((2..=6).map(|user| server.join(&concert, user))).await;
    let mut positions = Vec::new();
    for token in &tokens {
        let status = server.get_as(token, "/user/token/status").await.expect(200);
        assert_eq!(status.body["status"], "waiting");
        assert!(
            status.body["pollAfter"].as_f64().is_some_and(|seconds| seconds >= 0.8),
            "{status:?}"
        );
        positions.push(status.body["queuePosition"].as_u64().expect("a position"));
    }
    positions.sort_unstable();
    assert_eq!(positions, [1, 2, 3, 4, 5]);
    server.delete_as(&tokens[2], "/user/token").await.expect(200);
    let gone = server.get_as(&tokens[2], "/user/token/status").await;
    assert_eq!(gone.refusal(), (401, "token-expired"));
    let moved_up = || async {
        let mut total = 0;
        for token in tokens.iter().filter(|token| *token != &tokens[2]) {
            let status = server.get_as(token, "/user/token/status").await.expect(200);
            total += status.body["queuePosition"].as_u64().expect("a position");
        }
        total == 1 + 2 + 3 + 4
    };
    eventually("the others move up", moved_up).await;
}
