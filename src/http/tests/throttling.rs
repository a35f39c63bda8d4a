//! Limits per client address, over real sockets.

use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::routing::{get, post};
use rstest::rstest;

use super::{Answer, HttpConfig, Priority, Routes, TestServer};

/// A server whose limits are one request per second, so ten at once.
fn limited(proxy_hops: usize) -> TestServer {
    let config = HttpConfig {
        arrivals_per_address: 1,
        polls_per_address: 1,
        proxy_hops,
        ..HttpConfig::default()
    };
    let answer = || get(|| async { "fine" });
    let routes = Routes::new()
        .route("/arrival", Priority::Arrival, answer().post(|| async { "fine" }))
        .route("/body", Priority::Arrival, post(async |body: Bytes| body))
        .route("/poll", Priority::Status, answer())
        .route("/seats", Priority::Seats, answer());
    TestServer::start(routes, config)
}

/// Asks `times` for `path`, each time with the next of `forwarded`; answers how many were 200.
/// Any other answer must be a right 429.
async fn taken(server: &TestServer, path: &str, times: usize, forwarded: &[&str]) -> usize {
    let mut client = server.connect().await;
    let mut taken = 0;
    for turn in 0..times {
        let field = match forwarded {
            [] => String::new(),
            some => format!("X-Forwarded-For: {}\r\n", some[turn % some.len()]),
        };
        client.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n{field}\r\n").as_bytes()).await;
        let answer = client.answer().await;
        if answer.status == 200 {
            taken += 1;
            continue;
        }
        assert_eq!((answer.status, answer.code().as_str()), (429, "too-many-requests"));
        let retry = answer.header("retry-after").and_then(|seconds| seconds.parse::<u32>().ok());
        assert_eq!(retry, Some(1), "{answer:?}");
    }
    taken
}

/// Fails unless `taken` is ten and what a second each brought since `begun`.
#[track_caller]
fn assert_one_bucket(taken: usize, begun: Instant) {
    let brought = usize::try_from(begun.elapsed().as_secs()).unwrap() + 1;
    assert!((10..=10 + brought).contains(&taken), "{taken}");
}

#[tokio::test]
async fn arrivals_and_polls_have_a_limit_each_and_other_requests_none() {
    let server = limited(0);
    for path in ["/arrival", "/poll"] {
        let begun = Instant::now();
        assert_one_bucket(taken(&server, path, 30, &[]).await, begun);
    }
    assert_eq!(taken(&server, "/seats", 30, &[]).await, 30);
}

/// Whatever stands in the field beyond the trusted hops was written by the client.
#[rstest]
#[case(0, &["203.0.113.1", "203.0.113.2", "203.0.113.3"])]
#[case(1, &["203.0.113.1, 198.51.100.7", "203.0.113.2, 198.51.100.7", "198.51.100.7"])]
#[case(2, &["203.0.113.1, 198.51.100.7, 10.0.0.1", "198.51.100.7, 10.0.0.1"])]
#[case(2, &["203.0.113.1", "203.0.113.2", "too-short"])]
#[tokio::test]
async fn a_client_cannot_choose_its_address(#[case] hops: usize, #[case] forwarded: &[&str]) {
    let server = limited(hops);
    let begun = Instant::now();
    assert_one_bucket(taken(&server, "/arrival", 40, forwarded).await, begun);
}

#[rstest]
#[case(1, &["198.51.100.7", "198.51.100.8", "198.51.100.9"])]
#[case(2, &["198.51.100.7, 10.0.0.1", "198.51.100.8, 10.0.0.1", "198.51.100.9, 10.0.0.1"])]
#[tokio::test]
async fn clients_behind_one_proxy_have_a_limit_each(
    #[case] hops: usize,
    #[case] forwarded: &[&str],
) {
    let server = limited(hops);
    assert_eq!(taken(&server, "/arrival", 30, forwarded).await, 30);
}

/// The answer to one arrival too many, of which only the head is sent.
async fn refusal_of(server: &TestServer, head: &str) -> Answer {
    assert!(taken(server, "/arrival", 20, &[]).await >= 10);
    let mut client = server.connect().await;
    loop {
        client.send(format!("POST /arrival HTTP/1.1\r\nHost: x\r\n{head}\r\n").as_bytes()).await;
        let answer = client.answer().await;
        if answer.status == 429 {
            return answer;
        }
        client = server.connect().await;
    }
}

/// The answer comes without the body, and nothing is asked for that would be thrown away.
#[rstest]
#[case("Content-Length: 100\r\n")]
#[case("Content-Length: 100000\r\n")]
#[case("Content-Length: 100\r\nExpect: 100-continue\r\n")]
#[case("Transfer-Encoding: chunked\r\n")]
#[tokio::test]
async fn a_request_too_many_is_refused_without_its_body(#[case] head: &str) {
    let answer = refusal_of(&limited(0), head).await;
    assert_eq!(answer.code(), "too-many-requests");
    assert_eq!(answer.header("connection"), Some("close"));
}

/// As many clients do: the head, and a moment later the body, on a connection that stays.
#[tokio::test]
async fn a_connection_goes_on_after_a_refusal() {
    let server = limited(0);
    let mut client = server.connect().await;
    let mut refused = 0;
    for _ in 0..30 {
        let head = b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 15\r\n\r\n";
        client.send(head).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        client.send(b"{\"concertId\":1}").await;
        let answer = client.answer().await;
        assert!([200, 429].contains(&answer.status), "{answer:?}");
        assert_eq!(answer.header("connection"), None, "{answer:?}");
        refused += u32::from(answer.status == 429);
    }
    assert!(refused >= 10, "{refused}");
}
