//! `seats/hold`: what it writes, what it refuses, and that a repeat changes nothing.

use std::time::Duration;

use onsale::seats::scripts::{HoldOutcome, HoldTerms};
use onsale::seats::{Holder, SeatsConfig, SeatsError};
use onsale::words::SeatNumber;
use uuid::Uuid;

use super::Stage;
use super::stage::{database, seat, selection, terms};
use crate::support::{self, eventually};

fn wish(numbers: &[u32]) -> Vec<(SeatNumber, Uuid)> {
    numbers.iter().map(|number| (seat(*number), Uuid::now_v7())).collect()
}

#[tokio::test]
async fn a_hold_is_written_to_every_key() {
    let stage = Stage::new(10, 2).await;
    let (keys, date) = (&stage.concert.keys, stage.date());
    let alice = stage.admit(1).await;
    let wanted = wish(&[3, 7]);
    let first = stage.hold(alice, terms(), &wanted).await;
    let HoldOutcome::Held(holds) = &first else { panic!("not held: {first:?}") };
    let deadline_ms = holds.now_ms + 300_000;
    let hard_ms = deadline_ms + 60_000;
    for (hold, (seat, reservation)) in holds.holds.iter().zip(&wanted) {
        assert_eq!((hold.seat, hold.reservation), (*seat, *reservation));
        assert_eq!(
            (hold.date, hold.price, hold.deadline_ms),
            (date, stage.concert.price, deadline_ms)
        );
    }

    let held = stage.say(&format!("ZRANGE {} 0 -1 WITHSCORES", keys.held(date))).await.pairs();
    let seats: Vec<_> = held.iter().map(|(seat, ms)| (seat.as_str(), ms.clone())).collect();
    assert_eq!(seats, [("3", deadline_ms.to_string()), ("7", deadline_ms.to_string())]);
    let records = stage.say(&format!("HGETALL {}", keys.hold(date))).await.pairs();
    assert_eq!(records["3"], format!("{}:{}:1:100:{hard_ms}", wanted[0].1, alice.place));
    let mine = stage.say(&format!("HGETALL {}", keys.holds(alice.user))).await.pairs();
    assert_eq!(mine[&format!("{date}:7")], wanted[1].1.to_string());
    let until = stage.say(&format!("PEXPIRETIME {}", keys.holds(alice.user))).await.int();
    assert_eq!(until.to_string(), hard_ms.to_string());
    assert_eq!(stage.stat("held").await, 2);
}

#[tokio::test]
async fn the_same_call_again_changes_nothing() {
    let stage = Stage::new(10, 1).await;
    let alice = stage.admit(1).await;
    let wanted = wish(&[3, 7]);
    let HoldOutcome::Held(holds) = stage.hold(alice, terms(), &wanted).await else {
        panic!("not held")
    };
    let before = stage.snapshot().await;
    stage.say("SCRIPT FLUSH").await;
    let HoldOutcome::Held(again) = stage.hold(alice, terms(), &wanted).await else { panic!() };
    assert_eq!(again.holds, holds.holds, "the same call, as a re-send repeats it");
    assert_eq!(stage.snapshot().await, before);
}

#[tokio::test]
async fn repeating_a_request_gives_the_same_hold_and_says_that_it_is_not_new() {
    let stage = Stage::new(10, 1).await;
    let alice = stage.admit(1).await;
    let first = stage.reserve(alice, &[5]).await.expect("held");
    assert!(first.is_new);
    let second = stage.reserve(alice, &[5]).await.expect("held");
    assert!(!second.is_new);
    assert_eq!(second.holds.holds, first.holds.holds);
    let more = stage.reserve(alice, &[6, 5]).await.expect("held");
    assert!(more.is_new, "one of the two is");
    assert_eq!(more.holds.holds[1], first.holds.holds[0]);
    assert_eq!(stage.stat("held").await, 2);
}

/// Everything that a hold is refused for, and that the refusal leaves no trace.
#[tokio::test]
async fn a_refused_hold_changes_nothing() {
    let stage = Stage::new(10, 1).await;
    let (keys, date) = (&stage.concert.keys, stage.date());
    let (alice, bob) = (stage.admit(1).await, stage.admit(2).await);
    stage.hold_new(bob, &[4]).await;
    stage.say(&format!("SETBIT {} 5 1", keys.sold(date))).await;
    let now_ms = stage.now_ms().await;

    let expired = Holder { place: 77.try_into().unwrap(), ..alice };
    stage.seed_token(expired, now_ms - 5000, now_ms + 60_000).await;
    stage.say(&format!("ZADD {} {} 77", keys.active, now_ms - 1)).await;
    let ending = Holder { place: 78.try_into().unwrap(), user: 3.try_into().unwrap() };
    stage.seed_token(ending, now_ms - 24 * 60_000 - 1, now_ms + 60_000).await;
    let paying = Holder { place: 79.try_into().unwrap(), user: 4.try_into().unwrap() };
    stage.seed_token(paying, now_ms, now_ms + 60_000).await;
    stage.say(&format!("SET {} 4:2:{now_ms} KEEPTTL", keys.token(paying.place))).await;
    stage.say(&format!("ZADD {} {} attempt", keys.paying(paying.place), now_ms + 60_000)).await;
    let unknown = Holder { place: 80.try_into().unwrap(), ..alice };
    let stranger = Holder { user: 9.try_into().unwrap(), ..alice };

    let before = stage.snapshot().await;
    let cases = [
        (alice, vec![1, 4, 2], HoldOutcome::Taken(seat(4))),
        (alice, vec![1, 5], HoldOutcome::Sold(seat(5))),
        (alice, vec![1, 2, 3, 6, 7], HoldOutcome::Limit(0)),
        (expired, vec![1], HoldOutcome::TokenExpired),
        (unknown, vec![1], HoldOutcome::TokenExpired),
        (stranger, vec![1], HoldOutcome::NotYours),
        (paying, vec![1], HoldOutcome::Paying),
        (ending, vec![1], HoldOutcome::SessionEnding(now_ms + 6 * 60_000 - 1)),
    ];
    for (holder, numbers, expected) in cases {
        assert_eq!(stage.hold(holder, terms(), &wish(&numbers)).await, expected);
        assert_eq!(stage.snapshot().await, before, "{expected:?}");
    }
}

#[tokio::test]
async fn nothing_is_held_in_data_that_was_not_verified() {
    let stage = Stage::new(10, 1).await;
    let keys = &stage.concert.keys;
    let alice = stage.admit(1).await;
    let before = stage.snapshot().await;
    for key in [&keys.run, &keys.epoch] {
        let kept = stage.say(&format!("GET {key}")).await;
        stage.say(&format!("SET {key} another")).await;
        assert_eq!(stage.hold(alice, terms(), &wish(&[1])).await, HoldOutcome::NotReady);
        stage.say(&format!("SET {key} {}", kept.text())).await;
    }
    assert_eq!(stage.snapshot().await, before);
}

#[tokio::test]
async fn a_past_date_and_what_does_not_exist_are_refused() {
    let mut concert = support::concert(10, 2);
    concert.dates[0] = "2020-01-01".parse().unwrap();
    let stage = Stage::with(concert, SeatsConfig::default(), database().await).await;
    let alice = stage.admit(1).await;
    let refused = stage.reserve(alice, &[1]).await;
    assert!(matches!(refused, Err(SeatsError::UnknownDate { .. })), "{refused:?}");
    let other = Some("2030-06-01".parse().unwrap());
    let refused = stage.seats.reserve(&stage.concert, alice, other, &selection(&[1])).await;
    assert!(matches!(refused, Err(SeatsError::UnknownDate { .. })), "{refused:?}");
    let date = Some(stage.concert.dates[1]);
    let refused = stage.seats.reserve(&stage.concert, alice, date, &selection(&[10, 11])).await;
    assert!(
        matches!(refused, Err(SeatsError::UnknownSeat { seat: s, .. }) if s == seat(11)),
        "{refused:?}"
    );
    let only = stage.seats.reserve(&stage.concert, alice, None, &selection(&[10])).await;
    assert_eq!(only.expect("held").holds.holds[0].date, stage.concert.dates[1]);
    let seen = stage.seats.version(Some(&stage.concert), Some(stage.date())).await.unwrap();
    let refused = stage.seats.list(&stage.concert, stage.date(), seen).await;
    assert!(matches!(refused, Err(SeatsError::UnknownDate { .. })), "{refused:?}");
}

#[tokio::test]
async fn without_a_date_and_with_several_the_answer_names_them() {
    let stage = Stage::new(10, 3).await;
    let alice = stage.admit(1).await;
    let refused = stage.seats.reserve(&stage.concert, alice, None, &selection(&[1])).await;
    let Err(SeatsError::SeveralDates { dates }) = refused else { panic!("{refused:?}") };
    assert_eq!(dates, stage.concert.dates);
    let told = SeatsError::SeveralDates { dates }.to_string();
    assert!(told.ends_with("2099-12-01, 2099-12-02, 2099-12-03"), "{told}");
}

#[tokio::test]
async fn an_unverified_concert_is_not_ready() {
    let stage = Stage::new(10, 1).await;
    let alice = stage.admit(1).await;
    stage.gates.close(stage.concert.id);
    assert!(matches!(stage.reserve(alice, &[1]).await, Err(SeatsError::NotReady)));
    assert!(matches!(stage.seats.dates(&stage.concert).await, Err(SeatsError::NotReady)));
}

#[tokio::test]
async fn the_limit_counts_live_holds_of_all_dates_and_no_others() {
    let stage = Stage::new(10, 3).await;
    let (alice, bob) = (stage.admit(1).await, stage.admit(2).await);
    let dates = &stage.concert.dates;
    for (date, number) in [(dates[0], 1), (dates[1], 1), (dates[2], 1)] {
        let outcome = stage.hold_on(date, alice, terms(), &wish(&[number])).await;
        assert!(matches!(outcome, HoldOutcome::Held(_)), "{outcome:?}");
    }
    assert_eq!(stage.hold(alice, terms(), &wish(&[2, 3])).await, HoldOutcome::Limit(3));
    let short = HoldTerms { hold_ttl: Duration::from_millis(20), ..terms() };
    assert!(matches!(stage.hold(alice, short, &wish(&[2])).await, HoldOutcome::Held(_)));
    // Seat 2 lapses, and Bob takes it over: Alice's own list still names it.
    eventually("Bob takes seat 2 over", || async {
        matches!(stage.hold(bob, terms(), &wish(&[2])).await, HoldOutcome::Held(_))
    })
    .await;
    let HoldOutcome::Held(_) = stage.hold(alice, terms(), &wish(&[3])).await else {
        panic!("a lapsed hold counts")
    };
    assert_eq!(stage.hold(alice, terms(), &wish(&[4])).await, HoldOutcome::Limit(4));
    let mine = stage.say(&format!("HLEN {}", stage.concert.keys.holds(alice.user))).await;
    assert_eq!(mine.int(), 4, "the stale entry is gone");
    // A repeat needs no room.
    assert!(matches!(stage.hold(alice, terms(), &wish(&[3])).await, HoldOutcome::Held(_)));
}

#[tokio::test]
async fn a_hold_extends_the_token_but_never_past_its_session() {
    let stage = Stage::new(10, 1).await;
    let keys = &stage.concert.keys;
    let now_ms = stage.now_ms().await;
    let alice = Holder { user: 1.try_into().unwrap(), place: 90.try_into().unwrap() };
    stage.seed_token(alice, now_ms, now_ms + 45_000).await;
    let holds = stage.hold_new(alice, &[1]).await;
    let until = holds.now_ms + 300_000 + 60_000 + 60_000;
    let bob = Holder { user: 2.try_into().unwrap(), place: 91.try_into().unwrap() };
    let session_ends = now_ms + 6 * 60_000 + 30_000;
    stage.seed_token(bob, session_ends - 30 * 60_000, now_ms + 45_000).await;
    stage.hold_new(bob, &[2]).await;
    for (holder, expected) in [(alice, until), (bob, session_ends)] {
        let score = stage.say(&format!("ZSCORE {} {}", keys.active, holder.place)).await.int();
        let ttl = stage.say(&format!("PEXPIRETIME {}", keys.token(holder.place))).await.int();
        assert_eq!((score, ttl), (i64::try_from(expected).unwrap(), score));
    }
}

#[tokio::test]
async fn a_lapsed_hold_is_free_at_once_and_taken_over() {
    let stage = Stage::new(3, 1).await;
    let (alice, bob) = (stage.admit(1).await, stage.admit(2).await);
    let old = stage.hold_for(alice, Duration::from_millis(30), &[1]).await;
    assert_eq!(stage.hold(bob, terms(), &wish(&[1])).await, HoldOutcome::Taken(seat(1)));
    eventually("the hold lapses", || async { stage.now_ms().await > old.holds[0].deadline_ms })
        .await;
    assert_eq!(stage.list().await, [1, 2, 3], "free although nobody swept");
    assert!(stage.seats.live_holds(&stage.concert, alice.user).await.unwrap().holds.is_empty());

    let new = stage.reserve(bob, &[1]).await.expect("held");
    assert_eq!(stage.list().await, [2, 3]);
    assert_eq!(stage.stat("lapsed").await, 1);
    let reservation = old.holds[0].reservation;
    let refused = stage.seats.release(&stage.concert, alice, reservation).await;
    assert!(matches!(refused, Err(SeatsError::UnknownReservation)), "{refused:?}");
    let bobs = stage.seats.live_holds(&stage.concert, bob.user).await.unwrap();
    assert_eq!(bobs.holds, new.holds.holds);
    assert!(bobs.expires_in_seconds(&bobs.holds[0]) >= 298);
    // Her own lapsed seat gets a new hold, too.
    stage.hold_for(alice, Duration::from_millis(1), &[2]).await;
    eventually("a new hold", || async {
        stage.hold_new(alice, &[2]).await.holds[0].deadline_ms > stage.now_ms().await + 1000
    })
    .await;
}

#[tokio::test]
async fn a_list_refuses_the_losers_of_its_own_version() {
    let stage = Stage::new(10, 1).await;
    let (alice, bob) = (stage.admit(1).await, stage.admit(2).await);
    stage.reserve(alice, &[3]).await.expect("held");
    let version = async || {
        let seen = stage.seats.version(Some(&stage.concert), Some(stage.date())).await;
        seen.expect("Redis answers").expect("a date")
    };
    let refusal = |seats: &[u32], seen: &_| {
        stage.seats.refuse_taken(&stage.concert, stage.date(), &selection(seats), seen).err()
    };
    assert!(refusal(&[3], &version().await).is_none(), "no list was read");

    stage.seats.list(&stage.concert, stage.date(), None).await.expect("a list");
    let seen = version().await;
    let refused = refusal(&[2, 3], &seen);
    assert!(matches!(refused, Some(SeatsError::Taken { seat: s }) if s == seat(3)), "{refused:?}");
    assert!(refusal(&[2, 4], &seen).is_none());
    assert!(refusal(&[3, 11], &seen).is_none(), "that there is no seat 11 is told first");

    stage.reserve(bob, &[5]).await.expect("held");
    assert!(refusal(&[3], &version().await).is_none(), "the list is of an older version");
    eventually("losers let the list be read again", || async {
        let lost = stage.reserve(bob, &[3]).await;
        assert!(matches!(lost, Err(SeatsError::Taken { .. })), "{lost:?}");
        refusal(&[3], &version().await).is_some()
    })
    .await;
}

#[tokio::test]
async fn a_token_remembers_that_it_has_held_a_seat() {
    let stage = Stage::new(10, 1).await;
    let alice = stage.admit(1).await;
    let token = stage.concert.keys.token(alice.place);
    let value = async || stage.say(&format!("GET {token}")).await.text().to_owned();
    assert!(value().await.starts_with("1:1:"));
    let held = stage.reserve(alice, &[3]).await.expect("held").holds.holds[0].clone();
    assert!(value().await.starts_with("1:2:"));
    stage.seats.release(&stage.concert, alice, held.reservation).await.expect("released");
    assert!(value().await.starts_with("1:2:"), "for as long as it lives");
}
