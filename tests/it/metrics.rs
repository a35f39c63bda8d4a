//! What Prometheus is told: the counts of what really happened, under names that no client chooses.

use std::collections::BTreeMap;

use serde_json::json;

use crate::support::server::{Deployment, TestServer};
use crate::support::{RawRedis, concert, eventually};

const TOKEN: &str = "the-operators-token-of-a-test";

async fn scrape(server: &TestServer) -> String {
    let answer = server.request("GET", "/metrics").bearer_auth(TOKEN).send().await;
    let answer = answer.expect("an answer");
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    answer.text().await.expect("a text")
}

fn number(value: &str) -> f64 {
    value.parse().unwrap_or_else(|_| panic!("no number: {value}"))
}

/// Every sample of a page: name with labels → value, as it is written.
fn read(page: &str) -> BTreeMap<String, String> {
    let samples = page.lines().filter(|line| !line.starts_with('#'));
    let samples = samples.map(|line| {
        let (name, value) = line.rsplit_once(' ').expect("a sample");
        number(value);
        (name.to_owned(), value.to_owned())
    });
    samples.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scrape_tells_what_happened() {
    let deployment = Deployment::new(vec![concert(20, 1)]).await.with("admin_token", TOKEN);
    let (server, concert) = (deployment.start().await, deployment.concert());
    let token = server.admitted(concert, 1).await;
    server.charge(&token, 1, 1000).await;
    for seat in [1, 2] {
        server.reserve(&token, concert, 1, seat).await.expect(201);
    }
    server.reserve(&token, concert, 1, 1).await.expect(200);
    let other = server.admitted(concert, 2).await;
    server.reserve(&other, concert, 2, 1).await.expect(409);
    server.pay(&token, 1).await.expect(200);
    server.reserve(&other, concert, 2, 3).await.expect(201);
    for _ in 0..3 {
        server.get_as(&other, "/user/token/status").await.expect(200);
    }

    let id = concert.id;
    let told =
        |name: &str, value: &'static str| (format!("onsale_{name}{{concert=\"{id}\"}}"), value);
    let wanted = [
        told("seats", "20.0"),
        told("waiting", "0.0"),
        told("active", "1.0"),
        told("held_seats", "1.0"),
        told("sold_seats", "2.0"),
        told("servers", "1.0"),
        told("verified", "1.0"),
    ];
    eventually("the newest sample is told, and every job has run", || async {
        let page = read(&scrape(&server).await);
        // The job that runs least often.
        page.contains_key("onsale_job_age_seconds{job_name=\"seats.sweep\"}")
            && wanted.iter().all(|(name, value)| page.get(name).is_some_and(|told| told == value))
    })
    .await;

    let page = read(&scrape(&server).await);
    let value =
        |name: &str| page.get(name).unwrap_or_else(|| panic!("no {name}: {page:#?}")).as_str();
    let requests = |of: &str| value(&format!("onsale_requests_total{{{of}}}"));
    let reserve = "route=\"/concert/reserve\",method=\"POST\"";
    assert_eq!(requests(&format!("{reserve},status=\"201\"")), "3");
    assert_eq!(requests(&format!("{reserve},status=\"200\"")), "1");
    assert_eq!(requests(&format!("{reserve},status=\"409\"")), "1");
    assert_eq!(value(&format!("onsale_request_seconds_count{{{reserve}}}")), "5");
    assert_eq!(
        value(
            "onsale_request_seconds_bucket{route=\"/concert/reserve\",method=\"POST\",le=\"+Inf\"}"
        ),
        "5"
    );
    let seconds = number(value(&format!("onsale_request_seconds_sum{{{reserve}}}")));
    assert!(seconds > 0.0 && seconds < 60.0, "{seconds}");
    assert_eq!(value("onsale_refusals_total{code=\"seat-taken\"}"), "1");
    let events =
        |event: &str| value(&format!("onsale_events_total{{concert=\"{id}\",event=\"{event}\"}}"));
    let counted = ["issued", "promoted", "consumed", "holds", "lapsed"].map(events);
    assert_eq!(counted, ["2", "2", "1", "3", "0"]);
    assert_stores_are_told(&page);
}

/// Scripts and statements are counted for the whole process, and other tests run in it.
fn assert_stores_are_told(page: &BTreeMap<String, String>) {
    let value =
        |name: &str| page.get(name).unwrap_or_else(|| panic!("no {name}: {page:#?}")).as_str();
    let scripts = ["queue/enter", "queue/promote", "seats/hold", "payments/finish", "ops/sample"];
    for script in scripts.into_iter().chain(["MGET", "read"]) {
        let calls = number(value(&format!("onsale_redis_call_seconds_count{{call=\"{script}\"}}")));
        assert!(calls >= 1.0, "{script}");
        value(&format!("onsale_redis_call_failures_total{{call=\"{script}\"}}"));
    }
    for statement in ["pay", "charge", "ever_sold", "now", "acquire"] {
        let calls =
            number(value(&format!("onsale_sql_seconds_count{{statement=\"{statement}\"}}")));
        assert!(calls >= 1.0, "{statement}");
    }
    let redis_up = page.iter().find(|(name, _)| name.starts_with("onsale_redis_up{"));
    assert_eq!(redis_up.map(|(_, up)| up.as_str()), Some("1.0"));
    let connections = ["idle", "used"]
        .map(|state| number(value(&format!("onsale_postgres_connections{{state=\"{state}\"}}"))));
    assert_eq!(value("onsale_postgres_connections_max"), "6.0");
    assert!((1.0..=6.0).contains(&connections.iter().sum()), "{connections:?}");
    for job in ["queue.promote", "seats.sweep", "payments.finish", "payments.verify", "ops.sample"]
    {
        let age = number(value(&format!("onsale_job_age_seconds{{job_name=\"{job}\"}}")));
        assert!((0.0..10.0).contains(&age), "{job}: {age}");
    }
    assert_eq!(value("onsale_payments_unfinished"), "0.0");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_client_sends_becomes_a_label() {
    let deployment = Deployment::new(vec![concert(10, 1)]).await.with("admin_token", TOKEN);
    let server = deployment.start().await;
    let before = read(&scrape(&server).await).len();
    for number in 0..50 {
        server.get(&format!("/hunter2-{number}?hunter2={number}")).await.expect(404);
        let method = format!("HUNTER{number}");
        server.send(&method, "/user/token", None, None).await.expect(405);
        let body = json!({ format!("hunter2{number}"): number });
        server.send("POST", "/user/token", None, Some(body)).await.expect(400);
    }
    let page = scrape(&server).await;
    assert!(!page.to_lowercase().contains("hunter"), "{page}");
    let page = read(&page);
    let unknown = "onsale_requests_total{route=\"unknown\",method=\"GET\",status=\"404\"}";
    assert_eq!(page[unknown], "50");
    let other = "onsale_requests_total{route=\"/user/token\",method=\"other\",status=\"405\"}";
    assert_eq!(page[other], "50");
    // Three routes with a histogram of 24 samples each, and the metrics themselves.
    assert!(page.len() < before + 150, "{} after {before}", page.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_for_operators_alone_and_go_on_without_redis() {
    let deployment = Deployment::new(vec![concert(10, 1)]).await;
    let open = deployment.clone().with("admin_token", TOKEN);
    let server = open.start().await;
    assert_eq!(server.get("/metrics").await.refusal(), (401, "unauthenticated"));
    let wrong = server.bearing("another-token-of-a-test");
    assert_eq!(wrong.get("/metrics").await.refusal(), (401, "unauthenticated"));
    let closed = deployment.start().await;
    assert_eq!(closed.bearing(TOKEN).get("/metrics").await.refusal(), (401, "unauthenticated"));

    let mut away = open;
    away.redis_url = "redis://127.0.0.1:1".to_owned();
    let away = away.start_unready().await;
    let page = read(&scrape(&away).await);
    assert_eq!(page["onsale_redis_up{redis=\"127.0.0.1:1\"}"], "0.0");
    let of_sales = page.keys().filter(|name| name.starts_with("onsale_waiting"));
    assert_eq!(of_sales.count(), 0, "what is not known is not told");
}

/// However often somebody scrapes, Redis is asked no more often than by the job.
#[tokio::test(flavor = "multi_thread")]
async fn a_scrape_asks_no_store() {
    let deployment = Deployment::new(vec![concert(10, 1)]).await.with("admin_token", TOKEN);
    let server = deployment.start().await;
    let name = format!("onsale_sample_timestamp_ms{{concert=\"{}\"}}", deployment.concert().id);
    eventually("there is a sample", || async { read(&scrape(&server).await).contains_key(&name) })
        .await;
    let mut seen = std::collections::BTreeSet::new();
    let began = std::time::Instant::now();
    for _ in 0..200 {
        let page = read(&scrape(&server).await);
        seen.insert(page.get(&name).cloned());
    }
    let seconds = usize::try_from(began.elapsed().as_secs()).expect("a short while");
    assert!(seen.len() <= seconds + 2, "{} samples in {seconds} s", seen.len());
    let mut redis = RawRedis::shared().await;
    let rows = redis.say(&format!("XLEN {}", deployment.concert().keys.series)).await.int();
    assert!(rows >= 1);
}
