//! What stands between this server and a sale.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use sqlx::PgPool;
use tokio::sync::Mutex;

use crate::concerts::{Concert, Concerts, Gates};
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

/// What was found at one moment.
#[derive(Debug, Clone)]
pub struct Look {
    begun: Instant,
    /// One sentence for each thing that is missing; empty if nothing is.
    pub missing: Vec<String>,
    /// Whether this server can sell any concert. While one shard of a cluster is away, the concerts
    /// of the others sell on: every server sees the same, so to take this one out of service would
    /// take them all out.
    pub can_sell: bool,
    /// When a shard was last seen to be away; none if it is long ago.
    shard_away: Option<Instant>,
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

    /// What stands in the way of a sale now.
    pub async fn look(&self) -> Look {
        let asked = Instant::now();
        let mut last = self.last.lock().await;
        if let Some(look) = last.as_ref().filter(|look| look.begun >= asked) {
            return look.clone();
        }
        let look = self.look_now(last.take().and_then(|look| look.shard_away)).await;
        *last = Some(look.clone());
        look
    }

    /// `shard_away`: when one was last seen to be away.
    async fn look_now(&self, shard_away: Option<Instant>) -> Look {
        let begun = Instant::now();
        let servers = self.redis.servers();
        let (faults, mut missing) =
            tokio::join!(join_all(servers.iter().map(redis_fault)), self.database_faults());
        let mut can_sell = missing.is_empty();
        let mut away = Vec::new();
        for (server, fault) in servers.iter().zip(faults) {
            match fault {
                None => {}
                Some(RedisFault::Away) => {
                    away.push(server.shard());
                    missing.push(format!("Redis does not answer ({})", server.name()));
                }
                Some(RedisFault::Evicts(policy)) => {
                    can_sell = false;
                    missing.push(format!(
                        "Redis would drop keys when its memory is full: maxmemory-policy is \
                         {policy}, it must be noeviction ({})",
                        server.name()
                    ));
                }
            }
        }
        if servers.is_empty() {
            missing.push("nobody says which Redis takes writes".to_owned());
        }
        let concerts = self.concerts.load();
        let (elsewhere, here): (Vec<_>, Vec<_>) = concerts.iter().partition(|concert| {
            servers.is_empty() || away.iter().any(|shard| shard.has(&concert.keys.run))
        });
        can_sell &= !here.is_empty();
        let unverified = |concert: &&&Arc<Concert>| self.gates.verified(concert.id).is_none();
        can_sell &= !here.iter().any(|concert| unverified(&concert));
        missing.extend(here.iter().chain(&elsewhere).filter(unverified).map(|concert| {
            format!("concert {}: its sold seats are not yet compared with PostgreSQL", concert.id)
        }));
        // The job fails as a whole while it could not ask about every concert.
        let is_partly_away = !away.is_empty() && away.len() < servers.len();
        let shard_away = if is_partly_away { Some(begun) } else { shard_away };
        let spared = shard_away.is_some_and(|at| at.elapsed() <= PROMOTION_AGE_MAX);
        match self.jobs.age(PROMOTE_JOB) {
            Some(age) if age <= PROMOTION_AGE_MAX => {}
            age => {
                can_sell &= spared;
                missing.push(match age {
                    Some(age) => format!("no promotion ran for {} s", age.as_secs()),
                    None => "no promotion ran yet".to_owned(),
                });
            }
        }
        Look { begun, missing, can_sell, shard_away }
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

/// What is wrong with one Redis.
enum RedisFault {
    /// It does not answer.
    Away,
    /// It drops keys when its memory is full, by this policy.
    Evicts(String),
}

async fn redis_fault(server: &RedisServer) -> Option<RedisFault> {
    if server.ping().await.is_err() {
        return Some(RedisFault::Away);
    }
    match server.config_get("maxmemory-policy").await {
        Ok(Some(policy)) if policy != "noeviction" => Some(RedisFault::Evicts(policy)),
        // A hosted Redis may forbid CONFIG; `onsale check` says so.
        _ => None,
    }
}
