//! The scripts one by one: seed, call, read back; and each of them twice.

use std::time::Duration;

use onsale::payments::rebuild::{Rebuild, SealRebuild, TakeRebuild, Taken};
use onsale::payments::scripts::{BeginPayment, Begun, CancelPayment, FinishPayment, Finished};
use onsale::payments::{Payment, PaymentSeat};
use uuid::Uuid;

use super::stage::{PRICE, Stage, now_ms, place, seat, user, won};
use crate::support::RawRedis;

fn begin(stage: &Stage, attempt: Uuid) -> BeginPayment<'_> {
    BeginPayment {
        concert: &stage.concert,
        place: place(5),
        user: user(7),
        attempt,
        lease: Duration::from_secs(20),
        extension: Duration::from_secs(30),
    }
}

#[tokio::test]
async fn begin_answers_the_holds_and_a_second_attempt_stands_beside_it() {
    let stage = Stage::new().await;
    let mut raw = RawRedis::shared().await;
    stage.token(&mut raw, place(5), user(7)).await;
    let b = stage.hold(&mut raw, (place(5), user(7)), (1, 30)).await;
    let a = stage.hold(&mut raw, (place(5), user(7)), (1, 4)).await;
    // An old entry of the user for a seat that is somebody else's by now.
    stage.hold(&mut raw, (place(5), user(7)), (0, 9)).await;
    stage.hold(&mut raw, (place(6), user(8)), (0, 9)).await;
    raw.say("SCRIPT FLUSH").await;

    let date = stage.concert.dates[1];
    let paid = |reservation, number| PaymentSeat {
        reservation,
        date,
        seat: seat(number),
        price: won(PRICE),
    };
    let expected = Begun::Holds(vec![paid(a, 4), paid(b, 30)]);
    let (first, second) = (Uuid::now_v7(), Uuid::now_v7());
    for attempt in [first, first, second] {
        assert_eq!(stage.redis.run(&begin(&stage, attempt)).await.unwrap(), expected);
    }
    let paying = stage.concert.keys.paying(place(5));
    let attempts = raw.say(&format!("ZRANGE {paying} 0 -1 WITHSCORES")).await.pairs();
    let now_ms = now_ms(&mut raw).await;
    assert_eq!(attempts.len(), 2, "{attempts:?}");
    let lease_ms: u64 = attempts[&first.to_string()].parse().unwrap();
    assert!((now_ms + 15_000..=now_ms + 20_000).contains(&lease_ms));
    let ttl_ms = raw.say(&format!("PTTL {paying}")).await.int();
    assert!((500_000..=600_000).contains(&ttl_ms), "as long as the token: {ttl_ms}");

    // Cancel removes its own attempt, and nothing else, however often.
    for expected in [true, false] {
        let cancel = CancelPayment { concert: &stage.concert, place: place(5), attempt: first };
        assert_eq!(stage.redis.run(&cancel).await.unwrap(), expected);
    }
    let left = raw.say(&format!("ZRANGE {paying} 0 -1")).await.texts();
    assert_eq!(left, [second.to_string()]);
}

#[tokio::test]
async fn begin_refuses_without_a_trace() {
    let stage = Stage::new().await;
    let mut raw = RawRedis::shared().await;
    let keys = &stage.concert.keys;
    let paying = keys.paying(place(5));
    let refused = async || stage.redis.run(&begin(&stage, Uuid::now_v7())).await.unwrap();
    assert_eq!(refused().await, Begun::Gone);
    stage.token(&mut raw, place(5), user(8)).await;
    assert_eq!(refused().await, Begun::NotYours);
    stage.token(&mut raw, place(5), user(7)).await;
    assert_eq!(refused().await, Begun::Nothing);
    assert_eq!(raw.say(&format!("EXISTS {paying}")).await.int(), 0);
    stage.hold_for(&mut raw, (place(5), user(7)), (0, 1), (-1, 60_000)).await;
    assert_eq!(refused().await, Begun::Expired);
    stage.hold_for(&mut raw, (place(5), user(7)), (0, 2), (20_000, 29_500)).await;
    assert_eq!(refused().await, Begun::Expiring);
    assert_eq!(raw.say(&format!("EXISTS {paying}")).await.int(), 0);
    // A token whose score is past is gone, although its key still stands.
    raw.say(&format!("ZADD {} 1 5", keys.active)).await;
    assert_eq!(refused().await, Begun::Gone);
}

fn payment(stage: &Stage, reservation: Uuid) -> Payment {
    let seat_of = |day: usize, number, reservation| PaymentSeat {
        reservation,
        date: stage.concert.dates[day],
        seat: seat(number),
        price: won(PRICE),
    };
    Payment {
        id: Uuid::now_v7(),
        user: user(7),
        concert: stage.concert.id,
        place: place(5),
        paid_at: chrono::Utc::now(),
        balance_after: won(0),
        seats: vec![
            seat_of(0, 1, reservation),
            seat_of(0, 2, Uuid::now_v7()),
            seat_of(1, 3, Uuid::now_v7()),
        ],
    }
}

async fn finish(stage: &Stage, payment: &Payment) -> Finished {
    let call = FinishPayment { payment, version: Uuid::new_v4() };
    stage.redis.run(&call).await.unwrap()
}

#[tokio::test]
async fn finish_sells_drops_and_consumes_and_a_repeat_changes_nothing() {
    let stage = Stage::new().await;
    let mut raw = RawRedis::shared().await;
    stage.token(&mut raw, place(5), user(7)).await;
    let reservation = stage.hold(&mut raw, (place(5), user(7)), (0, 1)).await;
    // Somebody else got seat 2 because Redis had lost the first hold; his lapsed one does not count.
    stage.hold(&mut raw, (place(6), user(8)), (0, 2)).await;
    stage.hold_for(&mut raw, (place(6), user(8)), (1, 3), (-1, 60_000)).await;
    // And he holds a seat that is none of this payment's business.
    stage.hold(&mut raw, (place(6), user(8)), (1, 4)).await;
    let payment = payment(&stage, reservation);

    let first = finish(&stage, &payment).await;
    assert_eq!(first, Finished { sold: 3, displaced: 1, consumed: true });
    let version = stage.concert.keys.version(stage.concert.dates[0]);
    let stamp = raw.say(&format!("GET {version}")).await;
    assert_eq!(finish(&stage, &payment).await, Finished::default());
    assert_eq!(raw.say(&format!("GET {version}")).await, stamp, "a repeat changes no version");

    assert_eq!(stage.sold(&mut raw, 0).await, [1, 2]);
    assert_eq!(stage.sold(&mut raw, 1).await, [3]);
    let held = stage.concert.keys.held(stage.concert.dates[1]);
    assert_eq!(raw.say(&format!("ZRANGE {held} 0 -1")).await.texts(), ["4"]);
    for (counter, expected) in [("sold", 3), ("displaced", 1), ("consumed", 1)] {
        assert_eq!(stage.counter(&mut raw, counter).await, expected, "{counter}");
    }
}

/// A failover may forget a promotion: then the payer still stands in the line.
#[tokio::test]
async fn finish_removes_a_payer_who_is_waiting_again_and_marks_the_place_dead() {
    let stage = Stage::new().await;
    let mut raw = RawRedis::shared().await;
    let keys = &stage.concert.keys;
    raw.say(&format!("ZADD {} 4 4 5 5:7 6 6:9", keys.waiting)).await;
    raw.say(&format!("ZADD {} 8 2-3", keys.dead)).await;
    raw.say(&format!("HSET {} 7 5 9 6", keys.users)).await;
    let payment = payment(&stage, Uuid::now_v7());
    assert!(finish(&stage, &payment).await.consumed);
    assert!(!finish(&stage, &payment).await.consumed);
    assert_eq!(raw.say(&format!("ZRANGE {} 0 -1", keys.waiting)).await.texts(), ["4", "6:9"]);
    let dead = raw.say(&format!("ZRANGE {} 0 -1 WITHSCORES", keys.dead)).await.texts();
    assert_eq!(dead, ["2-3", "8", "5", "9"]);
    assert_eq!(raw.say(&format!("HGETALL {}", keys.users)).await.texts(), ["9", "6"]);
    assert_eq!(stage.counter(&mut raw, "consumed").await, 1);
}

#[tokio::test]
async fn one_server_rebuilds_and_only_it_may_seal() {
    let stage = Stage::new().await;
    let mut raw = RawRedis::shared().await;
    let keys = &stage.concert.keys;
    let lock = Duration::from_secs(10);
    let mine = Rebuild { concert: &stage.concert, id: Uuid::new_v4(), lock };
    let theirs = Rebuild { id: Uuid::new_v4(), ..mine };
    let take = async |rebuild| stage.redis.run(&TakeRebuild(rebuild)).await.unwrap();
    assert_eq!(take(mine).await, Taken::Present);
    raw.say(&format!("DEL {}", keys.epoch)).await;
    assert_eq!(take(mine).await, Taken::Locked);
    assert_eq!(take(mine).await, Taken::Locked);
    assert_eq!(take(theirs).await, Taken::Busy);

    let epoch = Uuid::new_v4().to_string();
    raw.say(&format!("HSET {} capacity 9", keys.settings)).await;
    let settings = [("capacity", "7"), ("paused", "1")];
    assert!(!seal(&stage, Some(theirs.id), &epoch, &settings).await);
    assert_eq!(raw.say(&format!("EXISTS {}", keys.epoch)).await.int(), 0);
    assert!(seal(&stage, Some(mine.id), &epoch, &settings).await);
    assert!(seal(&stage, Some(mine.id), &epoch, &settings).await, "a repeat finds its own epoch");
    assert_eq!(raw.say(&format!("GET {}", keys.epoch)).await.text(), epoch);
    let live = raw.say(&format!("HGETALL {}", keys.settings)).await.pairs();
    assert_eq!((live["capacity"].as_str(), live["paused"].as_str()), ("9", "1"));
}

async fn seal(stage: &Stage, id: Option<Uuid>, epoch: &str, settings: &[(&str, &str)]) -> bool {
    let settings: Vec<_> =
        settings.iter().map(|(field, value)| ((*field).to_owned(), (*value).to_owned())).collect();
    let late = Duration::from_secs(10);
    let call = SealRebuild { concert: &stage.concert, id, epoch, late, settings: &settings };
    stage.redis.run(&call).await.unwrap()
}

#[tokio::test]
async fn settings_come_back_from_every_server_but_only_soon_after_a_rebuild() {
    let stage = Stage::new().await;
    let mut raw = RawRedis::shared().await;
    let keys = &stage.concert.keys;
    raw.say(&format!("DEL {}", keys.epoch)).await;
    let mine =
        Rebuild { concert: &stage.concert, id: Uuid::new_v4(), lock: Duration::from_secs(10) };
    assert_eq!(stage.redis.run(&TakeRebuild(mine)).await.unwrap(), Taken::Locked);
    let epoch = Uuid::new_v4().to_string();
    assert!(!seal(&stage, None, &epoch, &[("paused", "1")]).await, "nobody has set this epoch");
    assert!(seal(&stage, Some(mine.id), &epoch, &[]).await);

    assert!(seal(&stage, None, &epoch, &[("paused", "1")]).await);
    assert!(seal(&stage, None, &epoch, &[("paused", "0"), ("batch", "7")]).await);
    let live = raw.say(&format!("HGETALL {}", keys.settings)).await.pairs();
    assert_eq!((live["paused"].as_str(), live["batch"].as_str()), ("1", "7"));

    // An operator goes on, and a server that was away all the time comes back.
    assert!(raw.say(&format!("PTTL {}", keys.rebuild)).await.int() > 0, "it will be forgotten");
    raw.say(&format!("DEL {} {}", keys.rebuild, keys.settings)).await;
    assert!(seal(&stage, None, &epoch, &[("paused", "1")]).await);
    assert_eq!(raw.say(&format!("EXISTS {}", keys.settings)).await.int(), 0);
}
