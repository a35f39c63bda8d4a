//! What the operators' dashboard asks for, held against what Redis itself says.

use onsale::concerts::Concert;
use serde_json::{Value, json};

use crate::support::server::{Deployment, TestServer};
use crate::support::{RawRedis, concert, eventually};

const TOKEN: &str = "the-operators-token-of-a-test";

async fn asked(server: &TestServer, path: &str) -> Value {
    server.bearing(TOKEN).get(path).await.expect(200).body
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

/// The newest sample that the server has of `concert`.
async fn sample(server: &TestServer, concert: &Concert) -> Value {
    let view = asked(server, "/admin/dashboard").await;
    let sales = view["sales"].as_array().expect("sales").iter();
    let sale = sales.clone().find(|sale| sale["concertId"] == json!(concert.id));
    sale.expect("this concert")["sample"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_is_told_of_this_server_and_of_every_sale() {
    let deployment = Deployment::new(vec![concert(20, 1), concert(5, 1)]).await;
    let deployment = deployment.with("admin_token", TOKEN);
    let (server, concert) = (deployment.start().await, deployment.concert());
    let token = server.admitted(concert, 1).await;
    server.reserve(&token, concert, 1, 1).await.expect(201);
    server.get("/nowhere").await.expect(404);
    eventually("the hold is sampled", || async { sample(&server, concert).await["held"] == 1 })
        .await;
    // The slowest of them runs every five seconds.
    eventually("every job has run", || async {
        let jobs = asked(&server, "/admin/dashboard").await["server"]["jobs"].take();
        jobs.as_object().is_some_and(|jobs| jobs.len() == 5)
    })
    .await;

    let view = asked(&server, "/admin/dashboard").await;
    assert_eq!(keys(&view), ["concerts", "sales", "server"]);
    let ids = deployment.concerts.iter().map(|concert| json!(concert.id)).collect::<Vec<_>>();
    for list in ["concerts", "sales"] {
        let told = view[list].as_array().expect("a list").iter();
        assert_eq!(told.map(|one| one["concertId"].clone()).collect::<Vec<_>>(), ids, "{list}");
    }
    let told = &view["server"];
    let names = [
        "id",
        "jobs",
        "latencyBounds",
        "missing",
        "postgres",
        "redis",
        "refusals",
        "requestsInWork",
        "requestsInWorkMax",
        "routes",
        "version",
    ];
    assert_eq!(keys(told), names);
    // It was asked whether it is ready before it was.
    assert_eq!((&told["missing"], &told["refusals"]["not-found"]), (&json!([]), &json!(1)));
    let routes = told["routes"].as_array().expect("routes");
    let reserve = routes.iter().find(|route| route["route"] == "/concert/reserve");
    let reserve = reserve.expect("the route that was asked");
    assert_eq!((&reserve["method"], &reserve["statuses"]), (&json!("POST"), &json!({"201": 1})));
    let counts = reserve["latencies"].as_array().expect("counts");
    assert_eq!(counts.iter().filter_map(Value::as_u64).sum::<u64>(), 1);
    assert_eq!(counts.len(), told["latencyBounds"].as_array().expect("bounds").len() + 1);
    assert_eq!(told["redis"]["nodes"][0]["up"], true);
    assert_eq!(told["postgres"]["connectionsMax"], 6);
    assert_eq!(view["sales"][0]["verified"], true);
    let expected = [
        ("waiting", json!(0)),
        ("active", json!(1)),
        ("held", json!(1)),
        ("withheld", json!(0)),
        ("sold", json!(0)),
        ("servers", json!(1)),
        ("issued", json!(1)),
        ("promoted", json!(1)),
        ("holds", json!(1)),
        ("head", json!(null)),
    ];
    for (name, value) in expected {
        assert_eq!(view["sales"][0]["sample"][name], value, "{name}");
    }
    let mut redis = RawRedis::shared().await;
    let seen = redis.say(&format!("ZRANGE {} 0 -1", concert.keys.servers)).await.texts();
    assert_eq!(json!(seen), json!([told["id"]]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_hour_is_told_whole_or_from_a_row_on() {
    let deployment = Deployment::new(vec![concert(10, 1)]).await.with("admin_token", TOKEN);
    let (server, concert) = (deployment.start().await, deployment.concert());
    let mut redis = RawRedis::shared().await;
    let key = concert.keys.series.as_str();
    redis.send(&["DEL", key]).await;
    // More than one read takes, and before every row that the server writes meanwhile.
    let fill = "for i = 1, 700 do \
        redis.call('XADD', KEYS[1], i * 1000 .. '-0', 'waiting', i, 'head', '', 'polls', 2 * i) end";
    redis.send(&["EVAL", fill, "1", key]).await;

    let path = format!("/admin/series?concertId={}", concert.id);
    let view = asked(&server, &path).await;
    assert_eq!(keys(&view), ["concertId", "fields", "rows"]);
    let fields: Vec<_> = view["fields"].as_array().expect("fields").iter().collect();
    let column = |name: &str| fields.iter().position(|field| *field == name).expect("a field");
    let rows = view["rows"].as_array().expect("rows");
    assert!(rows.len() >= 700, "{}", rows.len());
    for (index, row) in rows.iter().take(700).enumerate() {
        let n = index + 1;
        assert_eq!(row.as_array().map(Vec::len), Some(fields.len()));
        assert_eq!(row[column("at")], json!(n * 1000));
        assert_eq!((&row[column("waiting")], &row[column("polls")]), (&json!(n), &json!(2 * n)));
        assert_eq!((&row[column("head")], &row[column("sold")]), (&json!(null), &json!(null)));
    }
    let later = asked(&server, &format!("{path}&after=699000")).await;
    assert_eq!(later["rows"][0][0], 700_000);
    let unknown = server.bearing(TOKEN).get("/admin/series?concertId=4194303").await;
    assert_eq!(unknown.refusal(), (404, "unknown-concert"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_the_dashboard_still_says_what_is_wrong() {
    let mut deployment = Deployment::new(vec![concert(10, 1)]).await.with("admin_token", TOKEN);
    deployment.redis_url = "redis://127.0.0.1:1".to_owned();
    let server = deployment.start_unready().await;
    let view = asked(&server, "/admin/dashboard").await;
    assert_eq!((&view["concerts"], &view["sales"][0]["sample"]), (&json!([]), &json!(null)));
    assert_eq!(view["server"]["redis"]["nodes"][0]["up"], false);
    let missing = view["server"]["missing"].to_string();
    assert!(missing.contains("Redis does not answer"), "{missing}");
    let path = format!("/admin/series?concertId={}", deployment.concert().id);
    let refused = server.bearing(TOKEN).get(&path).await;
    assert_eq!(refused.refusal(), (503, "redis-unavailable"));
    for path in ["/admin/dashboard", &path] {
        assert_eq!(server.get(path).await.refusal(), (401, "unauthenticated"));
    }
}
