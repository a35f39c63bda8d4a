//! What stands between this server and a sale.

use std::time::{Duration, Instant};

use futures::future::join_all;
use sqlx::PgPool;
use tokio::sync::Mutex;

use crate::concerts::{Concerts, Gates};
use crate::postgres;
use crate::queue::PROMOTE_JOB;
use crate::redis::{Redis, RedisServer};
use crate::scheduler::Successes;

/// The line stands still if the last successful promotion is older.
const PROMOTION_AGE_MAX: Duration = Duration::from_secs(5);

/// Looks at both stores, the jobs and the gates.
///
/// Anybody may ask, and as often as they like; so there is one look at a time, and everybody who
/// asked before it began gets its answer. No answer is older than its question.
pub struct Readiness {
    redis: Redis,
    database: PgPool,
    concerts: Concerts,
    gates: Gates,
    jobs: Successes,
    last: Mutex<Option<Look>>,
}

/// What was missing at one moment.
struct Look {
    begun: Instant,
    missing: Vec<String>,
}

impl Readiness {
    /// Looks at these.
    #[must_use]
    pub fn new(
        redis: Redis,
        database: PgPool,
        concerts: Concerts,
        gates: Gates,
        jobs: Successes,
    ) -> Self {
        Self { redis, database, concerts, gates, jobs, last: Mutex::default() }
    }

    /// One sentence for each thing that is missing; empty if the server can sell.
    pub async fn missing(&self) -> Vec<String> {
        let asked = Instant::now();
        let mut last = self.last.lock().await;
        if let Some(look) = last.as_ref().filter(|look| look.begun >= asked) {
            return look.missing.clone();
        }
        let begun = Instant::now();
        let missing = self.look().await;
        *last = Some(Look { begun, missing: missing.clone() });
        missing
    }

    async fn look(&self) -> Vec<String> {
        let (redis, database) = tokio::join!(self.redis_faults(), self.database_faults());
        let mut missing = redis;
        missing.extend(database);
        for concert in self.concerts.load().iter() {
            if self.gates.verified(concert.id).is_none() {
                missing.push(format!(
                    "concert {}: its sold seats are not yet compared with PostgreSQL",
                    concert.id
                ));
            }
        }
        match self.jobs.age(PROMOTE_JOB) {
            Some(age) if age <= PROMOTION_AGE_MAX => {}
            Some(age) => missing.push(format!("no promotion ran for {} s", age.as_secs())),
            None => missing.push("no promotion ran yet".to_owned()),
        }
        missing
    }

    async fn redis_faults(&self) -> Vec<String> {
        let servers = self.redis.servers();
        if servers.is_empty() {
            return vec!["nobody says which Redis takes writes".to_owned()];
        }
        join_all(servers.iter().map(redis_fault)).await.into_iter().flatten().collect()
    }

    async fn database_faults(&self) -> Vec<String> {
        // In a task of its own: whoever asks may go away, and a question that is dropped while nobody
        // answers would keep its connection for ever.
        let database = self.database.clone();
        let state = tokio::spawn(async move { postgres::schema_state(&database).await });
        match state.await {
            Ok(Ok(postgres::SchemaState::Current)) => Vec::new(),
            Ok(Ok(postgres::SchemaState::Behind)) => {
                vec!["the PostgreSQL schema is not up to date: run `onsale migrate`".to_owned()]
            }
            Ok(Err(_)) | Err(_) => vec!["PostgreSQL does not answer".to_owned()],
        }
    }
}

async fn redis_fault(server: &RedisServer) -> Option<String> {
    if server.ping().await.is_err() {
        return Some(format!("Redis does not answer ({})", server.name()));
    }
    match server.config_get("maxmemory-policy").await {
        Ok(Some(policy)) if policy != "noeviction" => Some(format!(
            "Redis would drop keys when its memory is full: maxmemory-policy is {policy}, it must \
             be noeviction ({})",
            server.name()
        )),
        // A hosted Redis may forbid CONFIG; `onsale check` says so.
        _ => None,
    }
}
