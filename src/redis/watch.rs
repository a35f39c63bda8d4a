//! Who takes writes at the moment: asked again and again of the Sentinels, or of the cluster's nodes.
//!
//! The client library could follow Sentinels and clusters by itself, and is not asked to (ADR 9): a
//! node here is a plain connection to one address, and this is the one place that says which.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use fred::types::Value;
use fred::types::config::Server;
use fred::util::redis_keyslot;
use futures::future::join_all;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use super::RedisConfig;
use super::client::Command;
use super::node::{Link, Node};
use super::options::{Plan, Source};
use super::topology::{Claim, Owners, claim_of_sentinel, claims_of_node};

/// How often they are asked while all is well: for so long a demoted server may still be used.
const EVERY: Duration = Duration::from_millis(500);
/// How often while somebody is away.
const EVERY_IN_DOUBT: Duration = Duration::from_millis(100);
/// The shortest pause between two looks, however many calls want one.
const PAUSE: Duration = Duration::from_millis(20);
/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_millis(250);

/// The servers that take writes, and whose keys are whose.
#[derive(Default)]
pub(super) struct Map {
    /// In the order of `owners`, if there are any.
    nodes: Vec<Arc<Node>>,
    /// None if everything is the first node's.
    owners: Option<Owners>,
}

impl Map {
    pub fn one(node: Node) -> Self {
        Self { nodes: vec![Arc::new(node)], owners: None }
    }

    pub fn nodes(&self) -> &[Arc<Node>] {
        &self.nodes
    }

    /// The node of a key, if anybody serves it.
    pub fn node(&self, key: &str) -> Option<&Arc<Node>> {
        match &self.owners {
            None => self.nodes.first(),
            Some(owners) => self.nodes.get(owners.index_of(redis_keyslot(key.as_bytes()))?),
        }
    }

    fn node_at(&self, server: &Server) -> Option<&Arc<Node>> {
        let index = self.owners.as_ref()?.servers().iter().position(|known| known == server)?;
        self.nodes.get(index)
    }
}

/// The newest map, and who is waiting for the next look.
pub(super) struct Watch {
    map: ArcSwap<Map>,
    doubts: Notify,
    /// When the newest look that has ended began.
    looked: watch::Sender<Option<Instant>>,
}

impl Watch {
    pub fn new(map: Map) -> Self {
        let looked = watch::Sender::new(None);
        Self { map: ArcSwap::from_pointee(map), doubts: Notify::new(), looked }
    }

    pub fn map(&self) -> Arc<Map> {
        self.map.load_full()
    }

    /// Says that the map may be wrong.
    pub fn suspect(&self) {
        self.doubts.notify_one();
    }

    /// Waits for a look that begins now or later, for `longest` at most.
    pub async fn look(&self, longest: Duration) {
        let (now, mut looked) = (Instant::now(), self.looked.subscribe());
        self.suspect();
        // Without one the map stays as it is.
        let _ = timeout(longest, looked.wait_for(|begun| *begun >= Some(now))).await;
    }
}

/// The task that looks.
pub(super) struct Observer {
    watch: Arc<Watch>,
    plan: Arc<Plan>,
    timeout: Duration,
    failures_max: u32,
    /// Whom it asks: the URL's servers, and in a cluster the primaries too.
    informants: Vec<(Server, Link)>,
}

impl Observer {
    pub fn new(watch: Arc<Watch>, plan: Arc<Plan>, config: &RedisConfig) -> Self {
        let (timeout, failures_max) = (config.command_timeout, config.breaker_failures);
        Self { watch, plan, timeout, failures_max, informants: Vec::new() }
    }

    pub async fn run(mut self) {
        loop {
            let begun = Instant::now();
            self.choose_informants();
            let views = self.ask().await;
            self.judge(&views);
            self.watch.looked.send_replace(Some(begun));
            let map = self.watch.map();
            let is_well = !map.nodes.is_empty() && map.nodes.iter().all(|node| node.is_up());
            tokio::time::sleep(PAUSE).await;
            let longest = if is_well { EVERY } else { EVERY_IN_DOUBT };
            let _ = timeout(longest, self.watch.doubts.notified()).await;
        }
    }

    fn choose_informants(&mut self) {
        let mut wanted = self.plan.seeds.clone();
        if let (Source::Cluster, Some(owners)) = (&self.plan.source, &self.watch.map().owners) {
            wanted.extend_from_slice(owners.servers());
        }
        wanted.sort();
        wanted.dedup();
        self.informants.retain(|(server, _)| wanted.contains(server));
        for server in wanted {
            if self.informants.iter().any(|(known, _)| *known == server) {
                continue;
            }
            match Link::open(self.plan.informant_at(&server), ANSWER_WITHIN) {
                Ok(link) => self.informants.push((server, link)),
                Err(error) => tracing::error!(%server, %error, "cannot ask for the primaries"),
            }
        }
    }

    /// What each of them says; nothing of those who do not answer.
    async fn ask(&self) -> Vec<Option<Vec<Claim>>> {
        let asked = self.informants.iter().filter(|(_, link)| link.is_open());
        join_all(asked.map(|(server, link)| self.ask_one(server, link))).await
    }

    async fn ask_one(&self, server: &Server, link: &Link) -> Option<Vec<Claim>> {
        let say = async |name, words: &[&str]| {
            let args = words.iter().map(|word| Value::from((*word).to_owned())).collect();
            link.send(Command::of_server(name, args), ANSWER_WITHIN).await.ok()
        };
        match &self.plan.source {
            Source::One => None,
            Source::Cluster => {
                let view = say("CLUSTER", &["NODES"]).await?.into_string()?;
                Some(claims_of_node(&view, server, self.plan.node.tls.is_some()))
            }
            Source::Sentinels { service } => {
                // The epoch first: between the two a failover can only make the claim too weak.
                let about = say("SENTINEL", &["MASTER", service]).await?;
                let address = say("SENTINEL", &["GET-MASTER-ADDR-BY-NAME", service]).await?;
                Some(vec![claim_of_sentinel(address, about)?])
            }
        }
    }

    /// Takes what most of them say. A few may be cut off together with a server that was replaced.
    fn judge(&self, views: &[Option<Vec<Claim>>]) {
        let current = self.watch.map();
        let answered = views.iter().flatten().count();
        if 2 * answered < self.informants.len() && current.owners.is_some() {
            return;
        }
        let claims: Vec<Claim> = views.iter().flatten().flatten().cloned().collect();
        let Some(owners) = Owners::judge(&claims) else { return };
        if current.owners.as_ref() == Some(&owners) {
            return;
        }
        let nodes = owners.servers().iter().map(|server| {
            if let Some(node) = current.node_at(server) {
                return Ok(Arc::clone(node));
            }
            let config = self.plan.node_at(server);
            Node::open(&config, self.timeout, self.failures_max).map(Arc::new)
        });
        match nodes.collect::<anyhow::Result<Vec<_>>>() {
            Ok(nodes) => {
                let names: Vec<_> = nodes.iter().map(|node| node.name.as_str()).collect();
                tracing::info!(primaries = names.join(", "), "the Redis that take writes");
                self.watch.map.store(Arc::new(Map { nodes, owners: Some(owners) }));
            }
            Err(error) => tracing::error!(%error, "cannot use the new primaries"),
        }
    }
}
