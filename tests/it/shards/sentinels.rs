//! On a pair under three Sentinels.

use onsale::local::{LocalReplicated, ReplicatedOptions};

use super::deployment;
use super::rush::Rush;
use crate::support::concert;

#[tokio::test(flavor = "multi_thread")]
async fn failovers_by_sentinels_cost_nobody_more_than_a_repeat() {
    let start = LocalReplicated::throwaway(ReplicatedOptions::throwaway(3));
    let pair = start.await.expect("a private pair");
    let concerts = [concert(2000, 1)];
    let deployment = deployment(pair.url(), concerts.to_vec()).await;
    let servers = [deployment.start().await, deployment.start().await];
    let rush = Rush::on(&servers, &concerts);
    rush.buys(10).await;

    assert_eq!(pair.fail_over().await.expect("a failover in order"), 1);
    rush.buys(20).await;

    pair.nodes()[1].kill().await;
    pair.promoted(0).await.expect("the first is promoted again");
    rush.buys(20).await;
    pair.nodes()[1].restart().await.expect("a restart");
    rush.ends_well(&servers[0], &deployment).await;
}
