//! Bad input, route by route: a precise 4xx, and nothing is written.

use serde_json::{Value, json};

use crate::support::server::{Answer, Deployment, TestServer};
use crate::support::{RawRedis, concert};

/// Bodies that are wrong for every route that takes one, with the status each deserves.
const BODIES: &[(&str, u16)] = &[
    ("", 400),
    ("null", 400),
    ("[]", 400),
    ("[1,7]", 400),
    ("{", 400),
    ("{\"userId\":1}x", 400),
    ("{\"userId\":1,\"userId\":1}", 400),
    ("{\"userId\":1.0}", 400),
    ("{\"userId\":\"1\"}", 400),
    ("{\"userId\":1e3}", 400),
    ("{\"userId\":1e400}", 400),
    ("{\"userId\":true}", 400),
    ("{\"userId\":null}", 400),
    ("{\"userId\":[1]}", 400),
    ("{\"userId\":{}}", 400),
    ("{\"userID\":1}", 400),
    ("{\"userId\":1,\"colour\":\"red\"}", 400),
    ("{\"user\\u0000Id\":1}", 400),
    ("{\"userId\":\"\\ud800\"}", 400),
    ("\u{feff}{\"userId\":1}", 400),
    ("{}", 400),
];

/// Numbers that are integers and outside of every range.
const NUMBERS: &[&str] = &[
    "0",
    "-1",
    "9007199254740992",
    "9223372036854775808",
    "18446744073709551616",
    "-9223372036854775809",
];

async fn send_text(
    server: &TestServer,
    method: &str,
    path: &str,
    token: &str,
    body: String,
) -> Answer {
    let request = server.request(method, path).header("queue-token", token);
    server.answer(request.header("content-type", "application/json").body(body)).await
}

/// What the stores hold of this test: anything written would show.
async fn fingerprint(deployment: &Deployment, redis: &mut RawRedis) -> String {
    let keys = &deployment.concert().keys;
    let mut seen = Vec::new();
    for command in [
        format!("GET {}", keys.seq),
        format!("HGETALL {}", keys.users),
        format!("ZRANGE {} 0 -1", keys.active),
        format!("GET {}", keys.version(deployment.concert().dates[0])),
    ] {
        seen.push(format!("{:?}", redis.say(&command).await));
    }
    let database = deployment.database().await;
    for table in ["balances", "payments", "owned_seats", "ledger", "idempotency_keys"] {
        let sql = format!("select count(*) from {table}");
        let rows: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
            .fetch_one(&database)
            .await
            .expect("a count");
        seen.push(format!("{table}: {rows}"));
    }
    database.close().await;
    seen.join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_body_is_refused_by_every_route_and_nothing_is_written() {
    let deployment = Deployment::new(vec![concert(10, 1)]).await;
    let server = deployment.start().await;
    let token = server.admitted(deployment.concert(), 1).await;
    let mut redis = RawRedis::shared().await;
    let before = fingerprint(&deployment, &mut redis).await;
    for path in ["/concert/reserve", "/payment/charge", "/payment"] {
        for (body, status) in BODIES {
            let answer = send_text(&server, "POST", path, &token, (*body).to_owned()).await;
            assert_eq!(answer.status, *status, "POST {path} {body:?}: {answer:?}");
            assert_eq!(answer.code(), "bad-request", "POST {path} {body:?}");
        }
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        let deep = send_text(&server, "POST", path, &token, format!("{{\"userId\":{deep}}}")).await;
        assert_eq!(deep.status, 400, "{deep:?}");
    }
    for (body, _) in
        BODIES.iter().filter(|(body, _)| !body.is_empty() && *body != "{}" && body.contains("user"))
    {
        let answer = send_text(&server, "POST", "/user/token", &token, (*body).to_owned()).await;
        let expected = if *body == "{\"userId\":null}" { vec![200, 201, 400] } else { vec![400] };
        assert!(expected.contains(&answer.status), "POST /user/token {body:?}: {answer:?}");
    }
    assert_eq!(fingerprint(&deployment, &mut redis).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_out_of_range_is_422_wherever_it_stands() {
    let deployment = Deployment::new(vec![concert(10, 1)]).await;
    let server = deployment.start().await;
    let token = server.admitted(deployment.concert(), 1).await;
    let mut redis = RawRedis::shared().await;
    let before = fingerprint(&deployment, &mut redis).await;
    for number in NUMBERS {
        let bodies = [
            ("/payment", format!("{{\"userId\":{number}}}")),
            ("/payment/charge", format!("{{\"userId\":{number},\"amount\":1}}")),
            ("/payment/charge", format!("{{\"userId\":1,\"amount\":{number}}}")),
            ("/concert/reserve", format!("{{\"userId\":{number},\"seatNumber\":1}}")),
            ("/concert/reserve", format!("{{\"userId\":1,\"seatNumber\":{number}}}")),
            (
                "/concert/reserve",
                format!("{{\"userId\":1,\"seatNumber\":1,\"concertId\":{number}}}"),
            ),
            ("/user/token", format!("{{\"userId\":{number}}}")),
            ("/user/token", format!("{{\"concertId\":{number}}}")),
        ];
        for (path, body) in bodies {
            let answer = send_text(&server, "POST", path, &token, body.clone()).await;
            assert_eq!(answer.refusal(), (422, "out-of-range"), "POST {path} {body}");
        }
        for path in [
            format!("/payment/balance?userId={number}"),
            format!("/user/reservations?userId={number}"),
            format!("/concert/available-seats?concertId={number}&concertDate=2099-12-01"),
        ] {
            let answer = server.get_as(&token, &path).await;
            assert_eq!(answer.refusal(), (422, "out-of-range"), "GET {path}");
        }
    }
    let too_much = json!({"userId": 1, "amount": 10_000_001});
    let answer = server.post_as(&token, "/payment/charge", too_much).await;
    assert_eq!(answer.refusal(), (422, "out-of-range"));
    assert_eq!(fingerprint(&deployment, &mut redis).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_query_is_refused_and_named() {
    let deployment = Deployment::new(vec![concert(10, 1)]).await;
    let server = deployment.start().await;
    let token = server.admitted(deployment.concert(), 1).await;
    for query in [
        "",
        "?userId",
        "?userId=",
        "?userId=1&userId=1",
        "?userId=1&userId=2",
        "?userId[]=1",
        "?userId=%00",
        "?userId=%",
        "?userId=%ff",
        "?userId=1.0",
        "?userId=+1",
        "?userId=01",
        "?userId=1&colour=red",
        "?userID=1",
    ] {
        for route in ["/payment/balance", "/user/reservations"] {
            let answer = server.get_as(&token, &format!("{route}{query}")).await;
            assert_eq!(answer.refusal(), (400, "bad-request"), "GET {route}{query}");
        }
    }
    for day in [
        "2025-02-29",
        "2025-13-01",
        "2025-1-1",
        "",
        "20251201",
        "2025-12-01T00:00",
        "%32025-12-01x",
    ] {
        let path = format!("/concert/available-seats?concertDate={day}");
        let answer = server.get_as(&token, &path).await;
        assert_eq!(answer.refusal(), (400, "bad-request"), "GET {path}");
    }
    let long = format!("/concert/available-seats?concertDate={}", "9".repeat(10_000));
    assert_eq!(server.get_as(&token, &long).await.status, 400);
    let past = server.get_as(&token, "/concert/available-seats?concertDate=2020-01-01").await;
    assert_eq!(past.refusal(), (404, "unknown-date"));
    let body: Option<Value> = Some(json!({"userId": 2}));
    let differ = server.send("GET", "/payment/balance?userId=1", Some(&token), body).await;
    assert_eq!(differ.refusal(), (400, "ambiguous-input"));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_not_ours_are_refused_before_any_look_up() {
    let deployment = Deployment::new(vec![concert(10, 1)]).await;
    let server = deployment.start().await;
    let token = server.admitted(deployment.concert(), 1).await;
    let (uuid, _) = token.split_once('_').expect("the given form");
    let mut flipped = uuid.to_owned();
    let last = if flipped.pop() == Some('0') { '1' } else { '0' };
    flipped.push(last);
    for wrong in [
        flipped.as_str(),
        "_",
        "_1",
        "x",
        &format!("{uuid}_x"),
        &format!("{uuid}__1"),
        &"a".repeat(10_000),
    ] {
        for path in ["/user/token/status", "/concert/available-dates", "/payment/balance?userId=1"]
        {
            let answer = server.get_as(wrong, path).await;
            assert_eq!(answer.refusal(), (401, "token-invalid"), "{path} {wrong:.60}");
        }
    }
    // The tail is for people, whatever it says.
    server.get_as(&format!("{uuid}_999"), "/user/token/status").await.expect(200);
    let twice = server.request("GET", "/user/token/status");
    let twice = twice.header("queue-token", &token).header("queue-token", &token);
    assert_eq!(server.answer(twice).await.refusal(), (400, "bad-request"));
    let none = server.get("/user/token/status").await;
    assert_eq!(none.refusal(), (401, "token-missing"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_must_be_visible_characters() {
    let deployment = Deployment::new(vec![concert(10, 1)]).await;
    let server = deployment.start().await;
    let token = server.admitted(deployment.concert(), 1).await;
    let charge = async |key: String| {
        let request = server.request("POST", "/payment/charge").header("queue-token", &token);
        let request =
            request.header("idempotency-key", key).json(&json!({"userId": 1, "amount": 5}));
        server.answer(request).await
    };
    for wrong in [String::new(), "k".repeat(256), "a b".to_owned()] {
        assert_eq!(charge(wrong).await.refusal(), (400, "bad-request"));
    }
    let first = charge("k".repeat(255)).await.expect(200);
    assert_eq!(charge("k".repeat(255)).await.expect(200).body, first.body);
    let request = server.request("POST", "/payment/charge").header("queue-token", &token);
    let other =
        request.header("idempotency-key", "k".repeat(255)).json(&json!({"userId": 1, "amount": 6}));
    assert_eq!(server.answer(other).await.refusal(), (422, "idempotency-key-reused"));
}
