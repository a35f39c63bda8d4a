//! The Redis of a run: one, a pair, a pair under Sentinels or a cluster; and the links to it.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use onsale::local::{
    ClusterOptions, DataFolder, LocalCluster, LocalRedis, LocalReplicated, RedisOptions,
    ReplicatedOptions,
};
use tokio::time::{Instant, sleep};

use crate::history::ConcertSetup;
use crate::proxy::{Proxy, Renames, Target};
use crate::wire::Wire;

/// How long Redis may take to be whole again after a fault.
const WHOLE_MAX: Duration = Duration::from_secs(60);

/// How long a silent Redis is believed in: so long that a busy machine replaces nobody.
const DOWN_AFTER: Duration = Duration::from_secs(2);

/// How long after it was last silent a Redis may still be replaced.
pub const REPLACED_WITHIN: Duration = Duration::from_secs(4);

/// How many Sentinels watch a pair.
pub const SENTINELS: usize = 3;

/// What Redis is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topology {
    /// One Redis.
    Alone,
    /// A pair at one address, which somebody gives to the replica when the primary fails.
    Replica,
    /// A pair under three Sentinels.
    Sentinel,
    /// Three primaries with a replica each.
    Cluster,
}

impl Topology {
    pub const ALL: [Self; 4] = [Self::Alone, Self::Replica, Self::Sentinel, Self::Cluster];

    pub fn name(self) -> &'static str {
        match self {
            Self::Alone => "alone",
            Self::Replica => "replica",
            Self::Sentinel => "sentinel",
            Self::Cluster => "cluster",
        }
    }
}

impl FromStr for Topology {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> anyhow::Result<Self> {
        let names = Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL.into_iter().find(|topology| topology.name() == name);
        found.with_context(|| format!("there is no topology {name}; there are {names}"))
    }
}

/// The Redis that run.
pub enum Redis {
    Alone(Box<LocalRedis>),
    /// Under Sentinels, or under nobody.
    Pair(LocalReplicated),
    Cluster(LocalCluster),
}

/// The proxies of one server, and the address of Redis by way of them.
pub struct Links {
    pub url: String,
    pub proxies: Vec<Proxy>,
}

impl Redis {
    /// Starts them; `data` is the folder of one that is alone.
    pub async fn start(topology: Topology, data: &DataFolder) -> anyhow::Result<Self> {
        // `always`: what Redis has answered outlives its process, so that a mere restart of it
        // excuses nothing.
        let kept = [("appendonly", "yes"), ("appendfsync", "always")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let pair = |sentinels, settings| {
            let options = ReplicatedOptions {
                settings,
                down_after: DOWN_AFTER,
                ..ReplicatedOptions::throwaway(sentinels)
            };
            LocalReplicated::throwaway(options)
        };
        Ok(match topology {
            Topology::Alone => {
                let settings = kept[1..].to_vec();
                let options =
                    RedisOptions { appendonly: true, settings, ..RedisOptions::throwaway() };
                Self::Alone(Box::new(LocalRedis::start(data, options).await?))
            }
            Topology::Replica => Self::Pair(pair(0, kept.to_vec()).await?),
            // Whoever is restarted has been replaced, and copies what its successor has.
            Topology::Sentinel => Self::Pair(pair(SENTINELS, Vec::new()).await?),
            Topology::Cluster => {
                let options =
                    ClusterOptions { node_timeout: DOWN_AFTER, ..ClusterOptions::throwaway() };
                Self::Cluster(LocalCluster::throwaway(options).await?)
            }
        })
    }

    /// Every Redis that holds data.
    pub fn nodes(&self) -> Vec<&LocalRedis> {
        match self {
            Self::Alone(redis) => vec![redis],
            Self::Pair(pair) => pair.nodes().iter().collect(),
            Self::Cluster(cluster) => cluster.nodes().iter().collect(),
        }
    }

    /// Those that take writes, as they see it themselves.
    pub async fn primaries(&self) -> Vec<&LocalRedis> {
        let mut primaries = Vec::new();
        for node in self.nodes() {
            let role = node.say("ROLE").await.unwrap_or_default();
            if role.first().is_some_and(|role| role == "master") {
                primaries.push(node);
            }
        }
        primaries
    }

    /// The index of the one that takes a concert's writes.
    pub async fn primary_of(&self, concert: u32) -> anyhow::Result<usize> {
        match self {
            Self::Alone(_) => Ok(0),
            Self::Pair(pair) => pair.primary().await,
            Self::Cluster(cluster) => cluster.owner_of(self.slot_of(concert).await?).await,
        }
    }

    /// The slot of a concert, in a cluster.
    pub async fn slot_of(&self, concert: u32) -> anyhow::Result<u16> {
        let Self::Cluster(cluster) = self else { bail!("only a cluster has slots") };
        cluster.slot_of(&format!("{{c{concert}}}:seq")).await
    }

    /// A connection to the one that takes a concert's writes, which no proxy disturbs.
    pub async fn wire(&self, concert: u32) -> anyhow::Result<Wire> {
        let primary = self.primary_of(concert).await?;
        Ok(Wire::connect(self.nodes()[primary].socket()).await?)
    }

    /// Waits until everybody is there and follows whom it should.
    pub async fn whole(&self) -> anyhow::Result<()> {
        match self {
            Self::Alone(_) => Ok(()),
            Self::Pair(pair) => {
                let until = Instant::now() + WHOLE_MAX;
                while pair.replicated(pair.primary().await?).await.is_err() {
                    ensure!(Instant::now() < until, "the pair does not become whole");
                }
                Ok(())
            }
            Self::Cluster(cluster) => cluster.whole().await,
        }
    }

    /// Fails unless, in a cluster, the concerts are on several shards.
    pub async fn check_spread(&self, concerts: &[ConcertSetup]) -> anyhow::Result<()> {
        let mut homes = Vec::new();
        for concert in concerts {
            homes.push(self.primary_of(concert.id).await?);
        }
        homes.sort_unstable();
        homes.dedup();
        ensure!(homes.len() > 1 || !matches!(self, Self::Cluster(_)), "all on one shard");
        Ok(())
    }

    /// The links of one more server: a proxy in front of everybody whom it may ask, who tell it of
    /// each other by their proxies' addresses.
    pub async fn links(&self) -> anyhow::Result<Links> {
        let (url, behind, tell) = match self {
            Self::Alone(redis) => {
                let proxy = Proxy::start(socket(redis)).await?;
                return Ok(Links::to_one(proxy));
            }
            Self::Pair(pair) if pair.sentinels().is_empty() => {
                let primary = &pair.nodes()[pair.primary().await?];
                return Ok(Links::to_one(Proxy::start(socket(primary)).await?));
            }
            Self::Pair(pair) => {
                let behind: Vec<_> = pair.sentinels().iter().chain(pair.nodes()).collect();
                (pair.url(), behind, Tell { before: "\r\n", after: "\r\n", first: SENTINELS })
            }
            Self::Cluster(cluster) => {
                let behind = self.nodes();
                let first = behind.len();
                (cluster.url(), behind, Tell { before: "127.0.0.1:", after: "@", first })
            }
        };
        Links::to_all(url, &behind, &tell).await
    }
}

/// How ports are told: what stands before and after one, and that the first so many tell them.
struct Tell {
    before: &'static str,
    after: &'static str,
    first: usize,
}

/// How a proxy reaches a Redis.
pub fn socket(redis: &LocalRedis) -> Target {
    Target::Unix(PathBuf::from(redis.socket()))
}

impl Links {
    fn to_one(proxy: Proxy) -> Self {
        Self { url: format!("redis://{}", proxy.address()), proxies: vec![proxy] }
    }

    async fn to_all(url: String, behind: &[&LocalRedis], tell: &Tell) -> anyhow::Result<Self> {
        let (mut url, mut proxies, mut renames) = (url, Vec::new(), Renames::new());
        for redis in behind {
            let proxy = Proxy::start(socket(redis)).await?;
            let (own, other) =
                (redis.port().context("no port")?.to_string(), proxy.address().port().to_string());
            ensure!(own.len() == other.len(), "ports of {own} and {other} differ in length");
            url = url.replace(&format!(":{own}"), &format!(":{other}"));
            let word = |port| format!("{}{port}{}", tell.before, tell.after).into_bytes();
            renames.push((word(&own), word(&other)));
            proxies.push(proxy);
        }
        for proxy in &proxies[..tell.first] {
            proxy.rename(renames.clone());
        }
        Ok(Self { url, proxies })
    }
}

/// Tries until it is done: Redis refuses a change of roles while it still learns of the last one.
pub async fn until_done<F>(mut attempt: impl FnMut() -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let until = Instant::now() + WHOLE_MAX;
    while let Err(error) = attempt().await {
        ensure!(Instant::now() < until, "{error:#}");
        sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}
