//! What people were told against what followed: a steady drain of 20,000 people through a real line.
//!
//! A Redis of its own, the line as a server runs it, promotion each second, and a task per person who
//! arrives, polls as told, stays for a while and leaves. Sessions limit the drain, not `batch`: a fifth
//! of the people never come and their tokens expire, the others stay 0.4 to 1.8 times the mean.
//! It takes about five minutes of waiting and little work: `cargo bench --bench estimate`.

#![expect(clippy::expect_used, reason = "a bench fails by panicking")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use onsale::concerts::{Catalogue, Concert, Concerts, Gates, Generation, file};
use onsale::local::{LocalRedis, RedisOptions};
use onsale::queue::{Queue, QueueConfig, QueueError, SCRIPTS, Status, TokenKeys};
use onsale::redis::{Redis, RedisConfig};
use onsale::words::UserId;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Who is asked.
const PEOPLE: u64 = 20_000;
/// Who comes before, so that the drain is steady when the others come.
const BEFORE: u64 = 9_000;
const CAPACITY: u32 = 700;
const BATCH: u32 = 300;
const CLAIM_TTL: Duration = Duration::from_secs(10);
const MEAN_SESSION_S: f64 = 5.0;
/// Always the same sessions.
const SEED: u64 = 5;

/// What somebody was told, and when.
type Told = Vec<(Instant, u64)>;

struct Sale {
    queue: Queue,
    concert: Arc<Concert>,
}

impl Sale {
    async fn open(store: &LocalRedis) -> Self {
        let config = RedisConfig::new(&store.url());
        let redis = Redis::connect(&config, SCRIPTS).expect("a Redis URL");
        let text = "[[concert]]\nid = 1\nname = \"A\"\ndates = [\"2099-01-01\"]\nseats = 100000\n\
            price = 1\ntime_zone = \"UTC\"";
        let concert = file::parse(text).expect("a catalogue").remove(0);
        let config = QueueConfig {
            capacity: CAPACITY,
            batch: BATCH,
            claim_ttl: CLAIM_TTL,
            ..QueueConfig::default()
        };
        let concerts = Concerts::new(Catalogue::new(vec![concert.clone()], None));
        let (gates, keys) = (Gates::default(), TokenKeys::generate());
        let keys = TokenKeys::parse(&keys).expect("a key");
        let queue = Queue::new(redis.clone(), concerts, gates.clone(), config, keys);
        let settling = queue.clone();
        redis.on_forgotten(move |shard| {
            let queue = settling.clone();
            Box::pin(async move { queue.settle_all(&shard).await })
        });
        let concert = Arc::new(concert);
        let settled = loop {
            match queue.settle(&concert).await {
                Ok(settled) => break settled,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        store.say(&format!("SET {} e", concert.keys.epoch)).await.expect("an answer");
        gates.open(concert.id, Generation { run: settled.run, epoch: "e".into() });
        Self { queue, concert }
    }

    /// Comes, waits, stays, leaves; what was told while waiting, and when the turn was seen.
    async fn visit(&self, user: u64) -> Option<(Told, Instant)> {
        let mut random = StdRng::seed_from_u64(SEED + user);
        let joined = loop {
            match self.queue.join(&self.concert, None).await {
                Ok(joined) => break joined,
                // As a client does that is told to come again.
                Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
            }
        };
        let (token, mut standing) = (joined.token, joined.standing);
        let mut told = Told::new();
        while standing.status != Status::Active {
            told.push((Instant::now(), standing.estimated_wait_seconds));
            tokio::time::sleep(Duration::from_secs_f64(standing.poll_after.seconds())).await;
            standing = loop {
                match self.queue.standing(&token).await {
                    Ok(standing) => break standing,
                    Err(QueueError::TokenExpired) => return None,
                    Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
                }
            };
        }
        let turn = Instant::now();
        if !random.random_bool(0.2) {
            let user = UserId::try_from(i128::from(user)).ok();
            // Whoever comes too late has had a turn all the same.
            if self.queue.admit(&token, None, user).await.is_ok() {
                let session_s = MEAN_SESSION_S * random.random_range(0.4..1.8);
                tokio::time::sleep(Duration::from_secs_f64(session_s)).await;
                let _ = self.queue.leave(&token, user).await;
            }
        }
        Some((told, turn))
    }

    async fn promote(self: Arc<Self>) {
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        loop {
            tick.tick().await;
            // The next tick makes up for one that failed.
            let _ = self.queue.promote(&self.concert).await;
        }
    }
}

/// Told and followed, in seconds.
fn pairs((told, turn): &(Told, Instant)) -> impl Iterator<Item = (f64, f64)> + '_ {
    told.iter().map(|(at, seconds)| {
        let told = f64::from(u32::try_from(*seconds).unwrap_or(u32::MAX));
        (told, turn.duration_since(*at).as_secs_f64())
    })
}

/// The share of estimates that were wrong by less than `part` of what followed.
#[expect(clippy::cast_precision_loss, reason = "counts")]
fn share(pairs: &[(f64, f64)], part: f64) -> f64 {
    let within = pairs.iter().filter(|(told, real)| (told - real).abs() <= part * real);
    within.count() as f64 / pairs.len() as f64
}

fn print(name: &str, pairs: &[(f64, f64)]) {
    println!("\n{name}: {} estimates", pairs.len());
    for percent in [5, 10, 20, 30, 50] {
        println!(
            "  within {percent:>2} %: {:5.1} %",
            100.0 * share(pairs, f64::from(percent) / 100.0)
        );
    }
    let mut errors: Vec<f64> =
        pairs.iter().map(|(told, real)| 100.0 * (told / real - 1.0)).collect();
    errors.sort_by(f64::total_cmp);
    let at = |percent: usize| errors[(errors.len() - 1) * percent / 100];
    let line: Vec<_> =
        [1, 5, 25, 50, 75, 95, 99].iter().map(|p| format!("p{p} {:+.1} %", at(*p))).collect();
    println!("  error (told / followed - 1): {}", line.join(", "));
}

#[tokio::main]
async fn main() {
    let store = LocalRedis::throwaway(RedisOptions::throwaway()).await.expect("a Redis");
    let sale = Arc::new(Sale::open(&store).await);
    let promoting = tokio::spawn(Arc::clone(&sale).promote());
    let visit = |user: u64| {
        let sale = Arc::clone(&sale);
        tokio::spawn(async move { sale.visit(user).await })
    };
    println!("{BEFORE} people come first; {PEOPLE} when two thirds of them are through");
    let mut before: Vec<_> = (1..=BEFORE).map(&visit).collect();
    for early in before.drain(..usize::try_from(BEFORE * 2 / 3).expect("a count")) {
        early.await.expect("a visit");
    }
    let began = Instant::now();
    let visits: Vec<_> = (BEFORE + 1..=BEFORE + PEOPLE).map(&visit).collect();
    let mut seen = Vec::new();
    for visit in visits {
        seen.extend(visit.await.expect("a visit"));
    }
    println!("{} of them saw their turn in time", seen.len());
    promoting.abort();
    let last = seen.iter().map(|(_, turn)| *turn).max().expect("somebody");
    println!("the last of them had a turn after {:.0} s", last.duration_since(began).as_secs_f64());
    let first: Vec<_> = seen.iter().filter_map(|visit| pairs(visit).next()).collect();
    let all: Vec<_> = seen.iter().flat_map(pairs).collect();
    print("At arrival", &first);
    print("At every poll", &all);
    let honest = share(&first, 0.2);
    assert!(honest >= 0.9, "only {honest} were told a wait within 20 % of what followed");
}
