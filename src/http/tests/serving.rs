//! Connections: slow clients, too many of them, and an orderly end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::routing::get;
use tokio::io::AsyncReadExt as _;
use tokio::sync::Notify;

use super::{Client, HttpConfig, PATIENCE, Priority, Routes, TestServer, request, routes};

const QUICK: Duration = Duration::from_millis(200);

/// A route that answers when it is told to, and tells when it was reached.
fn waiting_route() -> (Routes<()>, Arc<Notify>, Arc<Notify>) {
    let (reached, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (inner_reached, inner_go_on) = (reached.clone(), go_on.clone());
    let route = get(move || {
        let (reached, go_on) = (inner_reached.clone(), inner_go_on.clone());
        async move {
            reached.notify_one();
            go_on.notified().await;
            "done"
        }
    });
    (routes().route("/wait", Priority::Seats, route), reached, go_on)
}

async fn ask(client: &mut Client, path: &str) -> u16 {
    client.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await;
    client.answer().await.status
}

#[tokio::test]
async fn a_connection_serves_many_requests_also_pipelined() {
    let server = TestServer::start(routes(), HttpConfig::default());
    let mut client = server.connect().await;
    for _ in 0..3 {
        assert_eq!(ask(&mut client, "/look?userId=7").await, 200);
    }
    let (first, last) = (b"GET /look?userId=7 HTTP/1.1\r\n\r\n", request("GET /no", "", ""));
    client.send(&[first.as_slice(), &last].concat()).await;
    let both = client.rest().await;
    assert_eq!((both.status, both.body.matches("HTTP/1.1 404").count()), (200, 1), "{both:?}");
    server.stop.cancel();
    assert_eq!(server.finished().await.connections, 1);
}

/// The rest of 60 s that the first request began must not cover the second one's head.
#[tokio::test]
async fn a_slow_head_is_408_on_a_new_and_on_a_kept_connection() {
    let config =
        HttpConfig { header_timeout: QUICK, idle_timeout: 3 * PATIENCE, ..HttpConfig::default() };
    let server = TestServer::start(routes(), config);
    for requests_before in [0, 2] {
        let mut slow = server.connect().await;
        for _ in 0..requests_before {
            assert_eq!(ask(&mut slow, "/look?userId=7").await, 200);
            // Long enough for the connection's timer to have been moved to the end of the rest.
            tokio::time::sleep(2 * QUICK).await;
        }
        let started = Instant::now();
        slow.send(b"GET /look HTTP/1.1\r\n").await;
        let answer = slow.rest().await;
        let code = answer.code();
        assert_eq!((answer.status, code.as_str()), (408, "request-timeout"));
        assert!(started.elapsed() >= QUICK * 9 / 10, "not before its time");
    }
}

#[tokio::test]
async fn a_rest_between_requests_may_be_longer_than_a_head() {
    let config =
        HttpConfig { header_timeout: QUICK, idle_timeout: 4 * QUICK, ..HttpConfig::default() };
    let server = TestServer::start(routes(), config);
    let mut idle = server.connect().await;
    assert_eq!(ask(&mut idle, "/look?userId=7").await, 200);
    let rested = Instant::now();
    assert_eq!(idle.rest().await.status, 0, "closed without a word");
    assert!(rested.elapsed() > 3 * QUICK, "{:?}", rested.elapsed());
}

/// One byte now and then must not prolong a head.
#[tokio::test]
async fn a_trickled_head_is_cut_off_in_time() {
    let config = HttpConfig { header_timeout: QUICK, ..HttpConfig::default() };
    let server = TestServer::start(routes(), config);
    let started = Instant::now();
    let (mut reader, mut writer) = server.connect().await.0.into_split();
    let trickle = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        let mut every = tokio::time::interval(QUICK / 10);
        while writer.write_all(b"a").await.is_ok() {
            every.tick().await;
        }
    });
    let mut answer = Vec::new();
    let read = tokio::io::AsyncReadExt::read_to_end(&mut reader, &mut answer);
    let _ = tokio::time::timeout(PATIENCE, read).await.expect("the server hangs");
    assert!(started.elapsed() < PATIENCE / 2);
    assert!(answer.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&answer));
    trickle.abort();
}

#[tokio::test]
async fn one_connection_too_many_is_told_so() {
    let config = HttpConfig { connections_max: 2, ..HttpConfig::default() };
    let server = TestServer::start(routes(), config);
    let (mut first, mut second) = (server.connect().await, server.connect().await);
    assert_eq!(ask(&mut first, "/look?userId=7").await, 200);
    assert_eq!(ask(&mut second, "/look?userId=7").await, 200);

    let refused = server.exchange(&request("GET /look?userId=7", "", "")).await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "overloaded"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(refused.header("connection"), Some("close"));

    assert_eq!(ask(&mut first, "/look?userId=7").await, 200, "the others notice nothing");
    drop(second);
    // The server learns of the end a moment later; until then the slot is taken.
    let freed = async {
        while server.exchange(&request("GET /look?userId=7", "", "")).await.status != 200 {}
    };
    tokio::time::timeout(PATIENCE, freed).await.expect("the slot is free again");
}

#[tokio::test]
async fn a_stop_finishes_the_request_in_work_and_closes_idle_connections() {
    let (routes, reached, go_on) = waiting_route();
    let server = TestServer::start(routes, HttpConfig::default());
    let (mut idle, mut busy) = (server.connect().await, server.connect().await);
    assert_eq!(ask(&mut idle, "/look?userId=7").await, 200);
    busy.send(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n").await;
    reached.notified().await;

    server.stop.cancel();
    assert_eq!(idle.rest().await.status, 0);
    let closed = async { while tokio::net::TcpStream::connect(server.address).await.is_ok() {} };
    tokio::time::timeout(PATIENCE, closed).await.expect("new connections are refused");
    assert!(!server.serving.is_finished());

    go_on.notify_one();
    let answer = busy.rest().await;
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    let report = server.finished().await;
    assert_eq!((report.connections >= 2, report.abandoned), (true, 0));
}

#[tokio::test]
async fn a_stop_does_not_wait_for_ever() {
    let (routes, reached, _go_on) = waiting_route();
    let config = HttpConfig { shutdown_timeout: QUICK, ..HttpConfig::default() };
    let server = TestServer::start(routes, config);
    let mut busy = server.connect().await;
    busy.send(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n").await;
    reached.notified().await;

    server.stop.cancel();
    assert_eq!(busy.rest().await.status, 0);
    assert_eq!(server.finished().await.abandoned, 1);
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_is_dropped() {
    let big = get(|| async { vec![b'x'; 64 << 20] });
    let config = HttpConfig { idle_timeout: QUICK, ..HttpConfig::default() };
    let server = TestServer::start(Routes::new().route("/big", Priority::Seats, big), config);
    let mut client = server.connect().await;
    client.send(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n").await;
    server.stop.cancel();
    let report = server.finished().await;
    assert_eq!(report.abandoned, 0, "the idle deadline, not the stop's, ended it");
}

#[tokio::test]
async fn a_client_that_goes_away_frees_its_connection() {
    let (routes, reached, _go_on) = waiting_route();
    let server = TestServer::start(routes, HttpConfig::default());
    let mut client = server.connect().await;
    client.send(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n").await;
    reached.notified().await;
    drop(client);
    server.stop.cancel();
    assert_eq!(server.finished().await.abandoned, 0);
}

/// What is put away between two requests must not be missed.
#[tokio::test]
async fn a_connection_that_rested_goes_on_where_it_was() {
    let server = TestServer::start(routes(), HttpConfig::default());
    let mut client = server.connect().await;
    for _ in 0..2 {
        assert_eq!(ask(&mut client, "/look?userId=7").await, 200);
        tokio::time::sleep(Duration::from_millis(1_300)).await;
    }
    // A part of the second comes with the first, the rest of it after a rest.
    client.send(b"GET /look?userId=7 HTTP/1.1\r\nHost: x\r\n\r\nGET /noth").await;
    assert_eq!(client.answer().await.status, 200);
    tokio::time::sleep(Duration::from_millis(1_300)).await;
    client.send(b"ing HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(client.answer().await.body, "{}");
    tokio::time::sleep(Duration::from_millis(1_300)).await;
    server.stop.cancel();
    let report = server.finished().await;
    assert_eq!(report.abandoned, 0, "a resting connection does not hold a stop up");
}

/// hyper reads ahead while it sends; what it finds there must not end the sending.
#[tokio::test]
async fn the_beginning_of_a_next_request_does_not_cut_off_the_answer_that_is_being_sent() {
    /// More than the buffers of two sockets take.
    const BODY_BYTES: usize = 16 << 20;
    let big = get(|| async { vec![b'x'; BODY_BYTES] });
    let routes = routes().route("/big", Priority::Seats, big);
    let config =
        HttpConfig { header_timeout: QUICK, idle_timeout: 3 * PATIENCE, ..HttpConfig::default() };
    let server = TestServer::start(routes, config);
    let mut client = server.connect().await;
    client.send(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut begin = [0; 1_024];
    client.0.read_exact(&mut begin).await.unwrap();
    let body_at = begin.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;

    client.send(b"GET /nothing HTTP/1.1\r\n").await;
    // Longer than a head may take.
    tokio::time::sleep(3 * QUICK).await;
    let mut body = begin[body_at..].to_vec();
    let left = (BODY_BYTES - body.len()) as u64;
    let mut rest = (&mut client.0).take(left);
    // Cut off by a reset, it is too short.
    let read = rest.read_to_end(&mut body);
    let _ = tokio::time::timeout(PATIENCE, read).await.expect("the server hangs");
    assert_eq!(body.len(), BODY_BYTES);
    assert!(body.iter().all(|byte| *byte == b'x'), "something else is in the body");
    client.send(b"Host: x\r\n\r\n").await;
    assert_eq!(client.answer().await.body, "{}", "the next one is answered");

    client.send(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n").await;
    client.0.read_exact(&mut begin).await.unwrap();
    client.send(b"GET /nothing HTTP/1.1\r\n").await;
    let left = (BODY_BYTES + body_at - begin.len()) as u64;
    body.clear();
    (&mut client.0).take(left).read_to_end(&mut body).await.unwrap();
    let answer = client.rest().await;
    assert_eq!(answer.status, 408, "a head that stays unfinished is told so afterwards");
}

/// The second is in hyper's buffer before the first is answered.
#[tokio::test]
async fn two_requests_at_once_are_answered_in_order() {
    let server = TestServer::start(routes(), HttpConfig::default());
    let mut two = b"GET /look?userId=7 HTTP/1.1\r\nHost: x\r\n\r\n".to_vec();
    two.extend(request("GET /nothing", "", ""));
    let answers = server.exchange(&two).await;
    assert_eq!(answers.body.matches("HTTP/1.1 200 OK").count(), 1, "{}", answers.body);
    assert!(answers.body.ends_with("{}"), "{}", answers.body);
}

#[tokio::test]
async fn an_answer_in_parts_is_not_cut_off_by_a_rest() {
    let parts = get(|| async {
        let part = |text: &'static str, millis| async move {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            Ok::<_, std::convert::Infallible>(text)
        };
        let parts = futures::stream::iter([("one ", 0), ("two", 1_500)]);
        let parts = futures::StreamExt::then(parts, move |(text, millis)| part(text, millis));
        axum::body::Body::from_stream(parts)
    });
    let routes = Routes::new().route("/parts", Priority::Seats, parts);
    let server = TestServer::start(routes, HttpConfig::default());
    let answer = server.exchange(&request("GET /parts", "", "")).await;
    assert!(answer.body.contains("one ") && answer.body.contains("two"), "{}", answer.body);
}

async fn half_a_body(server: &TestServer) -> Client {
    let mut slow = server.connect().await;
    let head = "POST /wish HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    slow.send(format!("{head}Content-Length: 12\r\n\r\n{{\"user").as_bytes()).await;
    slow
}

#[tokio::test]
async fn a_body_on_its_way_keeps_nobody_out() {
    let config = HttpConfig { requests_max: 1, ..HttpConfig::default() };
    let server = TestServer::start(routes(), config);
    let mut slow = Vec::new();
    for _ in 0..20 {
        slow.push(half_a_body(&server).await);
        let answer = server.exchange(&request("GET /nothing", "", "")).await;
        assert_eq!(answer.status, 200, "after {} half bodies", slow.len());
    }
    for mut client in slow.drain(..10) {
        client.send(b"Id\":7}").await;
        assert_eq!(client.answer().await.status, 200);
    }
    // Those that gave up are not counted any more either.
    drop(slow);
    assert_eq!(server.exchange(&request("GET /nothing", "", "")).await.status, 200);
}
