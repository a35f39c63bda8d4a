//! Questions about the servers themselves, for readiness and for `onsale check`.

use std::sync::Arc;
use std::time::Duration;

use fred::types::Value;
use fred::types::config::Server;
use futures::future::try_join_all;

use super::client::{Command, Shard};
use super::error::classify;
use super::node::{Link, Node};
use super::options::Source;
use super::{Redis, RedisError};

/// One server.
pub struct RedisServer {
    redis: Redis,
    node: Arc<Node>,
}

/// One of the Sentinels that the URL names.
pub struct RedisSentinel {
    name: String,
    service: String,
    timeout: Duration,
    link: Link,
}

impl Redis {
    /// Whether every server that takes writes answered `PING` just now.
    pub async fn ping(&self) -> Result<(), RedisError> {
        let servers = self.servers();
        if servers.is_empty() {
            return Err(RedisError::Unavailable);
        }
        try_join_all(servers.iter().map(RedisServer::ping)).await.map(|_| ())
    }

    /// The servers that take writes, as far as they are known.
    #[must_use]
    pub fn servers(&self) -> Vec<RedisServer> {
        self.map().nodes().iter().map(|node| self.server(node)).collect()
    }

    /// Whether somebody is meant to take over from each of them: in a cluster and under Sentinels.
    #[must_use]
    pub fn has_failover(&self) -> bool {
        self.is_watched()
    }

    /// A server that takes no writes, at the address that its primary calls it by.
    ///
    /// # Errors
    ///
    /// If the client library does not accept it.
    pub fn replica(&self, host: &str, port: u16) -> anyhow::Result<RedisServer> {
        let node = self.open_node(&Server::new(host.to_owned(), port))?;
        Ok(self.server(&Arc::new(node)))
    }

    /// The Sentinels that the URL names, each on a connection of its own that is being made; none
    /// without Sentinels.
    ///
    /// # Errors
    ///
    /// If the client library does not accept an address.
    pub fn sentinels(&self) -> anyhow::Result<Vec<RedisSentinel>> {
        let (plan, timeout) = (self.plan(), self.0.timeout);
        let Source::Sentinels { service } = &plan.source else { return Ok(Vec::new()) };
        let open = |server: &Server| {
            let link = Link::open(plan.informant_at(server), timeout)?;
            Ok(RedisSentinel { name: server.to_string(), service: service.clone(), timeout, link })
        };
        plan.seeds.iter().map(open).collect()
    }

    fn server(&self, node: &Arc<Node>) -> RedisServer {
        RedisServer { redis: self.clone(), node: Arc::clone(node) }
    }
}

impl RedisSentinel {
    /// What people call it: its address.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it can be asked.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.link.is_open()
    }

    /// `SENTINEL CKQUORUM`: whether this one knows enough live Sentinels for a failover.
    ///
    /// # Errors
    ///
    /// [`RedisError::Refused`] with its words if not, or if it knows no such service.
    pub async fn check_quorum(&self) -> Result<(), RedisError> {
        let args = vec![Value::from_static_str("CKQUORUM"), Value::from(self.service.clone())];
        let command = Command::of_server("SENTINEL", args);
        let answer = self.link.send(command, self.timeout).await;
        answer.map(|_| ()).map_err(|source| classify("SENTINEL CKQUORUM", source))
    }
}

impl RedisServer {
    /// What people call it: its address.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.node.name
    }

    /// The keys that it serves.
    #[must_use]
    pub fn shard(&self) -> Shard {
        self.redis.shard(&self.node)
    }

    /// Whether the connection was up and `PING` was answered just now.
    pub async fn ping(&self) -> Result<(), RedisError> {
        self.say("PING", &[]).await.map(|_| ())
    }

    /// `INFO section`, as text.
    pub async fn info(&self, section: &'static str) -> Result<String, RedisError> {
        let info = self.say("INFO", &[section]).await?;
        Ok(info.into_string().unwrap_or_default())
    }

    /// `CLUSTER INFO`, as text.
    pub async fn cluster_info(&self) -> Result<String, RedisError> {
        let info = self.say("CLUSTER", &["INFO"]).await?;
        Ok(info.into_string().unwrap_or_default())
    }

    /// `CONFIG GET name`: the value of one setting of the server.
    pub async fn config_get(&self, name: &'static str) -> Result<Option<String>, RedisError> {
        let value = self.say("CONFIG", &["GET", name]).await?;
        let entry = value.into_map().ok().and_then(|map| map.inner().into_values().next());
        Ok(entry.and_then(Value::into_string))
    }

    /// `TIME`: its clock, in ms since 1970.
    pub async fn now_ms(&self) -> Result<i64, RedisError> {
        let time = self.say("TIME", &[]).await?.into_array();
        let part = |index: usize| time.get(index).and_then(Value::as_i64).unwrap_or_default();
        Ok(part(0) * 1000 + part(1) / 1000)
    }

    async fn say(&self, name: &'static str, words: &[&'static str]) -> Result<Value, RedisError> {
        let args = words.iter().map(|word| Value::from_static_str(word)).collect();
        self.redis.send_to(&self.node, Command::of_server(name, args)).await
    }
}
