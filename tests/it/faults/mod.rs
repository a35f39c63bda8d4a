//! The table of faults, as far as it is not shown where the protocol is: `docs/reliability.md` names
//! the test of every row.

mod bursts;
// The library that sets a process' clock works by preloading, as Linux does it.
#[cfg(target_os = "linux")]
mod clocks;
mod emptied;
mod leaving;
mod links;
mod postgres;
mod redis;
mod stopping;

use std::time::{Duration, Instant};

use onsale::concerts::Concert;
use onsale::local::{LocalRedis, RedisOptions};
use serde_json::{Value, json};

use crate::support::concert;
use crate::support::server::{Answer, Deployment, TestServer};

/// What is promised of a store that is away: an answer by then.
const AT_ONCE: Duration = Duration::from_millis(500);

/// One request.
pub struct Asked {
    pub method: &'static str,
    pub path: String,
    pub body: Option<Value>,
}

fn asked(method: &'static str, path: impl Into<String>, body: Option<Value>) -> Asked {
    Asked { method, path: path.into(), body }
}

/// One request of every route that needs Redis; the last one gives the token up.
pub fn every_route(concert: &Concert, user: u64) -> Vec<Asked> {
    let (id, date) = (concert.id, concert.dates[0]);
    let owner = json!({"userId": user});
    let reservation = uuid::Uuid::now_v7();
    vec![
        asked("POST", "/user/token", Some(json!({"concertId": id, "userId": user + 1_000_000}))),
        asked("GET", "/user/token/status", None),
        asked("GET", "/concert/available-dates", None),
        asked("GET", format!("/concert/available-seats?concertId={id}&concertDate={date}"), None),
        asked("POST", "/concert/reserve", Some(json!({"userId": user, "seatNumber": 1}))),
        asked(
            "DELETE",
            format!("/concert/reserve?userId={user}&reservationId={reservation}"),
            None,
        ),
        asked("POST", "/payment/charge", Some(json!({"userId": user, "amount": 1}))),
        asked("GET", format!("/payment/balance?userId={user}"), None),
        asked("POST", "/payment", Some(owner)),
        asked("GET", format!("/user/reservations?userId={user}"), None),
        asked("DELETE", "/user/token", None),
    ]
}

impl Asked {
    /// Sends it: the answer, and how long it took.
    pub async fn to(&self, server: &TestServer, token: &str) -> (Answer, Duration) {
        let begun = Instant::now();
        let answer = server.send(self.method, &self.path, Some(token), self.body.clone()).await;
        (answer, begun.elapsed())
    }

    pub fn shown(&self) -> String {
        format!("{} {}", self.method, self.path.split('?').next().unwrap_or_default())
    }
}

/// A 503, and when to come again as a whole number of seconds.
#[track_caller]
pub fn assert_come_again(answer: &Answer, of: &str) {
    assert_eq!(answer.status, 503, "{of}: {answer:?}");
    let after = answer.headers.get("retry-after").and_then(|after| after.to_str().ok());
    assert!(after.is_some_and(|after| after.parse::<u32>().is_ok()), "{of}: {answer:?}");
}

/// Every one of `routes` is answered 503, at once; answers the longest of the times that it took.
///
/// A busy machine may stop any single request for a while, so each is asked three times, and its
/// shortest time counts.
pub async fn assert_refused_at_once(
    server: &TestServer,
    token: &str,
    routes: &[Asked],
) -> Duration {
    let mut longest = Duration::ZERO;
    for route in routes {
        let mut shortest = Duration::MAX;
        for _ in 0..3 {
            let (answer, elapsed) = route.to(server, token).await;
            assert_come_again(&answer, &route.shown());
            shortest = shortest.min(elapsed);
        }
        assert!(shortest < AT_ONCE, "{} took {shortest:?}", route.shown());
        longest = longest.max(shortest);
    }
    longest
}

/// A sale on a Redis of its own and the shared PostgreSQL, with one server.
pub struct OwnRedis {
    pub redis: LocalRedis,
    pub deployment: Deployment,
    pub server: TestServer,
    pub concert: Concert,
}

impl OwnRedis {
    /// What Redis has answered outlives its process.
    pub async fn durable() -> Self {
        Self::with(RedisOptions {
            appendonly: true,
            settings: vec![("appendfsync".into(), "always".into())],
            ..RedisOptions::throwaway()
        })
        .await
    }

    pub async fn with(options: RedisOptions) -> Self {
        let redis = LocalRedis::throwaway(options).await.expect("a private Redis");
        let mut deployment = Deployment::new(vec![concert(50, 1)]).await;
        deployment.redis_url = redis.url();
        let server = deployment.start().await;
        let concert = deployment.concert().clone();
        Self { redis, deployment, server, concert }
    }
}

/// Waits until `condition` holds, for at most a minute: how long that took.
pub async fn time_until<F: Future<Output = bool>>(
    what: &str,
    mut condition: impl FnMut() -> F,
) -> Duration {
    let begun = Instant::now();
    while !condition().await {
        assert!(begun.elapsed() < Duration::from_mins(1), "not within a minute: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    begun.elapsed()
}
