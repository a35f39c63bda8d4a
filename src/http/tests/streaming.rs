//! Streams of events: heartbeats, how many there may be, and how they end.

use std::time::{Duration, Instant};

use axum::response::IntoResponse;
use axum::routing::get;
use futures::StreamExt;
use serde_json::json;
use tokio::io::AsyncReadExt;

use super::{Client, HttpConfig, PATIENCE, Priority, Routes, TestServer, request, routes};
use crate::http::streams::{self, Event};

/// `/endless` tells one event and never ends; `/three` ends after three.
fn streaming() -> Routes<()> {
    let event = |number: u8| Event::new("number", &json!({ "number": number })).unwrap();
    let endless = get(move || async move {
        let first = futures::stream::iter([event(1)]);
        match streams::open() {
            Ok(slot) => slot.answer(first.chain(futures::stream::pending())),
            Err(problem) => problem.into_response(),
        }
    });
    let three = get(move || async move {
        match streams::open() {
            Ok(slot) => slot.answer(futures::stream::iter((1..=3).map(event))),
            Err(problem) => problem.into_response(),
        }
    });
    routes().route("/endless", Priority::Stream, endless).route("/three", Priority::Stream, three)
}

const GET: &[u8] = b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n";

impl Client {
    /// Opens the endless stream and waits for its event.
    async fn open_stream(&mut self) {
        self.send(GET).await;
        let mut bytes = Vec::new();
        while !String::from_utf8_lossy(&bytes).contains("\"number\":1") {
            assert!(self.more(&mut bytes).await > 0, "{}", String::from_utf8_lossy(&bytes));
        }
    }

    /// Reads what has come; 0 when the server has closed.
    async fn more(&mut self, bytes: &mut Vec<u8>) -> usize {
        let read = tokio::time::timeout(PATIENCE, self.0.read_buf(bytes));
        read.await.expect("the server hangs").unwrap_or(0)
    }
}

#[tokio::test]
async fn events_come_at_once_and_a_heartbeat_when_there_are_none() {
    let config = HttpConfig { heartbeat: Duration::from_millis(50), ..HttpConfig::default() };
    let server = TestServer::start(streaming(), config);
    let mut client = server.connect().await;
    client.send(GET).await;
    let head = client.answer().await;
    assert_eq!(head.status, 200);
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    assert_eq!(head.header("cache-control"), Some("no-store"));
    let mut bytes = head.body.into_bytes();
    let beats = |bytes: &[u8]| String::from_utf8_lossy(bytes).matches("\n:\n\n").count();
    while beats(&bytes) < 3 {
        assert!(client.more(&mut bytes).await > 0, "it does not end");
    }
    let text = String::from_utf8(bytes).unwrap();
    let retry = text.split("retry: ").nth(1).and_then(|rest| rest.split('\n').next()).unwrap();
    assert!((1_000..5_000).contains(&retry.parse::<u32>().unwrap()), "{retry}");
    assert!(text.contains("event: number\ndata: {\"number\":1}\n\n"), "{text}");
}

#[tokio::test]
async fn after_a_stream_that_ended_its_connection_takes_the_next_request() {
    let server = TestServer::start(streaming(), HttpConfig::default());
    let mut client = server.connect().await;
    client.send(b"GET /three HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"0\r\n\r\n") {
        assert!(client.more(&mut bytes).await > 0);
    }
    assert_eq!(String::from_utf8(bytes).unwrap().matches("event: number").count(), 3);
    client.send(&request("GET /look?userId=7", "", "")).await;
    assert_eq!(client.rest().await.status, 200);
}

/// A stream is no request in work, and ends with its client.
#[tokio::test]
async fn streams_have_a_limit_of_their_own_and_a_client_that_goes_makes_room() {
    let config = HttpConfig {
        requests_max: 1,
        streams_max: 3,
        streams_per_address: 2,
        ..HttpConfig::default()
    };
    let server = TestServer::start(streaming(), config);
    let (mut first, mut second) = (server.connect().await, server.connect().await);
    first.open_stream().await;
    second.open_stream().await;
    let refused = server.exchange(&request("GET /endless", "", "")).await;
    assert_eq!((refused.status, refused.code().as_str()), (429, "too-many-requests"));
    assert_eq!(refused.header("retry-after"), Some("10"));
    // All others are served.
    assert_eq!(server.exchange(&request("GET /look?userId=7", "", "")).await.status, 200);
    drop(first);
    let started = Instant::now();
    loop {
        let mut third = server.connect().await;
        third.send(GET).await;
        if third.answer().await.status == 200 {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(5), "the first one's end was not seen");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let config = HttpConfig { streams_max: 1, streams_per_address: 0, ..HttpConfig::default() };
    let server = TestServer::start(streaming(), config);
    let mut only = server.connect().await;
    only.open_stream().await;
    let refused = server.exchange(&request("GET /endless", "", "")).await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "overloaded"));
}

#[tokio::test]
async fn a_server_that_stops_ends_its_streams_whole_and_abandons_none() {
    let server = TestServer::start(streaming(), HttpConfig::default());
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = server.connect().await;
        client.open_stream().await;
        clients.push(client);
    }
    let started = Instant::now();
    server.stop.cancel();
    for mut client in clients {
        let mut bytes = Vec::new();
        while client.more(&mut bytes).await > 0 {}
        assert!(bytes.ends_with(b"0\r\n\r\n"), "cut off: {}", String::from_utf8_lossy(&bytes));
    }
    assert_eq!(server.finished().await.abandoned, 0);
    assert!(started.elapsed() < Duration::from_secs(5));
}

/// It has no deadline as long as its client takes what is sent.
#[tokio::test]
async fn a_stream_outlives_the_time_that_a_connection_may_be_idle() {
    let config = HttpConfig {
        idle_timeout: Duration::from_millis(300),
        heartbeat: Duration::from_millis(50),
        ..HttpConfig::default()
    };
    let server = TestServer::start(streaming(), config);
    let mut client = server.connect().await;
    client.open_stream().await;
    let (mut bytes, started) = (Vec::new(), Instant::now());
    while started.elapsed() < Duration::from_secs(1) {
        assert!(client.more(&mut bytes).await > 0, "cut off after {:?}", started.elapsed());
    }
}
