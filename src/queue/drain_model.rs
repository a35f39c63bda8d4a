//! Estimates against the waits that followed, in simulated drains of a line.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a simulation rounds seconds and people as it likes"
)]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::board::{BoardFacts, LineSettings};
use super::estimate::{Outlook, PollAfter};
use super::pace::Pace;
use crate::words::Place;

const ACTIVE_TTL: Duration = Duration::from_mins(10);
const BOARD_EVERY_MS: u64 = 250;
/// How long a drain runs before it counts as steady.
const WARM_UP_SECONDS: u64 = 900;

#[derive(Debug, Clone, Copy)]
enum Session {
    /// Any moment is as good as another to leave.
    Exponential,
    /// A fifth never comes and dies after 45 s; the others stay 0.4 to 1.8 times the mean.
    WithNoShows,
}

/// A line with as many people as anybody asks about, and a plain promoter that ticks each second.
struct Drain {
    random: StdRng,
    session: Session,
    mean_seconds: f64,
    settings: LineSettings,
    now_ms: u64,
    ends: BinaryHeap<Reverse<u64>>,
    /// When each place was promoted; the next place is its length + 1.
    promoted_ms: Vec<u64>,
    pace: Pace,
}

impl Drain {
    fn new(seed: u64, session: Session, mean_seconds: f64, capacity: u32, batch: u32) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            session,
            mean_seconds,
            settings: LineSettings {
                capacity,
                batch,
                paused: false,
                opens_at_ms: 0,
                closes_at_ms: 0,
            },
            now_ms: 0,
            ends: BinaryHeap::new(),
            promoted_ms: Vec::new(),
            pace: Pace::new(ACTIVE_TTL),
        }
    }

    fn session_ms(&mut self) -> u64 {
        let seconds = match self.session {
            Session::Exponential => {
                -self.mean_seconds * (1.0 - self.random.random::<f64>()).max(1e-9).ln()
            }
            Session::WithNoShows if self.random.random_bool(0.2) => 45.0,
            Session::WithNoShows => self.mean_seconds * self.random.random_range(0.4..1.8),
        };
        (seconds * 1000.0) as u64 + 1
    }

    fn facts(&self) -> BoardFacts {
        let place = |number: usize| Place::try_from(number as i128).ok();
        BoardFacts {
            redis_now_ms: self.now_ms,
            run: None,
            epoch: None,
            last: place(1 << 40),
            head: place(self.promoted_ms.len() + 1),
            waiting: 1 << 39,
            active: self.ends.len() as u64,
            promoted: self.promoted_ms.len() as u64,
            sold: 0,
            held: 0,
            withheld: 0,
            draw: None,
            seats: 50,
            settings: self.settings,
            message: None,
        }
    }

    /// Runs until `seconds` have passed; promotion takes `batch` at most every `tick_ms`.
    fn run(&mut self, seconds: u64, tick_ms: u64) {
        let until = self.now_ms + seconds * 1000;
        while self.now_ms < until {
            self.now_ms += BOARD_EVERY_MS;
            while self.ends.peek().is_some_and(|Reverse(end)| *end <= self.now_ms) {
                self.ends.pop();
            }
            if self.now_ms.is_multiple_of(tick_ms) && !self.settings.paused {
                let free = (self.settings.capacity as usize).saturating_sub(self.ends.len());
                for _ in 0..free.min(self.settings.batch as usize) {
                    let end = self.now_ms + self.session_ms();
                    self.ends.push(Reverse(end));
                    self.promoted_ms.push(self.now_ms);
                }
            }
            let facts = self.facts();
            self.pace.observe(&facts);
        }
    }

    fn outlook(&self) -> Outlook {
        self.pace.outlook(&self.facts())
    }
}

/// The share of people whose estimate was within 20 % of the wait that followed.
///
/// Everybody in a line of `people` is asked, at several moments of one drain.
fn share_of_honest_estimates(drain: &mut Drain, people: usize, tick_ms: u64) -> f64 {
    let mut asked: Vec<(u64, usize, u64)> = Vec::new();
    for _ in 0..12 {
        drain.run(41, tick_ms);
        let outlook = drain.outlook();
        for position in (1..=people).step_by(people / 200) {
            let place = drain.promoted_ms.len() + position;
            let wait = outlook.wait_seconds(position as u64);
            asked.push((drain.now_ms, place, wait));
        }
    }
    while drain.promoted_ms.len() < asked.last().expect("asked").1 {
        drain.run(60, tick_ms);
    }
    let honest = asked.iter().filter(|(asked_ms, place, wait)| {
        let real = (drain.promoted_ms[place - 1] - asked_ms) as f64 / 1000.0;
        // Nobody is told parts of a second, and promotion ticks once in one.
        (*wait as f64 - real).abs() <= (0.2 * real).max(1.0)
    });
    honest.count() as f64 / asked.len() as f64
}

fn sessions() -> impl Strategy<Value = Session> {
    prop_oneof![Just(Session::Exponential), Just(Session::WithNoShows)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_drain_bound_by_slots_is_estimated_within_a_fifth(
        seed: u64, session in sessions(), mean in 40.0_f64..300.0, per_second in 8.0_f64..40.0,
    ) {
        let capacity = (per_second * mean) as u32;
        let mut drain = Drain::new(seed, session, mean, capacity, 4 * per_second as u32 + 20);
        drain.run(WARM_UP_SECONDS, 1000);
        let people = (per_second * 900.0) as usize;
        let share = share_of_honest_estimates(&mut drain, people, 1000);
        prop_assert!(share >= 0.9, "{share} of {people} people");
    }

    #[test]
    fn a_drain_bound_by_the_batch_is_estimated_within_a_fifth(
        seed: u64, session in sessions(), mean in 20.0_f64..120.0, batch in 1_u32..60,
    ) {
        let capacity = (f64::from(batch) * mean * 2.0) as u32 + 50;
        let mut drain = Drain::new(seed, session, mean, capacity, batch);
        drain.run(WARM_UP_SECONDS, 1000);
        let people = batch as usize * 900;
        let share = share_of_honest_estimates(&mut drain, people, 1000);
        prop_assert!(share >= 0.9, "{share} of {people} people");
    }

    #[test]
    fn a_slow_promoter_is_noticed(seed: u64, tick_s in 2_u64..5, batch in 5_u32..60) {
        let mut drain = Drain::new(seed, Session::Exponential, 60.0, 100_000, batch);
        drain.run(WARM_UP_SECONDS, tick_s * 1000);
        let share = share_of_honest_estimates(&mut drain, 300 * batch as usize, tick_s * 1000);
        prop_assert!(share >= 0.9, "{share}");
    }

    #[test]
    fn polls_keep_their_bounds(wait in 0_u64..100_000, jitter in -0.5_f64..1.5, claim_ms in 1200_u64..90_000) {
        let claim_ttl = Duration::from_millis(claim_ms);
        let poll = PollAfter::new(wait, jitter, claim_ttl);
        prop_assert!(poll.seconds() >= 0.8);
        prop_assert!(poll.seconds() <= 0.7 * claim_ttl.as_secs_f64() + 1e-9);
        prop_assert!(poll.seconds() <= 36.0);
        prop_assert_eq!(poll.retry_after_seconds(), poll.seconds().ceil() as u64);
        let further = PollAfter::new(wait + 50, jitter, claim_ttl);
        prop_assert!(further >= poll, "it grows with the wait");
    }
}

/// Below a few tokens a second the waits themselves are chance, by more than a fifth in an unlucky
/// drain; so many drains are taken together, always the same ones.
#[test]
fn slow_drains_taken_together_are_estimated_within_a_fifth() {
    let mut random = StdRng::seed_from_u64(2_025);
    let mut sum = 0.0;
    for drain in 0..40 {
        let session = [Session::Exponential, Session::WithNoShows][drain % 2];
        let (mean, per_second) = (random.random_range(40.0..300.0), random.random_range(0.5..8.0));
        let capacity = (per_second * mean) as u32;
        let mut drain = Drain::new(random.random(), session, mean, capacity, 20);
        drain.run(WARM_UP_SECONDS, 1000);
        sum += share_of_honest_estimates(&mut drain, (per_second * 900.0) as usize, 1000);
    }
    assert!(sum / 40.0 >= 0.9, "{}", sum / 40.0);
}

/// At the opening the empty slots fill at full supply: nobody far back may take that for the rate.
#[test]
fn the_rush_into_empty_slots_is_not_taken_for_the_rate() {
    let mut drain = Drain::new(7, Session::Exponential, 150.0, 1000, 100);
    drain.run(5, 1000);
    let outlook = drain.outlook();
    assert_eq!(outlook.wait_seconds(300), 3, "slots are free for these");
    assert!(outlook.wait_seconds(10_500) > 1_000, "no hour in a hundred seconds");
    drain.run(55, 1000);
    let wait = drain.outlook().wait_seconds(10_000);
    assert!((1_200..1_900).contains(&wait), "{wait}");
}

#[test]
fn a_quiet_hour_does_not_make_the_next_crowd_wait_for_ever() {
    let mut drain = Drain::new(7, Session::Exponential, 100.0, 1000, 100);
    drain.run(900, 1000);
    let busy = drain.outlook().rate_per_second;
    // Nobody waits: the slots empty, readings go on.
    let mut pace = Pace::new(ACTIVE_TTL);
    for second in 0..3_600 {
        let facts = BoardFacts {
            redis_now_ms: second * 1000,
            head: None,
            waiting: 0,
            active: 50,
            promoted: second / 2,
            ..drain.facts()
        };
        pace.observe(&facts);
    }
    let quiet = pace.outlook(&drain.facts()).rate_per_second;
    assert!((0.8..1.25).contains(&(quiet / busy)), "{quiet} instead of {busy}");
}

#[test]
fn without_history_the_configuration_speaks() {
    let drain = Drain::new(7, Session::Exponential, 100.0, 600, 100);
    let outlook = drain.outlook();
    assert_eq!(outlook.wait_seconds(0), 0);
    assert_eq!(outlook.wait_seconds(1), 1);
    assert_eq!(outlook.wait_seconds(600), 6);
    assert_eq!(outlook.wait_seconds(700), 106, "600 slots, turned over each in 600 s");
}

#[test]
fn a_halted_line_says_a_day_and_a_later_opening_is_added() {
    let mut drain = Drain::new(7, Session::Exponential, 100.0, 1000, 100);
    drain.settings.opens_at_ms = 500_000;
    assert_eq!(drain.outlook().wait_seconds(100), 501);
    for settings in [
        LineSettings { paused: true, ..drain.settings },
        LineSettings { batch: 0, ..drain.settings },
        LineSettings { capacity: 0, ..drain.settings },
    ] {
        drain.settings = settings;
        assert_eq!(drain.outlook().wait_seconds(1), Outlook::WAIT_MAX_SECONDS, "{settings:?}");
    }
}

/// Live knobs are taken at their word at once; history only says how the line uses them.
#[test]
fn a_changed_batch_or_capacity_shows_at_once() {
    let mut drain = Drain::new(7, Session::Exponential, 100.0, 2000, 5);
    drain.run(900, 1000);
    assert_eq!(drain.outlook().wait_seconds(3_000), 600);
    drain.settings.batch = 10;
    assert_eq!(drain.outlook().wait_seconds(3_000), 300);
}

#[test]
fn a_lost_counter_forgets_the_history() {
    let mut drain = Drain::new(7, Session::Exponential, 20.0, 1000, 100);
    drain.run(300, 1000);
    let fresh = Pace::new(ACTIVE_TTL).outlook(&drain.facts()).rate_per_second;
    assert!(drain.outlook().rate_per_second > 10.0 * fresh);
    let lost = BoardFacts { promoted: 3, ..drain.facts() };
    drain.pace.observe(&lost);
    let after = drain.pace.outlook(&drain.facts()).rate_per_second;
    assert!((after - fresh).abs() < 1e-9, "{after}");
}

#[test]
fn people_poll_often_at_the_front_and_rarely_far_back() {
    let polls = |wait| {
        let poll = PollAfter::new(wait, 0.5, Duration::from_secs(45));
        poll.seconds().to_string()
    };
    assert_eq!([0, 10, 100, 10_000].map(polls), ["1", "1", "10", "26.2"]);
    let hasty = PollAfter::new(10_000, 1.0, Duration::from_secs(1));
    assert_eq!(hasty.seconds().to_string(), "0.7");
    assert_eq!(hasty.retry_after_seconds(), 1);
}
