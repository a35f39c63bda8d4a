//! The sweep, and the scripts by which PostgreSQL's word gets into Redis.

use std::time::Duration;

use onsale::seats::scripts::{
    CorrectOutcome, CorrectSold, ReadSeats, RestoreOutcome, RestoreSold, SweepHolds,
};
use onsale::seats::{SeatsConfig, SweepReport};
use onsale::words::SeatNumber;
use uuid::Uuid;

use super::Stage;
use super::stage::{database, seat};
use crate::support;

#[tokio::test]
async fn the_sweep_drops_lapsed_holds_only_and_counts_each_once() {
    let stage = Stage::new(1000, 2).await;
    let (keys, date) = (&stage.concert.keys, stage.date());
    let alice = stage.admit(1).await;
    stage.hold_new(alice, &[1000]).await;
    // As 450 holds that nobody paid for leave them behind.
    let lapsed_ms = stage.now_ms().await - 1;
    for number in 1..=450 {
        stage.say(&format!("ZADD {} {lapsed_ms} {number}", keys.held(date))).await;
        stage.say(&format!("HSET {} {number} r:9:9:1:1 again:{number} r", keys.hold(date))).await;
    }
    let version = stage.say(&format!("GET {}", keys.version(date))).await;
    let call = SweepHolds { concert: &stage.concert, date, version: Uuid::now_v7() };
    assert_eq!(stage.redis.run(&call).await.unwrap(), 200, "bounded");
    stage.say("SCRIPT FLUSH").await;
    let report = stage.seats.sweep_all().await.expect("a report");
    assert_eq!(report, SweepReport { dates: 2, lapsed: 250, failed: 0 });
    assert_ne!(stage.say(&format!("GET {}", keys.version(date))).await, version);
    assert_eq!(stage.stat("lapsed").await, 450);
    for left in [format!("ZCARD {}", keys.held(date)), format!("HLEN {}", keys.hold(date))] {
        assert_eq!(stage.say(&left).await.int(), 1, "{left}");
    }
    let before = stage.snapshot().await;
    assert_eq!(stage.seats.sweep_all().await.expect("a report").lapsed, 0);
    assert_eq!(stage.snapshot().await, before);
}

#[tokio::test]
async fn restoring_marks_seats_and_drops_holds_on_them() {
    let stage = Stage::new(100, 1).await;
    let (keys, date) = (&stage.concert.keys, stage.date());
    let (alice, bob) = (stage.admit(1).await, stage.admit(2).await);
    stage.hold_new(alice, &[3, 4]).await;
    stage.hold_for(bob, Duration::from_millis(1), &[5]).await;
    support::eventually("seat 5 lapses", || async { stage.list().await.contains(&5) }).await;
    let seats: Vec<SeatNumber> = [3, 5, 9].map(seat).to_vec();
    let lock = (Uuid::now_v7(), Duration::from_mins(1));
    let call = |lock| RestoreSold {
        concert: &stage.concert,
        date,
        lock,
        version: Uuid::now_v7(),
        seats: &seats,
    };
    let before = stage.snapshot().await;
    assert_eq!(stage.redis.run(&call(Some(lock))).await.unwrap(), RestoreOutcome::Lost);
    assert_eq!(stage.snapshot().await, before, "without the lock nothing happens");
    stage.say(&format!("SET {} {} PX 5000", keys.rebuild, lock.0)).await;
    let outcome = stage.redis.run(&call(Some(lock))).await.unwrap();
    let left_ms = stage.say(&format!("PTTL {}", keys.rebuild)).await.int();
    assert!(left_ms > 5000, "a sign of life, so the lock lives on: {left_ms} ms");
    assert_eq!(outcome, RestoreOutcome::Restored { marked: 3, dropped: 2 });
    let free: Vec<u32> = (1..=100).filter(|n| ![3, 4, 5, 9].contains(n)).collect();
    assert_eq!(stage.list().await, free);
    for (counter, value) in [("displaced", 1), ("lapsed", 1), ("corrected", 0)] {
        assert_eq!(stage.stat(counter).await, value, "{counter}");
    }
    stage.say("SCRIPT FLUSH").await;
    let sold = keys.sold(date);
    let version = stage.say(&format!("GET {}", keys.version(date))).await;
    let outcome = stage.redis.run(&call(Some(lock))).await.unwrap();
    assert_eq!(outcome, RestoreOutcome::Restored { marked: 0, dropped: 0 });
    assert_eq!(stage.say(&format!("BITCOUNT {sold}")).await.int(), 3);
    assert_eq!(stage.say(&format!("GET {}", keys.version(date))).await, version);

    stage.say(&format!("SETBIT {sold} 9 0")).await;
    let outcome = stage.redis.run(&call(None)).await.unwrap();
    assert_eq!(outcome, RestoreOutcome::Restored { marked: 1, dropped: 0 });
    assert_eq!(stage.stat("corrected").await, 1);
}

#[tokio::test]
async fn correcting_removes_marks_unless_the_date_changed_since_the_reading() {
    let stage = Stage::new(100, 1).await;
    let (sold, date) = (stage.concert.keys.sold(stage.date()), stage.date());
    for number in [3, 5, 100] {
        stage.say(&format!("SETBIT {sold} {number} 1")).await;
    }
    let read = ReadSeats { concert: &stage.concert, date };
    let reading = stage.redis.run(&read).await.unwrap();
    let marked: Vec<u32> = reading.sold.iter().map(SeatNumber::get).collect();
    assert_eq!((marked, reading.version.as_deref()), (vec![3, 5, 100], None));
    let seats = [seat(3), seat(100)];
    let call =
        |seen, version| CorrectSold { concert: &stage.concert, date, seen, version, seats: &seats };
    let alice = stage.admit(1).await;
    stage.hold_new(alice, &[1]).await;
    let outcome = stage.redis.run(&call(None, Uuid::now_v7())).await.unwrap();
    assert_eq!(outcome, CorrectOutcome::Changed);
    assert_eq!(stage.say(&format!("BITCOUNT {sold}")).await.int(), 3);

    let reading = stage.redis.run(&read).await.unwrap();
    let version = Uuid::now_v7();
    let outcome = stage.redis.run(&call(reading.version.as_deref(), version)).await.unwrap();
    assert_eq!(outcome, CorrectOutcome::Corrected(2));
    assert!(!stage.list().await.contains(&5) && stage.list().await.contains(&3));
    stage.say("SCRIPT FLUSH").await;
    // The version that the first chunk set is what the next chunk expects.
    let seen = version.to_string();
    let outcome = stage.redis.run(&call(Some(&seen), Uuid::now_v7())).await.unwrap();
    assert_eq!(outcome, CorrectOutcome::Corrected(0));
    assert_eq!(stage.stat("corrected").await, 2);
}

#[tokio::test]
async fn dates_are_those_with_a_free_seat_that_are_not_past() {
    let mut concert = support::concert(2, 4);
    concert.dates[0] = "2020-01-01".parse().unwrap();
    let stage = Stage::with(concert, SeatsConfig::default(), database().await).await;
    let (keys, dates) = (&stage.concert.keys, &stage.concert.dates);
    assert_eq!(stage.seats.dates(&stage.concert).await.unwrap(), dates[1..]);
    for number in [1, 2] {
        stage.say(&format!("SETBIT {} {number} 1", keys.sold(dates[1]))).await;
    }
    stage.say(&format!("SETBIT {} 1 1", keys.sold(dates[2]))).await;
    let soon = stage.now_ms().await + 50;
    stage.say(&format!("ZADD {} {soon} 2", keys.held(dates[2]))).await;
    let now_free = stage.seats.dates(&stage.concert).await.unwrap();
    if stage.now_ms().await < soon {
        assert_eq!(now_free, dates[3..]);
    }
    support::eventually("the hold on the third date lapses", || async {
        stage.seats.dates(&stage.concert).await.unwrap() == dates[2..]
    })
    .await;
}
