//! What befalls Redis: one that is alone, a pair, or a cluster.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use onsale::local::{LocalCluster, LocalRedis, LocalReplicated};
use tokio::time::{Instant, sleep};

use super::{CUT_EVERY, Fault, Kind};
use crate::topology::{REPLACED_WITHIN, Redis, SENTINELS, until_done};
use crate::wire::Wire;
use crate::world::World;

/// How much of the end of the append-only file is lost: a good part of a second.
const CUT_BYTES: u64 = 32 * 1024;

impl Fault {
    /// Makes it, holds it and heals it: afterwards everybody is there and follows whom he should.
    pub(super) async fn to_redis(&self, world: &World) -> anyhow::Result<()> {
        let redis = &world.redis;
        let primary = redis.primary_of(self.concert_id(world)).await?;
        match self.kind {
            Kind::RedisFull => {
                say_to_all(&redis.nodes(), "CONFIG SET maxmemory 1mb").await?;
                sleep(self.hold).await;
                say_to_all(&redis.nodes(), "CONFIG SET maxmemory 0").await?;
            }
            Kind::RedisForgetsScripts => {
                let until = Instant::now() + self.hold;
                while Instant::now() < until {
                    say_to_all(&redis.primaries().await, "SCRIPT FLUSH").await?;
                    sleep(CUT_EVERY).await;
                }
            }
            Kind::RedisEmptied => say_to_all(&redis.primaries().await, "FLUSHALL").await?,
            Kind::RedisHandover | Kind::RedisOrderedFailover => {
                self.hand_over(world, primary).await?;
            }
            Kind::RedisPrimaryKill | Kind::RedisPrimaryAhead => {
                self.lose_primary(world, primary).await?;
            }
            Kind::RedisReplicaKill => {
                let replica = match redis {
                    Redis::Cluster(cluster) => cluster.replica_of(primary).await?,
                    _ => 1 - primary,
                };
                redis.nodes()[replica].kill().await;
                sleep(self.hold).await;
                redis.nodes()[replica].restart().await?;
            }
            Kind::RedisSentinelKill => {
                let Redis::Pair(pair) = redis else { bail!("nobody watches this Redis") };
                let sentinel = self.concert % SENTINELS;
                pair.sentinels()[sentinel].kill().await;
                sleep(self.hold).await;
                pair.restart_sentinel(sentinel).await?;
            }
            Kind::RedisSlotMove => {
                let Redis::Cluster(cluster) = redis else { bail!("only a cluster has slots") };
                let slot = redis.slot_of(self.concert_id(world)).await?;
                self.move_slot(cluster, slot, primary).await?;
            }
            _ => self.to_one(world, redis.nodes()[primary]).await?,
        }
        redis.whole().await
    }

    fn concert_id(&self, world: &World) -> u32 {
        let concerts = &world.setup.concerts;
        concerts[self.concert % concerts.len()].id
    }

    /// What befalls the Redis that takes writes, and nobody replaces it.
    async fn to_one(&self, world: &World, redis: &LocalRedis) -> anyhow::Result<()> {
        match self.kind {
            Kind::RedisKill => {
                redis.kill().await;
                sleep(self.hold / 2).await;
                redis.restart().await?;
            }
            Kind::RedisFreeze | Kind::RedisPrimaryFreeze => {
                redis.pause();
                sleep(self.hold).await;
                redis.resume();
                if self.kind == Kind::RedisPrimaryFreeze {
                    sleep(REPLACED_WITHIN).await;
                }
            }
            Kind::RedisTailCut => {
                redis.kill().await;
                cut_tail(&redis.dir().join("appendonlydir"))?;
                redis.restart().await?;
                // Redis 7.0 leaves the half of a script that was cut in its file, and executes it
                // at the next start: the file must be written anew.
                redis.say("BGREWRITEAOF").await?;
            }
            Kind::RedisEvicts => {
                let mut wire = Wire::connect(redis.socket()).await?;
                for key in world.keys_of_dates(&["sold", "version"]) {
                    wire.send(&["DEL", &key]).await?;
                }
                // No server notices that before the next comparison, which a restart brings on.
                sleep(self.hold).await;
                redis.kill().await;
                redis.restart().await?;
            }
            _ => {
                let mut wire = Wire::connect(redis.socket()).await?;
                wire.say("CONFIG SET busy-reply-threshold 200").await?;
                let busy = "local t = redis.call('TIME')[1] + ARGV[1] \
                    while redis.call('TIME')[1] + 0 < t do end";
                let seconds = (self.hold.as_secs() / 2 + 1).to_string();
                wire.write(&["EVAL", busy, "0", &seconds]).await?;
                // The answer comes when it is over, which may be later than an answer may take.
                let _ = wire.read().await;
                sleep(self.hold / 2).await;
            }
        }
        Ok(())
    }

    /// The replica takes over while its primary lives.
    async fn hand_over(&self, world: &World, primary: usize) -> anyhow::Result<()> {
        match &world.redis {
            Redis::Alone(_) => bail!("nobody takes over from a Redis that is alone"),
            Redis::Cluster(cluster) => {
                until_done(|| async { cluster.fail_over(primary).await.map(|_| ()) }).await
            }
            Redis::Pair(pair) if pair.sentinels().is_empty() => {
                let (old, new) = (&pair.nodes()[primary], &pair.nodes()[1 - primary]);
                let port = new.port().context("a replica needs TCP")?;
                old.say(&format!("FAILOVER TO 127.0.0.1 {port} TIMEOUT 10000")).await?;
                pair.promoted(1 - primary).await?;
                world.lead_to(1 - primary);
                pair.replicated(1 - primary).await?;
                // A restarted server goes on with what it is.
                say_to_all(&[old, new], "CONFIG REWRITE").await
            }
            Redis::Pair(pair) => until_done(|| async { pair.fail_over().await.map(|_| ()) }).await,
        }
    }

    /// The primary dies, at once or after a while in which its replica hears nothing of it; the
    /// replica takes over; the dead one comes back and follows it.
    async fn lose_primary(&self, world: &World, primary: usize) -> anyhow::Result<()> {
        let nodes = world.redis.nodes();
        let replica = match &world.redis {
            Redis::Cluster(cluster) => cluster.replica_of(primary).await?,
            _ => 1 - primary,
        };
        if self.kind == Kind::RedisPrimaryAhead {
            // Until its end; it is not written down.
            nodes[primary].say("ACL SETUSER default -psync -sync -replconf").await?;
            nodes[primary].say("CLIENT KILL TYPE replica").await?;
            sleep(self.hold / 2).await;
        }
        nodes[primary].kill().await;
        match &world.redis {
            Redis::Cluster(cluster) => cluster.promoted(replica).await?,
            Redis::Pair(pair) if pair.sentinels().is_empty() => {
                sleep(self.hold / 4).await;
                pair.take_over(replica).await?;
                world.lead_to(replica);
            }
            Redis::Pair(pair) => pair.promoted(replica).await?,
            Redis::Alone(_) => bail!("nobody takes over from a Redis that is alone"),
        }
        sleep(self.hold / 4).await;
        nodes[primary].restart().await?;
        if let Some(pair) = unwatched(&world.redis) {
            pair.follow(primary, replica).await?;
        }
        Ok(())
    }

    /// The slot of a concert goes to another primary, step by step, while it is used.
    async fn move_slot(
        &self,
        cluster: &LocalCluster,
        slot: u16,
        from: usize,
    ) -> anyhow::Result<()> {
        let mut to = None;
        for (index, node) in cluster.nodes().iter().enumerate() {
            let role = node.say("ROLE").await?;
            if index != from && role.first().is_some_and(|role| role == "master") {
                to = Some(index);
            }
        }
        let moving = cluster.begin_move(slot, from, to.context("no other primary")?).await?;
        sleep(self.hold / 4).await;
        cluster.move_keys(&moving).await?;
        sleep(self.hold / 4).await;
        cluster.move_keys(&moving).await?;
        cluster.end_move(&moving).await
    }
}

fn unwatched(redis: &Redis) -> Option<&LocalReplicated> {
    match redis {
        Redis::Pair(pair) if pair.sentinels().is_empty() => Some(pair),
        _ => None,
    }
}

async fn say_to_all(nodes: &[&LocalRedis], line: &str) -> anyhow::Result<()> {
    for node in nodes {
        node.say(line).await?;
    }
    Ok(())
}

/// Cuts the end of the newest append-only file off, as a power cut does.
fn cut_tail(folder: &Path) -> anyhow::Result<()> {
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
