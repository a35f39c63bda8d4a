//! What can break, and how: each fault is made, held for a while, and healed.

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use rustix::process::Signal;
use sqlx::{Connection, PgConnection};
use tokio::time::{Instant, sleep};

use crate::history::{Entry, FaultSpan};
use crate::proxy::{Mode, Proxy};
use crate::recorder::Recorder;
use crate::world::{Server, World};

/// How much of the end of the append-only file is lost: a good part of a second.
const CUT_BYTES: u64 = 32 * 1024;

/// How often answers and requests are cut while such a fault holds.
const CUT_EVERY: Duration = Duration::from_millis(150);

/// Declares [`Kind`] with the name of each in reports, and whether it can drop data of Redis.
macro_rules! kinds {
    ($($kind:ident = $name:literal, loss: $loss:literal;)+) => {
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
        }
    };
}

kinds! {
    ServerKill = "server-killed", loss: false;
    ServerTerm = "server-stopped-in-order", loss: false;
    ServerFreeze = "server-frozen", loss: false;
    ServerCrash = "server-crashed-at-a-named-point", loss: false;
    RedisKill = "redis-killed", loss: false;
    RedisFreeze = "redis-frozen", loss: false;
    RedisBusy = "redis-busy-with-a-script", loss: false;
    RedisFull = "redis-out-of-memory", loss: false;
    RedisForgetsScripts = "redis-forgets-its-scripts", loss: false;
    RedisEmptied = "redis-emptied", loss: true;
    RedisTailCut = "redis-loses-the-tail-of-its-file", loss: true;
    RedisEvicts = "redis-evicts-what-is-sold", loss: true;
    PostgresKill = "postgres-killed", loss: false;
    PostgresFreeze = "postgres-frozen", loss: false;
    PostgresTerminates = "postgres-ends-connections", loss: false;
    PostgresRowsLocked = "postgres-rows-locked", loss: false;
    PostgresFull = "postgres-has-no-connections-left", loss: false;
    LinkDelay = "link-delayed", loss: false;
    LinkRefuse = "link-cut", loss: false;
    LinkReset = "link-reset", loss: false;
    LinkBlackHole = "link-a-black-hole", loss: false;
    LinkAnswersLost = "link-takes-answers-for-ever", loss: false;
    LinkCutAnswers = "link-cut-before-the-answer", loss: false;
    LinkCutRequests = "link-cut-within-the-request", loss: false;
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
                self.to_link(world.servers[index].link(link)).await;
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

    async fn to_redis(&self, world: &World) -> anyhow::Result<()> {
        let redis = &world.redis;
        match self.kind {
            Kind::RedisKill => {
                redis.kill().await;
                sleep(self.hold / 2).await;
                redis.restart().await?;
            }
            Kind::RedisFreeze => {
                redis.pause();
                sleep(self.hold).await;
                redis.resume();
            }
            Kind::RedisTailCut => {
                redis.kill().await;
                cut_tail(&redis.dir().join("appendonlydir"))?;
                redis.restart().await?;
                // Redis 7.0 leaves the half of a script that was cut in its file, and executes it
                // at the next start: the file must be written anew.
                world.wire().await?.say("BGREWRITEAOF").await?;
            }
            Kind::RedisEvicts => {
                let mut wire = world.wire().await?;
                for key in world.keys_of_dates(&["sold", "version"]) {
                    wire.send(&["DEL", &key]).await?;
                }
                // No server notices that before the next comparison, which a restart brings on.
                sleep(self.hold).await;
                redis.kill().await;
                redis.restart().await?;
            }
            Kind::RedisBusy => {
                let mut wire = world.wire().await?;
                wire.say("CONFIG SET busy-reply-threshold 200").await?;
                let busy = "local t = redis.call('TIME')[1] + ARGV[1] \
                    while redis.call('TIME')[1] + 0 < t do end";
                let seconds = (self.hold.as_secs() / 2 + 1).to_string();
                wire.write(&["EVAL", busy, "0", &seconds]).await?;
                // The answer comes when it is over, which may be later than an answer may take.
                let _ = wire.read().await;
                sleep(self.hold / 2).await;
            }
            Kind::RedisFull => {
                let mut wire = world.wire().await?;
                wire.say("CONFIG SET maxmemory 1mb").await?;
                sleep(self.hold).await;
                wire.say("CONFIG SET maxmemory 0").await?;
            }
            Kind::RedisForgetsScripts => {
                let mut wire = world.wire().await?;
                let until = Instant::now() + self.hold;
                while Instant::now() < until {
                    wire.say("SCRIPT FLUSH").await?;
                    sleep(CUT_EVERY).await;
                }
            }
            _ => {
                world.wire().await?.say("FLUSHALL").await?;
            }
        }
        Ok(())
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

    async fn to_link(&self, link: &Proxy) {
        let again_and_again = match self.kind {
            Kind::LinkCutAnswers => Some(Mode::CutAnswers),
            Kind::LinkCutRequests => Some(Mode::CutRequests { after_bytes: self.bytes }),
            _ => None,
        };
        if let Some(mode) = again_and_again {
            let until = Instant::now() + self.hold;
            while Instant::now() < until {
                link.set(mode);
                sleep(CUT_EVERY).await;
            }
        } else {
            link.set(match self.kind {
                Kind::LinkDelay => Mode::Delay(self.delay),
                Kind::LinkRefuse => Mode::Refuse,
                Kind::LinkReset => Mode::Reset,
                Kind::LinkAnswersLost => Mode::BlackHole { to_target: false, to_client: true },
                _ => Mode::BlackHole { to_target: true, to_client: true },
            });
            sleep(self.hold).await;
        }
        link.set(Mode::Pass);
    }
}

impl Server {
    /// One of its links.
    pub fn link(&self, link: Link) -> &Proxy {
        match link {
            Link::Clients => &self.from_clients,
            Link::Redis => &self.to_redis,
            Link::Postgres => &self.to_postgres,
        }
    }
}

/// Cuts the end of the newest append-only file off, as a power cut does.
fn cut_tail(folder: &std::path::Path) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    let path: PathBuf = entries
        .into_iter()
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().ends_with(".incr.aof"))
        .max_by_key(|path| path.metadata().and_then(|meta| meta.modified()).ok())
        .context("Redis has no append-only file")?;
    let file = File::options().write(true).open(path)?;
    file.set_len(file.metadata()?.len().saturating_sub(CUT_BYTES))?;
    Ok(())
}
