//! The server on several Redis: two concerts on two shards of a cluster, failovers and a moving slot
//! under load, a pair under Sentinels, TLS, and the commands that know of all this.

mod cluster;
mod commands;
mod rush;
mod sentinels;
mod tls;

use onsale::concerts::Concert;
use onsale::local::{ClusterOptions, LocalCluster};

use crate::support::concert;
use crate::support::server::Deployment;

async fn cluster() -> LocalCluster {
    let start = LocalCluster::throwaway(ClusterOptions::throwaway());
    start.await.expect("a private cluster")
}

/// Two concerts that different nodes serve.
async fn apart(cluster: &LocalCluster, seats: u32) -> [Concert; 2] {
    let first = concert(seats, 1);
    let home = home_of(cluster, &first).await;
    loop {
        let second = concert(seats, 1);
        if home_of(cluster, &second).await != home {
            return [first, second];
        }
    }
}

/// The node that serves a concert.
async fn home_of(cluster: &LocalCluster, concert: &Concert) -> usize {
    let slot = slot_of(cluster, concert).await;
    cluster.owner_of(slot).await.expect("an owner")
}

async fn slot_of(cluster: &LocalCluster, concert: &Concert) -> u16 {
    cluster.slot_of(&concert.keys.seq.to_string()).await.expect("a slot")
}

/// Concerts for sale on a Redis of the test's own, with a database of its own.
async fn deployment(redis_url: String, concerts: Vec<Concert>) -> Deployment {
    let mut deployment = Deployment::new(concerts).await;
    deployment.redis_url = redis_url;
    deployment
}
