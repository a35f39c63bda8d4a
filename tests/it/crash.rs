//! A server that is killed at the worst moments: the next one tells the truth.
//!
//! These tests run real server processes, with crash points compiled in
//! (`cargo test --features crash-points`).

use std::process::Stdio;

use onsale::config::settings::SETTINGS;
use serde_json::json;
use tokio::process::{Child, Command};

use crate::support::server::Deployment;
use crate::support::{concert, eventually};

/// A server process that kills itself at `crash_at`.
struct Doomed {
    child: Child,
    address: String,
    _catalogue: tempfile::NamedTempFile,
}

fn catalogue(deployment: &Deployment) -> tempfile::NamedTempFile {
    let concert = deployment.concert();
    let dates: Vec<String> = concert.dates.iter().map(|date| format!("\"{date}\"")).collect();
    let text = format!(
        "[[concert]]\nid = {}\nname = \"{}\"\ndates = [{}]\nseats = {}\nprice = {}\ntime_zone = \"{}\"\n",
        concert.id,
        concert.name,
        dates.join(", "),
        concert.seats,
        concert.price,
        concert.time_zone,
    );
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), text).expect("a catalogue");
    file
}

async fn start_doomed(deployment: &Deployment, crash_at: &str) -> Doomed {
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("a port");
    let catalogue = catalogue(deployment);
    let mut command = Command::new(env!("CARGO_BIN_EXE_onsale"));
    command.arg("serve").env_clear().env("ONSALE_CRASH_AT", crash_at).kill_on_drop(true);
    command.env("ONSALE_LISTEN", port.to_string()).env("ONSALE_CONCERTS", catalogue.path());
    for setting in SETTINGS.iter().filter(|setting| setting.name != "concerts") {
        if let Some(value) = deployment.setting(setting.name) {
            command.env(setting.variable(), value);
        }
    }
    let child = command.stderr(Stdio::null()).spawn().expect("the server starts");
    let address = format!("http://{port}");
    let ready = || async {
        reqwest::get(format!("{address}/readyz")).await.is_ok_and(|answer| answer.status() == 200)
    };
    eventually("the doomed server is ready", ready).await;
    Doomed { child, address, _catalogue: catalogue }
}

/// Kills a server at `crash_at` while it takes a payment; another server then answers the repeat.
async fn pay_across_a_crash(crash_at: &str) {
    let deployment = Deployment::new(vec![concert(10, 1)])
        .await
        // The dead attempt's lease is twice this.
        .with("payment_deadline", "2s")
        .with("payment_extension", "5s");
    let (concert, user) = (deployment.concert().clone(), 7);
    let survivor = deployment.start().await;
    let mut doomed = start_doomed(&deployment, crash_at).await;
    let token = survivor.admitted(&concert, user).await;
    survivor.charge(&token, user, 1000).await;
    survivor.reserve(&token, &concert, user, 3).await.expect(201);

    let request = reqwest::Client::new()
        .post(format!("{}/payment", doomed.address))
        .header("Queue-Token", &token)
        .json(&json!({"userId": user}));
    assert!(request.send().await.is_err(), "the server dies before it answers");
    let status = doomed.child.wait().await.expect("an exit status");
    assert!(!status.success(), "killed at {crash_at}");

    let retry = || async { survivor.pay(&token, user).await.status != 409 };
    eventually("the dead attempt's lease ends", retry).await;
    let paid = survivor.pay(&token, user).await.expect(200);
    assert_eq!(paid.body["balance"], 900);
    assert_eq!(paid.body["payments"][0]["seatNumber"], 3);
    let again = survivor.pay(&token, user).await.expect(200);
    assert_eq!(again.body, paid.body, "the repeat answers the same payment");

    let database = deployment.database().await;
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
    pay_across_a_crash("pay.after_commit").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_before_the_statement_has_charged_nobody_and_the_repeat_pays() {
    pay_across_a_crash("pay.after_begin").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_after_finish_has_paid_and_the_repeat_says_so() {
    pay_across_a_crash("pay.after_finish").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_before_begin_has_charged_nobody_and_the_repeat_pays() {
    pay_across_a_crash("pay.before_begin").await;
}

/// Kills a server at `crash_at` while it holds a seat; the repeat on another answers `status`.
async fn reserve_across_a_crash(crash_at: &str, status: u16) {
    let deployment = Deployment::new(vec![concert(10, 1)]).await;
    let (concert, user) = (deployment.concert().clone(), 7);
    let survivor = deployment.start().await;
    let mut doomed = start_doomed(&deployment, crash_at).await;
    let token = survivor.admitted(&concert, user).await;
    let request = reqwest::Client::new()
        .post(format!("{}/concert/reserve", doomed.address))
        .header("Queue-Token", &token)
        .json(&json!({"userId": user, "seatNumber": 3}));
    assert!(request.send().await.is_err(), "the server dies before it answers");
    let ended = doomed.child.wait().await.expect("an exit status");
    assert!(!ended.success(), "killed at {crash_at}");
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
