//! What can break, and how: each fault is made, held for a while, and healed.

use std::time::Duration;

use anyhow::Context;
use rustix::process::Signal;
use sqlx::{Connection, PgConnection};
use tokio::time::{Instant, sleep};

use crate::history::{Entry, FaultSpan};
use crate::proxy::{Mode, Proxy};
use crate::recorder::Recorder;
use crate::topology::Topology::{self, Alone, Cluster, Replica, Sentinel};
use crate::world::{Server, World};

mod redis;

/// How often answers and requests are cut while such a fault holds.
const CUT_EVERY: Duration = Duration::from_millis(150);

/// Declares [`Kind`] with the name of each in reports, whether it can drop data of Redis, and what
/// Redis it can befall.
macro_rules! kinds {
    ($($kind:ident = $name:literal, loss: $loss:literal, on: $on:expr;)+) => {
        /// The kinds of faults; the first word of a name says what breaks.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Kind { $($kind,)+ }

        impl Kind {
            pub const ALL: &[Self] = &[$(Self::$kind,)+];

            pub fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)+ }
            }

            fn loses(self) -> bool {
                match self { $(Self::$kind => $loss,)+ }
            }

            /// Whether it can befall such a Redis.
            pub fn befalls(self, topology: Topology) -> bool {
                let on: &[Topology] = match self { $(Self::$kind => $on,)+ };
                on.contains(&topology)
            }
        }
    };
}

const ANY: &[Topology] = &Topology::ALL;
/// Where nobody takes over by himself.
const UNWATCHED: &[Topology] = &[Alone, Replica];
/// Where somebody does.
const WATCHED: &[Topology] = &[Sentinel, Cluster];
const REPLICATED: &[Topology] = &[Replica, Sentinel, Cluster];

kinds! {
    ServerKill = "server-killed", loss: false, on: ANY;
    ServerTerm = "server-stopped-in-order", loss: false, on: ANY;
    ServerFreeze = "server-frozen", loss: false, on: ANY;
    ServerCrash = "server-crashed-at-a-named-point", loss: false, on: ANY;
    RedisKill = "redis-killed", loss: false, on: UNWATCHED;
    RedisFreeze = "redis-frozen", loss: false, on: UNWATCHED;
    RedisBusy = "redis-busy-with-a-script", loss: false, on: UNWATCHED;
    RedisFull = "redis-out-of-memory", loss: false, on: ANY;
    RedisForgetsScripts = "redis-forgets-its-scripts", loss: false, on: ANY;
    RedisEmptied = "redis-emptied", loss: true, on: ANY;
    RedisTailCut = "redis-loses-the-tail-of-its-file", loss: true, on: UNWATCHED;
    RedisEvicts = "redis-evicts-what-is-sold", loss: true, on: UNWATCHED;
    RedisHandover = "redis-hands-over-in-order", loss: false, on: &[Replica, Cluster];
    // Sentinels do not let the old primary and the new one agree on the last write.
    RedisOrderedFailover = "redis-fails-over-by-order", loss: true, on: &[Sentinel];
    RedisPrimaryKill = "redis-primary-killed", loss: true, on: REPLICATED;
    RedisPrimaryFreeze = "redis-primary-frozen", loss: true, on: WATCHED;
    RedisPrimaryAhead = "redis-primary-lost-with-its-last-writes", loss: true, on: REPLICATED;
    RedisReplicaKill = "redis-replica-killed", loss: false, on: REPLICATED;
    RedisSentinelKill = "redis-sentinel-killed", loss: false, on: &[Sentinel];
    RedisSlotMove = "redis-slot-moves", loss: false, on: &[Cluster];
    PostgresKill = "postgres-killed", loss: false, on: ANY;
    PostgresFreeze = "postgres-frozen", loss: false, on: ANY;
    PostgresTerminates = "postgres-ends-connections", loss: false, on: ANY;
    PostgresRowsLocked = "postgres-rows-locked", loss: false, on: ANY;
    PostgresFull = "postgres-has-no-connections-left", loss: false, on: ANY;
    LinkDelay = "link-delayed", loss: false, on: ANY;
    LinkRefuse = "link-cut", loss: false, on: ANY;
    LinkReset = "link-reset", loss: false, on: ANY;
    LinkBlackHole = "link-a-black-hole", loss: false, on: ANY;
    LinkAnswersLost = "link-takes-answers-for-ever", loss: false, on: ANY;
    LinkCutAnswers = "link-cut-before-the-answer", loss: false, on: ANY;
    LinkCutRequests = "link-cut-within-the-request", loss: false, on: ANY;
}

/// The kinds of links of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    Clients,
    Redis,
    Postgres,
}

/// What a fault works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Server(usize),
    Redis,
    Postgres,
    Link(usize, Link),
}

/// One fault with everything that is left to chance.
#[derive(Debug, Clone)]
pub struct Fault {
    pub kind: Kind,
    pub server: usize,
    pub link: Link,
    pub hold: Duration,
    pub delay: Duration,
    pub crash_point: &'static str,
    pub bytes: usize,
    /// Where there are several primaries, that of this concert.
    pub concert: usize,
    /// Where a server has several links to Redis, this one; none: all of them.
    pub one_redis: Option<usize>,
}

impl Fault {
    /// What it works on.
    pub fn place(&self) -> Place {
        match self.kind.name().split('-').next() {
            Some("server") => Place::Server(self.server),
            Some("redis") => Place::Redis,
            Some("postgres") => Place::Postgres,
            _ => Place::Link(self.server, self.link),
        }
    }

    /// Makes it, holds it, heals it, and writes down when.
    pub async fn run(&self, world: &World, recorder: &Recorder) -> anyhow::Result<()> {
        let from_us = recorder.now_us();
        let run = self.happen(world);
        run.await.with_context(|| format!("{} ({:?})", self.kind.name(), self.place()))?;
        recorder.note(Entry::Fault(FaultSpan {
            from_us,
            to_us: recorder.now_us(),
            kind: self.kind.name().to_owned(),
            loss: self.kind.loses(),
            cut_off: match self.place() {
                Place::Server(index) | Place::Link(index, Link::Clients) => Some(index),
                _ => None,
            },
        }));
        Ok(())
    }

    async fn happen(&self, world: &World) -> anyhow::Result<()> {
        match self.place() {
            Place::Server(index) => self.to_server(&world.servers[index]).await,
            Place::Redis => self.to_redis(world).await,
            Place::Postgres => self.to_postgres(world).await,
            Place::Link(index, link) => {
                self.to_links(&self.links(&world.servers[index], link)).await;
                Ok(())
            }
        }
    }

    async fn to_server(&self, server: &Server) -> anyhow::Result<()> {
        let process = &server.process;
        match self.kind {
            Kind::ServerFreeze => {
                process.signal(Signal::STOP);
                sleep(self.hold).await;
                process.signal(Signal::CONT);
                return Ok(());
            }
            Kind::ServerKill => process.kill().await,
            Kind::ServerTerm => process.terminate().await?,
            _ => {
                process.kill().await;
                process.start(Some(self.crash_point)).await?;
                // Nobody may come by that point while something else is broken.
                process.ended_within(2 * self.hold).await;
                process.kill().await;
            }
        }
        sleep(self.hold / 4).await;
        process.start(None).await
    }

    async fn to_postgres(&self, world: &World) -> anyhow::Result<()> {
        let postgres = &world.postgres;
        match self.kind {
            Kind::PostgresKill => {
                postgres.kill().await;
                sleep(self.hold / 2).await;
                postgres.restart().await?;
            }
            Kind::PostgresFreeze => {
                postgres.pause();
                sleep(self.hold).await;
                postgres.resume();
            }
            Kind::PostgresTerminates => {
                let mut connection = PgConnection::connect(&postgres.url()).await?;
                let until = Instant::now() + self.hold;
                while Instant::now() < until {
                    sqlx::query(
                        "select pg_terminate_backend(pid) from pg_stat_activity
                        where pid <> pg_backend_pid() and backend_type = 'client backend'",
                    )
                    .execute(&mut connection)
                    .await?;
                    sleep(CUT_EVERY).await;
                }
            }
            Kind::PostgresRowsLocked => {
                let mut connection = PgConnection::connect(&postgres.url()).await?;
                let mut transaction = connection.begin().await?;
                sqlx::query(
                    "select from balances where user_id % 3 = 0 order by user_id for update",
                )
                .execute(&mut *transaction)
                .await?;
                sleep(self.hold).await;
                transaction.rollback().await?;
            }
            _ => {
                let mut taken = Vec::new();
                let until = Instant::now() + self.hold;
                while Instant::now() < until {
                    match PgConnection::connect(&postgres.url()).await {
                        Ok(connection) => taken.push(connection),
                        Err(_) => sleep(CUT_EVERY).await,
                    }
                }
            }
        }
        Ok(())
    }

    /// What breaks between a server and its clients, or a store of it.
    fn links<'a>(&self, server: &'a Server, link: Link) -> Vec<&'a Proxy> {
        let to_redis = &server.to_redis;
        match (link, self.one_redis) {
            (Link::Clients, _) => vec![&server.from_clients],
            (Link::Postgres, _) => vec![&server.to_postgres],
            (Link::Redis, None) => to_redis.iter().collect(),
            (Link::Redis, Some(one)) => vec![&to_redis[one % to_redis.len()]],
        }
    }

    async fn to_links(&self, links: &[&Proxy]) {
        let set = |mode| links.iter().for_each(|link| link.set(mode));
        let again_and_again = match self.kind {
            Kind::LinkCutAnswers => Some(Mode::CutAnswers),
            Kind::LinkCutRequests => Some(Mode::CutRequests { after_bytes: self.bytes }),
            _ => None,
        };
        if let Some(mode) = again_and_again {
            let until = Instant::now() + self.hold;
            while Instant::now() < until {
                set(mode);
                sleep(CUT_EVERY).await;
            }
        } else {
            set(match self.kind {
                Kind::LinkDelay => Mode::Delay(self.delay),
                Kind::LinkRefuse => Mode::Refuse,
                Kind::LinkReset => Mode::Reset,
                Kind::LinkAnswersLost => Mode::BlackHole { to_target: false, to_client: true },
                _ => Mode::BlackHole { to_target: true, to_client: true },
            });
            sleep(self.hold).await;
        }
        set(Mode::Pass);
    }
}
