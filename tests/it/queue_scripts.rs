//! The scripts of the waiting line, one by one: seed, call, read back; twice; and after Redis forgot
//! them.

use onsale::local::{LocalRedis, RedisOptions};
use onsale::queue::QueueConfig;
use onsale::queue::scripts::{Enter, EnterOutcome, EnteredGroup, KnownArrival, ReadBoard, Settle};
use onsale::queue::token_scripts::{Claim, ClaimOutcome, Leave, LeaveOutcome};
use onsale::words::UserId;
use uuid::Uuid;

use crate::support::line::{Line, place, user_id};
use crate::support::{concert, date};

const EPOCH: &str = "epoch-1";

async fn line() -> Line {
    Line::open(concert(10, 2), QueueConfig::default()).await
}

async fn enter_as(line: &Line, group: Uuid, users: &[Option<UserId>]) -> EnterOutcome {
    let (concert, arrivals) = (&line.concert, users);
    let call = Enter { concert, group, floor: 0, epoch: EPOCH, has_draw: false, arrivals };
    line.server.redis.run(&call).await.expect("an answer")
}

async fn enter(line: &Line, users: &[Option<UserId>]) -> EnteredGroup {
    match enter_as(line, Uuid::new_v4(), users).await {
        EnterOutcome::Entered(entered) => entered,
        refused => panic!("the line is settled and open: {refused:?}"),
    }
}

/// Lets the lowest waiting place in, as promotion writes it.
async fn let_in(line: &mut Line, number: u64, user: &str, ttl_ms: u64) -> u64 {
    let (keys, now_ms) = (line.concert.keys.clone(), line.now_ms().await);
    let expires_ms = now_ms + ttl_ms;
    line.say(&format!("ZREMRANGEBYSCORE {} {number} {number}", keys.waiting)).await;
    line.say(&format!("ZADD {} {expires_ms} {number}", keys.active)).await;
    let token = keys.token(place(number));
    line.say(&format!("SET {token} {user}:0:{now_ms} PXAT {expires_ms}")).await;
    expires_ms
}

#[tokio::test]
async fn settling_starts_a_new_line_at_the_clock_and_leaves_a_settled_one_alone() {
    let mut line = line().await;
    let era_us = 1_735_689_600_000_000_u64;
    let seq = line.number(&format!("GET {}", line.concert.keys.seq)).await;
    let now_us = line.now_ms().await * 1000 - era_us;
    let age_us = now_us.abs_diff(u64::try_from(seq).expect("a place"));
    assert!(age_us < 60_000_000, "the line began {age_us} µs ago");

    let before = line.dump().await;
    let settle = Settle { concert: &line.concert.clone(), floor: 1, draw: None };
    let settled = line.server.redis.run_unloaded(&settle).await.expect("an answer");
    assert!(!settled.changed);
    assert_eq!(settled.epoch.as_deref(), Some(EPOCH));
    assert_eq!(i64::try_from(settled.last.get()), Ok(seq));
    assert_eq!(line.dump().await, before);
}

/// A changed run id stands for a Redis that may have lost its last second.
#[tokio::test]
async fn settling_on_another_process_or_below_the_floor_skips_what_may_have_been_given() {
    let mut line = line().await;
    let keys = line.concert.keys.clone();
    let now_us = line.number(&format!("GET {}", keys.seq)).await;
    // A line far ahead of the clock, so that the jumps alone decide.
    let old = now_us + 1_000_000_000_000;
    line.say(&format!("SET {} {old}", keys.seq)).await;
    line.say(&format!("SET {} another-process", keys.run)).await;
    let concert = line.concert.clone();
    let settle = |floor: i64| Settle {
        concert: &concert,
        floor: u64::try_from(floor).expect("a place"),
        draw: None,
    };

    let first = line.server.redis.run_unloaded(&settle(0)).await.expect("an answer");
    assert!(first.changed);
    let jumped = old + 1_048_576;
    assert_eq!(line.number(&format!("GET {}", keys.seq)).await, jumped);
    let dead = line.say(&format!("ZRANGE {} 0 -1 WITHSCORES", keys.dead)).await;
    assert_eq!(dead.texts(), [format!("{}-{jumped}", old + 1), "1".to_owned()]);

    let floor = jumped + 5;
    let second = line.server.redis.run_unloaded(&settle(floor)).await.expect("an answer");
    assert!(second.changed, "another server knows higher numbers");
    let higher = floor + 1_048_576;
    assert_eq!(line.number(&format!("GET {}", keys.seq)).await, higher);
    let dead = line.say(&format!("ZRANGE {} 1 1 WITHSCORES", keys.dead)).await;
    assert_eq!(dead.texts(), [format!("{}-{higher}", jumped + 1), "2".to_owned()]);

    let before = line.dump().await;
    let again = line.server.redis.run_unloaded(&settle(floor)).await.expect("an answer");
    assert!(!again.changed);
    assert_eq!(line.dump().await, before);
}

#[tokio::test]
async fn a_group_gets_places_in_order_and_a_user_twice_in_it_meets_himself() {
    let mut line = line().await;
    let (ann, bob) = (user_id(7), user_id(8));
    let earlier = enter(&line, &[Some(bob)]).await.first.get();

    let group = [None, Some(ann), Some(bob), Some(ann), None];
    let entered = enter(&line, &group).await;

    let first = earlier + 1;
    assert_eq!((entered.first.get(), entered.before), (first, 1));
    let known = |index, number| KnownArrival { index, place: place(number), expires_ms: 0 };
    assert_eq!(entered.known, [known(2, earlier), known(3, first + 1)]);
    let members = line.say(&format!("ZRANGE {} 0 -1", line.concert.keys.waiting)).await;
    let expected = [
        format!("{earlier}:8"),
        format!("{first}"),
        format!("{}:7", first + 1),
        format!("{}", first + 2),
    ];
    assert_eq!(members.texts(), expected);
    assert_eq!(line.stat("issued").await, 4);
}

#[tokio::test]
async fn a_group_sent_again_answers_the_same_places_and_changes_nothing() {
    let mut line = line().await;
    let id = Uuid::new_v4();
    let group = [None, Some(user_id(7)), None];
    let first = enter_as(&line, id, &group).await;
    let before = line.dump().await;
    assert_eq!(enter_as(&line, id, &group).await, first);
    assert_eq!(line.dump().await, before);
}

#[tokio::test]
async fn an_arrival_is_refused_until_the_line_is_settled_and_rebuilt() {
    let mut line = line().await;
    let keys = line.concert.keys.clone();
    let seq = line.number(&format!("GET {}", keys.seq)).await;
    let concert = line.concert.clone();
    let call = |floor, epoch| Enter {
        concert: &concert,
        group: Uuid::new_v4(),
        floor,
        epoch,
        has_draw: false,
        arrivals: &[None],
    };
    let redis = line.server.redis.clone();
    let before = line.dump().await;
    let above = u64::try_from(seq).expect("a place") + 1;
    for refused in [call(above, EPOCH), call(0, "another"), call(0, "")] {
        let outcome = redis.run(&refused).await.expect("an answer");
        assert_eq!(outcome, EnterOutcome::Unsettled);
    }
    assert_eq!(line.dump().await, before);
    line.say(&format!("DEL {}", keys.epoch)).await;
    assert_eq!(redis.run(&call(0, "")).await.expect("an answer"), EnterOutcome::Unsettled);
    line.say(&format!("SET {} {EPOCH}", keys.epoch)).await;
    line.say(&format!("DEL {}", keys.seq)).await;
    assert_eq!(redis.run(&call(0, EPOCH)).await.expect("an answer"), EnterOutcome::Unsettled);
}

#[tokio::test]
async fn an_active_user_meets_his_place_and_an_expired_one_is_replaced() {
    let mut line = line().await;
    let keys = line.concert.keys.clone();
    let ann = [Some(user_id(7))];
    let old = enter(&line, &ann).await.first.get();
    let expires_ms = let_in(&mut line, old, "7", 60_000).await;
    let met = enter(&line, &ann).await;
    assert_eq!(met.known[0], KnownArrival { index: 0, place: place(old), expires_ms });

    line.say(&format!("ZADD {} 1 {old}", keys.active)).await;
    let replaced = enter(&line, &ann).await;
    assert_eq!(replaced.known, []);
    assert_eq!(line.active().await, [0; 0]);
    assert_eq!(line.waiting().await, [replaced.first.get()]);
    let place = line.number(&format!("HGET {} 7", keys.users)).await;
    assert_eq!(u64::try_from(place), Ok(replaced.first.get()));
    assert_eq!((line.stat("issued").await, line.stat("expired").await), (2, 1));
}

#[tokio::test]
async fn the_board_shows_the_line_and_dead_numbers_in_bounded_steps() {
    let mut line = line().await;
    let keys = line.concert.keys.clone();
    let first = enter(&line, &[None; 5]).await.first.get();
    line.say(&format!("SETBIT {} 3 1", keys.sold(date(1)))).await;
    line.say(&format!("HSET {} capacity 5 paused 1", keys.settings)).await;
    line.say(&format!("ZADD {} 1 {} 2 7-9 3 {}", keys.dead, first + 1, first + 3)).await;
    let concert = line.concert.clone();
    let read = |after, limit| ReadBoard { concert: &concert, after, limit };
    let redis = line.server.redis.clone();
    let before = line.dump().await;
    let row = redis.run(&read(0, 2)).await.expect("a board");
    assert_eq!(row.head, Some(place(first)));
    assert_eq!(row.last, Some(place(first + 4)));
    assert_eq!((row.waiting, row.active, row.sold), (5, 0, 1));
    assert_eq!(row.capacity.as_deref(), Some("5"));
    assert_eq!((row.batch, row.paused.as_deref()), (None, Some("1")));
    assert_eq!(row.epoch.as_deref(), Some(EPOCH));
    let ordinals: Vec<_> = row.dead.iter().map(|entry| entry.ordinal).collect();
    assert_eq!(ordinals, [1, 2]);
    let rest = redis.run(&read(2, 2)).await.expect("a board");
    let ordinals: Vec<_> = rest.dead.iter().map(|entry| entry.ordinal).collect();
    assert_eq!(ordinals, [3]);
    assert_eq!(line.dump().await, before, "a read writes nothing");
}

fn claim(line: &Line, number: u64, user: Option<u64>) -> Claim<'_> {
    let config = QueueConfig::default();
    Claim {
        concert: &line.concert,
        place: place(number),
        user: user.map(user_id),
        active_ttl: config.active_ttl,
        session_max: config.session_max,
    }
}

async fn run_claim(line: &Line, number: u64, user: Option<u64>) -> ClaimOutcome {
    let call = claim(line, number, user);
    line.server.redis.run(&call).await.expect("an answer")
}

#[tokio::test]
async fn the_first_use_extends_a_token_once_and_binds_it_to_its_user() {
    let mut line = line().await;
    let keys = line.concert.keys.clone();
    let number = enter(&line, &[None]).await.first.get();
    let_in(&mut line, number, "", 45_000).await;
    let token = keys.token(place(number));

    let ClaimOutcome::Active { owner: None, expires_ms, now_ms } =
        run_claim(&line, number, None).await
    else {
        panic!("an active token")
    };
    assert_eq!(expires_ms - now_ms, 600_000);
    let expiry = |line: &str| format!("{line} {token}");
    let key_expires = line.number(&expiry("PEXPIRETIME")).await;
    assert_eq!(u64::try_from(key_expires), Ok(expires_ms), "one deadline, in both places");
    let score = line.number(&format!("ZSCORE {} {number}", keys.active)).await;
    assert_eq!(u64::try_from(score), Ok(expires_ms));

    // The second use binds it and extends nothing: not even one that ends soon.
    let expires_ms = expires_ms - 500_000;
    line.say(&format!("ZADD {} {expires_ms} {number}", keys.active)).await;
    line.say(&format!("PEXPIREAT {token} {expires_ms}")).await;
    let bound = run_claim(&line, number, Some(7)).await;
    let ClaimOutcome::Active { owner, expires_ms: later, .. } = bound else {
        panic!("an active token")
    };
    assert_eq!((owner, later), (Some(user_id(7)), expires_ms));
    let value = line.say(&format!("GET {token}")).await;
    assert!(value.text().starts_with("7:1:"), "{value:?}");
    assert_eq!(line.number(&format!("HGET {} 7", keys.users)).await.unsigned_abs(), number);

    let before = line.dump().await;
    run_claim(&line, number, Some(7)).await;
    assert_eq!(run_claim(&line, number, Some(8)).await, ClaimOutcome::NotYours);
    assert_eq!(line.dump().await, before);
    assert_eq!(line.stat("claimed").await, 1);
}

#[tokio::test]
async fn a_user_with_another_live_place_cannot_bind_a_second_token() {
    let mut line = line().await;
    let keys = line.concert.keys.clone();
    let number = enter(&line, &[None, Some(user_id(7))]).await.first.get();
    let_in(&mut line, number, "", 45_000).await;
    let before = line.dump().await;
    assert_eq!(run_claim(&line, number, Some(7)).await, ClaimOutcome::UserHasToken);
    assert_eq!(line.dump().await, before);

    let_in(&mut line, number + 1, "7", 45_000).await;
    assert_eq!(run_claim(&line, number, Some(7)).await, ClaimOutcome::UserHasToken);
    // Once the other place is over, the user may.
    line.say(&format!("ZADD {} 1 {}", keys.active, number + 1)).await;
    assert!(matches!(run_claim(&line, number, Some(7)).await, ClaimOutcome::Active { .. }));
}

#[tokio::test]
async fn no_use_extends_a_token_beyond_the_longest_session_or_revives_it() {
    let mut line = line().await;
    let keys = line.concert.keys.clone();
    let number = enter(&line, &[None]).await.first.get();
    let expires_ms = let_in(&mut line, number, "", 45_000).await;
    let promoted_ms = expires_ms - 1_750_000;
    let token = keys.token(place(number));
    line.say(&format!("SET {token} :0:{promoted_ms} PXAT {expires_ms}")).await;
    let ClaimOutcome::Active { expires_ms: later, .. } = run_claim(&line, number, None).await
    else {
        panic!("an active token")
    };
    assert_eq!(later, promoted_ms + 1_800_000);

    line.say(&format!("ZADD {} 1 {number}", keys.active)).await;
    let before = line.dump().await;
    assert_eq!(run_claim(&line, number, None).await, ClaimOutcome::Gone, "the score decides");
    assert_eq!(run_claim(&line, number + 1, None).await, ClaimOutcome::Gone);
    assert_eq!(line.dump().await, before);
}

async fn leave(line: &Line, number: u64, user: Option<u64>) -> LeaveOutcome {
    let call = Leave {
        concert: &line.concert,
        place: place(number),
        user: user.map(user_id),
        asker: None,
        version: Uuid::new_v4(),
    };
    line.server.redis.run(&call).await.expect("an answer")
}

#[tokio::test]
async fn whoever_leaves_while_waiting_is_dead_and_may_come_again() {
    let mut line = line().await;
    let keys = line.concert.keys.clone();
    let first = enter(&line, &[None, Some(user_id(7)), None]).await.first.get();
    for number in [first + 1, first] {
        assert_eq!(leave(&line, number, None).await, LeaveOutcome::Left { released: 0 });
    }
    assert_eq!(line.waiting().await, [first + 2]);
    let dead = line.say(&format!("ZRANGE {} 0 -1 WITHSCORES", keys.dead)).await;
    let expected = [(first + 1).to_string(), "1".into(), first.to_string(), "2".into()];
    assert_eq!(dead.texts(), expected);
    assert_eq!(line.number(&format!("HEXISTS {} 7", keys.users)).await, 0);

    let before = line.dump().await;
    assert_eq!(leave(&line, first, None).await, LeaveOutcome::Gone);
    assert_eq!(line.dump().await, before);
    assert_eq!(line.stat("left").await, 2);
    assert_eq!(enter(&line, &[Some(user_id(7))]).await.first.get(), first + 3);
}

#[tokio::test]
async fn whoever_leaves_while_active_gives_his_own_holds_back_and_nobody_elses() {
    let mut line = line().await;
    let keys = line.concert.keys.clone();
    let number = enter(&line, &[Some(user_id(7))]).await.first.get();
    let_in(&mut line, number, "7", 60_000).await;
    let deadline_ms = line.now_ms().await + 60_000;
    let (day, next) = (date(1), date(2));
    for (day, seat, record) in [
        (day, 3, format!("mine-3:{number}:7:100:{deadline_ms}")),
        (next, 4, format!("mine-4:{number}:7:100:{deadline_ms}")),
        // Lapsed, and somebody else's by now.
        (next, 5, format!("theirs-5:{}:9:100:{deadline_ms}", number + 9)),
    ] {
        line.say(&format!("ZADD {} {deadline_ms} {seat}", keys.held(day))).await;
        line.say(&format!("HSET {} {seat} {record}", keys.hold(day))).await;
    }
    // A second request was told of it.
    line.say(&format!("HSET {} again:3 mine-3", keys.hold(day))).await;
    let holds = keys.holds(user_id(7));
    line.say(&format!("HSET {holds} {day}:3 mine-3 {next}:4 mine-4 {next}:5 mine-5")).await;

    assert_eq!(leave(&line, number, None).await, LeaveOutcome::OtherUser);
    let lease = format!("ZADD {} {deadline_ms} attempt", keys.paying(place(number)));
    line.say(&lease).await;
    let before = line.dump().await;
    assert_eq!(leave(&line, number, Some(7)).await, LeaveOutcome::Paying);
    assert_eq!(line.dump().await, before);
    line.say(&format!("ZADD {} 1 attempt", keys.paying(place(number)))).await;

    assert_eq!(leave(&line, number, Some(7)).await, LeaveOutcome::Left { released: 2 });
    assert_eq!(line.active().await, [0; 0]);
    assert_eq!(line.number(&format!("EXISTS {}", keys.token(place(number)))).await, 0);
    assert_eq!(line.number(&format!("ZCARD {}", keys.held(day))).await, 0);
    assert_eq!(line.number(&format!("EXISTS {}", keys.hold(day))).await, 0);
    let left = line.say(&format!("HKEYS {}", keys.hold(next))).await;
    assert_eq!(left.texts(), ["5"]);
    for day in [day, next] {
        assert_eq!(line.number(&format!("EXISTS {}", keys.version(day))).await, 1);
    }
    assert_eq!((line.stat("left").await, line.stat("released").await), (1, 2));
    let before = line.dump().await;
    assert_eq!(leave(&line, number, Some(7)).await, LeaveOutcome::Gone);
    assert_eq!(line.dump().await, before);
}

/// A Redis that forgot the scripts must not cost anybody a request.
#[tokio::test]
async fn every_script_works_after_redis_forgot_them() {
    let server = LocalRedis::throwaway(RedisOptions::throwaway()).await.expect("a private Redis");
    let mut line = Line::on(&server, concert(10, 2), QueueConfig::default()).await;
    let number = enter(&line, &[Some(user_id(7)), None]).await.first.get();
    let redis = line.server.redis.clone();

    line.say("SCRIPT FLUSH").await;
    assert_eq!(enter(&line, &[Some(user_id(7))]).await.known.len(), 1);
    line.say("SCRIPT FLUSH").await;
    let board = ReadBoard { concert: &line.concert.clone(), after: 0, limit: 10 };
    assert_eq!(redis.run(&board).await.expect("a board").waiting, 2);
    line.say("SCRIPT FLUSH").await;
    let report = line.server.queue.promote(&line.concert).await.expect("an answer");
    assert_eq!(report.promoted, 2);
    line.say("SCRIPT FLUSH").await;
    assert!(matches!(run_claim(&line, number, None).await, ClaimOutcome::Active { .. }));
    line.say("SCRIPT FLUSH").await;
    assert_eq!(leave(&line, number, Some(7)).await, LeaveOutcome::Left { released: 0 });
    let seq = line.number(&format!("GET {}", line.concert.keys.seq)).await;
    assert_eq!(u64::try_from(seq), Ok(number + 1), "the same process is not settled again");
}

#[tokio::test]
async fn nobody_leaves_with_a_token_that_is_bound_to_another_user() {
    let mut line = line().await;
    let first = enter(&line, &[Some(user_id(7)), Some(user_id(8))]).await.first.get();
    let_in(&mut line, first, "7", 60_000).await;
    let concert = line.concert.clone();
    let call = |number, user, asker| Leave {
        concert: &concert,
        place: place(number),
        user,
        asker: Some(user_id(asker)),
        version: Uuid::new_v4(),
    };
    let redis = line.server.redis.clone();
    let before = line.dump().await;
    for refused in [call(first, Some(user_id(7)), 9), call(first + 1, None, 9)] {
        let outcome = redis.run(&refused).await.expect("an answer");
        assert_eq!(outcome, LeaveOutcome::NotYours);
    }
    assert_eq!(line.dump().await, before);
    for mine in [call(first, Some(user_id(7)), 7), call(first + 1, None, 8)] {
        let outcome = redis.run(&mine).await.expect("an answer");
        assert_eq!(outcome, LeaveOutcome::Left { released: 0 });
    }
}
