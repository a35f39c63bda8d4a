//! Seat lists: exact at every moment, on every server, and cheap.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use onsale::local::{LocalRedis, RedisOptions};
use onsale::seats::{Holder, SCRIPTS, Seats, SeatsConfig};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use uuid::Uuid;

use super::Stage;
use super::stage::{database, list_of};
use crate::support::{self, RawRedis, redis_at};

#[derive(Debug, Clone)]
enum Step {
    Hold { user: usize, seat: u32, for_ms: u64 },
    Release { user: usize },
    Sell { seat: u32 },
    Sweep,
    Wait { ms: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_usize..3, 1_u32..=SEATS, 1_u64..40).prop_map(|(user, seat, for_ms)| Step::Hold {
            user, seat, for_ms
        }),
        3 => (0_usize..3).prop_map(|user| Step::Release { user }),
        1 => (1_u32..=SEATS).prop_map(|seat| Step::Sell { seat }),
        1 => Just(Step::Sweep),
        3 => (1_u64..15).prop_map(|ms| Step::Wait { ms }),
    ]
}

const SEATS: u32 = 9;

/// What the lists should show: plain sets, and Redis' clock.
#[derive(Default)]
struct Model {
    deadlines: BTreeMap<u32, u64>,
    sold: BTreeSet<u32>,
}

impl Model {
    fn free_at(&self, now_ms: u64) -> Vec<u32> {
        let held = |seat: &u32| self.deadlines.get(seat).is_some_and(|deadline| *deadline > now_ms);
        (1..=SEATS).filter(|seat| !self.sold.contains(seat) && !held(seat)).collect()
    }

    /// Every list that was true at some moment between the two.
    fn free_between(&self, from_ms: u64, to_ms: u64) -> BTreeSet<Vec<u32>> {
        let between = self.deadlines.values().filter(|ms| (from_ms..=to_ms).contains(ms));
        between.chain([&from_ms, &to_ms]).map(|ms| self.free_at(*ms)).collect()
    }
}

async fn play(steps: Vec<Step>) {
    let stage =
        Stage::with(support::concert(SEATS, 1), SeatsConfig::default(), database().await).await;
    let other = stage.another_server(SeatsConfig::default());
    let mut people = Vec::new();
    for user in 1..=3 {
        people.push(stage.admit(user).await);
    }
    let mut model = Model::default();
    for step in steps {
        act(&stage, &people, &mut model, &step).await;
        for server in [&stage.seats, &other, &stage.seats] {
            check(&stage, server, &model, &step).await;
        }
    }
}

async fn check(stage: &Stage, server: &Seats, model: &Model, step: &Step) {
    let from_ms = stage.now_ms().await;
    let list = list_of(server, &stage.concert).await;
    let possible = model.free_between(from_ms, stage.now_ms().await);
    assert!(possible.contains(&list), "after {step:?}: {list:?} is none of {possible:?}");
}

async fn act(stage: &Stage, people: &[Holder], model: &mut Model, step: &Step) {
    match *step {
        Step::Hold { user, seat, for_ms } => {
            let wish = [(super::stage::seat(seat), Uuid::now_v7())];
            let terms = onsale::seats::scripts::HoldTerms {
                hold_ttl: Duration::from_millis(for_ms),
                ..super::stage::terms()
            };
            let outcome = stage.hold(people[user], terms, &wish).await;
            if let onsale::seats::scripts::HoldOutcome::Held(holds) = outcome {
                model.deadlines.insert(seat, holds.holds[0].deadline_ms);
            }
        }
        Step::Release { user } => {
            let live = stage.seats.live_holds(&stage.concert, people[user].user).await.unwrap();
            if let Some(hold) = live.holds.first() {
                let reservation = hold.reservation;
                // It may lapse in between.
                if stage.seats.release(&stage.concert, people[user], reservation).await.is_ok() {
                    model.deadlines.remove(&hold.seat.get());
                }
            }
        }
        Step::Sell { seat } => {
            let call = onsale::seats::scripts::RestoreSold {
                concert: &stage.concert,
                date: stage.date(),
                lock: None,
                version: Uuid::now_v7(),
                seats: &[super::stage::seat(seat)],
            };
            stage.redis.run(&call).await.expect("marked");
            model.sold.insert(seat);
        }
        Step::Sweep => {
            stage.seats.sweep_all().await.expect("swept");
        }
        Step::Wait { ms } => tokio::time::sleep(Duration::from_millis(ms)).await,
    }
}

/// Random holds with short deadlines, releases, sales and sweeps, seen through two servers.
#[test]
fn every_list_was_true_at_a_moment_between_question_and_answer() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let config = Config { cases: 24, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&prop::collection::vec(step(), 1..40), |steps| {
            runtime.block_on(play(steps));
            Ok(())
        })
        .expect("an exact list");
}

#[tokio::test]
async fn an_unchanged_list_costs_one_read() {
    let server = LocalRedis::throwaway(RedisOptions::throwaway()).await.expect("Redis");
    let redis = redis_at(&server.url(), SCRIPTS).await;
    let raw = RawRedis::connect(server.socket()).await;
    let concert = support::concert(100_000, 1);
    let config = SeatsConfig::default();
    let stage = Stage::on(redis, raw, concert, config, database().await).await;
    let alice = stage.admit(1).await;
    assert_eq!(stage.list().await.len(), 100_000);
    stage.hold_new(alice, &[1, 99_999]).await;
    let free: Vec<u32> = (1..=100_000).filter(|n| ![1, 99_999].contains(n)).collect();
    assert_eq!(stage.list().await, free);
    stage.say("CONFIG RESETSTAT").await;
    for _ in 0..50 {
        let (concert, date) = (&stage.concert, stage.date());
        let seen = stage.seats.version(Some(concert), Some(date)).await.unwrap();
        stage.seats.list(concert, date, seen).await.unwrap();
    }
    let stats = stage.say("INFO commandstats").await;
    let stats = stats.text();
    assert!(stats.contains("cmdstat_mget:calls=50,"), "{stats}");
    assert!(!stats.contains("cmdstat_evalsha"), "{stats}");
}

/// A thousand people who look at the same date after a change cost a few readings, not a thousand.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_who_look_at_once_share_readings() {
    let server = LocalRedis::throwaway(RedisOptions::throwaway()).await.expect("Redis");
    let redis = redis_at(&server.url(), SCRIPTS).await;
    let raw = RawRedis::connect(server.socket()).await;
    let concert = support::concert(1000, 1);
    let stage = Stage::on(redis, raw, concert, SeatsConfig::default(), database().await).await;
    assert_eq!(stage.list().await.len(), 1000);
    let alice = stage.admit(1).await;
    stage.hold_new(alice, &[1]).await;
    stage.say("CONFIG RESETSTAT").await;
    let lists = futures::future::join_all((0..300).map(|_| stage.list())).await;
    assert!(lists.iter().all(|list| list.len() == 999));
    let stats = stage.say("INFO commandstats").await;
    let readings = stats.text().split("cmdstat_evalsha:calls=").nth(1).expect("a reading");
    let readings: u32 = readings.split(',').next().unwrap().parse().unwrap();
    assert!(readings <= 3, "{readings} readings");
}

/// Lists of many holds that change all the time leave Redis time for holds, and are exact all the same.
#[tokio::test]
async fn a_list_of_many_held_seats_is_not_read_without_a_rest() {
    const HELD: u32 = 2_000;
    const REST: Duration = Duration::from_millis(20);
    const CHANGES: u32 = 20;
    let server = LocalRedis::throwaway(RedisOptions::throwaway()).await.expect("Redis");
    let redis = redis_at(&server.url(), SCRIPTS).await;
    let raw = RawRedis::connect(server.socket()).await;
    let concert = support::concert(HELD + CHANGES, 1);
    let stage = Stage::on(redis, raw, concert, SeatsConfig::default(), database().await).await;
    let keys = &stage.concert.keys;
    let (held, version) = (keys.held(stage.date()), keys.version(stage.date()));
    let far_ms = stage.now_ms().await + 3_600_000;
    let seats: Vec<_> = (1..=HELD).map(|seat| format!("{far_ms} {seat}")).collect();
    stage.say(&format!("ZADD {held} {}", seats.join(" "))).await;
    assert_eq!(stage.list().await.len(), CHANGES as usize);
    let begun = std::time::Instant::now();
    for change in 1..=CHANGES {
        stage.say(&format!("ZADD {held} {far_ms} {}", HELD + change)).await;
        stage.say(&format!("SET {version} {change}")).await;
        assert_eq!(stage.list().await.len(), (CHANGES - change) as usize);
    }
    // The first of them may have rested before the clock began.
    assert!(begun.elapsed() >= REST * (CHANGES - 1), "{:?}", begun.elapsed());
}
