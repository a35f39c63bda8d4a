//! The plumbing as a client meets it: a small router behind the real server and real sockets.

mod framing;
mod inputs;
mod numbers;
mod serving;
mod streaming;
mod surroundings;
mod throttling;

use std::net::SocketAddr;
use std::time::Duration;

use axum::routing::{get, post};
use chrono::NaiveDate;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::answer::Json;
use super::fields::{FieldSpec, Fields, FromFields, Kind};
use super::problem::Problem;
use super::server::{ServeReport, serve};
use super::{HttpConfig, JsonBody, OptionalJsonBody, Priority, QueryOrBody, Routes, sockets};
use crate::words::{SeatNumber, UserId};

/// Longer than any of these tests may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// An input with every kind of field.
#[derive(Debug)]
struct Wish {
    user: UserId,
    seats: Option<Vec<SeatNumber>>,
    date: Option<NaiveDate>,
    reservation: Option<uuid::Uuid>,
    note: Option<String>,
}

impl FromFields for Wish {
    const FIELDS: &'static [FieldSpec] = &[
        FieldSpec::required("userId", Kind::Integer),
        FieldSpec::optional("seatNumbers", Kind::IntegerList(20)),
        FieldSpec::optional("concertDate", Kind::Date),
        FieldSpec::optional("reservationId", Kind::Uuid),
        FieldSpec::optional("note", Kind::Text),
    ];

    fn from_fields(fields: &Fields) -> Result<Self, Problem> {
        Ok(Self {
            user: fields.number("userId")?,
            seats: fields.numbers("seatNumbers")?,
            date: fields.date("concertDate"),
            reservation: fields.uuid("reservationId"),
            note: fields.text("note").map(str::to_owned),
        })
    }
}

impl Wish {
    fn view(self) -> Json<Value> {
        Json(json!({
            "userId": self.user, "seatNumbers": self.seats, "concertDate": self.date,
            "reservationId": self.reservation, "note": self.note
        }))
    }
}

/// An input that needs nothing.
struct Perhaps(Option<UserId>);

impl FromFields for Perhaps {
    const FIELDS: &'static [FieldSpec] = &[FieldSpec::optional("userId", Kind::Integer)];

    fn from_fields(fields: &Fields) -> Result<Self, Problem> {
        fields.optional_number("userId").map(Self)
    }
}

fn routes() -> Routes<()> {
    Routes::new()
        .route(
            "/wish",
            Priority::Seats,
            post(|JsonBody(wish): JsonBody<Wish>| async { wish.view() }),
        )
        .route(
            "/perhaps",
            Priority::Arrival,
            post(|OptionalJsonBody(Perhaps(user)): OptionalJsonBody<Perhaps>| async move {
                Json(json!({ "userId": user }))
            }),
        )
        .route(
            "/look",
            Priority::Seats,
            get(|QueryOrBody(wish): QueryOrBody<Wish>| async { wish.view() })
                .delete(|QueryOrBody(wish): QueryOrBody<Wish>| async { wish.view() }),
        )
        .route(
            "/nothing",
            Priority::Seats,
            get(|QueryOrBody(()): QueryOrBody<()>| async { Json(json!({})) }),
        )
}

/// A server of its own for one test.
struct TestServer {
    address: SocketAddr,
    stop: CancellationToken,
    serving: JoinHandle<ServeReport>,
}

impl TestServer {
    fn start(routes: Routes<()>, config: HttpConfig) -> Self {
        let listener = sockets::listen(([127, 0, 0, 1], 0).into(), false).unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let finished = routes.finish((), &config);
        let stopped = stop.clone();
        let serving =
            tokio::spawn(async move { serve(listener, finished, stopped, &config).await });
        Self { address, stop, serving }
    }

    async fn connect(&self) -> Client {
        Client(TcpStream::connect(self.address).await.unwrap())
    }

    /// Sends bytes on a fresh connection and reads until the server closes it.
    async fn exchange(&self, bytes: &[u8]) -> Answer {
        let mut client = self.connect().await;
        client.send(bytes).await;
        client.rest().await
    }

    async fn finished(self) -> ServeReport {
        tokio::time::timeout(PATIENCE, self.serving).await.unwrap().unwrap()
    }
}

/// A raw connection.
struct Client(TcpStream);

impl Client {
    /// Sends, as far as the server still listens.
    async fn send(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes).await;
    }

    /// Everything until the server closes; a reset counts as a close.
    async fn rest(&mut self) -> Answer {
        let mut all = Vec::new();
        let read = self.0.read_to_end(&mut all);
        let _ = tokio::time::timeout(PATIENCE, read).await.expect("the server hangs");
        Answer::parse(&all)
    }

    /// The next answer on a connection that stays open.
    async fn answer(&mut self) -> Answer {
        let mut all = Vec::new();
        while !Answer::is_whole(&all) {
            let mut buffer = [0; 4_096];
            let read = tokio::time::timeout(PATIENCE, self.0.read(&mut buffer));
            match read.await.expect("the server hangs").unwrap() {
                0 => break,
                length => all.extend_from_slice(&buffer[..length]),
            }
        }
        Answer::parse(&all)
    }
}

/// One answer, or none.
#[derive(Debug, Default)]
struct Answer {
    /// 0 if the connection was closed without an answer.
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            assert!(text.is_empty(), "half an answer: {text}");
            return Self::default();
        };
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    fn is_whole(bytes: &[u8]) -> bool {
        let Ok(text) = std::str::from_utf8(bytes) else {
            return false;
        };
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            return false;
        };
        let head = head.to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        body.len() >= length.map_or(0, |length| length.parse().unwrap())
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The code of a problem, after checking that it is a whole one.
    fn code(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let body = self.json();
        assert_eq!(body["status"], self.status, "{self:?}");
        assert_eq!(body["requestId"].as_str(), self.header("x-request-id"), "{self:?}");
        assert!(body["requestId"].is_string() && body["title"].is_string());
        assert!(body["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{self:?}");
        let code = body["code"].as_str().unwrap().to_owned();
        assert_eq!(body["type"], format!("/problems/{code}"));
        code
    }
}

/// A request with a body of a type, to be closed after the answer.
fn request(line: &str, content_type: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut request = format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
    if !content_type.is_empty() {
        request = format!("{request}Content-Type: {content_type}\r\n");
    }
    if !body.is_empty() {
        request = format!("{request}Content-Length: {}\r\n", body.len());
    }
    let mut request = format!("{request}\r\n").into_bytes();
    request.extend_from_slice(body);
    request
}
