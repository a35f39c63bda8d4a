//! Every Lua script against a real Redis, by size.
//!
//! Unit: time per call, seen by one client on a unix socket, so that one round trip (`PING`) is part
//! of each. Every call takes the path of success on data of its own, made before the clock starts.
//! Redis runs without persistence.
//!
//! Run: `cargo bench --bench scripts`; `-- --test` runs everything once.

#![expect(missing_docs, reason = "criterion generates the function of a group")]
#![expect(clippy::expect_used, clippy::panic, reason = "a bench that cannot be set up must stop")]

mod money;
mod queue;
mod redis;
mod seats;

use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use redis::Redis;

/// Later than any clock of a test, in Unix ms.
const LATER: u64 = 4_000_000_000_000;
/// The date of the concert.
const DATE: &str = "2035-06-01";

/// Makes the data of one call of a size, which has a number, and answers its keys and arguments.
type Prepare = Box<dyn Fn(&mut Redis, usize, usize) -> Call>;
/// Makes what all calls of a size share.
type Setup = Box<dyn Fn(&mut Redis, usize)>;

/// One script at one size.
struct Case {
    name: String,
    source: &'static str,
    size: usize,
    /// What the first item of its answer must be.
    tag: &'static str,
    prepare: Prepare,
    setup: Setup,
}

impl Case {
    /// With something that all calls share.
    fn after(self, setup: impl Fn(&mut Redis, usize) + 'static) -> Self {
        Self { setup: Box::new(setup), ..self }
    }
}

/// What a script is called with.
#[derive(Default)]
struct Call {
    keys: Vec<String>,
    args: Vec<String>,
}

#[expect(clippy::needless_pass_by_value, reason = "numbers and texts alike, at the call")]
impl Call {
    fn key(mut self, key: impl ToString) -> Self {
        self.keys.push(key.to_string());
        self
    }

    fn keys(self, keys: &[&str]) -> Self {
        keys.iter().fold(self, Call::key)
    }

    fn arg(mut self, arg: impl ToString) -> Self {
        self.args.push(arg.to_string());
        self
    }

    fn words(self, sha: &str) -> Vec<String> {
        let head = ["EVALSHA".to_owned(), sha.to_owned(), self.keys.len().to_string()];
        head.into_iter().chain(self.keys).chain(self.args).collect()
    }
}

fn case(
    name: impl Into<String>,
    source: &'static str,
    size: usize,
    tag: &'static str,
    prepare: impl Fn(&mut Redis, usize, usize) -> Call + 'static,
) -> Case {
    Case {
        name: name.into(),
        source,
        size,
        tag,
        prepare: Box::new(prepare),
        setup: Box::new(|_, _| ()),
    }
}

fn round_trip(c: &mut Criterion) {
    let mut redis = Redis::start();
    let ping = ["PING".to_owned()];
    c.bench_function("PING", |b| b.iter(|| redis.call(&ping)));
}

fn scripts(c: &mut Criterion) {
    let mut redis = Redis::start();
    for case in queue::cases().into_iter().chain(seats::cases()).chain(money::cases()) {
        redis.run("FLUSHALL");
        redis.run(&format!("SET run {}", redis.turn));
        redis.run("SET epoch e");
        (case.setup)(&mut redis, case.size);
        let sha = redis.call(&["SCRIPT".into(), "LOAD".into(), case.source.to_owned()]);
        let mut number = 0;
        c.bench_function(&format!("{}/{}", case.name, case.size), |b| {
            b.iter_custom(|times| {
                let mut taken = Duration::ZERO;
                for _ in 0..times {
                    number += 1;
                    let words = (case.prepare)(&mut redis, case.size, number).words(&sha);
                    let started = Instant::now();
                    let tag = redis.call(&words);
                    taken += started.elapsed();
                    assert_eq!(tag, case.tag, "{}", case.name);
                }
                taken
            });
        });
    }
}

/// A user, place `place`, with live holds of `seats` seats, the first of them number 1.
fn hold(redis: &mut Redis, place: usize, seats: usize) {
    for key in ["held", "hold", "holds", "sold", "version"] {
        redis.run(&format!("DEL {key}"));
    }
    redis.run(&format!("SET token 7:2:{}", LATER - 1_000));
    redis.run(&format!("ZADD active {LATER} {place}"));
    for seat in 1..=seats {
        redis.run(&format!("ZADD held {LATER} {seat}"));
        redis.run(&format!("HSET hold {seat} r{seat}:{place}:7:100:{LATER}"));
        redis.run(&format!("HSET holds {DATE}:{seat} r{seat}"));
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20);
    targets = round_trip, scripts
}
criterion_main!(benches);
