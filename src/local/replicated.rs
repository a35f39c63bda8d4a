//! A private Redis with a replica, watched by Sentinels or by nobody.

use std::time::Duration;

use anyhow::{Context, ensure};
use futures::FutureExt;
use futures::future::try_join_all;

use super::folder::DataFolder;
use super::redis::{LocalRedis, RedisKind, RedisOptions, TlsFiles};
use super::server::Patience;

/// The name that the Sentinels know the pair by.
const SERVICE: &str = "onsale";

/// How long replication, and the Sentinels' acquaintance with each other, may take.
const SETTLE_MAX: Duration = Duration::from_secs(30);

/// How long a failover may take.
const FAILOVER_MAX: Duration = Duration::from_secs(30);

/// What makes Sentinels notice within a second what takes them ten by default.
const HASTE: &str = "SENTINEL DEBUG info-period 300 publish-period 300 ping-period 100 \
                     ask-period 200 tilt-period 1000 min-link-reconnect-period 500";

/// How a private pair is run.
#[derive(Debug, Clone)]
pub struct ReplicatedOptions {
    /// How many Sentinels watch it; most of them must agree on a failover.
    pub sentinels: usize,
    /// How long a silent server is believed in.
    pub down_after: Duration,
    /// Talk TLS everywhere.
    pub tls: Option<TlsFiles>,
    /// Further settings of the two servers.
    pub settings: Vec<(String, String)>,
}

impl ReplicatedOptions {
    /// For tests: nothing is kept.
    #[must_use]
    pub fn throwaway(sentinels: usize) -> Self {
        Self { sentinels, down_after: Duration::from_secs(1), tls: None, settings: Vec::new() }
    }
}

/// Two Redis, one of which follows the other, and the Sentinels that watch them. Dropping it stops
/// them all.
pub struct LocalReplicated {
    // The order matters: nobody shall watch servers that end.
    sentinels: Vec<LocalRedis>,
    nodes: Vec<LocalRedis>,
}

impl LocalReplicated {
    /// Starts them in a folder that is removed with them, and waits until the replica follows and
    /// all Sentinels know of it and of each other.
    pub async fn throwaway(options: ReplicatedOptions) -> anyhow::Result<Self> {
        let folder = DataFolder::throwaway().await?;
        let node = |number: usize| RedisOptions {
            name: format!("redis-{number}"),
            tcp: true,
            tls: options.tls.clone(),
            settings: options.settings.clone(),
            ..RedisOptions::throwaway()
        };
        let starts = (1..=2).map(|number| LocalRedis::start(&folder, node(number)).boxed_local());
        let nodes = try_join_all(starts.collect::<Vec<_>>()).await?;
        let mut this = Self { sentinels: Vec::new(), nodes };
        this.follow(1, 0).await?;
        this.replicated(0).await?;
        this.watch(&folder, &options).await?;
        Ok(this)
    }

    /// The address of the pair: of its Sentinels, or without them of the server that took writes
    /// at the start.
    #[must_use]
    pub fn url(&self) -> String {
        let ports: Vec<_> = self.sentinels.iter().filter_map(LocalRedis::port).collect();
        let Some((first, others)) = ports.split_first() else {
            return self.nodes[0].tcp_url().unwrap_or_default();
        };
        let scheme = if self.nodes[0].has_tls() { "rediss" } else { "redis" };
        let others = others.iter().map(|port| format!("&node=127.0.0.1:{port}"));
        let others = others.collect::<String>();
        format!("{scheme}-sentinel://127.0.0.1:{first}?sentinelServiceName={SERVICE}{others}")
    }

    /// Both servers; the first takes writes at the start.
    #[must_use]
    pub fn nodes(&self) -> &[LocalRedis] {
        &self.nodes
    }

    /// The Sentinels.
    #[must_use]
    pub fn sentinels(&self) -> &[LocalRedis] {
        &self.sentinels
    }

    /// Which server takes writes: the one that the Sentinels name, or without them the one that
    /// follows nobody.
    pub async fn primary(&self) -> anyhow::Result<usize> {
        for sentinel in self.sentinels.iter().filter(|sentinel| sentinel.pid().is_some()) {
            let asked = sentinel.say(&format!("SENTINEL GET-MASTER-ADDR-BY-NAME {SERVICE}")).await;
            if let Ok([_, port]) = asked.as_deref()
                && let Some(node) = self
                    .nodes
                    .iter()
                    .position(|node| node.port().is_some_and(|own| own.to_string() == *port))
            {
                return Ok(node);
            }
        }
        for index in 0..self.nodes.len() {
            if self.is_primary(index).await {
                return Ok(index);
            }
        }
        anyhow::bail!("nobody takes writes")
    }

    /// Makes the replica take writes, in order (the old primary lives and follows it afterwards),
    /// and waits until it is so. Answers which one takes writes now.
    pub async fn fail_over(&self) -> anyhow::Result<usize> {
        let old = self.primary().await?;
        let new = 1 - old;
        self.caught_up(old).await?;
        if let Some(sentinel) = self.sentinels.first() {
            sentinel.say(&format!("SENTINEL FAILOVER {SERVICE}")).await?;
        } else {
            self.take_over(new).await?;
            self.follow(old, new).await?;
        }
        self.promoted(new).await?;
        self.replicated(new).await?;
        Ok(new)
    }

    /// Waits until `node` takes writes, and every living Sentinel says so.
    pub async fn promoted(&self, node: usize) -> anyhow::Result<()> {
        let patience = Patience::of(FAILOVER_MAX);
        while !(self.is_primary(node).await && self.primary().await.ok() == Some(node)) {
            ensure!(patience.lasts().await, "redis-{} is not promoted", node + 1);
        }
        Ok(())
    }

    /// Waits until the other server follows `primary` and has its data.
    pub async fn replicated(&self, primary: usize) -> anyhow::Result<()> {
        let patience = Patience::of(SETTLE_MAX);
        while !self.follows(1 - primary, primary).await {
            ensure!(patience.lasts().await, "redis-{} gets no replica", primary + 1);
        }
        Ok(())
    }

    /// Stops all in order.
    pub async fn stop(&self) -> anyhow::Result<()> {
        try_join_all(self.sentinels.iter().map(LocalRedis::stop)).await?;
        try_join_all(self.nodes.iter().map(LocalRedis::stop)).await?;
        Ok(())
    }

    /// Makes `node` take writes with what it has by now, whatever became of its primary. For a
    /// pair that no Sentinels watch.
    pub async fn take_over(&self, node: usize) -> anyhow::Result<()> {
        self.nodes[node].say("REPLICAOF NO ONE").await?;
        self.nodes[node].say("CONFIG REWRITE").await?;
        Ok(())
    }

    /// Makes `replica` follow `primary`, and forget what it has itself. For a pair that no
    /// Sentinels watch.
    pub async fn follow(&self, replica: usize, primary: usize) -> anyhow::Result<()> {
        let port = self.nodes[primary].port().context("a replica needs TCP")?;
        self.nodes[replica].say(&format!("REPLICAOF 127.0.0.1 {port}")).await?;
        // A restarted server goes on with what it is.
        for node in &self.nodes {
            node.say("CONFIG REWRITE").await?;
        }
        Ok(())
    }

    /// Starts a Sentinel again that was killed: it goes on with what it had found out.
    pub async fn restart_sentinel(&self, sentinel: usize) -> anyhow::Result<()> {
        let sentinel = &self.sentinels[sentinel];
        sentinel.restart().await?;
        sentinel.say(HASTE).await?;
        Ok(())
    }

    async fn watch(
        &mut self,
        folder: &DataFolder,
        options: &ReplicatedOptions,
    ) -> anyhow::Result<()> {
        let port = self.nodes[0].port().context("a watched server needs TCP")?;
        let quorum = options.sentinels / 2 + 1;
        let started = (1..=options.sentinels).map(|number| {
            let options = RedisOptions {
                name: format!("sentinel-{number}"),
                tcp: true,
                tls: options.tls.clone(),
                kind: RedisKind::Sentinel,
                ..RedisOptions::throwaway()
            };
            LocalRedis::start(folder, options).boxed_local()
        });
        self.sentinels = try_join_all(started.collect::<Vec<_>>()).await?;
        let down_after = options.down_after.as_millis();
        for sentinel in &self.sentinels {
            sentinel.say(HASTE).await?;
            sentinel.say(&format!("SENTINEL MONITOR {SERVICE} 127.0.0.1 {port} {quorum}")).await?;
            let set = format!(
                "SENTINEL SET {SERVICE} down-after-milliseconds {down_after} failover-timeout 2000"
            );
            sentinel.say(&set).await?;
        }
        let patience = Patience::of(SETTLE_MAX);
        for sentinel in &self.sentinels {
            while !knows_all(sentinel, options.sentinels).await {
                ensure!(patience.lasts().await, "the Sentinels do not find each other");
            }
        }
        Ok(())
    }

    async fn is_primary(&self, node: usize) -> bool {
        let role = self.nodes[node].field("INFO replication", "role").await;
        role.is_ok_and(|role| role == "master")
    }

    async fn follows(&self, replica: usize, primary: usize) -> bool {
        let info = async |node: usize| {
            self.nodes[node].say("INFO replication").await.unwrap_or_default().concat()
        };
        let port = self.nodes[primary].port().unwrap_or(0);
        let (replica, primary) = (info(replica).await, info(primary).await);
        replica.contains(&format!("master_port:{port}\r\n"))
            && replica.contains("master_link_status:up")
            && primary.contains("state=online")
    }

    /// Waits until the replica has confirmed all that the primary has written by now.
    async fn caught_up(&self, primary: usize) -> anyhow::Result<()> {
        let node = &self.nodes[primary];
        let written: u64 = node.field("INFO replication", "master_repl_offset").await?.parse()?;
        let patience = Patience::of(SETTLE_MAX);
        loop {
            // ip=127.0.0.1,port=20001,state=online,offset=1234,lag=0
            let replica = node.field("INFO replication", "slave0").await.unwrap_or_default();
            let offset = replica.split(',').find_map(|part| part.strip_prefix("offset="));
            if offset.and_then(|offset| offset.parse::<u64>().ok()) >= Some(written) {
                return Ok(());
            }
            ensure!(patience.lasts().await, "the replica does not catch up: {replica}");
        }
    }
}

/// Whether a Sentinel knows the replica and all Sentinels.
async fn knows_all(sentinel: &LocalRedis, sentinels: usize) -> bool {
    let known = sentinel.say("INFO sentinel").await.unwrap_or_default().concat();
    known.contains(&format!("slaves=1,sentinels={sentinels}"))
}
