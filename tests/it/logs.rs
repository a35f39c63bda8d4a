//! The log of a real server: one line per request, as text and as JSON.

use serde_json::{Value, json};

use crate::support::concert;
use crate::support::process::ServerProcess;
use crate::support::server::Deployment;

const SETTINGS: &str = "info,onsale::http=debug";

/// A hold, a refusal, a path that is unknown, and a problem of the server; then its whole log.
async fn log_of(format: &str) -> String {
    let deployment = Deployment::new(vec![concert(10, 1)]).await;
    let deployment = deployment.with("log", SETTINGS).with("log_format", format);
    let process = ServerProcess::start(&deployment).await;
    let (server, concert) = (&process.server, deployment.concert());
    let token = server.admitted(concert, 1).await;
    server.reserve(&token, concert, 1, 1).await.expect(201);
    let wanted =
        server.request("GET", "/payment/balance?userId=\"1\n").header("X-Request-Id", "mine");
    server.answer(wanted).await.expect(400);
    server.get("/no\"where?token=hunter2").await.expect(404);
    let (exit_code, log) = process.stop().await;
    assert_eq!(exit_code, Some(0), "{log}");
    log
}

#[tokio::test(flavor = "multi_thread")]
async fn each_line_of_a_json_log_is_an_object_and_each_request_one_line() {
    let log = log_of("json").await;
    let parse = |line: &str| -> Value {
        let parsed = serde_json::from_str(line);
        parsed.unwrap_or_else(|error| panic!("{error}: {line}"))
    };
    let lines: Vec<Value> = log.lines().map(parse).collect();
    for line in &lines {
        for field in ["timestamp", "level", "target", "message"] {
            assert!(line[field].is_string(), "no {field}: {line}");
        }
        let at = line["timestamp"].as_str().unwrap_or_default();
        chrono::DateTime::parse_from_rfc3339(at).expect("RFC 3339");
    }
    let requests: Vec<_> = lines.iter().filter(|line| line["message"] == "request").collect();
    for line in &requests {
        assert_eq!(line["target"], "onsale::http::front", "{line}");
        assert!(line["millis"].as_f64().is_some_and(|millis| millis >= 0.0), "{line}");
        assert!(line["request_id"].as_str().is_some_and(|id| !id.is_empty()), "{line}");
    }
    let of = |route: &str| -> Vec<&&Value> {
        requests.iter().filter(|line| line["route"] == route).collect()
    };
    let told = |line: &Value| ["method", "status", "code"].map(|field| line[field].clone());
    let reserved = of("/concert/reserve");
    assert_eq!(reserved.len(), 1);
    assert_eq!(told(reserved[0]), [json!("POST"), json!(201), json!("")]);
    let refused = of("/payment/balance");
    assert_eq!(refused.len(), 1);
    assert_eq!(told(refused[0]), [json!("GET"), json!(400), json!("bad-request")]);
    assert_eq!(refused[0]["request_id"], "mine");
    let unknown = of("unknown");
    assert_eq!(unknown.len(), 1);
    assert_eq!(told(unknown[0]), [json!("GET"), json!(404), json!("not-found")]);
    for secret in ["hunter2", "no\\\"where"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_line_of_a_text_log_has_its_time_level_and_target_and_each_request_one_line() {
    let log = log_of("text").await;
    for line in log.lines() {
        let mut words = line.split_whitespace();
        let at = words.next().unwrap_or_default();
        chrono::DateTime::parse_from_rfc3339(at).unwrap_or_else(|_| panic!("no time: {line}"));
        let level = words.next().unwrap_or_default();
        assert!(["DEBUG", "INFO", "WARN", "ERROR"].contains(&level), "{line}");
        assert!(words.next().is_some_and(|target| target.ends_with(':')), "{line}");
        assert!(!line.contains('\u{1b}'), "colours are for terminals: {line}");
    }
    let of = |wanted: &str| log.lines().filter(|line| line.contains(wanted)).count();
    assert_eq!(of("route=\"/concert/reserve\" status=201"), 1, "{log}");
    assert_eq!(of("code=\"bad-request\" request_id=mine"), 1, "{log}");
    assert_eq!(of("route=\"unknown\" status=404"), 1, "{log}");
}
