//! What the line survives: Redis restarted, emptied, or set back by a second. No number is ever
//! given twice, and whoever holds a forgotten one is told so.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use onsale::local::{LocalRedis, LocalReplicated, RedisOptions, ReplicatedOptions};
use onsale::queue::{QueueConfig, QueueError};

use crate::support::line::{Line, Server, place_of};
use crate::support::{RawRedis, concert, eventually};

async fn redis(appendonly: bool) -> LocalRedis {
    let options = RedisOptions {
        appendonly,
        settings: vec![("appendfsync".to_owned(), "always".to_owned())],
        ..RedisOptions::throwaway()
    };
    LocalRedis::throwaway(options).await.expect("a private Redis")
}

async fn arrive(line: &Line, server: &Server, people: usize) -> Vec<String> {
    let mut tokens = Vec::new();
    for _ in 0..people {
        tokens.push(server.join(&line.concert, None).await.token);
    }
    tokens
}

/// The file that holds the newest writes.
fn newest_part(dir: &Path) -> PathBuf {
    let parts = fs::read_dir(dir.join("appendonlydir")).expect("an append-only folder");
    let parts = parts.map(|part| part.expect("an entry").path());
    let incremental = |path: &PathBuf| path.to_string_lossy().ends_with(".incr.aof");
    parts.filter(incremental).max().expect("a part with the newest writes")
}

/// The people of the lost second are told at once; nobody gets their numbers; and whoever was
/// there before keeps his place.
#[tokio::test]
async fn a_redis_whose_last_second_is_cut_off_gives_no_number_twice() {
    let redis = redis(true).await;
    let mut line = Line::on(&redis, concert(10, 1), QueueConfig::default()).await;
    let kept = arrive(&line, &line.server, 10).await;
    let part = newest_part(redis.dir());
    let length = fs::metadata(&part).expect("a file").len();
    let lost = arrive(&line, &line.server, 10).await;
    let given: HashSet<_> = kept.iter().chain(&lost).map(|token| place_of(token)).collect();

    redis.kill().await;
    let file = fs::OpenOptions::new().write(true).open(&part).expect("the newest part");
    file.set_len(length).expect("a shorter file");
    redis.restart().await.expect("Redis starts again");
    line.raw = RawRedis::connect(redis.socket()).await;
    assert_eq!(line.waiting().await.len(), 10, "the last second is gone");

    // A server that knows nothing of before, and the one that gave the numbers.
    let fresh = line.another_server().await;
    let mut anew = arrive(&line, &fresh, 5).await;
    let server = line.server.clone();
    eventually("the old server is connected again", || async {
        server.queue.standing(&kept[0]).await.is_ok()
    })
    .await;
    anew.extend(arrive(&line, &server, 5).await);

    for token in &anew {
        assert!(!given.contains(&place_of(token)), "a number was given twice");
    }
    for (index, server) in [&fresh, &server].into_iter().enumerate() {
        assert_eq!(server.position(&kept[9]).await, 10, "server {index}");
        assert_eq!(server.position(&anew[9]).await, 20, "server {index}");
        assert!(server.is_expired(&lost[0]).await, "server {index}");
        assert!(server.is_expired(&lost[9]).await, "server {index}");
    }
}

#[tokio::test]
async fn an_emptied_redis_gives_no_number_twice_and_refuses_until_it_is_rebuilt() {
    let redis = redis(false).await;
    let mut line = Line::on(&redis, concert(10, 1), QueueConfig::default()).await;
    let server = line.server.clone();
    let before = arrive(&line, &server, 20).await;
    line.say("FLUSHALL").await;

    let refused = server.queue.join(&line.concert, None).await;
    assert!(matches!(refused, Err(QueueError::NotReady)), "{refused:?}");
    eventually("old tokens are told", || async { server.is_expired(&before[0]).await }).await;
    assert!(server.is_expired(&before[19]).await);

    line.rebuild("epoch-2").await;
    let anew = arrive(&line, &server, 3).await;
    assert_eq!(server.position(&anew[2]).await, 3);
    let last = before.iter().map(|token| place_of(token)).max().expect("a place");
    assert!(anew.iter().all(|token| place_of(token) > last));
    let other = line.another_server().await;
    assert!(other.is_expired(&before[19]).await);
    assert_eq!(other.position(&anew[2]).await, 3);
}

/// Neither run nor epoch changed, and the clock says less: the server's own memory is the last
/// thing that knows.
#[tokio::test]
async fn a_server_that_remembers_higher_numbers_settles_before_it_gives_any() {
    let mut line = Line::open(concert(10, 1), QueueConfig::default()).await;
    let (server, keys) = (line.server.clone(), line.concert.keys.clone());
    let seq = line.number(&format!("GET {}", keys.seq)).await;
    line.say(&format!("SET {} {}", keys.seq, seq + 1_000_000_000_000)).await;
    let before = arrive(&line, &server, 2).await;
    line.say(&format!("SET {} {seq}", keys.seq)).await;
    line.say(&format!("DEL {}", keys.waiting)).await;
    let anew = arrive(&line, &server, 2).await;
    assert!(place_of(&anew[0]) > place_of(&before[1]));
}

/// The board still shows the promotion when the token's key is gone already.
#[tokio::test]
async fn a_missing_token_is_looked_for_in_the_line_before_it_is_called_expired() {
    let mut line = Line::open(concert(10, 1), QueueConfig::default()).await;
    let (server, keys) = (line.server.clone(), line.concert.keys.clone());
    let tokens = arrive(&line, &server, 2).await;
    server.queue.promote(&line.concert).await.expect("an answer");
    eventually("the board shows the promotion", || async {
        server.queue.standing(&tokens[1]).await.is_ok_and(|standing| standing.position == 0)
    })
    .await;
    let number = place_of(&tokens[0]);
    line.say(&format!("DEL {}", keys.token(number))).await;
    line.say(&format!("ZREM {} {number}", keys.active)).await;
    line.say(&format!("ZADD {} {number} {number}", keys.waiting)).await;
    assert_eq!(server.position(&tokens[0]).await, 1);
}

#[tokio::test]
async fn a_promotion_that_redis_lost_is_no_expiry() {
    let redis = redis(true).await;
    let mut line = Line::on(&redis, concert(10, 1), QueueConfig::default()).await;
    let server = line.server.clone();
    let tokens = arrive(&line, &server, 3).await;
    let part = newest_part(redis.dir());
    let length = fs::metadata(&part).expect("a file").len();
    server.queue.promote(&line.concert).await.expect("an answer");
    assert_eq!(line.active().await.len(), 3);

    redis.kill().await;
    let file = fs::OpenOptions::new().write(true).open(&part).expect("the newest part");
    file.set_len(length).expect("a shorter file");
    redis.restart().await.expect("Redis starts again");

    for (index, token) in tokens.iter().enumerate() {
        eventually("the token waits again", || async {
            let standing = server.queue.standing(token).await;
            assert!(!matches!(standing, Err(QueueError::TokenExpired)), "{standing:?}");
            standing.is_ok_and(|standing| standing.position == index as u64 + 1)
        })
        .await;
    }
}

#[tokio::test]
async fn a_dead_redis_costs_nobody_half_a_second_and_its_return_is_noticed() {
    let redis = redis(true).await;
    let line = Line::on(&redis, concert(10, 1), QueueConfig::default()).await;
    let token = line.server.join(&line.concert, None).await.token;
    let server = line.server.clone();
    redis.pause();
    eventually("the board is too old", || async {
        server.queue.standing(&token).await.is_err() //
    })
    .await;
    for _ in 0..5 {
        let started = Instant::now();
        assert!(server.queue.standing(&token).await.is_err());
        let refused = server.queue.join(&line.concert, None).await;
        assert!(refused.is_err());
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    }
    redis.resume();
    let resumed = Instant::now();
    eventually("the line is back", || async { server.queue.standing(&token).await.is_ok() }).await;
    assert!(resumed.elapsed() < Duration::from_secs(5), "{:?}", resumed.elapsed());
    assert_eq!(server.position(&token).await, 1);
}

/// It knows the scripts from its first turn, so nobody is told that anything happened; and the last
/// numbers of the other one's turn did not reach it.
#[tokio::test]
async fn a_redis_that_is_promoted_for_the_second_time_gives_no_number_twice() {
    let options = ReplicatedOptions::throwaway(0);
    let pair = LocalReplicated::throwaway(options).await.expect("a private pair");
    let (first, second) = (&pair.nodes()[0], &pair.nodes()[1]);
    let line = Line::on(first, concert(10, 1), QueueConfig::default()).await;
    arrive(&line, &line.server, 3).await;
    pair.fail_over().await.expect("a failover in order");
    let other = line.server_at(&second.url()).await;
    let mut given = arrive(&line, &other, 3).await;
    // What is written until here has reached the first one, and nothing after that.
    let acknowledged = second.say("WAIT 1 5000").await.expect("an answer");
    assert_eq!(acknowledged, ["1"]);
    first.say("REPLICAOF NO ONE").await.expect("the second turn");
    given.extend(arrive(&line, &other, 3).await);

    let settled = || async { line.server.queue.join(&line.concert, None).await.is_ok() };
    eventually("the first one is used again", settled).await;
    given.extend(arrive(&line, &line.server, 3).await);
    let distinct: HashSet<_> = given.iter().map(|token| place_of(token)).collect();
    assert_eq!(distinct.len(), given.len(), "a number was given twice");
}
