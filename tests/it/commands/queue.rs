//! `onsale queue` as a process, against real servers: what it changes, what it prints, how it ends.

use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::server::{Deployment, TestServer};
use crate::support::{concert, within};

const TOKEN: &str = "the-operators-token-of-a-test";

/// How a command ended.
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

async fn queue_with(environment: &[(&str, &str)], words: &[&str]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onsale"));
    command.arg("queue").args(words).env_clear().envs(environment.iter().copied());
    ended(command.stdin(Stdio::null())).await
}

async fn ended(command: &mut Command) -> Ended {
    let output = command.kill_on_drop(true).output();
    let output = tokio::time::timeout(std::time::Duration::from_secs(20), output);
    let output = output.await.expect("it ends").expect("the binary runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Ended { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

async fn queue(server: &TestServer, words: &[&str]) -> Ended {
    let url = format!("http://{}/", server.address);
    queue_with(&[("ONSALE_URL", &url), ("ONSALE_ADMIN_TOKEN", TOKEN)], words).await
}

/// The same for somebody who sits at a terminal and types this.
async fn queue_at_a_terminal(server: &TestServer, words: &[&str], typed: &str) -> Ended {
    let (line, terminal) = terminal();
    let mut line = std::fs::File::from(line);
    line.write_all(typed.as_bytes()).expect("somebody types");
    let mut command = Command::new(env!("CARGO_BIN_EXE_onsale"));
    command.arg("queue").args(words).env_clear().env("ONSALE_ADMIN_TOKEN", TOKEN);
    command.env("ONSALE_URL", format!("http://{}", server.address));
    ended(command.stdin(terminal)).await
}

/// A terminal, and the line that somebody types into.
fn terminal() -> (OwnedFd, std::fs::File) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let line = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&line).and_then(|()| unlockpt(&line)).expect("it may be opened");
    let name = ptsname(&line, Vec::new()).expect("a name").into_string().expect("UTF-8");
    let terminal = std::fs::File::options().read(true).write(true).open(name);
    (line, terminal.expect("it opens"))
}

/// What a command that did its work has printed.
async fn done(server: &TestServer, words: &[&str]) -> String {
    let ended = queue(server, words).await;
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{words:?}");
    ended.out
}

async fn done_as_json(server: &TestServer, words: &[&str]) -> Value {
    let out = done(server, &[words, &["--json"]].concat()).await;
    serde_json::from_str(&out).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_steers_a_sale_from_a_shell_and_the_other_servers_follow_within_a_second() {
    let deployment = Deployment::new(vec![concert(10, 1)]).await.with("admin_token", TOKEN);
    let deployment = deployment.with("capacity", "3");
    let (one, other) = (deployment.start().await, deployment.start().await);
    let concert = deployment.concert();
    let id = concert.id.to_string();
    let told = done(&one, &["show"]).await;
    assert!(told.starts_with("ID") && told.contains("WAITING"), "{told}");
    let row = |told: &str| told.lines().nth(1).unwrap_or_default().to_owned();
    assert!(row(&told).starts_with(&id) && row(&told).contains("0/3"), "{told}");

    let token = one.admitted(concert, 1).await;
    done(&one, &["pause"]).await;
    assert_eq!(done_as_json(&other, &["show"]).await["concerts"][0]["paused"], true);
    let waiting = one.join(concert, 2).await;
    let told = done(&one, &["message", "We go on at 20:15."]).await;
    assert!(row(&told).contains("yes") && row(&told).contains("We go on at 20:15."), "{told}");
    within(std::time::Duration::from_millis(1_500), "the message is told elsewhere", || async {
        let told = other.get_as(&waiting, "/user/token/status").await.body;
        told["message"] == "We go on at 20:15."
    })
    .await;
    assert_eq!(done_as_json(&one, &["message"]).await["message"], Value::Null);
    let changed = done_as_json(&one, &["capacity", "7", "--concert", &id]).await;
    assert_eq!(changed["capacity"], 7);
    assert_eq!(done_as_json(&one, &["batch", "9"]).await["batch"], 9);
    assert_eq!(done_as_json(&one, &["capacity", "default"]).await["capacity"], 3);

    let date = concert.dates[0].to_string();
    let of = |seats: &'static str| ["--date", &date, "--seats", seats].map(str::to_owned);
    let words = |name: &'static str, seats| {
        std::iter::once(name.to_owned()).chain(of(seats)).collect::<Vec<_>>()
    };
    for (name, seats, shown) in
        [("withhold", "1,8-10", "1,8-10"), ("give-back", "7-9", "8-9"), ("give-back", "7-9", "-")]
    {
        let words = words(name, seats);
        let told = done(&one, &words.iter().map(String::as_str).collect::<Vec<_>>()).await;
        assert_eq!(told, format!("DATE        SEATS\n{date}  {shown}\n"));
    }
    let told = done(&other, &["withheld"]).await;
    assert_eq!(told, format!("DATE        SEATS\n{date}  1,10\n"));
    assert_eq!(done_as_json(&other, &["show"]).await["concerts"][0]["withheld"], 2);

    one.reserve(&token, concert, 1, 4).await.expect(201);
    let told = done(&other, &["lookup", "--user", "1"]).await;
    assert!(told.contains("status   active until 2") && told.contains("holds:"), "{told}");
    let told = done_as_json(&other, &["lookup", "--token", &waiting]).await;
    assert_eq!((&told["userId"], &told["standing"]["queuePosition"]), (&json!(2), &json!(1)));
    done(&one, &["resume"]).await;
    let late = one.join(concert, 3).await;
    one.wait_until_active(&late).await;
    done(&one, &["close"]).await;
    within(std::time::Duration::from_secs(3), "the sale is over", || async {
        other.post("/user/token", json!({"concertId": concert.id})).await.status == 409
    })
    .await;
    done(&one, &["close", "--at", "default"]).await;
    done(&one, &["open"]).await;

    let told = done(&one, &["audit"]).await;
    assert!(told.starts_with("AT") && told.contains("opens_at"), "{told}");
    let entries = done_as_json(&one, &["audit"]).await["entries"].take();
    assert!(entries.as_array().expect("entries").len() >= 8, "{entries}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_gives_holds_back_and_clears_a_line_from_a_shell() {
    let deployment = Deployment::new(vec![concert(10, 1)]).await.with("admin_token", TOKEN);
    let (one, other) = (deployment.start().await, deployment.start().await);
    let concert = deployment.concert();
    let id = concert.id.to_string();
    let token = one.admitted(concert, 1).await;
    one.reserve(&token, concert, 1, 4).await.expect(201);
    done(&one, &["pause"]).await;
    let waiting = one.join(concert, 2).await;
    let date = concert.dates[0].to_string();
    let told = done(&other, &["release", "--date", &date, "--seats", "4,5"]).await;
    assert_eq!(told, format!("{date}: free again: 4\n"));
    let told = done(&one, &["release", "--date", &date, "--seats", "4,5"]).await;
    assert_eq!(told, format!("{date}: nobody held any of these seats\n"));
    let told = done(&other, &["clear", "--yes"]).await;
    assert_eq!(told, format!("1 people of concert {id} lost their place\n"));
    within(std::time::Duration::from_millis(1_500), "the place is gone elsewhere", || async {
        one.get_as(&waiting, "/user/token/status").await.refusal() == (401, "token-expired")
    })
    .await;
    let told = done(&one, &["audit"]).await;
    assert!(told.contains("cleared") && told.contains("1 waiting"), "{told}");
    assert!(told.contains(&format!("released {date} 4")) && told.contains("user 1"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_said_precisely_and_by_the_exit_code() {
    let deployment = Deployment::new(vec![concert(10, 1), concert(10, 1)]).await;
    let server = deployment.with("admin_token", TOKEN).start().await;
    let id = |n: usize| deployment_id(&server, n);
    let (first, second) = (id(0).await, id(1).await);
    for (words, code, said) in [
        (
            &["pause"][..],
            2,
            format!(
                "--concert is needed: there are {first} (Concert {first}), {second} (Concert {second})"
            ),
        ),
        (&["pause", "--url", "https://127.0.0.1"], 2, "https://127.0.0.1 is no http://".to_owned()),
        (&["pause", "--concert", "4000000"], 3, "404 unknown-concert".to_owned()),
        (&["batch", "-5", "--concert", &first], 2, "unexpected argument".to_owned()),
        (&["batch", "10000001", "--concert", &first], 3, "422 out-of-range".to_owned()),
        (&["batch", "many", "--concert", &first], 3, "must be an integer".to_owned()),
        (&["message", "", "--concert", &first], 3, "422 out-of-range".to_owned()),
        (&["open", "--at", "soon", "--concert", &first], 3, "400 bad-request".to_owned()),
        (
            &["withhold", "--date", "2030-12-24", "--seats", "1", "--concert", &first],
            3,
            "404 unknown-date".to_owned(),
        ),
        (&["withhold", "--date", "x", "--seats", "3-1"], 2, "ends before it begins".to_owned()),
        (&["clear", "--concert", &first], 3, "--yes is needed".to_owned()),
        (
            &["beacon", "0123456789abcdef", "--concert", &first],
            3,
            "409 beacon-not-awaited".to_owned(),
        ),
        (&["beacon", "nonsense", "--concert", &first], 3, "16 to 128 hex digits".to_owned()),
        (
            &["close", "--at", "1970-01-01T00:00:00.000Z", "--concert", &first],
            3,
            "422 out-of-range".to_owned(),
        ),
        (
            &["release", "--date", "2099-12-31", "--seats", "3", "--concert", &first],
            3,
            "404 unknown-date".to_owned(),
        ),
        (&["lookup", "--token", "nonsense"], 3, "401 token-invalid".to_owned()),
        (&["sell"], 2, "unrecognized subcommand".to_owned()),
    ] {
        let ended = queue(&server, words).await;
        assert_eq!(ended.code, Some(code), "{words:?}: {}", ended.err);
        assert!(ended.err.contains(&said), "{words:?}: {}", ended.err);
        assert_eq!(ended.out, "", "{words:?}");
    }
    let url = format!("http://{}", server.address);
    let ended = queue_with(&[("ONSALE_URL", &url)], &["show"]).await;
    assert_eq!(ended.code, Some(2), "{}", ended.err);
    assert!(ended.err.contains("ONSALE_ADMIN_TOKEN"), "{}", ended.err);
    let wrong = [("ONSALE_URL", url.as_str()), ("ONSALE_ADMIN_TOKEN", "another-token-of-a-test")];
    let ended = queue_with(&wrong, &["show"]).await;
    assert_eq!(ended.code, Some(3), "{}", ended.err);
    assert!(ended.err.contains("401 unauthenticated"), "{}", ended.err);
    let nobody = [("ONSALE_URL", "http://127.0.0.1:1"), ("ONSALE_ADMIN_TOKEN", TOKEN)];
    let ended = queue_with(&nobody, &["show"]).await;
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    assert!(ended.err.contains("http://127.0.0.1:1 does not answer"), "{}", ended.err);
    assert!(!ended.err.contains(TOKEN));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_is_cleared_only_if_somebody_at_the_terminal_says_yes() {
    let deployment = Deployment::new(vec![concert(10, 1)]).await.with("admin_token", TOKEN);
    let server = deployment.start().await;
    let id = deployment_id(&server, 0).await;
    done(&server, &["pause"]).await;
    let mut tokens = Vec::new();
    for _ in 0..3 {
        let joined = server.post("/user/token", json!({})).await.expect(201);
        tokens.push(joined.text("token"));
    }
    for typed in ["no\n", "\n", "y\n", "\u{4}"] {
        let ended = queue_at_a_terminal(&server, &["clear"], typed).await;
        assert_eq!((ended.code, ended.out.as_str()), (Some(3), ""), "{typed:?}: {}", ended.err);
        assert!(ended.err.contains("3 people wait") && ended.err.contains("nothing was done"));
    }
    let unknown = queue_at_a_terminal(&server, &["clear", "--concert", "4000000"], "yes\n").await;
    assert_eq!(unknown.code, Some(3), "{}", unknown.err);
    for token in &tokens {
        server.get_as(token, "/user/token/status").await.expect(200);
    }
    let ended = queue_at_a_terminal(&server, &["clear"], "yes\n").await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert_eq!(ended.out, format!("3 people of concert {id} lost their place\n"));
}

async fn deployment_id(server: &TestServer, n: usize) -> String {
    let all = server.bearing(TOKEN).get("/admin/concerts").await.expect(200).body;
    all["concerts"][n]["concertId"].to_string()
}
