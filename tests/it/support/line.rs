//! A waiting line for tests: one concert, one or more servers on it, and a raw connection.

use std::sync::Arc;

use futures::FutureExt;
use onsale::concerts::{Catalogue, Concert, Concerts, Gates, Generation};
use onsale::local::LocalRedis;
use onsale::queue::{Joined, Queue, QueueConfig, QueueError, SCRIPTS, Status, TokenKeys};
use onsale::redis::Redis;
use onsale::words::{ConcertId, Place, UserId};

use super::{RawRedis, redis_at, stores};

/// The secret of all lines in tests.
const KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// One concert's line.
pub struct Line {
    pub concert: Arc<Concert>,
    pub server: Server,
    pub raw: RawRedis,
    url: String,
    config: QueueConfig,
}

/// One server's part in it.
#[derive(Clone)]
pub struct Server {
    pub queue: Queue,
    pub redis: Redis,
    pub gates: Gates,
}

impl Line {
    /// A line on the Redis of this test process, open for promotion.
    pub async fn open(concert: Concert, config: QueueConfig) -> Self {
        let shared = &stores().await.redis;
        let raw = RawRedis::connect(shared.socket()).await;
        Self::with(concert, config, raw, shared.url()).await
    }

    /// A line on a Redis of its own.
    pub async fn on(redis: &LocalRedis, concert: Concert, config: QueueConfig) -> Self {
        let raw = RawRedis::connect(redis.socket()).await;
        Self::with(concert, config, raw, redis.url()).await
    }

    async fn with(concert: Concert, config: QueueConfig, raw: RawRedis, url: String) -> Self {
        let concert = Arc::new(concert);
        let server = Server::start(&url, &concert, &config).await;
        let mut line = Self { concert, server, raw, url, config };
        line.rebuild("epoch-1").await;
        line
    }

    /// Another server on the same line.
    pub async fn another_server(&self) -> Server {
        self.server_at(&self.url).await
    }

    /// A server that reaches the line at another address.
    pub async fn server_at(&self, url: &str) -> Server {
        let server = Server::start(url, &self.concert, &self.config).await;
        if let Some(generation) = self.server.gates.verified(self.concert.id) {
            server.gates.open(self.concert.id, generation);
        }
        server
    }

    /// What the recovery does: settle, set the epoch, open the gate.
    pub async fn rebuild(&mut self, epoch: &str) {
        let settled = self.server.queue.settle(&self.concert).await;
        let run = settled.expect("a settled line").run;
        self.say(&format!("SET {} {epoch}", self.concert.keys.epoch)).await;
        let epoch = Arc::from(epoch);
        self.server.gates.open(self.concert.id, Generation { run, epoch });
    }

    /// A raw command.
    pub async fn say(&mut self, line: &str) -> super::raw_redis::Answer {
        self.raw.say(line).await
    }

    /// A raw command that answers a number.
    pub async fn number(&mut self, line: &str) -> i64 {
        self.raw.say(line).await.int()
    }

    /// The counter `name`; 0 if it was never counted.
    pub async fn stat(&mut self, name: &str) -> i64 {
        let all = self.raw.say(&format!("HGETALL {}", self.concert.keys.stats)).await;
        all.pairs().get(name).map_or(0, |count| count.parse().expect("a number"))
    }

    /// The waiting places, in order.
    pub async fn waiting(&mut self) -> Vec<u64> {
        let members = self.raw.say(&format!("ZRANGE {} 0 -1", self.concert.keys.waiting)).await;
        members.texts().iter().map(|member| number_before_colon(member)).collect()
    }

    /// The active places, in order of place.
    pub async fn active(&mut self) -> Vec<u64> {
        let members = self.raw.say(&format!("ZRANGE {} 0 -1", self.concert.keys.active)).await;
        let mut places: Vec<_> = members.texts().iter().map(|m| number_before_colon(m)).collect();
        places.sort_unstable();
        places
    }

    /// Everything stored of this concert, for comparison.
    pub async fn dump(&mut self) -> Vec<String> {
        let mut keys = self.raw.say(&format!("KEYS {{c{}}}:*", self.concert.id)).await.texts();
        keys.sort();
        let mut dump = Vec::new();
        for key in keys {
            let value = self.raw.send(&["DUMP", &key]).await;
            dump.push(format!("{key} {value:?}"));
        }
        dump
    }

    /// Redis' clock, Unix ms.
    pub async fn now_ms(&mut self) -> u64 {
        let time = self.raw.say("TIME").await.texts();
        let part = |index: usize| time[index].parse::<u64>().expect("a number");
        part(0) * 1000 + part(1) / 1000
    }
}

impl Server {
    async fn start(url: &str, concert: &Arc<Concert>, config: &QueueConfig) -> Self {
        let redis = redis_at(url, SCRIPTS).await;
        let gates = Gates::default();
        let queue = Queue::new(
            redis.clone(),
            Concerts::new(Catalogue::new(vec![concert.as_ref().clone()], None)),
            gates.clone(),
            config.clone(),
            TokenKeys::parse(KEY).expect("a key"),
        );
        let settling = queue.clone();
        redis.on_forgotten(move |shard| {
            let queue = settling.clone();
            async move { queue.settle_all(&shard).await }.boxed()
        });
        Self { queue, redis, gates }
    }

    /// Arrives; it must work.
    pub async fn join(&self, concert: &Arc<Concert>, user: Option<u64>) -> Joined {
        let joined = self.queue.join(concert, user.map(user_id)).await;
        joined.expect("a place in the line")
    }

    /// The position of a token that waits.
    pub async fn position(&self, token: &str) -> u64 {
        let standing = self.queue.standing(token).await.expect("a live token");
        assert_eq!(standing.status, Status::Waiting);
        standing.position
    }

    /// Whether the token is refused as no longer live.
    pub async fn is_expired(&self, token: &str) -> bool {
        matches!(self.queue.standing(token).await, Err(QueueError::TokenExpired))
    }
}

/// The place inside of a token.
pub fn place_of(token: &str) -> Place {
    let keys = TokenKeys::parse(KEY).expect("a key");
    keys.verify(token).expect("a token of ours").place
}

pub fn user_id(id: u64) -> UserId {
    UserId::try_from(i128::from(id)).expect("a user id")
}

pub fn place(number: u64) -> Place {
    Place::try_from(i128::from(number)).expect("a place")
}

pub fn concert_id(id: u32) -> ConcertId {
    ConcertId::try_from(i128::from(id)).expect("a concert id")
}

fn number_before_colon(member: &str) -> u64 {
    let number = member.split(':').next().expect("a place");
    number.parse().expect("a place")
}
