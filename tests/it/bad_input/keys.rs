//! `Idempotency-Key`: what is none, what was used, and thirty at once.

use futures::future::join_all;
use serde_json::{Value, json};

use super::{ROUTES, Request, Route, Stage};

/// The routes that take a key.
fn keyed() -> [&'static Route; 2] {
    ["/payment/charge", "/payment"].map(|path| {
        ROUTES.iter().find(|route| route.path == path).expect("a route that takes a key")
    })
}

fn charge(stage: &Stage, key: &str, amount: u32) -> Request {
    let body = json!({"userId": 1, "amount": amount}).to_string();
    stage.bare(keyed()[0]).json(body).with("Idempotency-Key", key)
}

fn pay(stage: &Stage, key: &str) -> Request {
    let body = json!({"userId": 1}).to_string();
    stage.bare(keyed()[1]).json(body).with("Idempotency-Key", key)
}

/// A route that a token can be used on without any field.
fn dates() -> &'static Route {
    let mut routes = ROUTES.iter();
    routes.find(|route| route.path == "/concert/available-dates").expect("a route")
}

async fn answered(stage: &Stage, request: &Request) -> Value {
    let answer = stage.send(request).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_str(&answer.body).expect("JSON")
}

async fn count(stage: &Stage, table: &str) -> i64 {
    let database = stage.deployment.database().await;
    let sql = format!("select count(*) from {table}");
    let rows = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&database).await;
    database.close().await;
    rows.expect("a count")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_that_describes_a_key_is_here() {
    let stage = Stage::set().await;
    let document = stage.server.get("/openapi.json").await.expect(200).body;
    let mut described = Vec::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        let told = methods["post"]["parameters"].to_string().contains("Idempotency-Key");
        described.extend(told.then_some(path.as_str()));
    }
    let mut listed = keyed().map(|route| route.path);
    described.sort_unstable();
    listed.sort_unstable();
    assert_eq!(described, listed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_none_is_400_on_every_route_that_takes_one() {
    let stage = Stage::set().await;
    let long = "k".repeat(256);
    for route in keyed() {
        let right = stage.with_fields(route, &stage.object(route));
        for wrong in
            ["".as_bytes(), long.as_bytes(), b"a b", b"a\tb", "schlüssel".as_bytes(), b"\xff"]
        {
            let request = right.clone().with("Idempotency-Key", wrong);
            stage.refused(&request, (400, "bad-request"), "no key").await;
        }
        let twice = right.with("Idempotency-Key", "a").with("Idempotency-Key", "a");
        stage.refused(&twice, (400, "bad-request"), "twice").await;
    }
    stage.assert_nothing_written().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_key_answers_its_own_request_and_refuses_every_other() {
    let mut stage = Stage::set().await;
    let key = "k".repeat(255);
    let first = answered(&stage, &charge(&stage, &key, 7)).await;
    stage.before = super::at_rest(&stage.deployment, &mut stage.redis).await;
    assert_eq!(answered(&stage, &charge(&stage, &key, 7)).await, first);
    let reused = (422, "idempotency-key-reused");
    stage.refused(&charge(&stage, &key, 8), reused, "another body").await;
    stage.refused(&pay(&stage, &key), reused, "another route").await;
    stage.assert_nothing_written().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_a_payment_is_refused_for_a_charge() {
    let mut stage = Stage::set().await;
    answered(&stage, &pay(&stage, "paid")).await;
    // The token has bought; the user comes again.
    stage.token = stage.server.admitted(stage.deployment.concert(), 1).await;
    answered(&stage, &stage.bare(dates())).await;
    stage.before = super::at_rest(&stage.deployment, &mut stage.redis).await;
    let reused = (422, "idempotency-key-reused");
    stage.refused(&charge(&stage, "paid", 7), reused, "another route").await;
    stage.assert_nothing_written().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_charges_at_once_with_one_key_are_one_charge() {
    let stage = Stage::set().await;
    let (ledger, keys) = (count(&stage, "ledger").await, count(&stage, "idempotency_keys").await);
    let request = charge(&stage, "thirty", 7);
    let answers = join_all((0..30).map(|_| answered(&stage, &request))).await;
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(answers[0]["balance"], 1_007);
    assert_eq!(count(&stage, "ledger").await, ledger + 1);
    assert_eq!(count(&stage, "idempotency_keys").await, keys + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_payments_at_once_with_one_key_are_one_payment() {
    let stage = Stage::set().await;
    let request = pay(&stage, "thirty");
    let answers = join_all((0..30).map(|_| answered(&stage, &request))).await;
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!((count(&stage, "payments").await, count(&stage, "owned_seats").await), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_bodies_at_once_with_one_key_are_one_charge() {
    let stage = Stage::set().await;
    let ledger = count(&stage, "ledger").await;
    let requests: Vec<_> = (1..=30).map(|amount| charge(&stage, "thirty", amount)).collect();
    let answers = join_all(requests.iter().map(|request| stage.send(request))).await;
    let taken = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(taken, 1, "{answers:?}");
    for refused in answers.iter().filter(|answer| answer.status != 200) {
        let told = refused.refusal("another body");
        assert_eq!(told, (422, "idempotency-key-reused".to_owned()));
    }
    assert_eq!(count(&stage, "ledger").await, ledger + 1);
}
