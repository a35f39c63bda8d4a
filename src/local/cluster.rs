//! A private Redis cluster: three primaries with a replica each.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use futures::FutureExt;
use futures::future::try_join_all;

use super::folder::DataFolder;
use super::redis::{LocalRedis, RedisKind, RedisOptions, TlsFiles};
use super::server::Patience;

/// How many nodes have slots; as many follow them.
const PRIMARIES: usize = 3;

/// The first slot that is no slot.
const SLOTS: usize = 16_384;

/// In the folder of the first node once the cluster was made; without it the nodes start anew.
const MADE: &str = "cluster-made";

/// How long the nodes may take to agree.
const SETTLE_MAX: Duration = Duration::from_mins(1);

/// The most keys of a slot that move in one step.
const MOVE_KEYS_MAX: usize = 100;

/// How a private cluster is run.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// Keep what it holds, and end in order.
    pub durable: bool,
    /// How long a silent node is believed in; a failover takes one to two seconds more.
    pub node_timeout: Duration,
    /// Talk TLS everywhere.
    pub tls: Option<TlsFiles>,
    /// Further settings of every node.
    pub settings: Vec<(String, String)>,
}

impl ClusterOptions {
    /// For data that stays.
    #[must_use]
    pub fn durable() -> Self {
        Self { durable: true, node_timeout: Duration::from_secs(5), ..Self::throwaway() }
    }

    /// For tests: nothing is kept.
    #[must_use]
    pub fn throwaway() -> Self {
        Self {
            durable: false,
            node_timeout: Duration::from_secs(1),
            tls: None,
            settings: Vec::new(),
        }
    }

    fn node(&self, number: usize) -> RedisOptions {
        let mut settings: Vec<(String, String)> = [
            ("cluster-node-timeout", self.node_timeout.as_millis().to_string().as_str()),
            // The other shards sell on while one is away.
            ("cluster-require-full-coverage", "no"),
            // A replica that was cut off for long is better than nobody: PostgreSQL knows what is
            // sold.
            ("cluster-replica-validity-factor", "0"),
            // Whoever follows whom is up to who runs it.
            ("cluster-allow-replica-migration", "no"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        settings.extend(self.settings.iter().cloned());
        RedisOptions {
            name: format!("redis-{number}"),
            appendonly: self.durable,
            orderly: self.durable,
            tcp: true,
            tls: self.tls.clone(),
            kind: RedisKind::ClusterNode,
            settings,
            ..RedisOptions::throwaway()
        }
    }
}

/// Six Redis as one cluster. Dropping it stops them.
pub struct LocalCluster {
    nodes: Vec<LocalRedis>,
    folder: DataFolder,
}

impl LocalCluster {
    /// Starts the nodes in a data folder, makes them a cluster at the first time, and waits until
    /// all slots are served and every primary has a replica with its data.
    pub async fn start(folder: &DataFolder, options: ClusterOptions) -> anyhow::Result<Self> {
        let parts = (1..=2 * PRIMARIES).map(|number| folder.path().join(format!("redis-{number}")));
        let parts: Vec<PathBuf> = parts.collect();
        let made = parts[0].join(MADE);
        if !made.exists() {
            remove(&parts)?;
        }
        let starts = (1..=2 * PRIMARIES)
            .map(|number| LocalRedis::start(folder, options.node(number)).boxed_local());
        let nodes = try_join_all(starts.collect::<Vec<_>>()).await?;
        let this = Self { nodes, folder: folder.clone() };
        if !made.exists() {
            this.give_slots().await?;
        }
        this.meet().await?;
        if !made.exists() {
            this.give_replicas().await?;
            fs::write(&made, "").context("cannot write down that the cluster was made")?;
        }
        this.whole().await?;
        Ok(this)
    }

    /// Starts them in a folder that is removed with them.
    pub async fn throwaway(options: ClusterOptions) -> anyhow::Result<Self> {
        Self::start(&DataFolder::throwaway().await?, options).await
    }

    /// Its address: all nodes, any of which tells about the others.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.nodes[0].has_tls() { "rediss" } else { "redis" };
        let others = self.nodes[1..].iter().map(|node| format!("node=127.0.0.1:{}", port(node)));
        let others = others.collect::<Vec<_>>().join("&");
        format!("{scheme}-cluster://127.0.0.1:{}?{others}", port(&self.nodes[0]))
    }

    /// All nodes: at first three primaries, then their replicas in the same order.
    #[must_use]
    pub fn nodes(&self) -> &[LocalRedis] {
        &self.nodes
    }

    /// The data folder that they are in.
    #[must_use]
    pub fn folder(&self) -> &DataFolder {
        &self.folder
    }

    /// The slot of a key.
    pub async fn slot_of(&self, key: &str) -> anyhow::Result<u16> {
        let slot = self.alive()?.ask(&["CLUSTER", "KEYSLOT", key]).await?;
        Ok(slot.concat().parse()?)
    }

    /// The node that serves a slot, as most of the nodes see it.
    pub async fn owner_of(&self, slot: u16) -> anyhow::Result<usize> {
        let mut votes = vec![0_u32; self.nodes.len()];
        for node in self.nodes.iter().filter(|node| node.pid().is_some()) {
            // A paused or starting node has no vote.
            let Ok(view) = node.say("CLUSTER NODES").await else {
                continue;
            };
            let owner = view.concat().lines().find_map(|line| owner_in(line, slot));
            if let Some(index) = owner.and_then(|owner| self.listening_on(owner)) {
                votes[index] += 1;
            }
        }
        let most = votes.iter().enumerate().max_by_key(|(_, votes)| **votes);
        let most = most.filter(|(_, votes)| **votes > 0);
        most.map(|(index, _)| index).with_context(|| format!("nobody serves slot {slot}"))
    }

    /// A live node that follows `primary`.
    pub async fn replica_of(&self, primary: usize) -> anyhow::Result<usize> {
        let of = port(&self.nodes[primary]).to_string();
        for (index, node) in self.nodes.iter().enumerate() {
            let followed = node.field("INFO replication", "master_port").await;
            if index != primary && followed.is_ok_and(|followed| followed == of) {
                return Ok(index);
            }
        }
        anyhow::bail!("nobody follows redis-{}", primary + 1)
    }

    /// Makes the replica of `primary` take its slots over, in order: nothing is lost. Answers the
    /// new primary. (For a failover that loses something, kill or pause the primary, and wait for
    /// [`Self::promoted`].)
    pub async fn fail_over(&self, primary: usize) -> anyhow::Result<usize> {
        let replica = self.replica_of(primary).await?;
        self.nodes[replica].say("CLUSTER FAILOVER").await?;
        self.promoted(replica).await?;
        Ok(replica)
    }

    /// Waits until `node` takes writes.
    pub async fn promoted(&self, node: usize) -> anyhow::Result<()> {
        let patience = Patience::of(SETTLE_MAX);
        while !is_primary(&self.nodes[node]).await {
            ensure!(patience.lasts().await, "redis-{} is not promoted", node + 1);
        }
        Ok(())
    }

    /// Waits until every node sees all slots served, and every replica has its primary's data.
    pub async fn whole(&self) -> anyhow::Result<()> {
        let patience = Patience::of(SETTLE_MAX);
        for node in &self.nodes {
            while !is_well(node).await.unwrap_or(false) {
                ensure!(patience.lasts().await, "the cluster does not become whole");
            }
        }
        Ok(())
    }

    /// Moves a slot with all its keys to another primary, while clients use it.
    pub async fn move_slot(&self, slot: u16, to: usize) -> anyhow::Result<()> {
        let from = self.owner_of(slot).await?;
        let moving = self.begin_move(slot, from, to).await?;
        self.move_keys(&moving).await?;
        self.end_move(&moving).await
    }

    /// Opens the move of a slot: from now on `from` answers ASK for what it has not, or has no
    /// more.
    pub async fn begin_move(&self, slot: u16, from: usize, to: usize) -> anyhow::Result<SlotMove> {
        let (from_id, to_id) = (self.id(from).await?, self.id(to).await?);
        self.nodes[to].say(&format!("CLUSTER SETSLOT {slot} IMPORTING {from_id}")).await?;
        self.nodes[from].say(&format!("CLUSTER SETSLOT {slot} MIGRATING {to_id}")).await?;
        Ok(SlotMove { slot, from, to, to_id })
    }

    /// Moves all keys that the slot has now.
    pub async fn move_keys(&self, moving: &SlotMove) -> anyhow::Result<()> {
        let from = &self.nodes[moving.from];
        let to = port(&self.nodes[moving.to]).to_string();
        let list = format!("CLUSTER GETKEYSINSLOT {} {MOVE_KEYS_MAX}", moving.slot);
        loop {
            let keys = from.say(&list).await?;
            if keys.is_empty() {
                return Ok(());
            }
            // What the other has of an earlier time is old.
            let mut command = vec!["MIGRATE", "127.0.0.1", &to, "", "0", "5000", "REPLACE", "KEYS"];
            command.extend(keys.iter().map(String::as_str));
            from.ask(&command).await?;
        }
    }

    /// Closes the move: the slot is the new primary's.
    pub async fn end_move(&self, moving: &SlotMove) -> anyhow::Result<()> {
        // The new owner first, so that at no time nobody believes to serve it.
        for node in [moving.to, moving.from] {
            let said = format!("CLUSTER SETSLOT {} NODE {}", moving.slot, moving.to_id);
            self.nodes[node].say(&said).await?;
        }
        Ok(())
    }

    /// Stops all in order.
    pub async fn stop(&self) -> anyhow::Result<()> {
        let stops = self.nodes.iter().map(|node| node.stop().boxed());
        try_join_all(stops.collect::<Vec<_>>()).await?;
        Ok(())
    }

    fn alive(&self) -> anyhow::Result<&LocalRedis> {
        self.nodes.iter().find(|node| node.pid().is_some()).context("no node runs")
    }

    async fn id(&self, node: usize) -> anyhow::Result<String> {
        Ok(self.nodes[node].say("CLUSTER MYID").await?.concat())
    }

    fn listening_on(&self, listens_on: u16) -> Option<usize> {
        self.nodes.iter().position(|node| node.port() == Some(listens_on))
    }

    /// Makes each node known to each other, by the ports of this start.
    async fn meet(&self) -> anyhow::Result<()> {
        for (index, node) in self.nodes.iter().enumerate() {
            let others = self.nodes.iter().enumerate().filter(|(other, _)| *other != index);
            for (_, other) in others {
                let (port, bus) = (port(other), other.bus_port().unwrap_or(0));
                node.say(&format!("CLUSTER MEET 127.0.0.1 {port} {bus}")).await?;
            }
        }
        let (known, patience) = ((2 * PRIMARIES).to_string(), Patience::of(SETTLE_MAX));
        for node in &self.nodes {
            while node.field("CLUSTER INFO", "cluster_known_nodes").await.ok().as_ref()
                != Some(&known)
            {
                ensure!(patience.lasts().await, "the nodes do not find each other");
            }
        }
        Ok(())
    }

    /// Gives the slots out, before the nodes know each other.
    async fn give_slots(&self) -> anyhow::Result<()> {
        for (index, primary) in self.nodes[..PRIMARIES].iter().enumerate() {
            let (first, end) = (SLOTS * index / PRIMARIES, SLOTS * (index + 1) / PRIMARIES);
            // Different, so that nobody has to settle who is right about a slot.
            primary.say(&format!("CLUSTER SET-CONFIG-EPOCH {}", index + 1)).await?;
            primary.say(&format!("CLUSTER ADDSLOTSRANGE {first} {}", end - 1)).await?;
        }
        Ok(())
    }

    /// Lets the other half of the nodes follow the first.
    async fn give_replicas(&self) -> anyhow::Result<()> {
        let patience = Patience::of(SETTLE_MAX);
        for index in 0..PRIMARIES {
            let follow = format!("CLUSTER REPLICATE {}", self.id(index).await?);
            // It must have heard of its primary's slots first.
            while let Err(error) = self.nodes[index + PRIMARIES].say(&follow).await {
                ensure!(patience.lasts().await, "redis-{} has no replica: {error:#}", index + 1);
            }
        }
        Ok(())
    }
}

/// A slot on its way between two nodes.
#[derive(Debug, Clone)]
pub struct SlotMove {
    slot: u16,
    from: usize,
    to: usize,
    to_id: String,
}

fn port(node: &LocalRedis) -> u16 {
    node.port().unwrap_or(0)
}

async fn is_primary(node: &LocalRedis) -> bool {
    node.field("INFO replication", "role").await.is_ok_and(|role| role == "master")
}

async fn is_well(node: &LocalRedis) -> anyhow::Result<bool> {
    let info = node.say("CLUSTER INFO").await?.concat();
    let complete = info.contains("cluster_state:ok") && info.contains("cluster_slots_ok:16384");
    let replication = node.say("INFO replication").await?.concat();
    let linked = if replication.contains("role:master") {
        replication.contains("state=online")
    } else {
        replication.contains("master_link_status:up")
    };
    Ok(complete && linked)
}

/// The port of the node of a line of `CLUSTER NODES`, if that node serves `slot`:
/// `<id> <ip>:<port>@<bus> <flags> <primary> <ping> <pong> <epoch> <link> <slots> …`.
fn owner_in(line: &str, slot: u16) -> Option<u16> {
    let mut words = line.split(' ').skip(1);
    let address = words.next()?;
    let serves = words.skip(6).any(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let bounds = first.parse::<u16>().ok().zip(last.parse::<u16>().ok());
        bounds.is_some_and(|(first, last)| (first..=last).contains(&slot))
    });
    let port = address.split('@').next()?.rsplit(':').next()?;
    serves.then(|| port.parse().ok()).flatten()
}

/// Removes what an unfinished start left.
fn remove(parts: &[PathBuf]) -> anyhow::Result<()> {
    for part in parts.iter().filter(|part| Path::exists(part)) {
        fs::remove_dir_all(part).with_context(|| format!("cannot remove {}", part.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_of_a_slot_is_read_from_the_nodes_own_words() {
        let line = "07c37df 127.0.0.1:30004@31004 myself,master - 0 1426238317239 4 connected \
                    0-5460 6000 [93->-292f8b3]";
        assert_eq!(owner_in(line, 0), Some(30004));
        assert_eq!(owner_in(line, 5460), Some(30004));
        assert_eq!(owner_in(line, 6000), Some(30004));
        assert_eq!(owner_in(line, 5461), None);
        assert_eq!(owner_in("1 127.0.0.1:1@2 slave 07c37df 0 1 4 connected", 0), None);
    }
}
