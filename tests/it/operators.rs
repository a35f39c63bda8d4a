//! What operators change while a sale goes: settings that hold on every server, and their notes.

use onsale::concerts::Concert;
use serde_json::{Value, json};

use crate::support::server::{Answer, Deployment, TestServer};
use crate::support::{RawRedis, concert, eventually};

const TOKEN: &str = "the-operators-token-of-a-test";

async fn deployment(concerts: Vec<Concert>) -> Deployment {
    Deployment::new(concerts).await.with("admin_token", TOKEN)
}

async fn configure(server: &TestServer, change: Value) -> Answer {
    server.answer(server.request("PATCH", "/admin/concerts").bearer_auth(TOKEN).json(&change)).await
}

/// The notes of `concert`, the newest first, without their time.
async fn notes(server: &TestServer, concert: &Concert) -> Vec<Value> {
    let path = format!("/admin/audit?concertId={}", concert.id);
    let mut entries = server.bearing(TOKEN).get(&path).await.expect(200).body["entries"].take();
    let entries = entries.as_array_mut().expect("entries");
    for entry in entries.iter_mut() {
        let at = entry.as_object_mut().expect("an entry").remove("at").expect("a time");
        chrono::DateTime::parse_from_rfc3339(at.as_str().expect("a text")).expect("RFC 3339");
    }
    std::mem::take(entries)
}

async fn status(server: &TestServer, token: &str) -> Value {
    server.get_as(token, "/user/token/status").await.expect(200).body
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_holds_on_every_server_until_the_sale_is_resumed() {
    let deployment = deployment(vec![concert(10, 1), concert(10, 1)]).await;
    let (one, other) = (deployment.start().await, deployment.start().await);
    let (first, second) = (&deployment.concerts[0], &deployment.concerts[1]);
    let inside = one.admitted(first, 1).await;

    let change = json!({"concertId": first.id, "paused": true});
    assert_eq!(configure(&one, change).await.expect(200).body["paused"], true);
    let waiting = other.join(first, 2).await;
    // Each of these takes a tick, and a tick serves every concert.
    one.admitted(second, 3).await;
    other.admitted(second, 4).await;
    for server in [&one, &other] {
        assert_eq!(status(server, &waiting).await["queuePosition"], 1);
    }
    // Whoever is inside goes on.
    one.charge(&inside, 1, 1000).await;
    one.reserve(&inside, first, 1, 1).await.expect(201);

    let change = json!({"concertId": first.id, "paused": false});
    assert_eq!(configure(&other, change).await.expect(200).body["paused"], false);
    one.wait_until_active(&waiting).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn capacity_and_batch_are_set_and_given_back_to_the_configuration() {
    let deployment = deployment(vec![concert(10, 1)]).await.with("capacity", "7");
    let server = deployment.start().await;
    let concert = deployment.concert();
    let set = json!({"concertId": concert.id, "capacity": 0, "batch": 10_000_000});
    let body = configure(&server, set).await.expect(200).body;
    assert_eq!((&body["capacity"], &body["batch"]), (&json!(0), &json!(10_000_000)));
    let back = json!({"concertId": concert.id, "capacity": null, "batch": null});
    let body = configure(&server, back).await.expect(200).body;
    assert_eq!((&body["capacity"], &body["batch"]), (&json!(7), &json!(100)));
    let mut redis = RawRedis::shared().await;
    assert_eq!(redis.say(&format!("EXISTS {}", concert.keys.settings)).await.int(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_reaches_whoever_waits_and_nobody_inside() {
    let deployment = deployment(vec![concert(10, 1)]).await.with("capacity", "1");
    let server = deployment.start().await;
    let concert = deployment.concert();
    let inside = server.admitted(concert, 1).await;
    let waiting = server.join(concert, 2).await;
    assert_eq!(status(&server, &waiting).await.get("message"), None);

    let text = "잠시만 기다려 주세요: we go on at 20:15";
    let change = json!({"concertId": concert.id, "message": text});
    assert_eq!(configure(&server, change).await.expect(200).body["message"], text);
    eventually("the message is told", || async {
        status(&server, &waiting).await.get("message") == Some(&json!(text))
    })
    .await;
    let arrived = server.post("/user/token", json!({"concertId": concert.id})).await.expect(201);
    assert_eq!(arrived.body["message"], text);
    assert_eq!(status(&server, &inside).await.get("message"), None);

    configure(&server, json!({"concertId": concert.id, "message": null})).await.expect(200);
    eventually("the message is gone", || async {
        status(&server, &waiting).await.get("message").is_none()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_is_noted_once_with_what_was_before() {
    let deployment = deployment(vec![concert(10, 1), concert(10, 1)]).await;
    let server = deployment.start().await;
    let (concert, other) = (deployment.concert(), &deployment.concerts[1]);
    assert_eq!(notes(&server, concert).await, Vec::<Value>::new());
    let change = json!({"concertId": concert.id, "batch": 5, "paused": true});
    let request = server.request("PATCH", "/admin/concerts").bearer_auth(TOKEN);
    let request = request.header("X-Request-Id", "call-1").json(&change);
    server.answer(request).await.expect(200);
    // What has its value already is no change.
    RawRedis::shared().await.say("SCRIPT FLUSH").await;
    configure(&server, change).await.expect(200);
    let request = server.request("PATCH", "/admin/concerts").bearer_auth(TOKEN);
    let change = json!({"concertId": concert.id, "batch": null});
    server.answer(request.header("X-Request-Id", "call-2").json(&change)).await.expect(200);

    let note = |request: &str, setting: &str, before: Option<&str>, after: Option<&str>| json!({"request": request, "setting": setting, "before": before, "after": after});
    let expected = vec![
        note("call-2", "batch", Some("5"), None),
        note("call-1", "paused", None, Some("1")),
        note("call-1", "batch", None, Some("5")),
    ];
    assert_eq!(notes(&server, concert).await, expected);
    assert_eq!(notes(&server, other).await, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_change_changes_nothing() {
    let deployment = deployment(vec![concert(10, 1)]).await;
    let server = deployment.start().await;
    let concert = deployment.concert();
    let id = concert.id;
    for (change, told) in [
        (json!({"concertId": id}), (400, "bad-request")),
        (json!({"concertId": id, "paused": null}), (400, "bad-request")),
        (json!({"concertId": id, "paused": "true"}), (400, "bad-request")),
        (json!({"concertId": id, "paused": 1}), (400, "bad-request")),
        (json!({"concertId": null, "paused": true}), (400, "bad-request")),
        (json!({"concertId": id, "message": "two\nlines"}), (400, "bad-request")),
        (json!({"concertId": id, "message": ""}), (422, "out-of-range")),
        (
            json!({"concertId": id, "paused": true, "message": "é".repeat(501)}),
            (422, "out-of-range"),
        ),
        (json!({"concertId": id, "paused": true, "batch": 10_000_001}), (422, "out-of-range")),
        (json!({"concertId": 4_000_000, "paused": true}), (404, "unknown-concert")),
    ] {
        assert_eq!(configure(&server, change.clone()).await.refusal(), told, "{change}");
    }
    let change = json!({"concertId": id, "paused": true});
    for wrong in ["", "the-operators-token-of-a-tesT"] {
        let request = server.request("PATCH", "/admin/concerts").bearer_auth(wrong).json(&change);
        assert_eq!(server.answer(request).await.refusal(), (401, "unauthenticated"));
        let request = server.request("GET", &format!("/admin/audit?concertId={id}"));
        let answer = server.answer(request.bearer_auth(wrong)).await;
        assert_eq!(answer.refusal(), (401, "unauthenticated"));
    }
    let unknown = server.bearing(TOKEN).get("/admin/audit?concertId=4000000").await;
    assert_eq!(unknown.refusal(), (404, "unknown-concert"));
    let mut redis = RawRedis::shared().await;
    for key in [&concert.keys.settings, &concert.keys.audit] {
        assert_eq!(redis.say(&format!("EXISTS {key}")).await.int(), 0);
    }
}

async fn person(server: &TestServer, body: Value) -> Value {
    let request = server.request("GET", "/admin/people").bearer_auth(TOKEN).json(&body);
    server.answer(request).await.expect(200).body
}

/// Whether it is a moment of today, written as all moments that operators are told.
fn is_in_utc(moment: &Value) -> bool {
    let text = moment.as_str().unwrap_or_default();
    let read = chrono::DateTime::parse_from_rfc3339(text);
    text.ends_with('Z')
        && read.is_ok_and(|at| (chrono::Utc::now() - at.to_utc()).num_hours().abs() < 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_is_found_by_user_and_by_token_at_every_stage_and_nothing_changes() {
    let deployment = deployment(vec![concert(10, 1)]).await.with("capacity", "2");
    let server = deployment.start().await;
    let concert = deployment.concert();
    let id = concert.id;
    let user = |user: u64| json!({"concertId": id, "userId": user});
    let nobody = person(&server, user(9)).await;
    assert_eq!((&nobody["place"], &nobody["standing"]), (&json!(null), &json!(null)));
    assert_eq!((&nobody["holds"], &nobody["balance"]), (&json!([]), &json!(0)));

    let token = server.admitted(concert, 1).await;
    let fresh = person(&server, user(1)).await;
    assert_eq!(
        (&fresh["standing"]["status"], &fresh["claimed"]),
        (&json!("active"), &json!(false))
    );
    server.charge(&token, 1, 1000).await;
    server.reserve(&token, concert, 1, 7).await.expect(201);
    for asked in [user(1), json!({"token": token})] {
        let found = person(&server, asked.clone()).await;
        assert_eq!((&found["userId"], &found["claimed"]), (&json!(1), &json!(true)), "{asked}");
        assert_eq!(found["holds"][0]["seatNumber"], 7);
        assert_eq!((&found["owned"], &found["balance"]), (&json!([]), &json!(1000)));
        assert!(found["place"].is_u64(), "{found}");
        for moment in [&found["activeUntil"], &found["holds"][0]["expireAt"]] {
            assert!(is_in_utc(moment), "{found}");
        }
    }
    server.admitted(concert, 2).await;
    let waiting = server.join(concert, 3).await;
    for asked in [user(3), json!({"token": waiting})] {
        let found = person(&server, asked).await;
        assert_eq!((&found["userId"], &found["standing"]["queuePosition"]), (&json!(3), &json!(1)));
        assert_eq!(found["activeUntil"], json!(null));
    }
    server.pay(&token, 1).await.expect(200);
    let found = person(&server, json!({"token": token})).await;
    assert_eq!((&found["userId"], &found["standing"]), (&json!(1), &json!(null)), "{found}");
    assert_eq!((&found["owned"][0]["seatNumber"], &found["balance"]), (&json!(7), &json!(900)));
    assert!(is_in_utc(&found["owned"][0]["paidAt"]), "{found}");

    for (wrong, told) in [
        (json!({}), (400, "bad-request")),
        (json!({"userId": 1}), (400, "bad-request")),
        (json!({"concertId": id, "userId": 1, "token": token}), (400, "bad-request")),
        (json!({"concertId": 4_000_000, "userId": 1}), (404, "unknown-concert")),
        (json!({"concertId": id, "userId": 0}), (422, "out-of-range")),
        (json!({"token": "nonsense"}), (401, "token-invalid")),
    ] {
        let request = server.request("GET", "/admin/people").bearer_auth(TOKEN).json(&wrong);
        assert_eq!(server.answer(request).await.refusal(), told, "{wrong}");
    }
    for request in [
        server.request("GET", "/admin/people"),
        server.request("GET", "/admin/people").bearer_auth("no"),
    ] {
        let told = server.answer(request.json(&user(1))).await;
        assert_eq!(told.refusal(), (401, "unauthenticated"));
    }
}
