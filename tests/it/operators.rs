//! What operators change while a sale goes: settings that hold on every server, and their notes.

use onsale::concerts::Concert;
use serde_json::{Value, json};

use crate::support::dump::{assert_unchanged, at_rest, dump};
use crate::support::server::{Answer, Deployment, TestServer, place_of};
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

    let note = |request: &str, setting: &str, before: Option<&str>, after: Option<&str>| json!({"request": request, "action": "changed", "setting": setting, "before": before, "after": after});
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

/// Whatever of the body, the live settings and the catalogue makes the two moments, the sale is open
/// for some time between them.
#[tokio::test(flavor = "multi_thread")]
async fn a_sale_that_would_end_before_it_opens_is_refused_in_every_combination() {
    let at = |day: u32| format!("2099-12-{day:02}T20:00:00Z");
    let moment = |day: u32| Some(at(day).parse().expect("a moment"));
    let catalogue = Concert { opens_at: moment(10), closes_at: moment(20), ..concert(10, 1) };
    let deployment = deployment(vec![catalogue, concert(10, 1)]).await;
    let server = deployment.start().await;
    let [first, second] = &deployment.concerts[..] else { panic!("two concerts") };
    let shown = |body: &Value| (body["opensAt"].clone(), body["closesAt"].clone());
    let change = async |concert: &Concert, opens: Option<Value>, closes: Option<Value>| {
        let mut body = json!({"concertId": concert.id});
        for (name, value) in [("opensAt", opens), ("closesAt", closes)] {
            if let Some(value) = value {
                body[name] = value;
            }
        }
        configure(&server, body).await
    };
    let day = |day: u32| Some(json!(at(day)));
    let (now, null) = (|| Some(json!("now")), || Some(Value::Null));
    // Each row: opensAt, closesAt, and the two moments that it would lead to, or that it leads to.
    for (opens, closes, refused) in [
        (day(20), None, Some((20, 20))),
        (day(25), None, Some((25, 20))),
        (None, day(10), Some((10, 10))),
        (day(25), day(24), Some((25, 24))),
        (None, Some(json!("2099-12-10T20:00:00.001Z")), None),
        (day(25), day(26), None),
        // The catalogue's end lies before what is live.
        (None, null(), Some((25, 20))),
        (null(), None, None),
        // The catalogue's opening, and a live end.
        (null(), day(5), Some((10, 5))),
        (now(), day(5), None),
        (null(), None, Some((10, 5))),
        (day(6), None, Some((6, 5))),
        (null(), null(), None),
    ] {
        let before = server.bearing(TOKEN).get("/admin/concerts").await.expect(200).body;
        let answer = change(first, opens.clone(), closes.clone()).await;
        let Some((opens_at, closes_at)) = refused else {
            answer.expect(200);
            continue;
        };
        assert_eq!(answer.refusal(), (422, "out-of-range"), "{opens:?} {closes:?}");
        assert_eq!(shown(&answer.body), (json!(at(opens_at)), json!(at(closes_at))));
        assert_eq!(answer.body["field"], "closesAt");
        let detail = answer.text("detail");
        assert!(detail.contains("must be later than opensAt"), "{detail}");
        let after = server.bearing(TOKEN).get("/admin/concerts").await.expect(200).body;
        assert_eq!(after["concerts"][0], before["concerts"][0], "nothing changed");
    }
    // What is refused in part is refused.
    let body = json!({"concertId": first.id, "closesAt": at(5), "batch": 7});
    assert_eq!(configure(&server, body).await.refusal(), (422, "out-of-range"));
    let mut redis = RawRedis::shared().await;
    assert_eq!(redis.say(&format!("EXISTS {}", first.keys.settings)).await.int(), 0);
    // A sale may be called off before it opens.
    change(first, None, now()).await.expect(200);
    let late = server.request("POST", "/user/token").json(&json!({"concertId": first.id}));
    let closed = || async {
        server.answer(late.try_clone().expect("a plain body")).await.refusal() == (409, "closed")
    };
    eventually("nobody gets a place", closed).await;
    change(first, None, null()).await.expect(200);
    // Without an opening every end is later.
    change(second, None, now()).await.expect(200);
    // It ended before now: opened anew it needs another end.
    let anew = change(second, now(), None).await;
    assert_eq!(anew.refusal(), (422, "out-of-range"));
    change(second, now(), null()).await.expect(200);
    // Other settings are changed whatever these two are.
    redis.say(&format!("HSET {} opens_at 2000 closes_at 1000", second.keys.settings)).await;
    let body = json!({"concertId": second.id, "batch": 7});
    assert_eq!(configure(&server, body).await.expect(200).body["batch"], 7);
}

async fn release(server: &TestServer, concert: &Concert, seats: &[u32]) -> Answer {
    let body = json!({
        "concertId": concert.id, "concertDate": concert.dates[0], "seatNumbers": seats,
    });
    let request = server.request("DELETE", "/admin/holds").bearer_auth(TOKEN);
    server.answer(request.header("X-Request-Id", "freed").json(&body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_gives_anybodys_holds_back_and_they_keep_their_places() {
    let deployment = deployment(vec![concert(10, 1)]).await;
    let (one, other) = (deployment.start().await, deployment.start().await);
    let concert = deployment.concert();
    let (id, date) = (concert.id, concert.dates[0]);
    let (first, second) = (one.admitted(concert, 1).await, one.admitted(concert, 2).await);
    one.charge(&first, 1, 1000).await;
    for (token, user, seat) in [(&first, 1, 3), (&first, 1, 4), (&second, 2, 5)] {
        one.reserve(token, concert, user, seat).await.expect(201);
    }
    let path = format!("/concert/available-seats?concertDate={date}");
    let listed = other.get_as(&first, &path).await.expect(200).body;
    assert_eq!(listed["availableSeats"], json!([1, 2, 6, 7, 8, 9, 10]));

    let freed = release(&one, concert, &[9, 5, 3]).await.expect(200).body;
    assert_eq!(freed, json!({"concertId": id, "concertDate": date, "seatNumbers": [5, 3]}));
    let listed = other.get_as(&first, &path).await.expect(200).body;
    assert_eq!(listed["availableSeats"], json!([1, 2, 3, 5, 6, 7, 8, 9, 10]));
    // Both go on: one holds less, the other holds what was freed.
    other.reserve(&second, concert, 2, 3).await.expect(201);
    let mine = one.get_as(&first, "/user/reservations?userId=1").await.expect(200).body;
    assert_eq!(mine["holds"].as_array().map(Vec::len), Some(1), "{mine}");
    one.pay(&first, 1).await.expect(200);
    let owned = one.get_as(&first, "/user/reservations?userId=1").await.expect(200).body;
    assert_eq!(owned["owned"][0]["seatNumber"], 4, "{owned}");

    let again = release(&other, concert, &[5, 4]).await.expect(200).body;
    assert_eq!(again["seatNumbers"], json!([]), "one is free, and one is sold");
    let mut told = notes(&one, concert).await;
    for note in &mut told {
        assert!(note.as_object_mut().expect("a note").remove("place").expect("a place").is_u64());
    }
    let note = |seat: u32, user: u32| {
        json!({
            "request": "freed", "action": "released", "setting": null, "before": null,
            "after": null, "concertDate": date, "seatNumber": seat, "userId": user,
        })
    };
    assert_eq!(told, [note(3, 1), note(5, 2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_is_wrong_or_meets_a_payment_changes_nothing() {
    let deployment = deployment(vec![concert(10, 1)]).await;
    let server = deployment.start().await;
    let concert = deployment.concert();
    let (first, second) = (server.admitted(concert, 1).await, server.admitted(concert, 2).await);
    server.reserve(&first, concert, 1, 3).await.expect(201);
    server.reserve(&second, concert, 2, 4).await.expect(201);
    let mut redis = RawRedis::shared().await;
    let paying = concert.keys.paying(place_of(&second));
    redis.say(&format!("ZADD {paying} {} attempt", u64::MAX >> 12)).await;
    // What an operator held back from sale is nobody's hold.
    let (keys, date) = (&concert.keys, concert.dates[0]);
    redis.say(&format!("ZADD {} 253402300799999 7", keys.held(date))).await;
    let nobodys = "0197a0e4-0000-7000-8000-000000000001:0:0:0:253402300799999";
    redis.say(&format!("HSET {} 7 {nobodys}", keys.hold(date))).await;
    let before = at_rest(&deployment, &mut redis).await;

    let paid_for = release(&server, concert, &[3, 4]).await;
    assert_eq!(paid_for.refusal(), (409, "payment-in-progress"));
    assert_eq!(paid_for.body["seatNumber"], 4);
    assert_eq!(release(&server, concert, &[7]).await.expect(200).body["seatNumbers"], json!([]));
    assert_eq!(release(&server, concert, &[11]).await.refusal(), (404, "unknown-seat"));
    let id = concert.id;
    for (wrong, told) in [
        (json!({"concertId": 4_000_000, "concertDate": "2099-12-01", "seatNumbers": [3]}), 404),
        (json!({"concertId": id, "concertDate": "2099-12-31", "seatNumbers": [3]}), 404),
        (json!({"concertId": id, "concertDate": "2099-12-01", "seatNumbers": []}), 422),
        (json!({"concertId": id, "concertDate": "2099-12-01", "seatNumbers": [3, 3]}), 400),
        (json!({"concertId": id, "concertDate": "2099-12-01"}), 400),
    ] {
        let request = server.request("DELETE", "/admin/holds").bearer_auth(TOKEN).json(&wrong);
        assert_eq!(server.answer(request).await.status, told, "{wrong}");
    }
    let right = json!({"concertId": id, "concertDate": "2099-12-01", "seatNumbers": [3]});
    for request in [
        server.request("DELETE", "/admin/holds"),
        server.request("DELETE", "/admin/holds").bearer_auth("the-operators-token-of-a-tesT"),
        server.request("DELETE", "/admin/holds").header("Queue-Token", &first),
    ] {
        let told = server.answer(request.json(&right)).await;
        assert_eq!(told.refusal(), (401, "unauthenticated"));
    }
    assert_unchanged(&before, &dump(&deployment, &mut redis).await);
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
