//! On a cluster of three primaries with a replica each.

use std::time::Duration;

use serde_json::json;

use super::rush::Rush;
use super::{apart, cluster, deployment, home_of, slot_of};
use crate::support::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn two_concerts_on_two_shards_sell_through_two_servers() {
    let cluster = cluster().await;
    let concerts = apart(&cluster, 10).await;
    let deployment = deployment(cluster.url(), concerts.to_vec()).await;
    let servers = [deployment.start().await, deployment.start().await];
    for (index, concert) in concerts.iter().enumerate() {
        let token = servers[0].admitted(concert, 7).await;
        servers[1].charge(&token, 7, 1000).await;
        servers[1].reserve(&token, concert, 7, 3).await.expect(201);
        let paid = servers[0].pay(&token, 7).await.expect(200);
        assert_eq!(servers[1].pay(&token, 7).await.expect(200).body, paid.body);
        let rival = servers[1].admitted(concert, 8).await;
        let path = format!("/concert/available-seats?concertDate={}", concert.dates[0]);
        let free = servers[0].get_as(&rival, &path).await.expect(200);
        assert_eq!(free.body["availableSeats"], json!([1, 2, 4, 5, 6, 7, 8, 9, 10]));
        let refused = servers[0].reserve(&rival, concert, 8, 3).await;
        assert_eq!(refused.refusal(), (409, "seat-sold"));
        let dates = servers[1].get_as(&rival, "/concert/available-dates").await.expect(200);
        assert_eq!(dates.body["availableDates"], json!([concert.dates[0]]));
        let mine = servers[1].get_as(&token, "/user/reservations?userId=7").await.expect(200);
        assert_eq!(mine.body["owned"].as_array().expect("a list").len(), 1 + index, "{mine:?}");
        servers[0].delete_as(&rival, "/user/token").await.expect(200);
        let home = &cluster.nodes()[home_of(&cluster, concert).await];
        let sold = home.say(&format!("GETBIT {} 3", concert.keys.sold(concert.dates[0]))).await;
        assert_eq!(sold.expect("an answer"), ["1"], "where the concert is at home");
        let count = format!("XLEN {}", concert.keys.series);
        let sampled = || async { home.say(&count).await.is_ok_and(|rows| rows[0] != "0") };
        eventually("the sale is written down", sampled).await;
    }
}

/// In order, and then by a kill that brings back the first primary: it was a replica meanwhile, and
/// still has its scripts.
#[tokio::test(flavor = "multi_thread")]
async fn failovers_of_a_shard_cost_nobody_more_than_a_repeat() {
    let cluster = cluster().await;
    let concerts = apart(&cluster, 2000).await;
    let deployment = deployment(cluster.url(), concerts.to_vec()).await;
    let servers = [deployment.start().await, deployment.start().await];
    let rush = Rush::on(&servers, &concerts);
    rush.buys(10).await;

    let first = home_of(&cluster, &concerts[0]).await;
    let second = cluster.fail_over(first).await.expect("a failover in order");
    rush.buys(20).await;
    cluster.whole().await.expect("a cluster whose replicas follow");

    cluster.nodes()[second].kill().await;
    cluster.promoted(first).await.expect("the first is promoted again");
    rush.buys(20).await;
    cluster.nodes()[second].restart().await.expect("a restart");
    rush.ends_well(&servers[0], &deployment).await;
}

/// One shard is away and nobody replaces it: the other sells on.
#[tokio::test(flavor = "multi_thread")]
async fn while_one_shard_is_away_the_others_sell_on() {
    let cluster = cluster().await;
    let concerts = apart(&cluster, 10).await;
    let deployment = deployment(cluster.url(), concerts.to_vec()).await;
    let server = deployment.start().await;
    let away = home_of(&cluster, &concerts[0]).await;
    let replica = cluster.replica_of(away).await.expect("a replica");
    cluster.nodes()[replica].kill().await;
    cluster.nodes()[away].kill().await;

    let arrival = json!({"concertId": concerts[0].id, "userId": 1});
    let refused = || async { server.post("/user/token", arrival.clone()).await.status == 503 };
    eventually("its concert is refused", refused).await;
    let token = server.admitted(&concerts[1], 7).await;
    server.charge(&token, 7, 1000).await;
    server.reserve(&token, &concerts[1], 7, 3).await.expect(201);
    server.pay(&token, 7).await.expect(200);
    // A balancer leaves it in service, also once no promotion has succeeded for a while; and a server
    // that starts now serves as well.
    tokio::time::sleep(Duration::from_secs(6)).await;
    for server in [&server, &deployment.start().await] {
        let ready = server.get("/readyz").await.expect(200).body;
        let missing = ready["missing"].to_string();
        assert!(missing.contains("Redis does not answer"), "{ready}");
        server.admitted(&concerts[1], 8).await;
    }

    cluster.nodes()[away].restart().await.expect("a restart");
    let arrives =
        || async { matches!(server.post("/user/token", arrival.clone()).await.status, 200 | 201) };
    eventually("its concert is back", arrives).await;
    server.admitted(&concerts[0], 1).await;
    let whole = || async { server.get("/readyz").await.expect(200).body.get("missing").is_none() };
    eventually("nothing is missing", whole).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_moves_to_another_node_takes_its_concert_along() {
    let cluster = cluster().await;
    let concerts = apart(&cluster, 2000).await;
    let deployment = deployment(cluster.url(), concerts.to_vec()).await;
    let servers = [deployment.start().await, deployment.start().await];
    let rush = Rush::on(&servers, &concerts);
    rush.buys(10).await;

    let slot = slot_of(&cluster, &concerts[0]).await;
    let (from, to) = (home_of(&cluster, &concerts[0]).await, home_of(&cluster, &concerts[1]).await);
    let moving = cluster.begin_move(slot, from, to).await.expect("a move");
    rush.buys(5).await;
    cluster.move_keys(&moving).await.expect("keys that move");
    rush.buys(5).await;
    cluster.move_keys(&moving).await.expect("keys that move");
    cluster.end_move(&moving).await.expect("the end of the move");
    rush.buys(20).await;
    let arrival = json!({"concertId": concerts[0].id, "userId": 900_000});
    servers[0].post("/user/token", arrival).await.expect(201);
    assert_eq!(home_of(&cluster, &concerts[0]).await, to);
    rush.ends_well(&servers[0], &deployment).await;
}

/// A script that makes a key would be stopped in the middle: people would be out of the line, and not
/// let in.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_lost_from_the_line_while_its_slot_moves() {
    let cluster = cluster().await;
    let [concert, _] = apart(&cluster, 10).await;
    let deployment = deployment(cluster.url(), vec![concert.clone()]).await;
    let server = deployment.start().await;
    let (slot, from) = (slot_of(&cluster, &concert).await, home_of(&cluster, &concert).await);
    let (node, keys) = (&cluster.nodes()[from], &concert.keys);
    // Every key that promotion names is there.
    let buyer = server.admitted(&concert, 1).await;
    server.charge(&buyer, 1, 1000).await;
    server.reserve(&buyer, &concert, 1, 3).await.expect(201);
    server.pay(&buyer, 1).await.expect(200);
    server.admitted(&concert, 2).await;
    node.say(&format!("HSET {} capacity 0", keys.settings)).await.expect("a setting");
    let leaver = server.join(&concert, 3).await;
    let waiting = [server.join(&concert, 4).await, server.join(&concert, 5).await];
    server.delete_as(&leaver, "/user/token").await.expect(200);

    let moving = cluster.begin_move(slot, from, (from + 1) % 3).await.expect("a move");
    node.say("CONFIG RESETSTAT").await.expect("new counters");
    node.say(&format!("HSET {} capacity 100", keys.settings)).await.expect("a setting");
    let is_refused = || async {
        let errors = node.say("INFO errorstats").await.expect("an answer").concat();
        errors.contains("errorstat_TRYAGAIN:")
    };
    eventually("promotion is refused as a whole", is_refused).await;
    let left = node.say(&format!("ZCARD {}", keys.waiting)).await.expect("an answer");
    assert_eq!(left, ["2"]);

    cluster.move_keys(&moving).await.expect("keys that move");
    cluster.end_move(&moving).await.expect("the end of the move");
    for token in waiting {
        let is_in = || async {
            server.get_as(&token, "/user/token/status").await.body["status"] == "active"
        };
        eventually("they are let in", is_in).await;
    }
}
