//! Which fault comes when: all of it follows from the seed, before the run begins.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use crate::faults::{Fault, Kind, Link};
use crate::stage::Stage;

/// The places at which a server kills itself.
const CRASH_POINTS: [&str; 4] =
    ["reserve.after_hold", "pay.after_begin", "pay.after_commit", "pay.after_finish"];

/// Every kind of link delays.
const DELAYS_MS: [u64; 3] = [50, 500, 5000];

/// The concerts that a fault may choose from, and the Redis.
const CONCERTS: usize = 4;
const REDIS_MAX: usize = 6;

/// One fault, or two at the same time, and then a rest in which everything must work again.
pub struct Step {
    pub faults: Vec<Fault>,
    /// From the begin of the first to the begin of the second.
    pub apart: Duration,
    pub rest: Duration,
}

/// Faults without end, if there are any: every kind comes once before any comes again.
pub struct Schedule {
    stage: Stage,
    random: StdRng,
    bag: Vec<Kind>,
    servers: usize,
    steps: u32,
}

impl Schedule {
    /// The schedule of this stage and its seed.
    pub fn new(stage: &Stage, servers: usize) -> Self {
        let random = StdRng::seed_from_u64(stage.seed);
        Self { stage: stage.clone(), random, bag: Vec::new(), servers, steps: 0 }
    }

    fn fault(&mut self) -> Option<Fault> {
        if self.bag.is_empty() {
            self.bag = self.stage.kinds.to_vec();
            self.bag.shuffle(&mut self.random);
        }
        let kind = self.bag.pop()?;
        let random = &mut self.random;
        let link = [Link::Clients, Link::Redis, Link::Postgres][random.random_range(0..3)];
        Some(Fault {
            kind,
            server: random.random_range(0..self.servers),
            link: self.stage.link.unwrap_or(link),
            hold: Duration::from_millis(random.random_range(500..5000)),
            delay: Duration::from_millis(DELAYS_MS[random.random_range(0..DELAYS_MS.len())]),
            crash_point: CRASH_POINTS[random.random_range(0..CRASH_POINTS.len())],
            bytes: random.random_range(0..400),
            concert: random.random_range(0..CONCERTS),
            one_redis: random.random_ratio(1, 2).then(|| random.random_range(0..REDIS_MAX)),
        })
    }
}

impl Iterator for Schedule {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        self.steps += 1;
        let first = self.fault()?;
        let mut faults = vec![first.clone()];
        if self.random.random_ratio(1, 3)
            && let Some(second) = self.fault()
        {
            // Two faults of one place would undo each other.
            if second.place() == first.place() {
                self.bag.push(second.kind);
            } else {
                faults.push(second);
            }
        }
        let apart = Duration::from_millis(self.random.random_range(0..2000));
        // Each third rest is long enough to see that everything works again.
        let usual = Duration::from_secs(if self.steps.is_multiple_of(3) { 12 } else { 4 });
        Some(Step { faults, apart, rest: self.stage.between.unwrap_or(usual) })
    }
}
