//! Promotion: in order, at the pace, never above capacity, on any number of servers.

use std::time::Duration;

use futures::future::join_all;
use onsale::queue::QueueConfig;

use crate::support::line::{Line, place};
use crate::support::{concert, date, eventually};

fn config(capacity: u32, batch: u32) -> QueueConfig {
    QueueConfig { capacity, batch, ..QueueConfig::default() }
}

async fn arrive(line: &Line, people: usize) -> Vec<u64> {
    let joined = join_all((0..people).map(|_| line.server.join(&line.concert, None))).await;
    let mut places: Vec<_> =
        joined.iter().map(|joined| crate::support::line::place_of(&joined.token).get()).collect();
    places.sort_unstable();
    places
}

/// Makes the pace forget how recently somebody was let in.
async fn wait_a_second(line: &mut Line) {
    line.say(&format!("HSET {} at 0", line.concert.keys.pace)).await;
}

#[tokio::test]
async fn of_1002_people_exactly_the_first_1000_are_let_in() {
    let mut line = Line::open(concert(50, 1), config(1000, 2000)).await;
    let places = arrive(&line, 1002).await;
    let report = line.server.queue.promote(&line.concert).await.expect("an answer");
    assert_eq!(report.promoted, 1000);
    assert_eq!(line.active().await, places[..1000]);
    assert_eq!(line.waiting().await, places[1000..]);
    wait_a_second(&mut line).await;
    let report = line.server.queue.promote(&line.concert).await.expect("an answer");
    assert_eq!(report.promoted, 0, "there is no free slot");

    // One expires: the next one comes in, and the books balance.
    line.say(&format!("ZADD {} 1 {}", line.concert.keys.active, places[5])).await;
    let report = line.server.queue.promote(&line.concert).await.expect("an answer");
    assert_eq!((report.promoted, report.expired), (1, 1));
    assert_eq!(line.waiting().await, places[1001..]);
    assert_eq!((line.stat("promoted").await, line.stat("expired").await), (1001, 1));
    // Every active token's key ends when its score says.
    for number in [places[0], places[1000]] {
        let keys = line.concert.keys.clone();
        let score = line.number(&format!("ZSCORE {} {number}", keys.active)).await;
        let expires = line.number(&format!("PEXPIRETIME {}", keys.token(place(number)))).await;
        assert_eq!(score, expires);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_servers_at_once_keep_pace_capacity_and_order() {
    let mut line = Line::open(concert(50, 1), config(120, 50)).await;
    let places = arrive(&line, 300).await;
    let mut servers = vec![line.server.clone()];
    for _ in 0..3 {
        servers.push(line.another_server().await);
    }
    let tick = || async {
        let runs = servers.iter().flat_map(|server| [server, server, server]);
        let reports = join_all(runs.map(|server| server.queue.clone().promote_all())).await;
        let promoted = reports.into_iter().map(|report| report.expect("an answer").promoted);
        promoted.sum::<u64>()
    };
    let first = tick().await;
    assert!((50..60).contains(&first), "one batch and a few milliseconds: {first}");
    for _ in 0..4 {
        wait_a_second(&mut line).await;
        tick().await;
        let active = line.active().await;
        assert!(active.len() <= 120);
        assert_eq!(active, places[..active.len()]);
    }
    assert_eq!(line.active().await.len(), 120);
    assert_eq!(line.stat("promoted").await, 120);
}

#[tokio::test]
async fn the_pace_lets_in_one_batch_a_second_and_a_clock_that_goes_back_gives_nothing() {
    let mut line = Line::open(concert(50, 1), config(1000, 10)).await;
    arrive(&line, 100).await;
    let promote = async |line: &Line| {
        let report = line.server.queue.promote(&line.concert).await.expect("an answer");
        report.promoted
    };
    assert_eq!(promote(&line).await, 10);
    assert_eq!(promote(&line).await, 0, "a tick at once gives nothing");
    wait_a_second(&mut line).await;
    assert_eq!(promote(&line).await, 10);
    let ahead = line.now_ms().await + 600_000;
    line.say(&format!("HSET {} at {ahead} credit 0", line.concert.keys.pace)).await;
    assert_eq!(promote(&line).await, 0);
    let at = line.number(&format!("HGET {} at", line.concert.keys.pace)).await;
    assert!(at.unsigned_abs() < ahead, "the count starts again from the clock");
    wait_a_second(&mut line).await;
    assert_eq!(promote(&line).await, 10);
}

#[tokio::test]
async fn nobody_is_let_in_while_paused_before_the_opening_or_after_the_last_seat() {
    let mut closed = concert(2, 1);
    closed.opens_at = Some("2099-01-01T00:00:00+09:00".parse().expect("a moment"));
    let line = Line::open(closed, config(10, 10)).await;
    arrive(&line, 3).await;
    let report = line.server.queue.promote(&line.concert).await.expect("an answer");
    assert_eq!((report.promoted, report.closed), (0, 1));

    let mut line = Line::open(concert(2, 1), config(10, 10)).await;
    let keys = line.concert.keys.clone();
    arrive(&line, 3).await;
    line.say(&format!("HSET {} paused 1", keys.settings)).await;
    let report = line.server.queue.promote(&line.concert).await.expect("an answer");
    assert_eq!((report.promoted, report.closed), (0, 1));
    line.say(&format!("HSET {} paused 0", keys.settings)).await;
    for seat in 1..=2 {
        line.say(&format!("SETBIT {} {seat} 1", keys.sold(date(1)))).await;
    }
    let report = line.server.queue.promote(&line.concert).await.expect("an answer");
    assert_eq!((report.promoted, report.closed), (0, 1));
    line.say(&format!("SETBIT {} 2 0", keys.sold(date(1)))).await;
    let report = line.server.queue.promote(&line.concert).await.expect("an answer");
    assert_eq!((report.promoted, report.closed), (3, 0));
}

#[tokio::test]
async fn live_settings_win_and_garbage_in_them_is_ignored() {
    let mut line = Line::open(concert(50, 1), config(10, 10)).await;
    let settings = line.concert.keys.settings.clone();
    arrive(&line, 30).await;
    line.say(&format!("HSET {settings} capacity many batch -3 paused yes")).await;
    line.server.queue.promote(&line.concert).await.expect("an answer");
    assert_eq!(line.active().await.len(), 10);
    line.say(&format!("HSET {settings} capacity 17 batch 5")).await;
    for expected in [15, 17] {
        wait_a_second(&mut line).await;
        line.server.queue.promote(&line.concert).await.expect("an answer");
        assert_eq!(line.active().await.len(), expected);
    }
    line.say(&format!("HSET {settings} capacity 3")).await;
    wait_a_second(&mut line).await;
    let report = line.server.queue.promote(&line.concert).await.expect("an answer");
    assert_eq!(report.promoted, 0, "a lowered capacity throws nobody out");
    assert_eq!(line.active().await.len(), 17);
}

#[tokio::test]
async fn without_a_verified_generation_nobody_is_let_in() {
    let mut line = Line::open(concert(50, 1), config(10, 10)).await;
    arrive(&line, 3).await;
    line.say(&format!("SET {} epoch-2", line.concert.keys.epoch)).await;
    let report = line.server.queue.promote(&line.concert).await.expect("an answer");
    assert_eq!((report.promoted, report.not_ready), (0, 1));
    line.server.gates.close(line.concert.id);
    let report = line.server.queue.clone().promote_all().await.expect("an answer");
    assert_eq!((report.promoted, report.not_ready), (0, 1));
    assert_eq!(line.waiting().await.len(), 3);
}

/// Dead numbers are kept for the board only as long as somebody behind them waits.
#[tokio::test]
async fn dead_numbers_below_the_head_are_dropped_but_for_the_newest() {
    let mut line = Line::open(concert(50, 1), config(1000, 1000)).await;
    let mut tokens = Vec::new();
    for _ in 0..12 {
        tokens.push(line.server.join(&line.concert, None).await.token);
    }
    for token in &tokens[..10] {
        line.server.queue.leave(token, None).await.expect("a live token");
    }
    line.server.queue.promote(&line.concert).await.expect("an answer");
    let dead = line.concert.keys.dead.clone();
    let left = line.say(&format!("ZRANGE {dead} 0 -1 WITHSCORES")).await.texts();
    let newest = crate::support::line::place_of(&tokens[9]).to_string();
    assert_eq!(left, [newest, "10".to_owned()]);
}

#[tokio::test]
async fn a_server_polls_its_people_through_their_turn() {
    let line = Line::open(concert(50, 1), config(2, 100)).await;
    let mut tokens = Vec::new();
    for _ in 0..4 {
        tokens.push(line.server.join(&line.concert, None).await.token);
    }
    line.server.queue.promote(&line.concert).await.expect("an answer");
    let other = line.another_server().await;
    for server in [&line.server, &other] {
        eventually("those behind moved up", || async {
            matches!(server.queue.standing(&tokens[2]).await, Ok(standing) if standing.position == 1)
        })
        .await;
        assert_eq!(server.position(&tokens[3]).await, 2);
        let active = server.queue.standing(&tokens[0]).await.expect("a live token");
        assert_eq!(active.position, 0);
        let left = active.expires_in_seconds.expect("a deadline");
        assert!(Duration::from_secs(left) <= QueueConfig::default().claim_ttl);
    }
}
