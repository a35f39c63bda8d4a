//! A reservation that asks only the script that makes it: what it saves, and that nobody is told
//! anything else than by the long way.

use onsale::local::LocalStores;
use serde_json::json;

use crate::support::server::{Deployment, TestServer, place_of};
use crate::support::{RawRedis, concert};

async fn stat(redis: &mut RawRedis, deployment: &Deployment, counter: &str) -> String {
    let key = &deployment.concert().keys.stats;
    redis.say(&format!("HGETALL {key}")).await.pairs().remove(counter).unwrap_or_default()
}

/// The first list makes the server know the seats; then nothing reads them meanwhile.
async fn look(server: &TestServer, token: &str, deployment: &Deployment) -> String {
    let (id, date) = (deployment.concert().id, deployment.concert().dates[0]);
    let path = format!("/concert/available-seats?concertId={id}&concertDate={date}");
    server.get_as(token, &path).await.expect(200).body["availableSeats"].to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_winner_is_not_looked_up_before_the_script_and_a_loser_needs_no_script() {
    let stores = LocalStores::throwaway().await.expect("private stores");
    let deployment = Deployment::on(&stores, vec![concert(10, 1)]).await;
    let server = deployment.start().await;
    let mut redis = RawRedis::connect(stores.redis.socket()).await;
    let (ann, bob) = (
        server.admitted(deployment.concert(), 1).await,
        server.admitted(deployment.concert(), 2).await,
    );
    for token in [&ann, &bob] {
        assert_eq!(look(&server, token, &deployment).await, "[1,2,3,4,5,6,7,8,9,10]");
    }

    // The script itself calls MGET once.
    let before = redis.calls().await["mget"];
    server.reserve(&ann, deployment.concert(), 1, 3).await.expect(201);
    assert_eq!(redis.calls().await["mget"] - before, 1);

    assert_eq!(look(&server, &bob, &deployment).await, "[1,2,4,5,6,7,8,9,10]");
    let before = redis.calls().await["hget"];
    let lost = server.post_as(
        &bob,
        "/concert/reserve",
        json!({
            "userId": 2, "concertId": deployment.concert().id, "seatNumber": 3,
            "concertDate": deployment.concert().dates[0],
        }),
    );
    assert_eq!(lost.await.refusal(), (409, "seat-taken"));
    assert_eq!(redis.calls().await["hget"], before, "the script would have read the seat's record");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_use_of_a_token_is_claimed_also_if_it_is_a_reservation() {
    let deployment = Deployment::new(vec![concert(10, 1)]).await.with("claim_ttl", "20s");
    let server = deployment.start().await;
    let mut redis = RawRedis::shared().await;
    let named = server.admitted(deployment.concert(), 1).await;
    let anonymous = server.post("/user/token", json!({"concertId": deployment.concert().id})).await;
    let anonymous = anonymous.expect(201).text("token");
    server.wait_until_active(&anonymous).await;
    assert_eq!(stat(&mut redis, &deployment, "claimed").await, "");
    for (user, token) in [(1, named), (2, anonymous)] {
        server
            .reserve(&token, deployment.concert(), user, u32::try_from(user).unwrap())
            .await
            .expect(201);
        assert_eq!(stat(&mut redis, &deployment, "claimed").await, user.to_string());
        let key = deployment.concert().keys.token(place_of(&token));
        assert!(redis.say(&format!("GET {key}")).await.text().starts_with(&format!("{user}:2:")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_may_not_reserve_is_refused_for_its_own_reason() {
    let deployment =
        Deployment::new(vec![concert(10, 1), concert(10, 1)]).await.with("capacity", "1");
    let server = deployment.start().await;
    let ann = server.admitted(deployment.concert(), 1).await;
    let waits = server.join(deployment.concert(), 2).await;
    let concert = deployment.concert();
    let refused = server.reserve(&ann, concert, 2, 1).await;
    assert_eq!(refused.refusal(), (403, "not-yours"));
    let refused = server.reserve(&waits, concert, 2, 1).await;
    assert_eq!(refused.refusal(), (403, "still-waiting"));
    let other = json!({"userId": 1, "concertId": deployment.concerts[1].id, "seatNumber": 1});
    let refused = server.post_as(&ann, "/concert/reserve", other).await;
    assert_eq!(refused.code(), "wrong-concert");
    server.delete_as(&ann, "/user/token").await.expect(200);
    let refused = server.reserve(&ann, concert, 1, 1).await;
    assert_eq!(refused.refusal(), (401, "token-expired"));
}
