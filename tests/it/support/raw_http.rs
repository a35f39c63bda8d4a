//! HTTP by hand: requests that no client library would send, and the answer as it came.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longer than any deadline of a server's connection: what is silent for longer hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// One answer.
#[derive(Debug)]
pub struct RawAnswer {
    /// 0 if the connection was closed without an answer.
    pub status: u16,
    head: String,
    pub body: String,
}

impl RawAnswer {
    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8(bytes.to_vec()).expect("an answer in UTF-8");
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            assert!(text.is_empty(), "half an answer: {text}");
            return Self { status: 0, head: String::new(), body: String::new() };
        };
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.expect("a status");
        Self { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    /// The value of a header field, in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// Status and code of a problem, after checking that it is a whole one.
    ///
    /// # Panics
    ///
    /// If the answer is no problem, or not all of one.
    pub fn refusal(&self, why: &str) -> (u16, String) {
        let kind = self.header("content-type");
        assert_eq!(kind, Some("application/problem+json"), "{why}: {self:?}");
        let body: Value = serde_json::from_str(&self.body).expect("one JSON body");
        let id = body["requestId"].as_str().expect("a request id");
        assert_eq!(self.header("x-request-id"), Some(id), "{why}");
        assert_eq!(body["status"], self.status, "{why}");
        let detail = body["detail"].as_str().expect("a detail");
        assert!(!detail.is_empty() && detail.len() < 400, "{why}: {detail}");
        let code = body["code"].as_str().expect("a code");
        assert_eq!(body["type"], format!("/problems/{code}"), "{why}");
        (self.status, code.to_owned())
    }
}

/// Sends bytes on a connection of their own, as far as the server listens, and reads until it closes.
///
/// # Panics
///
/// If the server neither answers nor closes.
pub async fn exchange(address: SocketAddr, bytes: &[u8]) -> RawAnswer {
    talk(address, bytes, false).await
}

/// The same, from a client that says that nothing more comes.
pub async fn exchange_and_end(address: SocketAddr, bytes: &[u8]) -> RawAnswer {
    talk(address, bytes, true).await
}

async fn talk(address: SocketAddr, bytes: &[u8], end: bool) -> RawAnswer {
    let mut client = TcpStream::connect(address).await.expect("the server listens");
    // A refused body may not be taken to its end.
    let _ = client.write_all(bytes).await;
    if end {
        let _ = client.shutdown().await;
    }
    let mut all = Vec::new();
    let told = async {
        // A reset is a close, and a stream has told enough with its first event.
        while matches!(client.read_buf(&mut all).await, Ok(1..)) && !is_in_stream(&all) {}
    };
    tokio::time::timeout(PATIENCE, told).await.unwrap_or_else(|_| {
        panic!("the server hangs on {:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(300)]))
    });
    RawAnswer::parse(&all)
}

/// Whether this is a stream of events, with one of them.
fn is_in_stream(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let head = text.split_once("\r\n\r\n");
    head.is_some_and(|(head, body)| head.contains("text/event-stream") && body.contains("\ndata: "))
}
