//! What the tests share: the throw-away stores of this process, and concerts of their own.
//!
//! Tests run side by side on one Redis. Each takes fresh concert ids, so no two share a key; a test
//! that stops, empties or breaks a store starts its own.

use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use chrono::NaiveDate;
use onsale::concerts::{Concert, Prequeue};
use onsale::local::{self, LocalStores};
use onsale::redis::{ConcertKeys, LuaScript, Redis, RedisConfig};
use onsale::words::{ConcertId, SeatNumber, Won};

pub mod dev;
pub mod dump;
pub mod line;
pub mod links;
pub mod process;
pub mod proxy;
pub mod raw_http;
pub mod raw_redis;
pub mod server;

pub use raw_redis::RawRedis;

/// The stores of this test process.
pub async fn stores() -> &'static LocalStores {
    local::shared().await.expect("private stores start")
}

/// A guarded connection to the shared Redis.
pub async fn redis(scripts: &'static [&'static LuaScript]) -> Redis {
    redis_at(&stores().await.redis.url(), scripts).await
}

/// A guarded connection to any Redis, once it is up.
pub async fn redis_at(url: &str, scripts: &'static [&'static LuaScript]) -> Redis {
    let redis = Redis::connect(&RedisConfig::new(url), scripts).expect("a Redis URL");
    eventually("Redis is up", || async { redis.ping().await.is_ok() }).await;
    redis
}

/// A concert id that no other test of this process has.
pub fn fresh_concert_id() -> ConcertId {
    static NEXT: AtomicI32 = AtomicI32::new(1000);
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    ConcertId::try_from(i128::from(id)).expect("a concert id")
}

/// A date that is never past in these tests.
pub fn date(day: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(2099, 12, day).expect("a day of December")
}

/// A concert of its own with `seats` seats on `days` dates, at 100 a seat, open at once.
pub fn concert(seats: u32, days: u32) -> Concert {
    let id = fresh_concert_id();
    Concert {
        id,
        name: format!("Concert {id}"),
        dates: (1..=days).map(date).collect(),
        seats: SeatNumber::try_from(i128::from(seats)).expect("a number of seats"),
        price: Won::try_from(100).expect("a price"),
        time_zone: chrono_tz::Asia::Seoul,
        opens_at: None,
        closes_at: None,
        prequeue: Prequeue::Fifo,
        capacity: None,
        batch: None,
        keys: ConcertKeys::new(id),
    }
}

/// Waits until `condition` holds, for at most 15 s.
///
/// # Panics
///
/// If it does not hold by then.
pub async fn eventually<F: Future<Output = bool>>(what: &str, condition: impl FnMut() -> F) {
    within(Duration::from_secs(15), what, condition).await;
}

/// Waits until `condition` holds, for at most `max`.
///
/// # Panics
///
/// If it does not hold by then.
pub async fn within<F: Future<Output = bool>>(
    max: Duration,
    what: &str,
    mut condition: impl FnMut() -> F,
) {
    let deadline = tokio::time::Instant::now() + max;
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "not within {max:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
