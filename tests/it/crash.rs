//! A server that is killed at the worst moments: the next one tells the truth.
//!
//! These tests run real server processes, with crash points compiled in
//! (`cargo test --features crash-points`).

use serde_json::json;

use crate::support::process::ServerProcess;
use crate::support::server::Deployment;
use crate::support::{concert, eventually};

/// Kills a server at `crash_at` while it takes a payment, which is committed by then or is not; another
/// server then answers the repeat.
async fn pay_across_a_crash(crash_at: &str, has_paid: bool) {
    let deployment = Deployment::new(vec![concert(10, 1)])
        .await
        // The dead attempt's lease is twice this.
        .with("payment_deadline", "2s")
        .with("payment_extension", "5s");
    let (concert, user) = (deployment.concert().clone(), 7);
    let survivor = deployment.start().await;
    let mut doomed = ServerProcess::doomed(&deployment, crash_at).await;
    let token = survivor.admitted(&concert, user).await;
    survivor.charge(&token, user, 1000).await;
    survivor.reserve(&token, &concert, user, 3).await.expect(201);

    let request = reqwest::Client::new()
        .post(format!("http://{}/payment", doomed.server.address))
        .header("Queue-Token", &token)
        .json(&json!({"userId": user}));
    assert!(request.send().await.is_err(), "the server dies before it answers");
    assert!(doomed.was_killed().await, "killed at {crash_at}");

    // What was committed when it died, before anybody repeats anything.
    let database = deployment.database().await;
    let paid_before: Option<uuid::Uuid> =
        sqlx::query_scalar("select id from payments").fetch_optional(&database).await.expect("ids");
    assert_eq!(paid_before.is_some(), has_paid, "at {crash_at}");

    let retry = || async { survivor.pay(&token, user).await.status != 409 };
    eventually("the dead attempt's lease ends", retry).await;
    let paid = survivor.pay(&token, user).await.expect(200);
    assert_eq!(paid.body["balance"], 900);
    assert_eq!(paid.body["payments"][0]["seatNumber"], 3);
    let again = survivor.pay(&token, user).await.expect(200);
    assert_eq!(again.body, paid.body, "the repeat answers the same payment");

    if let Some(id) = paid_before {
        assert_eq!(again.body["payments"][0]["paymentId"], json!(id), "it is that payment");
    }

    let count = |sql: &'static str| sqlx::query_scalar::<_, i64>(sql).fetch_one(&database);
    assert_eq!(count("select count(*) from payments").await.expect("a count"), 1);
    assert_eq!(count("select count(*) from owned_seats").await.expect("a count"), 1);
    let synced = || async {
        count("select count(*) from payments where redis_synced_at is null").await.expect("a count")
            == 0
    };
    eventually("Redis is told", synced).await;
    let other = survivor.admitted(&concert, 8).await;
    let refused = survivor.reserve(&other, &concert, 8, 3).await;
    assert_eq!(refused.refusal(), (409, "seat-sold"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_between_commit_and_finish_has_sold_once() {
    pay_across_a_crash("pay.after_commit", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_before_the_statement_has_charged_nobody_and_the_repeat_pays() {
    pay_across_a_crash("pay.after_begin", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_after_finish_has_paid_and_the_repeat_says_so() {
    pay_across_a_crash("pay.after_finish", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_before_begin_has_charged_nobody_and_the_repeat_pays() {
    pay_across_a_crash("pay.before_begin", false).await;
}

/// Kills a server at `crash_at` while it holds a seat; the repeat on another answers `status`.
async fn reserve_across_a_crash(crash_at: &str, status: u16) {
    let deployment = Deployment::new(vec![concert(10, 1)]).await;
    let (concert, user) = (deployment.concert().clone(), 7);
    let survivor = deployment.start().await;
    let mut doomed = ServerProcess::doomed(&deployment, crash_at).await;
    let token = survivor.admitted(&concert, user).await;
    let request = reqwest::Client::new()
        .post(format!("http://{}/concert/reserve", doomed.server.address))
        .header("Queue-Token", &token)
        .json(&json!({"userId": user, "seatNumber": 3}));
    assert!(request.send().await.is_err(), "the server dies before it answers");
    assert!(doomed.was_killed().await, "killed at {crash_at}");
    let repeat = survivor.reserve(&token, &concert, user, 3).await.expect(status);
    assert_eq!(repeat.body["seatNumber"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_before_a_hold_leaves_the_seat_free_for_the_repeat() {
    reserve_across_a_crash("reserve.before_hold", 201).await;
}

/// A hold whose owner never got an answer lapses like any other, or is found again by its owner.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_after_a_hold_leaves_the_same_hold_to_the_repeat() {
    reserve_across_a_crash("reserve.after_hold", 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_after_postgresql_confirmed_a_hold_leaves_it_to_the_repeat() {
    reserve_across_a_crash("reserve.after_confirm", 200).await;
}
