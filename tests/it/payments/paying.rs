//! Paying for holds: once, whatever happens at the same time.

use futures::future::join_all;
use onsale::payments::{KeyUse, PaymentError};
use onsale::seats::SeatsError;
use uuid::Uuid;

use super::stage::{
    PRICE, Stage, assert_the_books_balance, count, database, now_ms, place, seat, user, won,
};
use crate::support::{self, RawRedis};

#[tokio::test]
async fn a_payment_sells_all_holds_of_the_token_and_consumes_it() {
    let stage = Stage::new().await;
    let mut raw = RawRedis::shared().await;
    let (at, who) = (place(5), user(7));
    stage.token(&mut raw, at, who).await;
    let second = stage.hold(&mut raw, (at, who), (1, 3)).await;
    let first = stage.hold(&mut raw, (at, who), (0, 12)).await;
    stage.charge(who, 1_000).await;

    let payment = stage.pay(&stage.purchase(at, who)).await;
    assert_eq!((payment.user, payment.place), (who, at));
    assert_eq!(payment.balance_after, won(1_000 - 2 * PRICE));
    let seats: Vec<_> = payment.seats.iter().map(|s| (s.date, s.seat, s.reservation)).collect();
    let dates = &stage.concert.dates;
    assert_eq!(seats, [(dates[0], seat(12), first), (dates[1], seat(3), second)]);

    assert_eq!(stage.sold(&mut raw, 0).await, [12]);
    assert_eq!(stage.sold(&mut raw, 1).await, [3]);
    let keys = &stage.concert.keys;
    for gone in [keys.token(at), keys.paying(at), keys.active.clone(), keys.users.clone()]
        .into_iter()
        .chain([keys.holds(who)])
        .chain(dates.iter().flat_map(|date| [keys.held(*date), keys.hold(*date)]))
    {
        assert_eq!(raw.say(&format!("EXISTS {gone}")).await.int(), 0, "{gone}");
    }
    assert_eq!(stage.counter(&mut raw, "sold").await, 2);
    assert_eq!(stage.counter(&mut raw, "consumed").await, 1);
    assert_eq!(stage.counter(&mut raw, "displaced").await, 0);

    // Again, and again after everything is known: the same payment.
    assert_eq!(stage.pay(&stage.purchase(at, who)).await, payment);
    let report = stage.payments.clone().finish_unsynced().await.unwrap();
    assert_eq!((report.noted, report.failed), (1, 0));
    assert_eq!(stage.pay(&stage.purchase(at, who)).await, payment);
    assert_eq!(stage.payments.owned(who, None).await.unwrap().payments, [payment]);
    assert_the_books_balance(&stage.database).await;
}

#[tokio::test]
async fn a_hundred_payments_of_one_hold_are_one_debit() {
    let stage = Stage::new().await;
    let mut raw = RawRedis::shared().await;
    let purchase = stage.buyer(&mut raw, 1).await;
    let attempts = (0..100).map(|_| stage.payments.pay(purchase.clone()));
    let payments: Vec<_> = join_all(attempts).await.into_iter().map(Result::unwrap).collect();
    assert!(payments.iter().all(|payment| *payment == payments[0]), "equal answers");
    assert_eq!(stage.payments.balance(purchase.user).await.unwrap(), won(9 * PRICE));
    assert_eq!(count(&stage.database, "select count(*) from payments").await, 1);
    assert_eq!(stage.counter(&mut raw, "sold").await, 1);
    assert_the_books_balance(&stage.database).await;
}

/// One wallet, three concerts, three holds, money for one.
#[tokio::test]
async fn money_for_one_and_three_payments_at_once_buy_one() {
    let database = database().await;
    let mut raw = RawRedis::shared().await;
    let mut stages = Vec::new();
    for _ in 0..3 {
        let stage = Stage::with(support::concert(10, 1), database.clone()).await;
        stage.token(&mut raw, place(5), user(7)).await;
        stage.hold(&mut raw, (place(5), user(7)), (0, 1)).await;
        stages.push(stage);
    }
    stages[0].charge(user(7), PRICE + PRICE / 2).await;
    let attempts = stages.iter().map(async |stage| {
        let purchase = stage.purchase(place(5), user(7));
        stage.payments.pay(purchase).await
    });
    let answers = join_all(attempts).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    for (stage, answer) in stages.iter().zip(&answers) {
        let sold = stage.sold(&mut raw, 0).await;
        match answer {
            Ok(_) => assert_eq!(sold, [1]),
            Err(PaymentError::TooLittleMoney { required, balance }) => {
                assert_eq!((*required, balance.get()), (PRICE, PRICE / 2));
                assert_eq!(sold, [0; 0]);
                let held = stage.concert.keys.held(stage.concert.dates[0]);
                assert_eq!(raw.say(&format!("ZCARD {held}")).await.int(), 1, "the hold stays");
                let paying = stage.concert.keys.paying(place(5));
                let attempts = raw.say(&format!("ZRANGE {paying} 0 -1")).await.texts();
                assert!(attempts.is_empty(), "the attempt is cancelled: {attempts:?}");
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_the_books_balance(&database).await;
}

#[tokio::test]
async fn what_cannot_be_paid_is_refused_by_its_reason() {
    let stage = Stage::new().await;
    let mut raw = RawRedis::shared().await;
    let refused = async |at: u64, who: u64| {
        stage.payments.pay(stage.purchase(place(at), user(who))).await.unwrap_err()
    };
    assert!(matches!(refused(1, 7).await, PaymentError::TokenExpired));
    stage.token(&mut raw, place(1), user(7)).await;
    assert!(matches!(refused(1, 7).await, PaymentError::NothingToPay));
    assert!(matches!(refused(1, 8).await, PaymentError::NotYours));
    // A hold that has lapsed, one that must end within 30 s, and one of another place.
    stage.hold_for(&mut raw, (place(1), user(7)), (0, 1), (-1, 60_000)).await;
    assert!(matches!(refused(1, 7).await, PaymentError::HoldExpired));
    stage.hold_for(&mut raw, (place(1), user(7)), (0, 2), (10_000, 29_000)).await;
    assert!(matches!(refused(1, 7).await, PaymentError::HoldExpired));
    stage.token(&mut raw, place(2), user(9)).await;
    stage.hold(&mut raw, (place(3), user(9)), (0, 3)).await;
    assert!(matches!(refused(2, 9).await, PaymentError::NothingToPay));
    assert_eq!(count(&stage.database, "select count(*) from payments").await, 0);
    assert_eq!(stage.sold(&mut raw, 0).await, [0; 0]);
}

/// A payment must not be refused before the deadline that its buyer was told, and the seat must not
/// be free while it is paid.
#[tokio::test]
async fn a_payment_in_the_last_second_extends_the_hold() {
    let stage = Stage::new().await;
    let mut raw = RawRedis::shared().await;
    stage.token(&mut raw, place(1), user(7)).await;
    stage.hold_for(&mut raw, (place(1), user(7)), (0, 1), (5_000, 65_000)).await;
    let before_ms = now_ms(&mut raw).await;
    let refused = stage.payments.pay(stage.purchase(place(1), user(7))).await;
    assert!(matches!(refused, Err(PaymentError::TooLittleMoney { .. })));
    let held = stage.concert.keys.held(stage.concert.dates[0]);
    let deadline_ms = raw.say(&format!("ZSCORE {held} 1")).await.int();
    assert!(deadline_ms >= i64::try_from(before_ms).unwrap() + 30_000);
    stage.charge(user(7), PRICE).await;
    stage.pay(&stage.purchase(place(1), user(7))).await;
    assert_eq!(stage.sold(&mut raw, 0).await, [1]);
}

/// Redis lost a sale and let somebody else hold the seat: he is not charged, and learns it.
#[tokio::test]
async fn a_seat_that_postgresql_knows_as_sold_is_not_sold_again() {
    let stage = Stage::new().await;
    let mut raw = RawRedis::shared().await;
    let first = stage.buyer(&mut raw, 4).await;
    stage.pay(&first).await;
    let sold = stage.concert.keys.sold(stage.concert.dates[0]);
    raw.say(&format!("DEL {sold}")).await;
    let second = stage.buyer(&mut raw, 4).await;
    let refused = stage.payments.pay(second.clone()).await;
    assert!(matches!(refused, Err(PaymentError::SeatSold { seat: taken, .. }) if taken == seat(4)));
    assert_eq!(stage.payments.balance(second.user).await.unwrap(), won(10 * PRICE));
    assert_eq!(stage.sold(&mut raw, 0).await, [4], "the mark is back");
    assert_the_books_balance(&stage.database).await;
}

#[tokio::test]
async fn a_key_answers_the_old_payment_whatever_the_token_holds_now() {
    let stage = Stage::new().await;
    let mut raw = RawRedis::shared().await;
    let mut first = stage.buyer(&mut raw, 1).await;
    first.key = Some(KeyUse::of_payment("k", first.user));
    let thirty = join_all((0..30).map(|_| stage.payments.pay(first.clone()))).await;
    let payment = thirty[0].as_ref().unwrap().clone();
    assert!(thirty.iter().all(|answer| answer.as_ref().unwrap() == &payment));

    // The same user, a new token, a new hold, the old key.
    stage.token(&mut raw, place(77), first.user).await;
    stage.hold(&mut raw, (place(77), first.user), (0, 2)).await;
    let mut second = stage.purchase(place(77), first.user);
    second.key.clone_from(&first.key);
    assert_eq!(stage.pay(&second).await, payment);
    assert_eq!(stage.sold(&mut raw, 0).await, [1], "the new hold is not paid");
    second.key = None;
    assert_ne!(stage.pay(&second).await.id, payment.id);

    // A key of a payment is no key of a charge, and the other way round.
    let as_charge = KeyUse::of_charge("k", first.user, super::stage::amount(5));
    let charged = stage.payments.charge(first.user, super::stage::amount(5), Some(as_charge)).await;
    assert!(matches!(charged, Err(PaymentError::KeyReused)));
    let key = KeyUse::of_charge("c", first.user, super::stage::amount(5));
    stage.payments.charge(first.user, super::stage::amount(5), Some(key)).await.unwrap();
    let mut third = first.clone();
    third.key = Some(KeyUse::of_payment("c", first.user));
    assert!(matches!(stage.payments.pay(third).await, Err(PaymentError::KeyReused)));
    assert_the_books_balance(&stage.database).await;
}

#[tokio::test]
async fn a_key_that_was_first_used_with_a_spent_token_stands_for_its_payment() {
    let stage = Stage::new().await;
    let mut raw = RawRedis::shared().await;
    let first = stage.buyer(&mut raw, 1).await;
    let payment = stage.pay(&first).await;
    let mut again = first.clone();
    again.key = Some(KeyUse::of_payment("late", first.user));
    assert_eq!(stage.pay(&again).await, payment);

    // The same user, a new token, a new hold, the same key.
    stage.token(&mut raw, place(78), first.user).await;
    stage.hold(&mut raw, (place(78), first.user), (0, 2)).await;
    let mut second = stage.purchase(place(78), first.user);
    second.key.clone_from(&again.key);
    assert_eq!(stage.pay(&second).await, payment);
    assert_eq!(stage.sold(&mut raw, 0).await, [1], "the new hold is not paid");
    assert_the_books_balance(&stage.database).await;
}

#[tokio::test]
async fn a_spent_token_shows_its_payment_to_its_payer_only() {
    let stage = Stage::new().await;
    let mut raw = RawRedis::shared().await;
    let purchase = stage.buyer(&mut raw, 1).await;
    let payment = stage.pay(&purchase).await;
    let (concert, at) = (stage.concert.id, purchase.place);
    stage.payments.check_spent(concert, at, purchase.user).await.unwrap();
    let stranger = stage.payments.check_spent(concert, at, user(1)).await;
    assert!(matches!(stranger, Err(PaymentError::NotYours)));
    let unpaid = stage.payments.check_spent(concert, place(1), user(1)).await;
    assert!(matches!(unpaid, Err(PaymentError::TokenExpired)));
    let mut replay = purchase.clone();
    replay.user = user(1);
    assert!(matches!(stage.payments.pay(replay).await, Err(PaymentError::NotYours)));
    assert_eq!(stage.payments.foreign_replays(), 2);
    let found = stage.payments.payment_of_place(concert, at).await.unwrap();
    assert_eq!(found, Some(payment));
}

/// Holds that lapse while they are paid, taken over by somebody else at once: never both.
#[tokio::test]
async fn a_payment_racing_the_lapse_of_its_hold_never_sells_twice() {
    let stage = Stage::with(support::concert(1_000, 1), database().await).await;
    let numbers: Vec<_> = (1..=1_000_u32).collect();
    let mut owners = Vec::new();
    for numbers in numbers.chunks(50) {
        let races = numbers.iter().map(|number| race(&stage, *number));
        owners.extend(join_all(races).await.into_iter().zip(numbers));
    }
    let told: Vec<_> = owners
        .iter()
        .filter_map(|(owner, number)| Some((i64::from(**number), i64::try_from((*owner)?).ok()?)))
        .collect();
    let by_seat = "select seat_number::bigint, user_id from owned_seats
         join payments on payments.id = payment_id order by seat_number";
    let sold: Vec<(i64, i64)> =
        sqlx::query_as(by_seat).fetch_all(&stage.database).await.expect("the owned seats");
    assert_eq!(sold, told, "what was told is what is owned, and a refusal left nothing");
    let paid = told.iter().filter(|(_, owner)| *owner < LATER).count();
    assert!(paid > 0, "no payment came before the lapse");
    assert!(paid < told.len(), "no hold lapsed before its payment");
    assert_the_books_balance(&stage.database).await;
}

/// What is added to a user's number for the one who takes the seat over.
const LATER: i64 = 10_000;

/// The first holder pays at the moment of the lapse; the second holds as soon as the seat is free.
/// Who of them was told that he owns it: none, if a store did not answer.
async fn race(stage: &Stage, number: u32) -> Option<u64> {
    let mut raw = RawRedis::shared().await;
    let (first, second) = (u64::from(number), u64::from(number) + LATER.unsigned_abs());
    for id in [first, second] {
        stage.token(&mut raw, place(id), user(id)).await;
        stage.charge(user(id), PRICE).await;
    }
    // From a hold that has lapsed already to one that outlives the payment on any machine; most of
    // them are about as long as a payment takes on some machine.
    let ttl_ms = (1 << (number % 14)) - 1;
    stage.hold_for(&mut raw, (place(first), user(first)), (0, number), (ttl_ms, 60_000)).await;
    let pay = async |id: u64| loop {
        match stage.payments.pay(stage.purchase(place(id), user(id))).await {
            // As the answer says: repeat it to learn it.
            Err(PaymentError::OutcomeUnknown(_)) => {}
            answer => return answer,
        }
    };
    let take_over = async {
        let holder = onsale::seats::Holder { user: user(second), place: place(second) };
        let selection = seat(number).into();
        loop {
            let held = stage.seats.reserve(&stage.concert, holder, None, &selection).await;
            match held {
                Ok(_) => return Some(pay(second).await),
                Err(SeatsError::Sold { .. }) => return None,
                Err(SeatsError::Taken { .. }) => tokio::task::yield_now().await,
                Err(
                    SeatsError::Database(_) | SeatsError::Unconfirmed(_) | SeatsError::Write(_),
                ) => {}
                Err(other) => panic!("{other}"),
            }
        }
    };
    match tokio::join!(pay(first), take_over) {
        (Ok(_), None) => Some(first),
        (Err(error), Some(Ok(_))) if is_lapsed_or_unanswered(&error) => Some(second),
        (Err(one), Some(Err(other)))
            if is_lapsed_or_unanswered(&one) && is_lapsed_or_unanswered(&other) =>
        {
            None
        }
        other => panic!("seat {number}: {other:?}"),
    }
}

fn is_lapsed_or_unanswered(error: &PaymentError) -> bool {
    use PaymentError::{Database, HoldExpired, Redis, TooLate};
    matches!(error, HoldExpired | Redis(_) | Database(_) | TooLate)
}

/// What a server sends twice after a lost answer, and what a network may deliver late.
#[tokio::test]
async fn a_second_copy_of_a_payment_changes_nothing_and_a_late_one_is_undone() {
    let stage = Stage::new().await;
    stage.charge(user(7), 3 * PRICE).await;
    let send = async |place: i64, deadline: &'static str, payment: Uuid| {
        sqlx::query_as::<_, (bool, Uuid, i64)>(
            "select replayed, payment_id, balance_after from onsale_pay($1, $1, 7, 1, $2,
             array['2099-12-01'::date], array[$2::integer], array[$1], array[$3::bigint],
             clock_timestamp() + $4::interval, null, null)",
        )
        .bind(payment)
        .bind(place)
        .bind(PRICE)
        .bind(deadline)
        .fetch_all(&stage.database)
        .await
    };
    let first = Uuid::now_v7();
    assert_eq!(send(1, "10 s", first).await.unwrap(), [(false, first, 2 * PRICE)]);
    assert_eq!(send(1, "10 s", first).await.unwrap(), [(true, first, 2 * PRICE)]);
    assert_eq!(send(1, "-10 s", first).await.unwrap(), [(true, first, 2 * PRICE)], "also late");
    let other = send(1, "10 s", Uuid::now_v7()).await.unwrap();
    assert_eq!(other, [(true, first, 2 * PRICE)], "a place buys once");

    let late = send(2, "-1 ms", Uuid::now_v7()).await.unwrap_err();
    assert_eq!(late.as_database_error().unwrap().code().unwrap(), "ON001");
    assert_eq!(count(&stage.database, "select count(*) from payments").await, 1);
    assert_eq!(count(&stage.database, "select count(*) from owned_seats").await, 1);
    assert_the_books_balance(&stage.database).await;
}
