//! What surrounds every handler.

use std::sync::{Arc, Mutex};

use axum::routing::get;
use tokio::sync::Notify;
use tracing_subscriber::fmt::MakeWriter;

use super::{HttpConfig, Priority, Routes, TestServer, request, routes};
use crate::http::problem::respond;
use crate::http::{Code, Problem};

#[tokio::test]
async fn a_request_id_goes_in_and_out() {
    let server = TestServer::start(routes(), HttpConfig::default());
    let asked = |id: &str| {
        let head = "GET /look?userId=7 HTTP/1.1\r\nConnection: close\r\nX-Request-Id: ";
        format!("{head}{id}\r\n\r\n").into_bytes()
    };
    let kept = server.exchange(&asked("abc.1_2-3")).await;
    assert_eq!(kept.header("x-request-id"), Some("abc.1_2-3"));
    let replaced = server.exchange(&asked("a b")).await;
    assert_eq!(replaced.header("x-request-id").map(str::len), Some(36));
    let (one, two) = (server.exchange(&asked("")).await, server.exchange(&asked("")).await);
    assert_ne!(one.header("x-request-id"), two.header("x-request-id"));
    assert_eq!(one.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn a_panic_is_500_and_costs_one_request_only() {
    let panic = get(|| async { panic!("secret") as () });
    let routes = routes().route("/panic", Priority::Seats, panic);
    let server = TestServer::start(routes, HttpConfig::default());
    let mut client = server.connect().await;
    client.send(b"GET /panic HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.code().as_str()), (500, "internal"));
    assert!(!answer.body.contains("secret"));

    client.send(&request("GET /look?userId=7", "", "")).await;
    assert_eq!(client.rest().await.status, 200, "the same connection goes on");
}

#[tokio::test]
async fn above_the_limit_a_request_is_503_at_once_and_health_is_not() {
    let (reached, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (inner_reached, inner_go_on) = (reached.clone(), go_on.clone());
    let slow = get(move || {
        let (reached, go_on) = (inner_reached.clone(), inner_go_on.clone());
        async move {
            reached.notify_one();
            go_on.notified().await;
        }
    });
    let healthz = get(|| async {});
    let routes = Routes::new().route("/slow", Priority::Payment, slow);
    let routes = routes.route("/healthz", Priority::Health, healthz);
    let config = HttpConfig { requests_max: 1, ..HttpConfig::default() };
    let server = TestServer::start(routes, config);
    let mut busy = server.connect().await;
    busy.send(&request("GET /slow", "", "")).await;
    reached.notified().await;

    let refused = server.exchange(&request("GET /slow", "", "")).await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "overloaded"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(server.exchange(&request("GET /healthz", "", "")).await.status, 200);

    go_on.notify_one();
    assert_eq!(busy.rest().await.status, 200);
    go_on.notify_one();
    assert_eq!(server.exchange(&request("GET /slow", "", "")).await.status, 200, "free again");
}

/// Collects what a subscriber writes.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// One line per request, with the chain of a failure once, and never what a client sent.
#[tokio::test]
async fn the_log_has_one_line_per_request_and_no_secret() {
    use axum::body::Body;
    use axum::http::Request;

    #[derive(Debug, thiserror::Error)]
    #[error("Redis cannot be reached")]
    struct Lost(#[source] std::io::Error);

    let failing = get(|| async {
        let error = Lost(std::io::Error::other("connection refused"));
        respond(Problem::new(Code::RedisUnavailable), &error)
    });
    let routes = routes().route("/failing", Priority::Seats, failing);
    let front = routes.finish((), &HttpConfig::default());

    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_writer(lines.clone())
        .with_ansi(false)
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    for path in ["/failing?token=hunter2", "/look?userId=7&note=hunter2", "/hunter2"] {
        let request = Request::builder()
            .uri(path)
            .header("Queue-Token", "hunter2")
            .header("X-Request-Id", "req-1")
            .body(Body::empty())
            .unwrap();
        front.answer(request, [127, 0, 0, 1].into()).await;
    }
    drop(guard);

    let log = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<_> = log.lines().collect();
    assert_eq!(lines.len(), 3, "{log}");
    assert!(!log.contains("hunter2"), "{log}");
    assert!(lines.iter().all(|line| line.contains("request_id=req-1")), "{log}");
    assert!(lines[0].contains("WARN") && lines[0].contains("route=\"/failing\""), "{log}");
    assert!(lines[0].contains("Redis cannot be reached: connection refused"), "{log}");
    assert!(lines[1].contains("DEBUG") && lines[1].contains("status=200"), "{log}");
    assert!(lines[2].contains("route=\"unknown\"") && lines[2].contains("not-found"), "{log}");
}
