//! `onsale dev`: what it prints works, and its stores and their data outlive only what they should.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::support::dev::{Dev, DevFolder, runs};
use crate::support::within;

/// Runs lines in a shell, as somebody who pasted them, and answers what they print.
async fn paste(lines: &str) -> String {
    let run = Command::new("sh").args(["-c", lines]).stdin(Stdio::null()).output();
    let output = run.await.expect("a shell");
    let said = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// The values that stand one after another in `text`.
fn values(text: &str) -> Vec<Value> {
    serde_json::Deserializer::from_str(text).into_iter().collect::<Result<_, _>>().expect(text)
}

/// The lines between the README's marks, for a server at `address`.
fn session_of_the_readme(address: &str) -> String {
    let readme = include_str!("../../../README.md");
    let (_, rest) = readme.split_once("<!-- session -->\n```sh\n").expect("the session's mark");
    let (session, _) = rest.split_once("```\n").expect("the session's end");
    let base = "B=http://127.0.0.1:8080\n";
    assert_eq!(session.matches(base).count(), 1, "{session}");
    session.replace(base, &format!("B=http://{address}\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_dev_prints_and_what_the_readme_tells_works_as_pasted() {
    let folder = DevFolder::empty();
    let mut dev = folder.start().await;
    let lines: Vec<_> = dev.said.lines().filter(|line| line.contains("curl ")).collect();
    assert_eq!(lines.len(), 3, "{}", dev.said);
    let answers = values(&paste(&lines.join("\n")).await);
    assert!(answers[0]["queuePosition"].is_u64(), "{answers:?}");
    // It may take a second until it is this person's turn.
    let looked = answers[1]["availableDates"].is_array() || answers[1]["code"] == "still-waiting";
    assert!(looked, "{answers:?}");

    let (_, operators) = dev.said.split_once("/ops with the token in ").expect("for operators");
    let file = Path::new(operators.lines().next().unwrap_or_default());
    let token = std::fs::read_to_string(folder.path().join(file)).expect("the operators' token");
    dev.server.bearing(token.trim()).get("/admin/concerts").await.expect(200);

    let said = paste(&session_of_the_readme(&dev.server.address.to_string())).await;
    let (_, yours) = said.split_once("-- it is yours\n").expect("the end of the session");
    let owned = &values(yours)[0]["owned"];
    assert_eq!(owned.as_array().map(Vec::len), Some(1), "{said}");
    assert_eq!((&owned[0]["concertId"], &owned[0]["seatNumber"]), (&json!(1), &json!(1)), "{said}");
    dev.end(Signal::TERM).await;
}

/// An active token of user 1, who has charged 5,000: of the line, of money, and of the token key
/// there is something to lose.
async fn leave_something(dev: &Dev) -> String {
    let answer = dev.server.post("/user/token", json!({"concertId": 1, "userId": 1})).await;
    let token = answer.text("token");
    dev.server.wait_until_active(&token).await;
    dev.server.charge(&token, 1, 5000).await;
    token
}

/// Asks for what [`leave_something`] left.
async fn balance_left(dev: &Dev, token: &str) -> (u16, Value) {
    let answer = dev.server.get_as(token, "/payment/balance?userId=1").await;
    (answer.status, answer.body["balance"].clone())
}

fn none_runs(stores: [i32; 2]) -> bool {
    !stores.into_iter().any(runs)
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_a_stop_or_a_closed_terminal_end_dev_and_its_stores_and_lose_nothing() {
    let folder = DevFolder::empty();
    let mut dev = folder.start().await;
    let token = leave_something(&dev).await;
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let ended = tokio::time::timeout(Duration::from_mins(1), dev.end(signal)).await;
        assert_eq!(ended.expect("it ends").code(), Some(0), "{signal:?}");
        assert!(none_runs(dev.stores), "{signal:?}");
        dev = folder.start().await;
        assert_eq!(balance_left(&dev, &token).await, (200, json!(5000)), "{signal:?}");
    }
    dev.end(Signal::TERM).await;
    // Whoever starts it like this wants it to outlive the terminal.
    let mut dev = folder.run(folder.command_under("nohup")).await;
    dev.signal(Signal::HUP);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(balance_left(&dev, &token).await, (200, json!(5000)));
    assert_eq!(dev.end(Signal::TERM).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_taken_is_told_before_a_store_is_started_or_emptied() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    let folder = DevFolder::empty();
    let mut command = Command::new(env!("CARGO_BIN_EXE_onsale"));
    command.args(["dev", "--data", "data", "--reset", "--listen", &address]);
    command.current_dir(folder.path()).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(20), command.output()).await;
    let output = output.expect("it ends at once").expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("cannot listen on {address} (--listen")), "{said}");
    assert!(!folder.path().join("data").exists(), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_the_next_start_finds_the_data_and_after_a_reset_there_is_none() {
    let folder = DevFolder::empty();
    let mut dev = folder.start().await;
    let token = leave_something(&dev).await;
    assert!(!dev.end(Signal::KILL).await.success());
    let mut untied = folder.command();
    untied.env("PATH", folder.path_without_ties());
    let mut dev = folder.run(untied).await;
    assert_eq!(balance_left(&dev, &token).await, (200, json!(5000)));

    // Now nothing but the next start can end the stores.
    let left_behind = dev.stores;
    assert!(!dev.end(Signal::KILL).await.success());
    assert!(left_behind.into_iter().all(runs), "the stores are left behind");
    let mut dev = folder.start().await;
    assert!(none_runs(left_behind), "the next start ends what was left behind");
    assert_eq!(balance_left(&dev, &token).await, (200, json!(5000)));
    dev.end(Signal::TERM).await;

    let mut emptied = folder.command();
    emptied.arg("--reset");
    let mut dev = folder.run(emptied).await;
    assert_eq!(balance_left(&dev, &token).await.0, 401, "another token key");
    let fresh = leave_something(&dev).await;
    assert_eq!(balance_left(&dev, &fresh).await, (200, json!(5000)), "not 10,000");
    dev.end(Signal::TERM).await;
}

/// A server that panics: here because nobody reads what it prints any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_dev_that_panics_takes_its_stores_with_it() {
    let folder = DevFolder::empty();
    let mut untied = folder.command();
    untied.env("PATH", folder.path_without_ties()).stdout(Stdio::piped());
    let mut dev = untied.spawn().expect("the binary runs");
    let mut said = BufReader::new(dev.stdout.take().expect("its output")).lines();
    let first = said.next_line().await.expect("a line").unwrap_or_default();
    assert!(first.starts_with("Starting a private Redis and PostgreSQL in "), "{first}");
    drop(said);
    let started = || async { folder.stores().is_some() };
    within(Duration::from_mins(1), "the stores run", started).await;
    let stores = folder.stores().expect("pid files");
    let status = dev.wait().await.expect("an exit status");
    let log = std::fs::read_to_string(folder.path().join("log")).expect("a log");
    assert_eq!(status.code(), Some(101), "{log}");
    assert!(log.contains("panicked"), "{log}");
    assert!(none_runs(stores), "{log}");
}
