//! A line that an operator clears: who waits is gone on every server, who is inside goes on, who comes
//! next is the first; with and without a lottery.

use std::time::Duration;

use onsale::concerts::{Concert, Prequeue};
use serde_json::{Value, json};

use crate::support::dump::{assert_unchanged, at_rest, dump};
use crate::support::server::{Answer, Deployment, TestServer, place_of};
use crate::support::{RawRedis, concert, eventually, within};

const TOKEN: &str = "the-operators-token-of-a-test";
/// A second, and a little: boards are read four times a second.
const SOON: Duration = Duration::from_millis(1_500);

async fn operate(server: &TestServer, method: &str, path: &str, body: Value) -> Answer {
    server.answer(server.request(method, path).bearer_auth(TOKEN).json(&body)).await
}

/// How many lost their place.
async fn clear(server: &TestServer, concert: &Concert) -> u64 {
    let body = json!({"concertId": concert.id});
    let answer = operate(server, "DELETE", "/admin/waiting", body).await.expect(200).body;
    let left = answer["left"].as_u64().expect("a number");
    assert_eq!(answer, json!({"concertId": concert.id, "left": left}));
    left
}

async fn configure(server: &TestServer, concert: &Concert, setting: &str, value: Value) {
    let body = json!({"concertId": concert.id, setting: value});
    operate(server, "PATCH", "/admin/concerts", body).await.expect(200);
}

/// What `token` is told: its position and status, or its refusal.
async fn told(server: &TestServer, token: &str) -> (Option<u64>, String) {
    let answer = server.get_as(token, "/user/token/status").await;
    let word = if answer.status == 200 { "status" } else { "code" };
    (answer.body["queuePosition"].as_u64(), answer.text(word))
}

async fn is_gone(server: &TestServer, token: &str) -> bool {
    told(server, token).await == (None, "token-expired".to_owned())
}

async fn waits(server: &TestServer, token: &str, position: u64) -> bool {
    told(server, token).await == (Some(position), "waiting".to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_is_gone_everywhere_within_a_second_and_whoever_is_inside_goes_on() {
    let deployment = Deployment::new(vec![concert(10, 1), concert(10, 1)]).await;
    let deployment = deployment.with("admin_token", TOKEN).with("capacity", "1");
    let (one, other) = (deployment.start().await, deployment.start().await);
    let (concert, elsewhere) = (deployment.concert(), &deployment.concerts[1]);
    let inside = one.admitted(concert, 1).await;
    one.admitted(elsewhere, 1).await;
    let of_another_line = one.join(elsewhere, 2).await;
    let mut tokens = Vec::new();
    for (user, server) in (2..=6).zip([&one, &other].into_iter().cycle()) {
        tokens.push(server.join(concert, user).await);
    }
    let anonymous = one.post("/user/token", json!({"concertId": concert.id})).await.expect(201);
    tokens.push(anonymous.text("token"));
    // Somebody has left before: that number is dead already.
    other.delete_as(&tokens.remove(2), "/user/token").await.expect(200);
    for server in [&one, &other] {
        let is_last = || waits(server, &tokens[4], 5);
        eventually("the board is known", is_last).await;
    }

    assert_eq!(clear(&one, concert).await, 5);
    for (server, token) in [&one, &other]
        .into_iter()
        .flat_map(|server| tokens.iter().map(move |token| (server, token)))
    {
        within(SOON, "a place is gone", || is_gone(server, token)).await;
    }
    // Nobody inside, and nobody of another line, has noticed.
    assert_eq!(told(&other, &of_another_line).await.0, Some(1));
    one.charge(&inside, 1, 1000).await;
    one.reserve(&inside, concert, 1, 3).await.expect(201);

    // Whoever comes is the first, also somebody who was in the line before.
    let again = other.post("/user/token", json!({"concertId": concert.id, "userId": 3})).await;
    assert_eq!(again.expect(201).body["queuePosition"], 1);
    let (first, second) = (other.join(concert, 3).await, one.join(concert, 8).await);
    for server in [&one, &other] {
        for (token, position) in [(&first, 1), (&second, 2)] {
            within(SOON, "a new position", || waits(server, token, position)).await;
        }
        assert!(is_gone(server, &tokens[1]).await, "the same person's old place");
    }
    one.pay(&inside, 1).await.expect(200);
    one.wait_until_active(&first).await;
    within(SOON, "the next is the first", || waits(&other, &second, 1)).await;

    let overview = one.bearing(TOKEN).get("/admin/concerts").await.expect(200).body;
    let overview = &overview["concerts"][0];
    assert_eq!((&overview["waiting"], &overview["stats"]["left"]), (&json!(1), &json!(6)));
    assert_eq!(overview["stats"]["issued"], 9);
    assert_eq!(clear(&other, concert).await, 1);
    assert_eq!(clear(&other, concert).await, 0);
    let path = format!("/admin/audit?concertId={}", concert.id);
    let entries = one.bearing(TOKEN).get(&path).await.expect(200).body["entries"].take();
    let left: Vec<_> = entries
        .as_array()
        .expect("entries")
        .iter()
        .map(|entry| (entry["action"].clone(), entry["left"].clone()))
        .collect();
    assert_eq!(left, [(json!("cleared"), json!(1)), (json!("cleared"), json!(5))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clearing_that_is_wrong_or_not_an_operators_changes_nothing() {
    let deployment = Deployment::new(vec![concert(10, 1)]).await;
    let deployment = deployment.with("admin_token", TOKEN);
    let (server, concert) = (deployment.start().await, deployment.concert());
    let mut redis = RawRedis::shared().await;
    redis.say(&format!("HSET {} paused 1", concert.keys.settings)).await;
    let token = server.join(concert, 1).await;
    let before = at_rest(&deployment, &mut redis).await;
    let id = concert.id;
    for (wrong, refusal) in [
        (json!({}), (400, "bad-request")),
        (json!({"concertId": id, "all": true}), (400, "bad-request")),
        (json!({"concertId": null}), (400, "bad-request")),
        (json!({"concertId": 0}), (422, "out-of-range")),
        (json!({"concertId": 4_000_000}), (404, "unknown-concert")),
    ] {
        let answer = operate(&server, "DELETE", "/admin/waiting", wrong.clone()).await;
        assert_eq!(answer.refusal(), refusal, "{wrong}");
    }
    for request in [
        server.request("DELETE", "/admin/waiting"),
        server.request("DELETE", "/admin/waiting").bearer_auth("the-operators-token-of-a-tesT"),
        server.request("DELETE", "/admin/waiting").header("Queue-Token", &token),
    ] {
        let answer = server.answer(request.json(&json!({"concertId": id}))).await;
        assert_eq!(answer.refusal(), (401, "unauthenticated"));
    }
    assert_unchanged(&before, &dump(&deployment, &mut redis).await);
}

/// The server that is asked has a board of the old line for most of a second.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_before_the_opening_is_the_first_at_once_after_a_clearing() {
    let opens_at = "2099-12-01T20:00:00+09:00".parse().expect("a moment");
    let early = Concert { opens_at: Some(opens_at), ..concert(1000, 1) };
    let deployment = Deployment::new(vec![early]).await.with("admin_token", TOKEN);
    let (one, other) = (deployment.start().await, deployment.start().await);
    let concert = deployment.concert();
    for round in 0..3 {
        let mut token = String::new();
        for user in 1..=4 {
            token = one.join(concert, 10 * round + user).await;
        }
        let four = (Some(4), "prequeue".to_owned());
        eventually("the board is known", || async { told(&one, &token).await == four }).await;
        assert_eq!(clear(&other, concert).await, 4);
        let body = json!({"concertId": concert.id, "userId": 10 * round + 5});
        let answer = one.post("/user/token", body).await.expect(201);
        let position = answer.body["queuePosition"].as_u64();
        assert_eq!((position, answer.text("status").as_str()), (Some(1), "prequeue"));
        let first = (Some(1), "prequeue".to_owned());
        assert_eq!(told(&one, &answer.text("token")).await, first);
        assert_eq!(clear(&other, concert).await, 1);
    }
}

/// A sale with a lottery that opens in another century.
fn lottery(beacon_round: Option<&str>) -> Concert {
    let opens_at = "2099-12-01T20:00:00+09:00".parse().expect("a moment");
    let prequeue = Prequeue::Lottery { beacon_round: beacon_round.map(str::to_owned) };
    Concert { opens_at: Some(opens_at), prequeue, ..concert(1000, 1) }
}

async fn draw(server: &TestServer, concert: &Concert) -> Value {
    let path = format!("/concert/{}/fairness", concert.id);
    server.get(&path).await.expect(200).body["draw"].take()
}

async fn opened(server: &TestServer, concert: &Concert) {
    configure(server, concert, "opensAt", json!("now")).await;
    let is_frozen = || async { draw(server, concert).await["people"].is_u64() };
    eventually("who takes part is frozen", is_frozen).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_opening_the_seed_stays_and_only_who_comes_after_takes_part() {
    let deployment = Deployment::new(vec![lottery(None)]).await.with("admin_token", TOKEN);
    let (one, other) = (deployment.start().await, deployment.start().await);
    let concert = deployment.concert();
    let early = one.join(concert, 1).await;
    other.join(concert, 2).await;
    let committed = draw(&one, concert).await["commitment"].clone();
    assert_eq!(clear(&other, concert).await, 2);
    for server in [&one, &other] {
        within(SOON, "a place is gone", || is_gone(server, &early)).await;
    }
    let tokens = [other.join(concert, 3).await, one.join(concert, 1).await];
    opened(&one, concert).await;
    for token in &tokens {
        other.wait_until_active(token).await;
    }
    let drawn = draw(&other, concert).await;
    let [first, last] = [&tokens[0], &tokens[1]].map(|token| place_of(token).get());
    assert_eq!((&drawn["commitment"], &drawn["people"]), (&committed, &json!(2)));
    assert_eq!(drawn["segments"], json!([[first, last]]));
    assert!(is_gone(&one, &early).await);
}

/// Nobody of the draw is left, so its order is nobody's business: no beacon keeps others out.
#[tokio::test(flavor = "multi_thread")]
async fn while_a_beacon_is_awaited_late_arrivals_of_a_cleared_line_are_let_in() {
    let deployment = Deployment::new(vec![lottery(Some("drand quicknet 30000000"))]).await;
    let deployment = deployment.with("admin_token", TOKEN).with("capacity", "1");
    let (one, other) = (deployment.start().await, deployment.start().await);
    let concert = deployment.concert();
    let drawn = [one.join(concert, 1).await, other.join(concert, 2).await];
    opened(&other, concert).await;
    let late = one.join(concert, 3).await;
    let prequeue = || async { told(&other, &late).await.1 == "prequeue" };
    eventually("late arrivals wait for the beacon too", prequeue).await;

    assert_eq!(clear(&one, concert).await, 3);
    let (first, second) = (other.join(concert, 4).await, one.join(concert, 5).await);
    for server in [&one, &other] {
        for token in drawn.iter().chain([&late]) {
            within(SOON, "a place is gone", || is_gone(server, token)).await;
        }
    }
    other.wait_until_active(&first).await;
    for server in [&one, &other] {
        within(SOON, "the next is the first", || waits(server, &second, 1)).await;
    }
    assert_eq!(draw(&one, concert).await["seed0"], Value::Null, "it was never drawn");
    // The value makes the draw public, and changes nothing for anybody.
    configure(&one, concert, "beacon", json!("00112233445566778899aabbccddeeff")).await;
    let is_public = || async { draw(&other, concert).await["seed0"].is_string() };
    eventually("the draw is public", is_public).await;
    for server in [&one, &other] {
        assert!(waits(server, &second, 1).await);
        assert!(is_gone(server, &drawn[0]).await);
    }
    other.delete_as(&first, "/user/token").await.expect(200);
    one.wait_until_active(&second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_middle_of_a_draw_those_who_are_inside_go_on_and_late_arrivals_come_next() {
    const PEOPLE: u64 = 40;
    let deployment = Deployment::new(vec![lottery(None)]).await.with("admin_token", TOKEN);
    let deployment = deployment.with("capacity", "3").with("claim_ttl", "10m");
    let (one, other) = (deployment.start().await, deployment.start().await);
    let concert = deployment.concert();
    let mut tokens = Vec::new();
    for (user, server) in (1..=PEOPLE).zip([&one, &other].into_iter().cycle()) {
        tokens.push(server.join(concert, user).await);
    }
    opened(&one, concert).await;
    let mut redis = RawRedis::shared().await;
    let active = format!("ZRANGE {} 0 -1", concert.keys.active);
    let three_are_in = || async { RawRedis::shared().await.say(&active).await.texts().len() == 3 };
    eventually("three are let in", three_are_in).await;
    one.join(concert, PEOPLE + 1).await;
    let inside = redis.say(&active).await.texts();
    let is_inside = |token: &&String| inside.contains(&place_of(token).to_string());

    assert_eq!(clear(&other, concert).await, PEOPLE + 1 - 3);
    let late = [one.join(concert, 100).await, other.join(concert, 101).await];
    for server in [&one, &other] {
        for token in &tokens {
            if is_inside(&token) {
                // A board may be older than the promotion.
                let is_active = || async { told(server, token).await.1 == "active" };
                within(SOON, "a turn is known", is_active).await;
            } else {
                within(SOON, "a place is gone", || is_gone(server, token)).await;
            }
        }
        for (token, position) in late.iter().zip(1..) {
            within(SOON, "a new position", || waits(server, token, position)).await;
        }
    }
    let leaver = tokens.iter().find(is_inside).expect("somebody is inside");
    one.delete_as(leaver, "/user/token").await.expect(200);
    other.wait_until_active(&late[0]).await;
    within(SOON, "the next is the first", || waits(&one, &late[1], 1)).await;
}
