//! Seats that operators hold back from sale: nobody gets them, nobody waits for them, and a loss of
//! Redis does not put them on sale.

use std::time::Duration;

use onsale::concerts::Concert;
use onsale::local::LocalStores;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::dump::{assert_unchanged, at_rest, dump};
use crate::support::proxy::Mode;
use crate::support::server::{Answer, Deployment, TestServer};
use crate::support::{RawRedis, concert, eventually, within};

const TOKEN: &str = "the-operators-token-of-a-test";
const WITHHELD: &str = "/admin/withheld";

async fn deployment(concerts: Vec<Concert>) -> Deployment {
    Deployment::new(concerts).await.with("admin_token", TOKEN)
}

async fn ask(server: &TestServer, method: &str, body: &Value) -> Answer {
    server.answer(server.request(method, WITHHELD).bearer_auth(TOKEN).json(body)).await
}

/// These seats of the first date, as they are asked for and answered.
fn seats(concert: &Concert, seats: &[u32]) -> Value {
    json!({"concertId": concert.id, "concertDate": concert.dates[0], "seatNumbers": seats})
}

async fn withhold(server: &TestServer, concert: &Concert, numbers: &[u32]) -> Answer {
    ask(server, "POST", &seats(concert, numbers)).await
}

async fn give_back(server: &TestServer, concert: &Concert, numbers: &[u32]) -> Answer {
    ask(server, "DELETE", &seats(concert, numbers)).await
}

async fn listed(server: &TestServer, concert: &Concert) -> Value {
    let path = format!("{WITHHELD}?concertId={}", concert.id);
    server.bearing(TOKEN).get(&path).await.expect(200).body
}

/// The same, of a concert with one date that has some.
fn list_of(concert: &Concert, numbers: &[u32]) -> Value {
    let date = json!({"concertDate": concert.dates[0], "seatNumbers": numbers});
    json!({"concertId": concert.id, "dates": [date]})
}

async fn overview(server: &TestServer, concert: &Concert) -> Value {
    let all = server.bearing(TOKEN).get("/admin/concerts").await.expect(200).body;
    let all = all["concerts"].as_array().expect("concerts");
    all.iter().find(|one| one["concertId"] == json!(concert.id)).expect("the concert").clone()
}

async fn free(server: &TestServer, token: &str, concert: &Concert) -> Value {
    let date = concert.dates[0];
    let path = format!("/concert/available-seats?concertId={}&concertDate={date}", concert.id);
    server.get_as(token, &path).await.expect(200).body["availableSeats"].take()
}

async fn status(server: &TestServer, token: &str) -> Value {
    server.get_as(token, "/user/token/status").await.expect(200).body
}

async fn noted(database: &PgPool) -> Vec<i32> {
    sqlx::query_scalar("select seat_number from withheld_seats order by seat_number")
        .fetch_all(database)
        .await
        .expect("rows")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withheld_seat_is_taken_for_everybody_on_every_server_until_it_is_given_back() {
    let deployment = deployment(vec![concert(10, 2)]).await;
    let (one, other) = (deployment.start().await, deployment.start().await);
    let concert = deployment.concert();
    let database = deployment.database().await;
    assert_eq!(listed(&one, concert).await, json!({"concertId": concert.id, "dates": []}));

    // Repeated, in any order, it is the same.
    for asked in [&[3, 1, 2][..], &[1, 2, 3], &[2]] {
        let mut sorted = asked.to_vec();
        sorted.sort_unstable();
        let answer = withhold(&one, concert, asked).await.expect(200);
        assert_eq!(answer.body, seats(concert, &sorted));
    }
    assert_eq!(listed(&other, concert).await, list_of(concert, &[1, 2, 3]));
    assert_eq!(noted(&database).await, [1, 2, 3]);
    let sale = overview(&other, concert).await;
    assert_eq!((&sale["withheld"], &sale["held"]), (&json!(3), &json!(0)));
    let stats = &sale["stats"];
    assert_eq!((&stats["held"], &stats["released"]), (&json!(3), &json!(0)));

    let token = other.admitted(concert, 1).await;
    assert_eq!(free(&other, &token, concert).await, json!([4, 5, 6, 7, 8, 9, 10]));
    let wish = |seat: u32| {
        let date = concert.dates[0];
        json!({"userId": 1, "concertId": concert.id, "concertDate": date, "seatNumber": seat})
    };
    // Refused by the script, then by the list.
    for _ in 0..2 {
        let refused = other.post_as(&token, "/concert/reserve", wish(2)).await;
        assert_eq!(refused.refusal(), (409, "seat-taken"));
        assert!(!refused.body.to_string().contains("9999"), "{refused:?}");
    }
    other.post_as(&token, "/concert/reserve", wish(4)).await.expect(201);

    let back = give_back(&other, concert, &[9, 3, 2]).await.expect(200);
    assert_eq!(back.body, seats(concert, &[2, 3]), "nobody withheld 9");
    let query = format!(
        "{WITHHELD}?concertId={}&concertDate={}&seatNumbers=1,2,4",
        concert.id, concert.dates[0]
    );
    let request = one.request("DELETE", &query).bearer_auth(TOKEN);
    let back = one.answer(request).await.expect(200);
    assert_eq!(back.body, seats(concert, &[1]), "4 is held by somebody");
    assert_eq!(free(&one, &token, concert).await, json!([1, 2, 3, 5, 6, 7, 8, 9, 10]));
    assert_eq!(listed(&one, concert).await["dates"], json!([]));
    assert_eq!(noted(&database).await, Vec::<i32>::new());
    let sale = overview(&one, concert).await;
    assert_eq!((&sale["withheld"], &sale["held"]), (&json!(0), &json!(1)));
    assert_eq!(sale["stats"]["released"], 3);
    database.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seat_that_is_held_or_sold_is_not_withheld_and_nor_is_any_asked_for_with_it() {
    let deployment = deployment(vec![concert(10, 1)]).await;
    let server = deployment.start().await;
    let concert = deployment.concert();
    let token = server.admitted(concert, 1).await;
    server.charge(&token, 1, 1000).await;
    server.reserve(&token, concert, 1, 4).await.expect(201);
    server.reserve(&token, concert, 1, 6).await.expect(201);
    let refused = withhold(&server, concert, &[3, 4, 5, 6]).await;
    assert_eq!(refused.refusal(), (409, "seat-taken"));
    assert_eq!(refused.body["seatNumbers"], json!([4, 6]));

    // Nothing about a payment changes by what operators do beside it.
    withhold(&server, concert, &[7]).await.expect(200);
    server.pay(&token, 1).await.expect(200);
    let refused = withhold(&server, concert, &[3, 4, 5, 6]).await;
    assert_eq!(refused.refusal(), (409, "seat-sold"));
    assert_eq!(refused.body["seatNumbers"], json!([4, 6]));
    assert_eq!(listed(&server, concert).await, list_of(concert, &[7]));
    assert_eq!(give_back(&server, concert, &[4]).await.expect(200).body["seatNumbers"], json!([]));
    let database = deployment.database().await;
    assert_eq!(noted(&database).await, [7]);
    database.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_concert_is_sold_out_when_what_is_left_is_withheld_until_it_is_given_back() {
    let deployment = deployment(vec![concert(3, 1)]).await.with("capacity", "1");
    let (one, other) = (deployment.start().await, deployment.start().await);
    let concert = deployment.concert();
    let inside = one.admitted(concert, 1).await;
    let waiting = other.join(concert, 2).await;
    withhold(&one, concert, &[2, 3]).await.expect(200);
    one.charge(&inside, 1, 1000).await;
    one.reserve(&inside, concert, 1, 1).await.expect(201);
    let told = async |held: u64| {
        let told = status(&other, &waiting).await;
        told["status"] == "sold-out" && told["heldSeats"] == held
    };
    eventually("one seat may come back", || told(1)).await;
    one.pay(&inside, 1).await.expect(200);
    eventually("nothing comes back", || told(0)).await;
    let arrives = async || other.post("/user/token", json!({"concertId": concert.id})).await;
    let refused = || async { arrives().await.refusal() == (409, "sold-out") };
    eventually("arrivals are turned away", refused).await;
    // A slot is free, and there is nothing to let anybody in for.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(status(&other, &waiting).await["status"], "sold-out");

    give_back(&one, concert, &[3]).await.expect(200);
    let second = Duration::from_millis(1_200);
    within(second, "the line goes on", || async {
        status(&other, &waiting).await["status"] != "sold-out"
    })
    .await;
    other.wait_until_active(&waiting).await;
    assert_eq!(free(&other, &waiting, concert).await, json!([3]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_withheld_and_given_back_is_noted_with_who_asked() {
    let deployment = deployment(vec![concert(300, 1)]).await;
    let server = deployment.start().await;
    let concert = deployment.concert();
    for (method, id, numbers) in [
        ("POST", "call-1", vec![1, 2, 3, 7, 299, 300]),
        ("POST", "call-2", vec![2, 3, 4]),
        ("POST", "call-3", vec![2, 3, 4]),
        ("DELETE", "call-4", vec![1, 4, 5, 300]),
    ] {
        let request = server.request(method, WITHHELD).bearer_auth(TOKEN);
        let request = request.header("X-Request-Id", id).json(&seats(concert, &numbers));
        server.answer(request).await.expect(200);
    }
    let path = format!("/admin/audit?concertId={}", concert.id);
    let entries = server.bearing(TOKEN).get(&path).await.expect(200).body["entries"].take();
    let told = entries.as_array().expect("entries").iter().map(|entry| {
        assert_eq!(entry["setting"], "withheld");
        json!([entry["request"], entry["before"], entry["after"]])
    });
    let told: Vec<_> = told.collect();
    let date = concert.dates[0];
    assert_eq!(
        told,
        [
            json!(["call-4", format!("{date}: 1,4,300"), null]),
            json!(["call-2", null, format!("{date}: 4")]),
            json!(["call-1", null, format!("{date}: 1-3,7,299-300")]),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_redis_withholds_again_what_it_withheld() {
    let stores = LocalStores::throwaway().await.expect("private stores");
    let deployment = Deployment::on(&stores, vec![concert(300, 2)]).await;
    let deployment = deployment.with("admin_token", TOKEN);
    let server = deployment.start().await;
    let concert = deployment.concert();
    let many: Vec<u32> = (1..=200).collect();
    let more: Vec<u32> = (201..=290).collect();
    withhold(&server, concert, &many).await.expect(200);
    withhold(&server, concert, &more).await.expect(200);
    give_back(&server, concert, &[7]).await.expect(200);

    let mut redis = RawRedis::connect(stores.redis.socket()).await;
    redis.say("FLUSHALL").await;
    let epoch = format!("EXISTS {}", concert.keys.epoch);
    // From the moment at which anything is for sale again.
    while redis.say(&epoch).await.int() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let held = redis.say(&format!("ZCARD {}", concert.keys.held(concert.dates[0]))).await.int();
    assert_eq!(held, 289);
    eventually("the server sells", || async { server.get("/readyz").await.status == 200 }).await;
    let kept: Vec<u32> = (1..=290).filter(|seat| *seat != 7).collect();
    assert_eq!(listed(&server, concert).await, list_of(concert, &kept));
    let token = server.admitted(concert, 1).await;
    let left: Vec<u32> = std::iter::once(7).chain(291..=300).collect();
    assert_eq!(free(&server, &token, concert).await, json!(left));
    let metrics = server.bearing(TOKEN).get("/metrics").await.expect(200);
    let again = format!("onsale_reconciled_total{{what=\"withheld\"}} {held}");
    assert!(metrics.body.as_str().is_some_and(|text| text.contains(&again)), "{metrics:?}");
}

/// As a failover loses the last second.
#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_lost_some_withholds_those_that_nobody_has_taken_since() {
    let deployment = deployment(vec![concert(10, 1)]).await;
    let server = deployment.start().await;
    let concert = deployment.concert();
    let token = server.admitted(concert, 1).await;
    server.charge(&token, 1, 1000).await;
    withhold(&server, concert, &[1, 2, 3, 4]).await.expect(200);
    let keys = &concert.keys;
    let mut redis = RawRedis::shared().await;
    redis.say(&format!("ZREM {} 1 2 3", keys.held(concert.dates[0]))).await;
    redis.say(&format!("HDEL {} 1 2 3", keys.hold(concert.dates[0]))).await;
    redis.say(&format!("SET {} lost", keys.version(concert.dates[0]))).await;
    server.reserve(&token, concert, 1, 1).await.expect(201);
    let buyer = server.admitted(concert, 2).await;
    server.charge(&buyer, 2, 1000).await;
    server.reserve(&buyer, concert, 2, 2).await.expect(201);
    server.pay(&buyer, 2).await.expect(200);

    // Whoever starts compares first.
    let other = deployment.start().await;
    assert_eq!(listed(&other, concert).await, list_of(concert, &[3, 4]));
    assert_eq!(overview(&other, concert).await["held"], 1);
    server.pay(&token, 1).await.expect(200);
    deployment.start().await;
    assert_eq!(listed(&other, concert).await, list_of(concert, &[3, 4]), "what is sold stays sold");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_postgresql_nobody_is_told_that_it_is_done_and_repeating_it_does_it() {
    let mut deployment = deployment(vec![concert(10, 1)]).await;
    let database = deployment.database().await;
    let proxy = deployment.proxy_database().await;
    let server = deployment.start().await;
    let concert = deployment.concert();
    withhold(&server, concert, &[1]).await.expect(200);
    proxy.set(Mode::Refuse);
    let unsure = withhold(&server, concert, &[2, 3]).await;
    assert_eq!(unsure.refusal(), (503, "outcome-unknown"));
    assert!(unsure.headers.contains_key("retry-after"));
    let kept = give_back(&server, concert, &[1]).await;
    assert!(
        [(503, "database-unavailable"), (503, "outcome-unknown")].contains(&kept.refusal()),
        "{kept:?}"
    );
    assert_eq!(listed(&server, concert).await, list_of(concert, &[1, 2, 3]), "none is for sale");
    assert_eq!(noted(&database).await, [1]);
    proxy.set(Mode::Pass);
    let done = || async { withhold(&server, concert, &[2, 3]).await.status == 200 };
    eventually("repeating it does it", done).await;
    assert_eq!(noted(&database).await, [1, 2, 3]);

    // The answer is lost, and what was asked for is asked for again.
    proxy.set(Mode::CutAnswers);
    let told = give_back(&server, concert, &[1, 2]).await;
    if told.status == 200 {
        assert_eq!(told.body["seatNumbers"], json!([1, 2]));
    } else {
        assert_eq!(told.refusal(), (503, "outcome-unknown"));
        let done = || async { give_back(&server, concert, &[1, 2]).await.status == 200 };
        eventually("repeating it does it", done).await;
    }
    assert_eq!(noted(&database).await, [3]);
    assert_eq!(listed(&server, concert).await, list_of(concert, &[3]));
    database.close().await;
}

/// PostgreSQL forgets first: a Redis that does not answer then withholds the seats a while longer.
#[tokio::test(flavor = "multi_thread")]
async fn without_redis_nothing_is_withheld_and_giving_back_is_finished_by_repeating_it() {
    let stores = LocalStores::throwaway().await.expect("private stores");
    let deployment = Deployment::on(&stores, vec![concert(10, 1)]).await;
    let deployment = deployment.with("admin_token", TOKEN);
    let server = deployment.start().await;
    let concert = deployment.concert();
    withhold(&server, concert, &[1, 2]).await.expect(200);
    let database = deployment.database().await;
    stores.redis.stop().await.expect("Redis stops");
    let refused = withhold(&server, concert, &[3]).await;
    assert!(
        [(503, "redis-unavailable"), (503, "not-ready"), (503, "outcome-unknown")]
            .contains(&refused.refusal()),
        "{refused:?}"
    );
    let unsure = give_back(&server, concert, &[1]).await;
    assert_eq!(unsure.status, 503, "{unsure:?}");
    assert!(noted(&database).await.ends_with(&[2]), "3 was never noted");
    stores.redis.restart().await.expect("Redis starts");
    let done = || async { give_back(&server, concert, &[1]).await.status == 200 };
    eventually("repeating it does it", done).await;
    assert_eq!(listed(&server, concert).await, list_of(concert, &[2]));
    assert_eq!(noted(&database).await, [2]);
    database.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_or_not_an_operators_changes_nothing() {
    let deployment = deployment(vec![concert(10, 1)]).await;
    let server = deployment.start().await;
    let concert = deployment.concert();
    let mut redis = RawRedis::shared().await;
    let before = at_rest(&deployment, &mut redis).await;
    let with = |field: &str, value: Value| {
        let mut body = seats(concert, &[1]);
        body[field] = value;
        body
    };
    let many: Vec<u32> = (1..=201).collect();
    for (body, told) in [
        (with("concertId", json!(4_000_000)), (404, "unknown-concert")),
        (with("concertDate", json!("2099-12-31")), (404, "unknown-date")),
        (with("seatNumbers", json!([])), (422, "out-of-range")),
        (with("seatNumbers", json!(many)), (422, "out-of-range")),
        (with("seatNumbers", json!([0])), (422, "out-of-range")),
        (with("seatNumbers", json!([100_001])), (422, "out-of-range")),
        (with("seatNumbers", json!([1, 1])), (400, "bad-request")),
        (with("seatNumbers", json!(1)), (400, "bad-request")),
        (with("seatNumbers", json!(["1"])), (400, "bad-request")),
        (with("seat", json!(1)), (400, "bad-request")),
        (json!({"concertId": concert.id, "seatNumbers": [1]}), (400, "bad-request")),
    ] {
        for method in ["POST", "DELETE"] {
            assert_eq!(ask(&server, method, &body).await.refusal(), told, "{method} {body}");
        }
    }
    let beyond = with("seatNumbers", json!([1, 11]));
    assert_eq!(ask(&server, "POST", &beyond).await.refusal(), (404, "unknown-seat"));
    // The catalogue may have had it.
    ask(&server, "DELETE", &beyond).await.expect(200);
    for method in ["GET", "POST", "DELETE"] {
        for wrong in [None, Some(""), Some("the-operators-token-of-a-tesT")] {
            let request = server.request(method, WITHHELD).json(&seats(concert, &[1]));
            let request = match wrong {
                Some(wrong) => request.bearer_auth(wrong),
                None => request,
            };
            let refused = server.answer(request).await;
            assert_eq!(refused.refusal(), (401, "unauthenticated"), "{method} {wrong:?}");
        }
    }
    let unknown = format!("{WITHHELD}?concertId=4000000");
    let unknown = server.bearing(TOKEN).get(&unknown).await;
    assert_eq!(unknown.refusal(), (404, "unknown-concert"));
    assert_unchanged(&before, &dump(&deployment, &mut redis).await);
}
