//! A reservation that asks only the script that makes it: what it saves, and that nobody is told
//! anything else than by the long way.

use onsale::local::LocalStores;
use serde_json::json;

use crate::support::raw_redis;
use crate::support::server::{Answer, Deployment, TestServer, place_of};
use crate::support::{RawRedis, concert};

async fn stat(redis: &mut RawRedis, deployment: &Deployment, counter: &str) -> String {
    let key = &deployment.concert().keys.stats;
    redis.say(&format!("HGETALL {key}")).await.pairs().remove(counter).unwrap_or_default()
}

/// The free seats, which the server then knows until it is asked again.
async fn list(server: &TestServer, token: &str, deployment: &Deployment) -> String {
    let (id, date) = (deployment.concert().id, deployment.concert().dates[0]);
    let path = format!("/concert/available-seats?concertId={id}&concertDate={date}");
    server.get_as(token, &path).await.expect(200).body["availableSeats"].to_string()
}

async fn reserve(
    server: &TestServer,
    token: &str,
    deployment: &Deployment,
    user: u64,
    seat: u32,
) -> Answer {
    let (concert, date) = (deployment.concert().id, deployment.concert().dates[0]);
    let body = json!({
        "userId": user, "concertId": concert, "concertDate": date, "seatNumber": seat,
    });
    server.post_as(token, "/concert/reserve", body).await
}

/// How often `GETBIT` was called, with which `seats/hold` looks at every seat and nobody else does.
async fn looks_at_seats(redis: &mut RawRedis) -> u64 {
    redis.calls().await.get("getbit").copied().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_winner_is_not_looked_up_before_the_script_and_a_loser_needs_no_script() {
    let stores = LocalStores::throwaway().await.expect("private stores");
    let deployment = Deployment::on(&stores, vec![concert(5, 1)]).await;
    let server = deployment.start().await;
    let mut redis = RawRedis::connect(stores.redis.socket()).await;
    let ann = server.admitted(deployment.concert(), 1).await;
    let bob = server.admitted(deployment.concert(), 2).await;
    for token in [&ann, &bob] {
        assert_eq!(list(&server, token, &deployment).await, "[1,2,3,4,5]");
    }

    redis.say("CONFIG SET slowlog-max-len 10000").await;
    redis.say("CONFIG SET slowlog-log-slower-than 0").await;
    reserve(&server, &ann, &deployment, 1, 3).await.expect(201);
    redis.say("CONFIG SET slowlog-log-slower-than -1").await;
    let raw_redis::Answer::List(calls) = redis.say("SLOWLOG GET 10000").await else {
        panic!("no list")
    };
    let calls = calls.iter().map(|call| format!("{call:?}"));
    let of_ann: Vec<_> = calls
        .filter(|call| call.contains(&deployment.concert().keys.token(place_of(&ann)).to_string()))
        .collect();
    assert!(of_ann.iter().any(|call| call.contains("EVALSHA")), "{of_ann:?}");
    // The script's own look is at three keys, of which the first is the line's.
    let run = deployment.concert().keys.run.to_string();
    let reads = of_ann.iter().filter(|call| call.contains("MGET") && !call.contains(&run));
    assert_eq!(reads.count(), 0, "{of_ann:?}");

    assert_eq!(list(&server, &bob, &deployment).await, "[1,2,4,5]");
    let before = looks_at_seats(&mut redis).await;
    let lost = reserve(&server, &bob, &deployment, 2, 3).await;
    assert_eq!(lost.refusal(), (409, "seat-taken"));
    let lost = server.reserve(&bob, deployment.concert(), 2, 3).await;
    assert_eq!(lost.refusal(), (409, "seat-taken"), "without the only date");
    assert_eq!(looks_at_seats(&mut redis).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_use_of_a_token_is_claimed_also_if_it_is_a_reservation() {
    let deployment = Deployment::new(vec![concert(10, 1)]).await;
    let server = deployment.start().await;
    let mut redis = RawRedis::shared().await;
    let named = server.admitted(deployment.concert(), 7).await;
    let body = json!({"concertId": deployment.concert().id});
    let anonymous = server.post("/user/token", body).await.expect(201).text("token");
    server.wait_until_active(&anonymous).await;
    assert_eq!(stat(&mut redis, &deployment, "claimed").await, "");
    for (token, user, claimed) in [(named, 7, "1"), (anonymous, 8, "2")] {
        server.reserve(&token, deployment.concert(), user, 1).await;
        assert_eq!(stat(&mut redis, &deployment, "claimed").await, claimed);
    }
    assert_eq!(stat(&mut redis, &deployment, "held").await, "1", "one of the two was first");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_by_reservation_is_as_long_as_any_other() {
    let deployment = Deployment::new(vec![concert(10, 1)]).await;
    let deployment = deployment.with("active_ttl", "20m").with("hold_ttl", "10s");
    let server = deployment.start().await;
    let mut redis = RawRedis::shared().await;
    let token = server.admitted(deployment.concert(), 7).await;
    server.reserve(&token, deployment.concert(), 7, 1).await.expect(201);
    let key = deployment.concert().keys.token(place_of(&token));
    assert!(redis.say(&format!("GET {key}")).await.text().starts_with("7:2:"));
    let left = redis.say(&format!("PTTL {key}")).await.int();
    assert!(left > 19 * 60_000, "{left} ms: the hold alone would need less than two minutes");
}

/// A server that was not polled knows nobody's position: there even those who wait ask the script.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_may_not_reserve_is_refused_for_its_own_reason() {
    let deployment = Deployment::new(vec![concert(10, 1), concert(10, 1)]).await;
    let deployment = deployment.with("capacity", "2");
    let server = deployment.start().await;
    let mut redis = RawRedis::shared().await;
    let concert = deployment.concert();
    let ann = server.admitted(concert, 1).await;
    let anonymous = server.post("/user/token", json!({"concertId": concert.id})).await;
    let anonymous = anonymous.expect(201).text("token");
    server.wait_until_active(&anonymous).await;
    let waits = server.join(concert, 3).await;

    let other = deployment.start().await;
    let refused = other.reserve(&waits, concert, 3, 1).await;
    assert_eq!(refused.refusal(), (403, "still-waiting"));
    let refused = server.reserve(&ann, concert, 2, 1).await;
    assert_eq!(refused.refusal(), (403, "not-yours"));
    let refused = server.reserve(&anonymous, concert, 1, 1).await;
    assert_eq!(refused.code(), "user-has-token");
    let elsewhere = json!({"userId": 1, "concertId": deployment.concerts[1].id, "seatNumber": 1});
    let refused = server.post_as(&ann, "/concert/reserve", elsewhere).await;
    assert_eq!(refused.code(), "wrong-concert");
    server.delete_as(&ann, "/user/token").await.expect(200);
    let refused = server.reserve(&ann, concert, 1, 1).await;
    assert_eq!(refused.refusal(), (401, "token-expired"));
    assert_eq!(stat(&mut redis, &deployment, "held").await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_too_old_deceives_nobody() {
    let deployment = Deployment::new(vec![concert(5, 1)]).await;
    let (server, other) = (deployment.start().await, deployment.start().await);
    let ann = server.admitted(deployment.concert(), 1).await;
    let bob = server.admitted(deployment.concert(), 2).await;
    assert_eq!(list(&server, &ann, &deployment).await, "[1,2,3,4,5]");
    let held = reserve(&other, &ann, &deployment, 1, 3).await.expect(201);
    let again = reserve(&server, &ann, &deployment, 1, 3).await.expect(200);
    assert_eq!(again.text("reservationId"), held.text("reservationId"));
    let lost = reserve(&server, &bob, &deployment, 2, 3).await;
    assert_eq!(lost.refusal(), (409, "seat-taken"));
    // And one that shows as taken what is free again.
    assert_eq!(list(&server, &bob, &deployment).await, "[1,2,4,5]");
    let path = format!("/concert/reserve?userId=1&reservationId={}", held.text("reservationId"));
    other.delete_as(&ann, &path).await.expect(200);
    reserve(&server, &bob, &deployment, 2, 3).await.expect(201);
}
