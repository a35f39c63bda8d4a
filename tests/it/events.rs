//! Streams of events: what is told of a place and of seats, how soon, and at which cost.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use onsale::local::LocalStores;
use serde_json::{Value, json};

use crate::support::process::ServerProcess;
use crate::support::server::{Deployment, TestServer};
use crate::support::{RawRedis, concert};

const ADMIN: &str = "the-operators-token-of-a-test";

/// A stream that is being read.
struct Events {
    response: reqwest::Response,
    text: String,
}

impl Events {
    async fn open(server: &TestServer, token: &str, path: &str) -> Self {
        let request = server.request("GET", path).header("Queue-Token", token);
        let response = request.send().await.expect("the server answers");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new() }
    }

    /// The next event: its name and its data; none when the stream has ended.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                let line = |kind: &str| block.lines().find_map(|line| line.strip_prefix(kind));
                if let (Some(name), Some(data)) = (line("event: "), line("data: ")) {
                    return Some((name.to_owned(), serde_json::from_str(data).expect("JSON")));
                }
                continue;
            }
            let part = tokio::time::timeout(Duration::from_secs(20), self.response.chunk());
            let part = part.await.expect("an event comes").expect("the stream is whole")?;
            self.text.push_str(std::str::from_utf8(&part).expect("UTF-8"));
        }
    }

    /// The next event of this name; others of `besides` may come before.
    async fn until(&mut self, name: &str, besides: &[&str]) -> Value {
        loop {
            let (told, data) = self.next().await.expect("the stream goes on");
            if told == name {
                return data;
            }
            assert!(besides.contains(&told.as_str()), "{told} {data}, and not {name}");
        }
    }
}

async fn configure(server: &TestServer, change: Value) {
    let request = server.request("PATCH", "/admin/concerts").bearer_auth(ADMIN).json(&change);
    server.answer(request).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_hears_position_message_and_turn_without_asking() {
    let deployment = Deployment::new(vec![concert(10, 1)]).await;
    let deployment = deployment.with("capacity", "1").with("admin_token", ADMIN);
    let (server, other) = (deployment.start().await, deployment.start().await);
    let concert = deployment.concert();
    let inside = server.admitted(concert, 1).await;
    let before = server.join(concert, 2).await;
    let token = server.join(concert, 3).await;
    let mut events = Events::open(&server, &token, "/user/token/events").await;
    let (name, told) = events.next().await.expect("the state at once");
    assert_eq!(
        (name.as_str(), &told["queuePosition"], &told["status"]),
        ("position", &json!(2), &json!("waiting"))
    );
    assert_eq!(told.get("token"), None, "a token is told once");
    let minor = ["position", "estimate"];

    // What is changed by another server is told within a second, and a little.
    configure(&other, json!({"concertId": concert.id, "message": "soon"})).await;
    let changed = Instant::now();
    let told = events.until("message", &minor).await;
    assert_eq!(told["message"], "soon");
    assert!(changed.elapsed() < Duration::from_millis(1_500), "{:?}", changed.elapsed());
    configure(&other, json!({"concertId": concert.id, "message": null})).await;
    assert_eq!(events.until("message", &minor).await.get("message"), None);

    other.delete_as(&before, "/user/token").await.expect(200);
    while events.until("position", &minor).await["queuePosition"] != json!(1) {}
    server.delete_as(&inside, "/user/token").await.expect(200);
    let told = events.until("promoted", &minor).await;
    assert_eq!((&told["queuePosition"], &told["status"]), (&json!(0), &json!("active")));
    assert!(told["expiresIn"].as_u64().is_some_and(|seconds| seconds > 0), "{told}");
    assert_eq!(events.next().await, None, "nothing is left to tell");
    // Once more, as a browser does whose page did not close it.
    let mut events = Events::open(&other, &token, "/user/token/events").await;
    assert_eq!(events.next().await.map(|(name, _)| name).as_deref(), Some("promoted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_listens_in_a_line_that_is_cleared_hears_that_their_place_is_gone() {
    let deployment = Deployment::new(vec![concert(10, 1)]).await;
    let deployment = deployment.with("admin_token", ADMIN);
    let (server, other) = (deployment.start().await, deployment.start().await);
    let concert = deployment.concert();
    configure(&other, json!({"concertId": concert.id, "paused": true})).await;
    let mut streams = Vec::new();
    for user in 1..=20 {
        let token = server.join(concert, user).await;
        streams.push(Events::open(&server, &token, "/user/token/events").await);
    }
    let request = other.request("DELETE", "/admin/waiting").bearer_auth(ADMIN);
    let request = request.json(&json!({"concertId": concert.id}));
    assert_eq!(other.answer(request).await.expect(200).body["left"], 20);
    let cleared = Instant::now();
    for events in &mut streams {
        events.until("gone", &["position", "estimate"]).await;
        assert_eq!(events.next().await, None, "nothing is left to tell");
    }
    assert!(cleared.elapsed() < Duration::from_secs(2), "{:?}", cleared.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_leaves_elsewhere_or_finds_all_sold_hears_that() {
    let deployment = Deployment::new(vec![concert(1, 1)]).await.with("capacity", "1");
    let (server, other) = (deployment.start().await, deployment.start().await);
    let concert = deployment.concert();
    let buyer = server.admitted(concert, 1).await;
    let (stays, leaves) = (server.join(concert, 2).await, server.join(concert, 3).await);
    let mut stays = Events::open(&server, &stays, "/user/token/events").await;
    let path = format!("/user/token/events?token={leaves}");
    let mut gone = Events::open(&server, "", &path).await;
    assert_eq!(gone.next().await.expect("the state").0, "position");
    other.delete_as(&leaves, "/user/token").await.expect(200);
    gone.until("gone", &["position", "estimate"]).await;
    assert_eq!(gone.next().await, None);

    server.charge(&buyer, 1, 1000).await;
    server.reserve(&buyer, concert, 1, 1).await.expect(201);
    server.pay(&buyer, 1).await.expect(200);
    let told = stays.until("sold-out", &["position", "estimate"]).await;
    assert_eq!(told["status"], "sold-out");
}

/// What `listeners` cost Redis in six seconds, in script calls and reads.
async fn cost_of(listeners: usize) -> u64 {
    let stores = LocalStores::throwaway().await.expect("private stores");
    let deployment = Deployment::on(&stores, vec![concert(10, 1)]).await.with("capacity", "1");
    let process = ServerProcess::start(&deployment).await;
    let server = &process.server;
    server.admitted(deployment.concert(), 1).await;
    let token = server.join(deployment.concert(), 2).await;
    let open = || Events::open(server, &token, "/user/token/events");
    let mut all = futures::future::join_all((0..listeners).map(|_| open())).await;
    for events in &mut all {
        assert_eq!(events.next().await.expect("the state").0, "position");
    }
    // Until nobody has asked for a while.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let mut redis = RawRedis::connect(stores.redis.socket()).await;
    let before = redis.calls().await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    let after = redis.calls().await;
    let calls = |names: &[&str]| -> u64 {
        let of = |all: &BTreeMap<String, u64>, name: &&str| all.get(*name).copied().unwrap_or(0);
        names.iter().map(|name| of(&after, name) - of(&before, name)).sum()
    };
    drop(all);
    calls(&["evalsha", "evalsha_ro", "mget", "get", "pttl", "zcount", "zcard"])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_listeners_cost_redis_no_more_than_one() {
    let (one, thousand) = (cost_of(1).await, cost_of(1_000).await);
    println!("Redis commands in 6 s: {one} with one listener, {thousand} with a thousand");
    // Jobs run every second; a tick more or less may fall into the time.
    assert!(thousand <= one + 12, "{one} with one listener, {thousand} with a thousand");
}

#[tokio::test(flavor = "multi_thread")]
async fn seats_that_are_taken_freed_and_lapsed_are_told_within_a_second() {
    let deployment = Deployment::new(vec![concert(5, 1)]).await.with("hold_ttl", "2s");
    let deployment = deployment.with("hold_grace", "8s").with("payment_extension", "2s");
    let deployment = deployment.with("payment_deadline", "1s");
    let (server, other) = (deployment.start().await, deployment.start().await);
    let concert = deployment.concert();
    let (watcher, holder) = (server.admitted(concert, 1).await, server.admitted(concert, 2).await);
    other.reserve(&holder, concert, 2, 4).await.expect(201);
    let path = format!("/concert/{}/seats/events?concertDate={}", concert.id, concert.dates[0]);
    let mut events = Events::open(&server, &watcher, &path).await;
    let (name, told) = events.next().await.expect("all seats at once");
    assert_eq!((name.as_str(), told), ("seats", json!({"availableSeats": [1, 2, 3, 5]})));

    // The hold of seat 4 ends by itself; nobody does anything.
    assert_eq!(events.until("changed", &[]).await, json!({"taken": [], "freed": [4]}));
    let hold = other.reserve(&holder, concert, 2, 2).await.expect(201);
    let at = Instant::now();
    assert_eq!(events.until("changed", &[]).await, json!({"taken": [2], "freed": []}));
    assert!(at.elapsed() < Duration::from_millis(1_500), "{:?}", at.elapsed());
    let id = hold.text("reservationId");
    let path = format!("/concert/reserve?userId=2&reservationId={id}");
    other.delete_as(&holder, &path).await.expect(200);
    assert_eq!(events.until("changed", &[]).await, json!({"taken": [], "freed": [2]}));
    server.charge(&holder, 2, 1000).await;
    server.reserve(&holder, concert, 2, 3).await.expect(201);
    server.pay(&holder, 2).await.expect(200);
    assert_eq!(events.until("changed", &[]).await, json!({"taken": [3], "freed": []}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_listener_of_seats_is_shown_what_was_taken_before_it_came() {
    let deployment = Deployment::new(vec![concert(5, 1)]).await;
    let server = deployment.start().await;
    let concert = deployment.concert();
    let token = server.admitted(concert, 1).await;
    let path = format!("/concert/{}/seats/events?concertDate={}", concert.id, concert.dates[0]);
    // Others listen, so somebody looks once a second: the last look may be as old as that.
    let mut first = Events::open(&server, &token, &path).await;
    assert_eq!(first.next().await.expect("all seats").0, "seats");
    for seat in 1..=3 {
        server.reserve(&token, concert, 1, seat).await.expect(201);
        let mut events = Events::open(&server, &token, &path).await;
        let free: Vec<u32> = (seat + 1..=5).collect();
        let told = events.next().await.expect("all seats at once");
        assert_eq!(told, ("seats".to_owned(), json!({"availableSeats": free})));
    }
    // A seat is given back before the next look for everybody: for them nothing has changed.
    for _ in 0..3 {
        let hold = server.reserve(&token, concert, 1, 5).await.expect(201);
        let mut events = Events::open(&server, &token, &path).await;
        let told = events.next().await.expect("all seats at once");
        assert_eq!(told.1, json!({"availableSeats": [4]}));
        let id = hold.text("reservationId");
        let path = format!("/concert/reserve?userId=1&reservationId={id}");
        server.delete_as(&token, &path).await.expect(200);
        assert_eq!(events.until("changed", &[]).await, json!({"taken": [], "freed": [5]}));
    }
    // And nobody is told of it twice, or not at all.
    let mut gone = Vec::new();
    while gone.len() < 3 {
        let changed = first.until("changed", &[]).await;
        let now = changed["taken"].as_array().expect("seats");
        gone.extend(now.iter().filter(|seat| **seat != 5).cloned());
    }
    assert_eq!(gone, [1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seat_map_ends_with_the_token_that_it_was_asked_for_with() {
    let deployment = Deployment::new(vec![concert(5, 1), concert(5, 1)]).await;
    let deployment = deployment.with("claim_ttl", "1s").with("active_ttl", "2s");
    let server = deployment.start().await;
    let concert = deployment.concert();
    let token = server.admitted(concert, 1).await;
    let path = |concert: &onsale::concerts::Concert, date: &str| {
        format!("/concert/{}/seats/events?concertDate={date}", concert.id)
    };
    let date = concert.dates[0].to_string();
    let wrong = server.get_as(&token, &path(&deployment.concerts[1], &date)).await;
    assert_eq!(wrong.refusal(), (403, "wrong-concert"));
    let unknown = server.get_as(&token, &path(concert, "2099-11-01")).await;
    assert_eq!(unknown.refusal(), (404, "unknown-date"));
    for (id, told) in [
        ("one", (400, "bad-request")),
        ("0", (422, "out-of-range")),
        ("01", (400, "bad-request")),
        ("4194304", (422, "out-of-range")),
    ] {
        let path = format!("/concert/{id}/seats/events?concertDate={date}");
        assert_eq!(server.get_as(&token, &path).await.refusal(), told, "{id}");
    }
    let mut events = Events::open(&server, &token, &path(concert, &date)).await;
    assert_eq!(events.next().await.expect("all seats").0, "seats");
    let opened = Instant::now();
    assert_eq!(events.next().await.expect("an end").0, "ended");
    assert_eq!(events.next().await, None);
    assert!(opened.elapsed() < Duration::from_secs(5), "{:?}", opened.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_a_seat_map_for_want_of_room_has_not_used_the_turn() {
    let deployment = Deployment::new(vec![concert(5, 1)]).await;
    let deployment = deployment.with("streams_max", "1").with("admin_token", ADMIN);
    let server = deployment.start().await;
    let concert = deployment.concert();
    let path = format!("/concert/{}/seats/events?concertDate={}", concert.id, concert.dates[0]);
    let (first, second) = (server.admitted(concert, 1).await, server.admitted(concert, 2).await);
    let mut events = Events::open(&server, &first, &path).await;
    assert_eq!(events.next().await.expect("all seats").0, "seats");
    assert_eq!(server.get_as(&second, &path).await.refusal(), (503, "overloaded"));
    let person = format!("/admin/people?concertId={}&userId=", concert.id);
    for (user, is_claimed) in [(1, true), (2, false)] {
        let known = server.bearing(ADMIN).get(&format!("{person}{user}")).await.expect(200);
        assert_eq!(known.body["claimed"], is_claimed, "user {user}");
    }
}

/// The streams of a server that stops end, and those of another go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_told_to_stop_ends_its_streams_and_exits_at_once() {
    let deployment = Deployment::new(vec![concert(5, 1)]).await.with("capacity", "1");
    let (process, other) = (ServerProcess::start(&deployment).await, deployment.start().await);
    let concert = deployment.concert();
    other.admitted(concert, 1).await;
    let token = other.join(concert, 2).await;
    let mut events = Events::open(&process.server, &token, "/user/token/events").await;
    let mut others = Events::open(&other, &token, "/user/token/events").await;
    assert_eq!(events.next().await.expect("the state").0, "position");
    let at = Instant::now();
    let read_to_the_end = async { while events.next().await.is_some() {} };
    let ((code, log), ()) = tokio::join!(process.stop(), read_to_the_end);
    assert_eq!(code, Some(0), "{log}");
    assert!(at.elapsed() < Duration::from_secs(5), "{:?}", at.elapsed());
    assert_eq!(others.next().await.expect("the state").0, "position");
    other.get_as(&token, "/user/token/status").await.expect(200);
}
