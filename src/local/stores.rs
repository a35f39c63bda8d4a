//! Both stores together; the Redis is one, or a cluster.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::OnceCell;

use super::cluster::{ClusterOptions, LocalCluster};
use super::folder::DataFolder;
use super::postgres::{LocalPostgres, PostgresOptions};
use super::redis::{LocalRedis, RedisOptions};

/// How often it is looked whether a store still runs.
const LOOK_AFTER: Duration = Duration::from_millis(200);

/// How much the stores take care of their data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Redis with an append-only file, PostgreSQL with fsync.
    Durable,
    /// Nothing is kept.
    Throwaway,
}

/// How private stores are started.
#[derive(Debug, Clone)]
pub struct StoresOptions {
    /// The data folder; none for one that is removed with the stores.
    pub dir: Option<PathBuf>,
    /// Empty the data folder first.
    pub reset: bool,
    /// What is kept.
    pub durability: Durability,
}

impl StoresOptions {
    async fn folder(&self) -> anyhow::Result<DataFolder> {
        let folder = match &self.dir {
            Some(dir) => DataFolder::open(dir).await?,
            None => DataFolder::throwaway().await?,
        };
        if self.reset {
            folder.empty()?;
        }
        Ok(folder)
    }
}

/// A private Redis and a private PostgreSQL. Dropping it stops them.
pub struct LocalStores {
    /// The private Redis.
    pub redis: LocalRedis,
    /// The private PostgreSQL.
    pub postgres: LocalPostgres,
}

impl LocalStores {
    /// Starts both at once.
    pub async fn start(options: StoresOptions) -> anyhow::Result<Self> {
        let folder = options.folder().await?;
        let (redis, postgres) = match options.durability {
            Durability::Durable => (RedisOptions::durable(), PostgresOptions::durable()),
            Durability::Throwaway => (RedisOptions::throwaway(), PostgresOptions::throwaway()),
        };
        let (redis, postgres) = tokio::try_join!(
            LocalRedis::start(&folder, redis),
            LocalPostgres::start(&folder, postgres),
        )?;
        Ok(Self { redis, postgres })
    }

    /// Starts both, throw-away, in a folder that is removed with them.
    pub async fn throwaway() -> anyhow::Result<Self> {
        let durability = Durability::Throwaway;
        Self::start(StoresOptions { dir: None, reset: false, durability }).await
    }

    /// The folder that both live in.
    #[must_use]
    pub fn folder(&self) -> &DataFolder {
        self.redis.folder()
    }

    /// Starts a store again when it has ended by itself, on the same data and addresses, as a
    /// supervisor does. Never ends.
    pub async fn keep_running(&self) -> Infallible {
        loop {
            tokio::time::sleep(LOOK_AFTER).await;
            if self.redis.pid().is_none() {
                report("Redis", self.redis.restart().await);
            }
            if self.postgres.pid().is_none() {
                report("PostgreSQL", self.postgres.restart().await);
            }
        }
    }

    /// Stops both in order.
    pub async fn stop(&self) -> anyhow::Result<()> {
        let (redis, postgres) = tokio::join!(self.redis.stop(), self.postgres.stop());
        redis.and(postgres)
    }
}

fn report(store: &str, restarted: anyhow::Result<()>) {
    match restarted {
        Ok(()) => tracing::warn!(store, "a store had ended and was started again"),
        Err(error) => tracing::error!(store, ?error, "a store has ended and cannot be started"),
    }
}

/// A private Redis cluster and a private PostgreSQL. Dropping it stops them.
pub struct ClusteredStores {
    /// The private cluster.
    pub redis: LocalCluster,
    /// The private PostgreSQL.
    pub postgres: LocalPostgres,
}

impl ClusteredStores {
    /// Starts both at once.
    pub async fn start(options: StoresOptions) -> anyhow::Result<Self> {
        let folder = options.folder().await?;
        let (redis, postgres) = match options.durability {
            Durability::Durable => (ClusterOptions::durable(), PostgresOptions::durable()),
            Durability::Throwaway => (ClusterOptions::throwaway(), PostgresOptions::throwaway()),
        };
        let (redis, postgres) = tokio::try_join!(
            LocalCluster::start(&folder, redis),
            LocalPostgres::start(&folder, postgres),
        )?;
        Ok(Self { redis, postgres })
    }

    /// Starts every server again that has ended by itself: see [`LocalStores::keep_running`].
    pub async fn keep_running(&self) -> Infallible {
        loop {
            tokio::time::sleep(LOOK_AFTER).await;
            for node in self.redis.nodes().iter().filter(|node| node.pid().is_none()) {
                report("a node of Redis", node.restart().await);
            }
            if self.postgres.pid().is_none() {
                report("PostgreSQL", self.postgres.restart().await);
            }
        }
    }

    /// Stops both in order.
    pub async fn stop(&self) -> anyhow::Result<()> {
        let (redis, postgres) = tokio::join!(self.redis.stop(), self.postgres.stop());
        redis.and(postgres)
    }
}

/// The throw-away stores that all tests of a process share: started by the first that asks, and
/// gone with the process.
///
/// Tests keep apart by a database of their own ([`LocalPostgres::create_database`]) and by concert
/// ids of their own. A test that kills or fills a store starts one for itself.
pub async fn shared() -> anyhow::Result<&'static LocalStores> {
    static SHARED: OnceCell<LocalStores> = OnceCell::const_new();
    SHARED.get_or_try_init(LocalStores::throwaway).await
}
