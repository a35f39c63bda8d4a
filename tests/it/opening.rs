//! The opening and the end of a sale, and what people are told while no seat is free.

use onsale::concerts::Concert;
use serde_json::{Value, json};

use crate::support::server::{Answer, Deployment, TestServer};
use crate::support::{RawRedis, concert, eventually};

const TOKEN: &str = "the-operators-token-of-a-test";

/// A sale that opens in another century.
fn later() -> Concert {
    let opens_at = "2099-12-01T20:00:00+09:00".parse().expect("a moment");
    Concert { opens_at: Some(opens_at), ..concert(10, 1) }
}

async fn deployment(concert: Concert) -> Deployment {
    Deployment::new(vec![concert]).await.with("admin_token", TOKEN)
}

async fn configure(server: &TestServer, change: Value) -> Answer {
    server.answer(server.request("PATCH", "/admin/concerts").bearer_auth(TOKEN).json(&change)).await
}

async fn status(server: &TestServer, token: &str) -> Value {
    server.get_as(token, "/user/token/status").await.expect(200).body
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_opening_people_get_places_and_nobody_is_let_in() {
    let deployment = deployment(later()).await;
    let (one, other) = (deployment.start().await, deployment.start().await);
    let concert = deployment.concert();
    let mut tokens = Vec::new();
    for user in 1..=3_u64 {
        let body = json!({"concertId": concert.id, "userId": user});
        let joined = one.post("/user/token", body).await.expect(201);
        assert_eq!(joined.body["status"], "prequeue");
        assert_eq!(joined.body["queuePosition"], user);
        assert!(joined.body["opensIn"].as_u64().is_some_and(|seconds| seconds > 1_000_000_000));
        tokens.push(joined.text("token"));
    }
    // Everybody is told how many have come, on every server.
    for server in [&one, &other] {
        for token in &tokens {
            let told = || async { status(server, token).await["queuePosition"] == 3 };
            eventually("the pre-line has three people", told).await;
            assert_eq!(status(server, token).await["status"], "prequeue");
        }
    }
    let early = one.get_as(&tokens[0], "/concert/available-dates").await;
    assert_eq!(early.refusal(), (403, "still-waiting"));
    let promoted = format!("HGET {} promoted", concert.keys.stats);
    let mut redis = RawRedis::shared().await;
    assert_eq!(redis.say(&promoted).await, crate::support::raw_redis::Answer::Nil);

    let opened = configure(&other, json!({"concertId": concert.id, "opensAt": "now"})).await;
    let opened_at = opened.expect(200).text("opensAt");
    for token in &tokens {
        one.wait_until_active(token).await;
    }
    // Who is inside has no opening to wait for any more.
    assert_eq!(status(&one, &tokens[0]).await.get("opensIn"), None);
    // What is open already is not opened again.
    let again = configure(&one, json!({"concertId": concert.id, "opensAt": "now"})).await;
    assert_eq!(again.expect(200).text("opensAt"), opened_at);
    let notes = format!("XLEN {}", concert.keys.audit);
    assert_eq!(redis.say(&notes).await.int(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_end_nobody_arrives_or_is_let_in_and_whoever_is_inside_finishes() {
    let deployment = deployment(concert(10, 1)).await.with("capacity", "1");
    let (one, other) = (deployment.start().await, deployment.start().await);
    let concert = deployment.concert();
    let inside = one.admitted(concert, 1).await;
    let waiting = one.join(concert, 2).await;
    one.charge(&inside, 1, 1000).await;
    configure(&one, json!({"concertId": concert.id, "closesAt": "now"})).await.expect(200);

    // Redis decides it: a server whose board is older refuses as well.
    for server in [&one, &other] {
        let stranger = server.post("/user/token", json!({"concertId": concert.id})).await;
        assert_eq!(stranger.refusal(), (409, "closed"));
    }
    let told = || async { status(&other, &waiting).await["status"] == "closed" };
    eventually("waiting people are told", told).await;
    let body = json!({"concertId": concert.id, "userId": 2});
    let again = other.post("/user/token", body).await.expect(200);
    assert_eq!(again.body["status"], "closed", "a place that was given is kept");
    one.reserve(&inside, concert, 1, 1).await.expect(201);
    one.pay(&inside, 1).await.expect(200);
    let still = one.get_as(&waiting, "/concert/available-dates").await;
    assert_eq!(still.refusal(), (403, "still-waiting"), "a slot is free, and the sale is over");

    configure(&other, json!({"concertId": concert.id, "closesAt": null})).await.expect(200);
    one.wait_until_active(&waiting).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_every_seat_is_held_people_are_told_so_and_wait_on_when_one_comes_back() {
    let deployment = deployment(concert(1, 1)).await.with("capacity", "1");
    let server = deployment.start().await;
    let concert = deployment.concert();
    let inside = server.admitted(concert, 1).await;
    let waiting = server.join(concert, 2).await;
    let reserved = server.reserve(&inside, concert, 1, 1).await.expect(201);
    let reservation = reserved.text("reservationId");
    let told = |status: &'static str, held: Value| {
        let (server, waiting) = (&server, &waiting);
        move || {
            let held = held.clone();
            async move {
                let body = self::status(server, waiting).await;
                body["status"] == status && body.get("heldSeats").unwrap_or(&Value::Null) == &held
            }
        }
    };
    eventually("the seat may come back", told("sold-out", json!(1))).await;
    // It is no reason to turn anybody away.
    server.post("/user/token", json!({"concertId": concert.id})).await.expect(201);
    let release = format!("/concert/reserve?userId=1&reservationId={reservation}");
    server.delete_as(&inside, &release).await.expect(200);
    eventually("they wait on", told("waiting", Value::Null)).await;

    server.reserve(&inside, concert, 1, 1).await.expect(201);
    server.charge(&inside, 1, 1000).await;
    server.pay(&inside, 1).await.expect(200);
    eventually("nothing comes back", told("sold-out", json!(0))).await;
    let late = || async {
        let body = json!({"concertId": concert.id});
        server.post("/user/token", body).await.refusal() == (409, "sold-out")
    };
    eventually("arrivals are turned away", late).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moment_is_now_or_rfc_3339_and_nothing_else() {
    let deployment = deployment(later()).await;
    let server = deployment.start().await;
    let id = deployment.concert().id;
    for wrong in ["", "Now", "tomorrow", "2030-11-01", "2030-11-01T20:00:00", "1761984000000"] {
        let change = json!({"concertId": id, "opensAt": wrong});
        assert_eq!(configure(&server, change).await.refusal(), (400, "bad-request"), "{wrong}");
    }
    for wrong in ["1970-01-01T00:00:00Z", "1969-07-20T20:17:00Z"] {
        let change = json!({"concertId": id, "closesAt": wrong});
        assert_eq!(configure(&server, change).await.refusal(), (422, "out-of-range"), "{wrong}");
    }
    let change = json!({
        "concertId": id, "opensAt": "2031-01-01T09:00:00+09:00", "closesAt": "9999-12-31T23:59:59Z"
    });
    let body = configure(&server, change).await.expect(200).body;
    assert_eq!(body["opensAt"], "2031-01-01T00:00:00Z");
    assert_eq!(body["closesAt"], "9999-12-31T23:59:59Z");
    let back = json!({"concertId": id, "opensAt": null, "closesAt": null});
    let body = configure(&server, back).await.expect(200).body;
    assert_eq!(body["opensAt"], "2099-12-01T11:00:00Z");
    assert_eq!(body["closesAt"], Value::Null);
}
