//! Several Redis that belong together.

use super::*;

#[tokio::test]
async fn a_pair_under_sentinels_fails_over_and_its_killed_primary_comes_back_as_a_replica() {
    let start = LocalReplicated::throwaway(ReplicatedOptions::throwaway(3));
    let pair = start.await.expect("a pair");
    assert_eq!(pair.primary().await.expect("a primary"), 0);
    pair.nodes()[0].say("SET place 7").await.expect("a write");

    assert_eq!(pair.fail_over().await.expect("a failover in order"), 1);
    assert_eq!(pair.nodes()[1].say("GET place").await.expect("an answer"), ["7"]);
    let refused = pair.nodes()[0].say("SET place 8").await.expect_err("a replica");
    assert!(format!("{refused:#}").contains("READONLY"), "{refused:#}");

    pair.nodes()[1].kill().await;
    pair.promoted(0).await.expect("the Sentinels promote the other");
    pair.nodes()[1].restart().await.expect("a restart");
    pair.replicated(0).await.expect("the killed one follows");
    assert!(pair.url().starts_with("redis-sentinel://127.0.0.1:"), "{}", pair.url());
}

#[tokio::test]
async fn a_pair_without_sentinels_changes_its_roles_when_it_is_told() {
    let pair = LocalReplicated::throwaway(ReplicatedOptions::throwaway(0)).await.expect("a pair");
    pair.nodes()[0].say("SET place 7").await.expect("a write");
    assert_eq!(pair.fail_over().await.expect("a failover"), 1);
    assert_eq!(pair.primary().await.expect("a primary"), 1);
    assert_eq!(pair.nodes()[1].say("GET place").await.expect("an answer"), ["7"]);
}

#[tokio::test]
async fn a_cluster_fails_over_moves_a_slot_and_becomes_whole_again() {
    let start = LocalCluster::throwaway(ClusterOptions::throwaway());
    let cluster = start.await.expect("a cluster");
    let slot = cluster.slot_of("{c1}:seq").await.expect("a slot");
    let owner = cluster.owner_of(slot).await.expect("an owner");
    for number in 0..250 {
        let set = format!("SET {{c1}}:{number} {number}");
        cluster.nodes()[owner].say(&set).await.expect("a write");
    }

    let other = (owner + 1) % 3;
    cluster.move_slot(slot, other).await.expect("a move");
    assert_eq!(cluster.owner_of(slot).await.expect("an owner"), other);
    let moved = cluster.nodes()[other].say("GET {c1}:249").await;
    assert_eq!(moved.expect("an answer"), ["249"]);

    let promoted = cluster.fail_over(other).await.expect("a failover in order");
    assert!(promoted >= 3, "a replica took over");
    cluster.whole().await.expect("whole again");
    cluster.nodes()[promoted].kill().await;
    cluster.promoted(other).await.expect("the others vote for the old one");
    let kept = cluster.nodes()[other].say("GET {c1}:0").await;
    assert_eq!(kept.expect("an answer"), ["0"]);
    cluster.nodes()[promoted].restart().await.expect("a restart");
    cluster.whole().await.expect("whole again");
}

#[tokio::test]
async fn a_durable_cluster_finds_its_data_and_an_unfinished_one_starts_anew() {
    let dir = folder();
    let start = async || {
        let folder = DataFolder::open(dir.path()).await.expect("a folder");
        LocalCluster::start(&folder, ClusterOptions::durable()).await.expect("a cluster")
    };
    let cluster = start().await;
    let owner = cluster.owner_of(cluster.slot_of("place").await.expect("a slot")).await;
    let owner = owner.expect("an owner");
    cluster.nodes()[owner].say("SET place 7").await.expect("a write");
    cluster.stop().await.expect("an orderly end");
    drop(cluster);
    // Somebody else has one of the ports now.
    let first = dir.path().join("redis-1");
    fs::remove_file(first.join("ports")).expect("the ports of last time");

    let cluster = start().await;
    let kept = cluster.nodes()[owner].say("GET place").await;
    assert_eq!(kept.expect("an answer"), ["7"]);
    cluster.stop().await.expect("an orderly end");
    drop(cluster);

    fs::remove_file(first.join("cluster-made")).expect("the mark of a finished start");
    let cluster = start().await;
    assert_eq!(cluster.nodes()[owner].say("EXISTS place").await.expect("an answer"), ["0"]);
}
