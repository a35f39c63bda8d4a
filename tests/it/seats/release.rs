//! `seats/release`: giving a hold back.

use onsale::seats::SeatsError;
use uuid::Uuid;

use super::Stage;

#[tokio::test]
async fn a_released_seat_leaves_nothing_but_a_counter_and_a_version() {
    let stage = Stage::new(5, 1).await;
    let (keys, date) = (&stage.concert.keys, stage.date());
    let alice = stage.admit(1).await;
    let reserved = stage.reserve(alice, &[2, 3]).await.expect("held");
    let version = stage.say(&format!("GET {}", keys.version(date))).await;
    let [two, three] = reserved.holds.holds.as_slice() else { panic!("two holds") };
    stage.say("SCRIPT FLUSH").await;
    let gone = stage.seats.release(&stage.concert, alice, two.reservation).await.expect("released");
    assert_eq!(&gone, two);
    assert_eq!(stage.list().await, [1, 2, 4, 5]);
    assert_eq!(stage.stat("released").await, 1);
    assert_ne!(stage.say(&format!("GET {}", keys.version(date))).await, version);

    let before = stage.snapshot().await;
    let again = stage.seats.release(&stage.concert, alice, two.reservation).await;
    assert!(matches!(again, Err(SeatsError::UnknownReservation)), "{again:?}");
    assert_eq!(stage.snapshot().await, before);

    stage.seats.release(&stage.concert, alice, three.reservation).await.expect("released");
    let rest = stage.snapshot().await;
    for key in [keys.held(date), keys.hold(date), keys.holds(alice.user)] {
        assert!(!rest.contains_key(key.as_str()), "{key} is left");
    }
}

#[tokio::test]
async fn nobody_releases_what_is_not_theirs_or_does_not_exist() {
    let stage = Stage::new(5, 1).await;
    let (alice, bob) = (stage.admit(1).await, stage.admit(2).await);
    let held = stage.reserve(alice, &[2]).await.expect("held");
    let before = stage.snapshot().await;
    for reservation in [held.holds.holds[0].reservation, Uuid::now_v7()] {
        let refused = stage.seats.release(&stage.concert, bob, reservation).await;
        assert!(matches!(refused, Err(SeatsError::UnknownReservation)), "{refused:?}");
    }
    // A new token of the same user is not the one that holds.
    let later = stage.admit(1).await;
    let refused = stage.seats.release(&stage.concert, later, held.holds.holds[0].reservation).await;
    assert!(matches!(refused, Err(SeatsError::UnknownReservation)), "{refused:?}");
    let mut after = stage.snapshot().await;
    after.retain(|key, _| before.contains_key(key));
    let active = stage.concert.keys.active.as_str();
    assert!(after.iter().all(|(key, value)| key == active || before[key] == *value));
}

#[tokio::test]
async fn a_hold_that_is_being_paid_stays() {
    let stage = Stage::new(5, 1).await;
    let alice = stage.admit(1).await;
    let held = stage.reserve(alice, &[2]).await.expect("held");
    let reservation = held.holds.holds[0].reservation;
    let paying = stage.concert.keys.paying(alice.place);
    let until = stage.now_ms().await + 60_000;
    stage.say(&format!("ZADD {paying} {until} attempt")).await;
    let before = stage.snapshot().await;
    let refused = stage.seats.release(&stage.concert, alice, reservation).await;
    assert!(matches!(refused, Err(SeatsError::PaymentInProgress)), "{refused:?}");
    let refused = stage.reserve(alice, &[3]).await;
    assert!(matches!(refused, Err(SeatsError::PaymentInProgress)), "{refused:?}");
    assert_eq!(stage.snapshot().await, before);
    // A lease that ended binds nobody.
    let ended = stage.now_ms().await - 1;
    stage.say(&format!("ZADD {paying} {ended} attempt")).await;
    stage.seats.release(&stage.concert, alice, reservation).await.expect("released");
}
