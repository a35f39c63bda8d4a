//! The operators' route.

use serde_json::json;

use crate::support::server::Deployment;
use crate::support::{RawRedis, concert, eventually};

const TOKEN: &str = "the-operators-token-of-a-test";

#[tokio::test(flavor = "multi_thread")]
async fn only_operators_see_the_concerts_and_they_see_what_the_stores_hold() {
    let deployment = Deployment::new(vec![concert(10, 2), concert(5, 1)]).await;
    let deployment = deployment.with("admin_token", TOKEN).with("capacity", "2");
    let server = deployment.start().await;
    let (first, second) = (&deployment.concerts[0], &deployment.concerts[1]);

    let tokens = [server.admitted(second, 1).await, server.admitted(second, 2).await];
    server.join(second, 3).await;
    server.charge(&tokens[0], 1, 1000).await;
    server.reserve(&tokens[0], second, 1, 1).await.expect(201);
    server.reserve(&tokens[1], second, 2, 2).await.expect(201);
    server.pay(&tokens[0], 1).await.expect(200);
    let third_is_in = || async {
        let members = RawRedis::shared().await.say(&format!("ZCARD {}", second.keys.waiting)).await;
        members.int() == 0
    };
    eventually("the third takes the payer's slot", third_is_in).await;
    server.join(second, 4).await;
    let mut redis = RawRedis::shared().await;
    redis.say(&format!("HSET {} batch 7 paused 1", first.keys.settings)).await;

    for wrong in [None, Some("the-operators-token-of-a-tesT"), Some(""), Some(tokens[0].as_str())] {
        let mut request = server.request("GET", "/admin/concerts");
        if let Some(wrong) = wrong {
            request = request.bearer_auth(wrong);
        }
        let answer = server.answer(request).await;
        assert_eq!(answer.refusal(), (401, "unauthenticated"), "{wrong:?}");
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
        let told = if wrong.is_none() { "is expected as" } else { "is not the operators' token" };
        let is_told = answer.text("detail").contains(told);
        assert!(is_told || wrong == Some(""), "{wrong:?}: {answer:?}");
    }
    let by_other_ways = server.get(&format!("/admin/concerts?token={TOKEN}")).await;
    assert_eq!(by_other_ways.refusal(), (401, "unauthenticated"));
    let as_queue_token = server.get_as(TOKEN, "/admin/concerts").await;
    assert_eq!(as_queue_token.refusal(), (401, "unauthenticated"));

    let answer = server.bearing(TOKEN).get("/admin/concerts").await.expect(200);
    let none = json!({
        "issued": 0, "promoted": 0, "claimed": 0, "expired": 0, "left": 0, "consumed": 0,
        "held": 0, "released": 0, "lapsed": 0, "sold": 0, "displaced": 0, "corrected": 0
    });
    let mut some = none.clone();
    // The third was let in and never came.
    for (counter, count) in [("issued", 4), ("promoted", 3), ("claimed", 2), ("consumed", 1)] {
        some[counter] = json!(count);
    }
    (some["held"], some["sold"]) = (json!(2), json!(1));
    let expected = json!({"concerts": [
        {
            "concertId": first.id, "name": first.name, "waiting": 0, "active": 0, "capacity": 2,
            "batch": 7, "paused": true, "missedLottery": false, "opensAt": null, "closesAt": null,
            "message": null, "beaconAwaited": null, "held": 0, "withheld": 0, "sold": 0, "seats": 20, "stats": none
        },
        {
            "concertId": second.id, "name": second.name, "waiting": 1, "active": 2, "capacity": 2,
            "batch": 100, "paused": false, "missedLottery": false, "opensAt": null, "closesAt": null,
            "message": null, "beaconAwaited": null, "held": 1, "withheld": 0, "sold": 1, "seats": 5, "stats": some
        }
    ]});
    assert_eq!(answer.body, expected);
    assert_eq!(answer.headers["cache-control"], "no-store");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_configured_token_the_operators_routes_are_closed() {
    let server = Deployment::new(vec![concert(10, 1)]).await.start().await;
    for request in [
        server.request("GET", "/admin/concerts"),
        server.request("GET", "/admin/concerts").bearer_auth(""),
        server.request("GET", "/admin/concerts").bearer_auth(TOKEN),
    ] {
        assert_eq!(server.answer(request).await.refusal(), (401, "unauthenticated"));
    }
    // In the same words as a wrong one: nobody learns that there is none.
    let told = server.bearing(TOKEN).get("/admin/concerts").await.text("detail");
    assert_eq!(told, "this is not the operators' token of this server");
}
