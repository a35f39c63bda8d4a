//! The waiting line as servers see it: arriving, asking, leaving, and the first use of a token.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use futures::future::join_all;
use onsale::local::{LocalRedis, RedisOptions};
use onsale::queue::{Admission, QueueConfig, QueueError, Status};

use crate::support::line::{Line, concert_id, place, place_of, user_id};
use crate::support::{concert, date, eventually};

async fn line() -> Line {
    Line::open(concert(10, 1), QueueConfig::default()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_arrivals_get_distinct_positions_without_gaps() {
    let mut line = line().await;
    let other = line.another_server().await;
    let arrivals = (0..1000).map(|n| {
        let server = if n % 2 == 0 { &line.server } else { &other };
        // Every third is named.
        server.join(&line.concert, (n % 3 == 0).then_some(n + 1))
    });
    let joined = join_all(arrivals).await;

    let positions: HashSet<_> = joined.iter().map(|joined| joined.standing.position).collect();
    assert_eq!(positions, (1..=1000).collect());
    assert!(joined.iter().all(|joined| joined.is_new));
    // The order of the positions is the order of the places, and a poll says the same.
    let mut by_position: Vec<_> = joined.iter().collect();
    by_position.sort_by_key(|joined| joined.standing.position);
    let places: Vec<_> = by_position.iter().map(|joined| place_of(&joined.token).get()).collect();
    assert!(places.is_sorted());
    assert_eq!(line.waiting().await, places);
    for joined in by_position.iter().step_by(97) {
        assert_eq!(other.position(&joined.token).await, joined.standing.position);
    }
    assert_eq!(line.stat("issued").await, 1000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_arrivals_of_one_user_are_one_place() {
    let mut line = line().await;
    let other = line.another_server().await;
    line.server.join(&line.concert, None).await;
    let arrivals = (0..50).map(|n| {
        let server = if n % 2 == 0 { &line.server } else { &other };
        server.join(&line.concert, Some(7))
    });
    let joined = join_all(arrivals).await;

    let tokens: HashSet<_> = joined.iter().map(|joined| joined.token.as_str()).collect();
    assert_eq!(tokens.len(), 1, "{tokens:?}");
    assert_eq!(joined.iter().filter(|joined| joined.is_new).count(), 1);
    assert!(joined.iter().all(|joined| joined.standing.position == 2));
    assert_eq!(line.waiting().await.len(), 2);
}

#[tokio::test]
async fn a_poll_of_somebody_who_waits_asks_redis_nothing() {
    let redis = LocalRedis::throwaway(RedisOptions::throwaway()).await.expect("a private Redis");
    let mut line = Line::on(&redis, concert(10, 1), QueueConfig::default()).await;
    let joined = line.server.join(&line.concert, None).await;
    line.server.position(&joined.token).await;
    let commands = async |line: &mut Line| -> u64 {
        let info = line.say("INFO stats").await.text().to_owned();
        let count = info.lines().find_map(|line| line.strip_prefix("total_commands_processed:"));
        count.expect("a counter").trim().parse().expect("a number")
    };
    let (before, started) = (commands(&mut line).await, Instant::now());
    for _ in 0..20_000 {
        line.server.position(&joined.token).await;
    }
    let boards = 2 + started.elapsed().as_millis() / 250;
    let sent = commands(&mut line).await - before;
    // A board is one script of about a dozen commands.
    assert!(u128::from(sent) < 20 * boards, "{sent} commands for at most {boards} boards");
}

#[tokio::test]
async fn a_leave_moves_everybody_behind_up_on_every_server_and_on_its_own_at_once() {
    let line = line().await;
    let other = line.another_server().await;
    let mut tokens = Vec::new();
    for _ in 0..5 {
        tokens.push(line.server.join(&line.concert, None).await.token);
    }
    assert_eq!(line.server.position(&tokens[4]).await, 5);
    assert_eq!(other.position(&tokens[4]).await, 5);

    line.server.queue.leave(&tokens[1], None).await.expect("a live token");
    assert_eq!(line.server.position(&tokens[4]).await, 4, "its own server knows at once");
    assert!(line.server.is_expired(&tokens[1]).await);
    eventually("the other server sees the leave", || async {
        other.position(&tokens[4]).await == 4
    })
    .await;
    assert!(other.is_expired(&tokens[1]).await);
    assert_eq!(other.position(&tokens[0]).await, 1);

    other.queue.leave(&tokens[0], None).await.expect("a live token");
    assert_eq!(other.position(&tokens[4]).await, 3);
    eventually("the first server sees the leave", || async {
        line.server.position(&tokens[4]).await == 3
    })
    .await;
    let again = line.server.queue.leave(&tokens[0], None).await;
    assert!(matches!(again, Err(QueueError::TokenExpired)), "{again:?}");
}

#[tokio::test]
async fn a_token_is_waiting_then_active_then_expired() {
    let config = QueueConfig { claim_ttl: Duration::from_millis(400), ..QueueConfig::default() };
    let mut line = Line::open(concert(10, 1), config).await;
    let joined = line.server.join(&line.concert, Some(7)).await;
    assert_eq!(joined.standing.status, Status::Waiting);
    line.server.queue.promote(&line.concert).await.expect("an answer");
    let (queue, token) = (line.server.queue.clone(), joined.token.clone());
    eventually("the turn shows", || async {
        queue.standing(&token).await.expect("a live token").status == Status::Active
    })
    .await;
    let again = line.server.join(&line.concert, Some(7)).await;
    assert_eq!((again.standing.status, again.is_new), (Status::Active, false));
    assert_eq!(place_of(&again.token), place_of(&token));
    eventually("the unused turn ends", || async { line.server.is_expired(&token).await }).await;
    let anew = line.server.join(&line.concert, Some(7)).await;
    assert!(anew.is_new);
    assert_eq!(line.stat("claimed").await, 0);
}

#[tokio::test]
async fn a_token_binds_to_its_first_user_and_admits_nobody_else() {
    let mut line = line().await;
    let (first, second) = (
        line.server.join(&line.concert, None).await.token,
        line.server.join(&line.concert, None).await.token,
    );
    let queue = line.server.queue.clone();
    let refused = queue.admit(&first, None, None).await;
    assert!(matches!(refused, Err(QueueError::StillWaiting { position: 1, .. })), "{refused:?}");
    queue.promote(&line.concert).await.expect("an answer");

    let admitted = queue.admit(&first, None, None).await.expect("an active token");
    assert_eq!((admitted.place, admitted.user), (place_of(&first), None));
    let (ann, bob) = (Some(user_id(7)), Some(user_id(8)));
    assert_eq!(queue.admit(&first, None, ann).await.expect("bound").user, ann);
    assert_eq!(queue.admit(&first, None, None).await.expect("bound").user, ann);
    let refused = queue.admit(&first, None, bob).await;
    assert!(matches!(refused, Err(QueueError::NotYours)), "{refused:?}");
    let refused = queue.admit(&second, None, ann).await;
    assert!(matches!(refused, Err(QueueError::UserHasToken)), "{refused:?}");
    let refused = queue.admit(&second, Some(concert_id(1)), bob).await;
    assert!(matches!(refused, Err(QueueError::WrongConcert { .. })), "{refused:?}");
    assert_eq!(line.stat("claimed").await, 1, "a refused request claims nothing");
    assert!(queue.admit(&second, Some(line.concert.id), bob).await.is_ok());
    assert_eq!(line.stat("claimed").await, 2);
}

#[tokio::test]
async fn a_token_that_is_gone_is_left_to_those_who_know_payments() {
    let line = line().await;
    let token = line.server.join(&line.concert, Some(7)).await.token;
    let queue = &line.server.queue;
    queue.promote(&line.concert).await.expect("an answer");
    queue.leave(&token, None).await.expect("an active token");
    let gone = queue.admit_or_spent(&token, None, None).await.expect("a genuine token");
    assert!(matches!(gone, Admission::Gone { place, .. } if place == place_of(&token)));
    let refused = queue.admit(&token, None, None).await;
    assert!(matches!(refused, Err(QueueError::TokenExpired)), "{refused:?}");
}

#[tokio::test]
async fn a_forged_or_foreign_token_is_refused_before_any_look_up() {
    let line = line().await;
    let queue = &line.server.queue;
    for text in ["", "x", "00000000-0000-8000-8000-000000000000_1"] {
        let refused = queue.standing(text).await;
        assert!(matches!(refused, Err(QueueError::TokenInvalid(_))), "{text}: {refused:?}");
    }
    // A genuine token of a concert that left the catalogue.
    let gone = Line::open(concert(10, 1), QueueConfig::default()).await;
    let token = gone.server.join(&gone.concert, None).await.token;
    let refused = queue.standing(&token).await;
    assert!(matches!(refused, Err(QueueError::UnknownConcert { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_sold_out_concert_takes_nobody_in() {
    let mut line = Line::open(concert(2, 1), QueueConfig::default()).await;
    let waiting = line.server.join(&line.concert, None).await.token;
    let sold = line.concert.keys.sold(date(1));
    line.say(&format!("SETBIT {sold} 1 1")).await;
    line.say(&format!("SETBIT {sold} 2 1")).await;
    let queue = line.server.queue.clone();
    eventually("the board says so", || async {
        let standing = queue.standing(&waiting).await.expect("a live token");
        standing.status == Status::SoldOut { held: 0 }
    })
    .await;
    let refused = queue.join(&line.concert, None).await;
    assert!(matches!(refused, Err(QueueError::SoldOut)), "{refused:?}");
    assert_eq!(line.stat("issued").await, 1);
}

/// A client that hangs up must not take the others' answers with it, nor leave a place behind that
/// nobody knows of twice.
#[tokio::test]
async fn a_client_that_hangs_up_harms_no_other_arrival() {
    let mut line = line().await;
    line.server.join(&line.concert, None).await;
    for round in 0..20_u64 {
        let impatient = line.server.queue.clone();
        let concert = line.concert.clone();
        let hung_up =
            tokio::spawn(async move { impatient.join(&concert, Some(user_id(99))).await.is_ok() });
        let others = (0..10).map(|n| line.server.join(&line.concert, Some(100 * (round + 1) + n)));
        let ((), joined) = tokio::join!(
            async {
                tokio::task::yield_now().await;
                hung_up.abort();
            },
            join_all(others)
        );
        assert!(joined.iter().all(|joined| joined.is_new));
    }
    let waiting = line.waiting().await.len();
    assert!((201..=202).contains(&waiting), "{waiting}");
}

#[tokio::test]
async fn leaving_with_a_bound_token_works_while_it_is_active() {
    let mut line = line().await;
    let token = line.server.join(&line.concert, None).await.token;
    let queue = line.server.queue.clone();
    queue.promote(&line.concert).await.expect("an answer");
    queue.admit(&token, None, Some(user_id(7))).await.expect("an active token");
    let keys = line.concert.keys.clone();
    let lease_ms = line.now_ms().await + 60_000;
    let paying = keys.paying(place(place_of(&token).get()));
    line.say(&format!("ZADD {paying} {lease_ms} attempt")).await;
    let refused = queue.leave(&token, None).await;
    assert!(matches!(refused, Err(QueueError::PaymentInProgress)), "{refused:?}");
    line.say(&format!("DEL {paying}")).await;
    queue.leave(&token, None).await.expect("an active token");
    assert_eq!(line.active().await, [0; 0]);
    assert!(line.server.join(&line.concert, Some(7)).await.is_new);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_board_older_than_a_promotion_and_its_purchase_does_not_say_that_the_token_waits() {
    let mut line = line().await;
    let other = line.another_server().await;
    let token = line.server.join(&line.concert, Some(7)).await.token;
    assert_eq!(other.position(&token).await, 1, "the other server has a board now");
    line.server.queue.promote(&line.concert).await.expect("a promotion");
    // What a payment does to its token.
    let keys = line.concert.keys.clone();
    let place = place_of(&token);
    line.say(&format!("DEL {}", keys.token(place))).await;
    line.say(&format!("ZREM {} {place}", keys.active)).await;
    let admission = other.queue.admit_or_spent(&token, None, Some(user_id(7))).await;
    assert!(matches!(admission, Ok(Admission::Gone { .. })), "{admission:?}");
}
