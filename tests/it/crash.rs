//! A server that is killed at the worst moments: the next one tells the truth.
//!
//! These tests run real server processes, and need crash points compiled in: `make test`, or
//! `cargo test --features crash-points`.

use onsale::concerts::Concert;
use serde_json::json;

use crate::support::links::Links;
use crate::support::process::ServerProcess;
use crate::support::proxy::Mode;
use crate::support::server::{Deployment, TestServer};
use crate::support::{concert, eventually};

/// PostgreSQL gets every statement and carries it out; no answer arrives.
const ANSWERS_LOST: Mode = Mode::BlackHole { to_target: false, to_client: true };

/// A server that kills itself at `crash_at`, and its links to the stores.
async fn doomed(deployment: &Deployment, crash_at: &str) -> (ServerProcess, Links) {
    let links = Links::of(deployment).await;
    (ServerProcess::doomed(&links.deployment, crash_at).await, links)
}

/// Sends a request to a server that dies before it answers.
async fn send_to(doomed: &mut ServerProcess, token: &str, path: &str, body: serde_json::Value) {
    let request = reqwest::Client::new()
        .post(format!("http://{}{path}", doomed.server.address))
        .header("Queue-Token", token)
        .json(&body);
    // A payment under a key would ask for the key first.
    let request = match path {
        "/payment/charge" => request.header("Idempotency-Key", "a-key"),
        _ => request,
    };
    assert!(request.send().await.is_err(), "the server dies before it answers");
    assert!(doomed.was_killed().await, "killed, and not ended by itself");
}

/// Kills a server at `crash_at` while it takes a payment, which is committed by then or is not, if
/// that is known; another server then answers the repeat.
async fn pay_across_a_crash(crash_at: &str, has_paid: Option<bool>) {
    let deployment = Deployment::new(vec![concert(20, 1)])
        .await
        .with("database_connections", "3")
        // The dead attempt's lease is twice this.
        .with("payment_deadline", "2s")
        .with("payment_extension", "5s");
    let (concert, user) = (deployment.concert().clone(), 7);
    let survivor = deployment.start().await;
    let (mut doomed, links) = doomed(&deployment, crash_at).await;
    let token = survivor.admitted(&concert, user).await;
    survivor.charge(&token, user, 1000).await;
    survivor.reserve(&token, &concert, user, 3).await.expect(201);

    if ["money.before_second_copy", "pay.outcome_unknown"].contains(&crash_at) {
        prepare_payments(&survivor, &doomed, &concert).await;
        links.to_postgres.set(ANSWERS_LOST);
    }
    send_to(&mut doomed, &token, "/payment", json!({"userId": user})).await;

    // What was committed when it died, before anybody repeats anything.
    let database = deployment.database().await;
    let paid_before: Option<uuid::Uuid> =
        sqlx::query_scalar("select id from payments where user_id = 7")
            .fetch_optional(&database)
            .await
            .expect("ids");
    println!("at {crash_at} the payment is {paid_before:?}");
    if let Some(has_paid) = has_paid {
        assert_eq!(paid_before.is_some(), has_paid, "at {crash_at}");
    }

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
    assert_eq!(count("select count(*) from payments where user_id = 7").await.expect("a count"), 1);
    assert_eq!(
        count("select count(*) from owned_seats where seat_number = 3").await.expect("a count"),
        1
    );
    let synced = || async {
        count("select count(*) from payments where redis_synced_at is null").await.expect("a count")
            == 0
    };
    eventually("Redis is told", synced).await;
    let other = survivor.admitted(&concert, 8).await;
    let refused = survivor.reserve(&other, &concert, 8, 3).await;
    assert_eq!(refused.refusal(), (409, "seat-sold"));
}

/// Has other people pay at a server: the statement is then prepared on its connections, so that the
/// next one is carried out although no answer arrives.
async fn prepare_payments(survivor: &TestServer, at: &ServerProcess, concert: &Concert) {
    let payments = (11..=16).map(|user| async move {
        let token = survivor.admitted(concert, user).await;
        survivor.charge(&token, user, 100).await;
        let seat = u32::try_from(user).expect("a seat");
        survivor.reserve(&token, concert, user, seat).await.expect(201);
        at.server.pay(&token, user).await.expect(200);
    });
    futures::future::join_all(payments).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_between_commit_and_finish_has_sold_once() {
    pay_across_a_crash("pay.after_commit", Some(true)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_before_the_statement_has_charged_nobody_and_the_repeat_pays() {
    pay_across_a_crash("pay.after_begin", Some(false)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_after_finish_has_paid_and_the_repeat_says_so() {
    pay_across_a_crash("pay.after_finish", Some(true)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_before_begin_has_charged_nobody_and_the_repeat_pays() {
    pay_across_a_crash("pay.before_begin", Some(false)).await;
}

/// The first copy was carried out, its answer lost; the server dies instead of sending it again.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_before_the_second_copy_of_a_payment_has_sold_once() {
    pay_across_a_crash("money.before_second_copy", None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_when_it_knows_no_outcome_has_sold_once() {
    pay_across_a_crash("pay.outcome_unknown", None).await;
}

/// The same for a charge: its key tells the repeat.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_before_the_second_copy_of_a_charge_has_charged_once() {
    charge_across_a_crash("money.before_second_copy").await;
}

async fn charge_across_a_crash(crash_at: &str) {
    let deployment = Deployment::new(vec![concert(10, 1)]).await;
    let survivor = deployment.start().await;
    let (mut doomed, links) = doomed(&deployment, crash_at).await;
    let token = survivor.admitted(deployment.concert(), 7).await;
    links.to_postgres.set(ANSWERS_LOST);
    let body = json!({"userId": 7, "amount": 50});
    send_to(&mut doomed, &token, "/payment/charge", body.clone()).await;
    for _ in 0..2 {
        let repeat = survivor.request("POST", "/payment/charge").header("Queue-Token", &token);
        let repeat = repeat.header("Idempotency-Key", "a-key").json(&body);
        assert_eq!(survivor.answer(repeat).await.expect(200).body["balance"], 50);
    }
}

/// Kills a server at `crash_at` while it ends an attempt that PostgreSQL has refused.
async fn refusal_across_a_crash(crash_at: &str) {
    let deployment = Deployment::new(vec![concert(10, 1)])
        .await
        .with("payment_deadline", "1s")
        .with("payment_extension", "5s");
    let (concert, user) = (deployment.concert().clone(), 7);
    let survivor = deployment.start().await;
    let (mut doomed, _links) = doomed(&deployment, crash_at).await;
    let token = survivor.admitted(&concert, user).await;
    let hold = survivor.reserve(&token, &concert, user, 3).await.expect(201);
    survivor.reserve(&token, &concert, user, 4).await.expect(201);
    send_to(&mut doomed, &token, "/payment", json!({"userId": user})).await;

    let poor = survivor.pay(&token, user).await;
    assert_eq!(poor.refusal(), (402, "insufficient-balance"));
    let reservation = hold.text("reservationId");
    let release = format!("/concert/reserve?userId={user}&reservationId={reservation}");
    let released = || async { survivor.delete_as(&token, &release).await.status == 200 };
    eventually("the dead attempt keeps the holds no longer than its lease", released).await;
    survivor.charge(&token, user, 1000).await;
    let paid = survivor.pay(&token, user).await.expect(200);
    assert_eq!(
        (&paid.body["balance"], paid.body["payments"].as_array().map(Vec::len)),
        (&json!(900), Some(1))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_before_it_cancels_an_attempt_keeps_the_holds_for_its_lease_only() {
    refusal_across_a_crash("pay.before_cancel").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_after_it_cancelled_an_attempt_has_charged_nobody() {
    refusal_across_a_crash("pay.after_cancel").await;
}

/// Kills a server at `crash_at` while it holds a seat; the repeat on another answers `status`.
async fn reserve_across_a_crash(crash_at: &str, status: u16) {
    let deployment = Deployment::new(vec![concert(10, 1)]).await;
    let (concert, user) = (deployment.concert().clone(), 7);
    let survivor = deployment.start().await;
    let (mut doomed, links) = doomed(&deployment, crash_at).await;
    let token = survivor.admitted(&concert, user).await;
    if crash_at.ends_with("give_back") {
        links.to_postgres.set(Mode::Refuse);
    }
    let body = json!({"userId": user, "seatNumber": 3});
    send_to(&mut doomed, &token, "/concert/reserve", body).await;
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

/// PostgreSQL was away, so the hold was never confirmed; the repeat asks again.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_before_it_gave_a_hold_back_leaves_it_to_the_repeat() {
    reserve_across_a_crash("reserve.before_give_back", 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_after_it_gave_a_hold_back_leaves_the_seat_free_for_the_repeat() {
    reserve_across_a_crash("reserve.after_give_back", 201).await;
}

/// Nobody repeats it: the seat is free again when the hold's time is up, and not before.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_a_killed_server_did_not_give_back_lapses_like_any_other() {
    let deployment = Deployment::new(vec![concert(10, 1)]).await.with("hold_ttl", "1s");
    let concert = deployment.concert().clone();
    let survivor = deployment.start().await;
    let (mut doomed, links) = doomed(&deployment, "reserve.before_give_back").await;
    let (token, other) =
        (survivor.admitted(&concert, 7).await, survivor.admitted(&concert, 8).await);
    links.to_postgres.set(Mode::Refuse);
    let body = json!({"userId": 7, "seatNumber": 3});
    send_to(&mut doomed, &token, "/concert/reserve", body).await;
    let free = || async { survivor.reserve(&other, &concert, 8, 3).await.status == 201 };
    eventually("the seat is free again", free).await;
}
