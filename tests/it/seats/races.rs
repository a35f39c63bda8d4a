//! Many people, few seats.

use std::collections::BTreeMap;

use futures::future::join_all;
use onsale::seats::{SeatsConfig, SeatsError};

use super::Stage;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_500_people_on_one_seat_exactly_one_holds_it() {
    let stage = Stage::new(50, 1).await;
    let other = stage.another_server(SeatsConfig::default());
    let mut people = Vec::new();
    for user in 1..=500 {
        people.push(stage.admit(user).await);
    }
    let selection = super::stage::selection(&[17]);
    let date = Some(stage.date());
    let answers = join_all(people.iter().enumerate().map(|(index, holder)| {
        let server = if index % 2 == 0 { &stage.seats } else { &other };
        server.reserve(&stage.concert, *holder, date, &selection)
    }))
    .await;
    let winners: Vec<_> =
        people.iter().zip(&answers).filter(|(_, answer)| answer.is_ok()).collect();
    assert_eq!(winners.len(), 1);
    let losers = answers.iter().filter(|answer| matches!(answer, Err(SeatsError::Taken { .. })));
    assert_eq!(losers.count(), 499);
    let record = stage.say(&format!("HGET {} 17", stage.concert.keys.hold(stage.date()))).await;
    let winner = winners[0].0;
    assert!(record.text().contains(&format!(":{}:{}:", winner.place, winner.user)));
    let held = stage.say(&format!("ZCARD {}", stage.concert.keys.held(stage.date()))).await;
    assert_eq!((held.int(), stage.stat("held").await), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overlapping_holds_are_all_or_nothing() {
    let stage = Stage::new(12, 1).await;
    let mut people = Vec::new();
    for user in 1..=60 {
        people.push(stage.admit(user).await);
    }
    // Each wants three seats in an order of its own: 1 2 3, 3 2 1, 2 3 4, …
    let wishes: Vec<Vec<u32>> = (0..60_u32)
        .map(|user| {
            let first = user / 2 % 10 + 1;
            let mut seats = vec![first, first + 1, first + 2];
            if user % 2 == 1 {
                seats.reverse();
            }
            seats
        })
        .collect();
    let answers =
        join_all(people.iter().zip(&wishes).map(|(holder, wish)| stage.reserve(*holder, wish)))
            .await;
    let mut owners = BTreeMap::new();
    for ((holder, wish), answer) in people.iter().zip(&wishes).zip(&answers) {
        let live = stage.seats.live_holds(&stage.concert, holder.user).await.unwrap().holds;
        match answer {
            Ok(_) => assert_eq!(live.len(), 3, "a winner holds all three"),
            Err(SeatsError::Taken { .. }) => assert_eq!(live, [], "a loser holds nothing"),
            Err(other) => panic!("{other:?}"),
        }
        if answer.is_ok() {
            for seat in wish {
                assert_eq!(owners.insert(*seat, holder.user), None, "seat {seat} has two owners");
            }
        }
    }
    assert!(!owners.is_empty());
    let held = stage.say(&format!("ZCARD {}", stage.concert.keys.held(stage.date()))).await.int();
    assert_eq!(usize::try_from(held).unwrap(), owners.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_user_at_the_limit_gets_no_seat_more_by_asking_at_once() {
    let stage = Stage::new(50, 1).await;
    let alice = stage.admit(1).await;
    let wishes: Vec<_> = (1..=30_u32).map(|number| [number]).collect();
    let answers = join_all(wishes.iter().map(|wish| stage.reserve(alice, wish))).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 4);
    let limited = |answer: &&Result<_, _>| matches!(answer, Err(SeatsError::HoldLimit { .. }));
    assert_eq!(answers.iter().filter(limited).count(), 26);
    let live = stage.seats.live_holds(&stage.concert, alice.user).await.unwrap();
    assert_eq!(live.holds.len(), 4);
}
