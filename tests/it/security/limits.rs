//! Limits per client address, as they are configured for a real server.

use std::time::Instant;

use serde_json::json;

use crate::support::process::ServerProcess;
use crate::support::server::{Answer, Deployment, TestServer};
use crate::support::{RawRedis, concert, eventually};

/// How many of `tries` requests from `address` are taken; the others must be right refusals.
async fn taken(
    tries: usize,
    address: &str,
    ask: impl AsyncFn(reqwest::RequestBuilder) -> Answer,
    request: impl Fn() -> reqwest::RequestBuilder,
) -> usize {
    let mut taken = 0;
    for _ in 0..tries {
        let answer = ask(request().header("X-Forwarded-For", address)).await;
        if answer.status < 300 {
            taken += 1;
            continue;
        }
        assert_eq!(answer.refusal(), (429, "too-many-requests"));
        let retry = answer.headers["retry-after"].to_str().expect("text");
        assert!(retry.parse::<u32>().is_ok_and(|seconds| seconds >= 1), "{retry}");
    }
    taken
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_arrives_and_polls_too_often_is_told_to_wait_and_others_are_not() {
    let deployment = Deployment::new(vec![concert(10, 1)])
        .await
        .with("arrivals_per_address", "1")
        .with("polls_per_address", "1")
        .with("proxy_hops", "1");
    let process = ServerProcess::start(&deployment).await;
    let server: &TestServer = &process.server;
    let ask = async |request| server.answer(request).await;
    let arrive = || {
        server.request("POST", "/user/token").json(&json!({"concertId": deployment.concert().id}))
    };

    let begun = Instant::now();
    let mut arrived = taken(40, "203.0.113.1", ask, arrive).await;
    let brought = usize::try_from(begun.elapsed().as_secs()).expect("seconds") + 1;
    assert!((10..=10 + brought).contains(&arrived), "{arrived}");
    // Somebody else, also if they say that they are the first one.
    arrived += taken(5, "203.0.113.1, 203.0.113.2", ask, arrive).await;
    arrived += taken(5, "2001:db8:1:2::3", ask, arrive).await;
    let mut redis = RawRedis::shared().await;
    let issued = redis.say(&format!("HGET {} issued", deployment.concert().keys.stats)).await;
    assert_eq!(usize::try_from(issued.int()).ok(), Some(arrived), "a refusal gives no place");

    let joined = ask(arrive().header("X-Forwarded-For", "203.0.113.3")).await.expect(201);
    let token = joined.text("token");
    let poll = || server.request("GET", "/user/token/status").header("Queue-Token", &token);
    let begun = Instant::now();
    let polled = taken(40, "203.0.113.3", ask, poll).await;
    let brought = usize::try_from(begun.elapsed().as_secs()).expect("seconds") + 1;
    assert!((10..=10 + brought).contains(&polled), "polls have a limit of their own: {polled}");
    // Whoever is let in goes on, however often they ask.
    let balance =
        || server.request("GET", "/payment/balance?userId=1").header("Queue-Token", &token);
    let is_in = || async { ask(balance()).await.status == 200 };
    eventually("it is their turn", is_in).await;
    assert_eq!(taken(40, "203.0.113.3", ask, balance).await, 40);
    // Leaving makes room for others: it is no arrival, whatever came from the same address.
    taken(20, "203.0.113.3", ask, arrive).await;
    assert_eq!(taken(1, "203.0.113.3", ask, arrive).await, 0, "no more arrivals");
    let leave = || server.request("DELETE", "/user/token").header("Queue-Token", &token);
    assert_eq!(taken(1, "203.0.113.3", ask, leave).await, 1);
    let left = redis.say(&format!("HGET {} left", deployment.concert().keys.stats)).await;
    assert_eq!(left.int(), 1);
    for _ in 0..40 {
        server.get("/healthz").await.expect(200);
    }
}
