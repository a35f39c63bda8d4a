//! The guarded connection to Redis.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures::FutureExt;
use onsale::local::{LocalRedis, RedisOptions};
use onsale::redis::{
    Args, LuaScript, Redis, RedisConfig, RedisError, Reply, ReplyFault, ScriptCall,
};

use crate::support::{RawRedis, eventually, redis_at};

static ECHO: LuaScript = LuaScript::new("tests/echo", "return {'echo', ARGV[1]}");
static SCRIPTS: &[&LuaScript] = &[&ECHO];

struct Echo(i64);

impl ScriptCall for Echo {
    type Outcome = i64;

    fn script() -> &'static LuaScript {
        &ECHO
    }

    fn write(&self, args: &mut Args) {
        let keys = onsale::redis::ConcertKeys::new(1.try_into().expect("an id"));
        args.key(&keys.seq).int(self.0);
    }

    fn decode(tag: &str, mut reply: Reply) -> Result<i64, ReplyFault> {
        match tag {
            "echo" => reply.int(),
            _ => Err(ReplyFault::Tag(tag.to_owned())),
        }
    }
}

async fn own_redis() -> LocalRedis {
    LocalRedis::throwaway(RedisOptions::throwaway()).await.expect("a private Redis")
}

#[tokio::test]
async fn concurrent_reads_travel_together_and_each_gets_its_own() {
    let server = own_redis().await;
    let redis = redis_at(&server.url(), SCRIPTS).await;
    let mut raw = RawRedis::connect(server.socket()).await;
    let keys = onsale::redis::ConcertKeys::new(1.try_into().expect("an id"));
    let token = |place: i128| keys.token(place.try_into().expect("a place"));
    for place in (1..=300).step_by(3) {
        raw.say(&format!("SET {} owner-{place}", token(place))).await;
    }
    raw.say("CONFIG RESETSTAT").await;
    let reads = (1..=300).map(|place| {
        let (redis, key) = (redis.clone(), token(place));
        async move { redis.get(&key).await.expect("an answer") }
    });
    for (place, value) in (1..=300).zip(futures::future::join_all(reads).await) {
        assert_eq!(value, (place % 3 == 1).then(|| format!("owner-{place}")));
    }
    let stats = raw.say("INFO commandstats").await;
    assert!(stats.text().contains("cmdstat_mget:calls=2,"), "{}", stats.text());
}

/// A forgotten script is the sign of a new Redis process, so something must run before the load.
#[tokio::test]
async fn a_forgotten_script_settles_first_and_costs_nobody_a_request() {
    let server = own_redis().await;
    let redis = redis_at(&server.url(), SCRIPTS).await;
    let settled = Arc::new(AtomicU32::new(0));
    let counter = settled.clone();
    redis.on_forgotten(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
        async { Ok(()) }.boxed()
    });
    assert_eq!(redis.run(&Echo(1)).await.expect("an echo"), 1);
    assert_eq!(settled.load(Ordering::SeqCst), 1, "the first call meets an empty script cache");
    RawRedis::connect(server.socket()).await.say("SCRIPT FLUSH").await;
    let calls = (0..50).map(|n| {
        let redis = redis.clone();
        async move { redis.run(&Echo(n)).await.expect("an echo") }
    });
    let echoes = futures::future::join_all(calls).await;
    assert_eq!(echoes, (0..50).collect::<Vec<_>>());
    assert_eq!(settled.load(Ordering::SeqCst), 2, "50 calls at once settle and load once");
}

/// A Redis that hangs must not cost every request its timeout.
#[tokio::test]
async fn a_silent_redis_opens_the_breaker_and_an_answer_closes_it() {
    let server = own_redis().await;
    let redis = redis_at(&server.url(), SCRIPTS).await;
    redis.run(&Echo(1)).await.expect("an echo");
    server.pause();
    let mut lost = 0;
    while !matches!(redis.run(&Echo(2)).await, Err(RedisError::Unavailable)) {
        lost += 1;
        assert!(lost <= 20, "the breaker does not open");
    }
    server.resume();
    eventually("Redis is used again", || async { redis.run(&Echo(3)).await.is_ok() }).await;
}

#[tokio::test]
async fn a_killed_redis_is_found_again() {
    let server = own_redis().await;
    let redis = redis_at(&server.url(), SCRIPTS).await;
    redis.run(&Echo(1)).await.expect("an echo");
    server.kill().await;
    assert!(redis.run(&Echo(2)).await.is_err());
    server.restart().await.expect("Redis starts again");
    eventually("Redis is used again", || async { redis.run(&Echo(3)).await.is_ok() }).await;
}

#[tokio::test]
async fn a_server_starts_without_redis() {
    let redis = Redis::connect(&RedisConfig::new("redis://127.0.0.1:1"), SCRIPTS).expect("a URL");
    assert!(matches!(redis.run(&Echo(1)).await, Err(RedisError::Unavailable)));
}
