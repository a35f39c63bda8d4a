//! One connection, from its acceptance to its end, and the answers that are written by hand.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::header::{CONNECTION, CONTENT_LENGTH};
use bytes::Bytes;
use hyper::body::{Body as _, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::context::{self, RequestId, X_REQUEST_ID};
use super::front::Front;
use super::pace::{Pace, PacedStream, Patience, Socket};
use super::problem::{Code, Problem};

/// How long an answer that is written by hand may take, at each of its three steps.
const HAND_STEP: Duration = Duration::from_secs(1);

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The peer or the protocol ended it.
    Closed,
    /// The peer was slower than [`Patience`] allows.
    TooSlow,
    /// The server stopped and did not wait any longer.
    Abandoned,
}

/// The two orders of a server that stops.
#[derive(Debug, Clone)]
pub(super) struct Orders {
    /// Finish the request in work, take no other.
    pub stop: CancellationToken,
    /// Do not even finish.
    pub abandon: CancellationToken,
}

/// Serves one connection until it ends.
///
/// Between two requests of a poller lie seconds, in which hyper would keep 16 KiB of buffers. So a
/// connection that rests is taken apart, and put together again for its next request.
pub(super) async fn run(
    mut socket: Socket,
    front: Arc<Front>,
    http: &http1::Builder,
    patience: Patience,
    orders: Orders,
) -> End {
    loop {
        // Boxed, so that a resting connection is as small as its socket.
        match Box::pin(serve(socket, front.clone(), http, patience, &orders)).await {
            Turn::Ends(end) => return end,
            Turn::Rests(rested) => socket = rested,
        }
        if !socket.unused.is_empty() {
            continue;
        }
        let mut next = [0; 1];
        tokio::select! {
            biased;
            next = socket.stream.peek(&mut next) => match next {
                Ok(1..) => {}
                Ok(0) | Err(_) => return End::Closed,
            },
            () = orders.stop.cancelled() => return End::Closed,
            () = sleep(patience.rest.saturating_sub(patience.awake())) => return End::TooSlow,
        }
    }
}

/// How a connection's stay with hyper ended.
enum Turn {
    Ends(End),
    /// Everything asked was answered and sent. What is unused is the beginning of a next request
    /// that came while the last one was in work.
    Rests(Socket),
}

/// Serves requests until the connection ends or rests.
async fn serve(
    socket: Socket,
    front: Arc<Front>,
    http: &http1::Builder,
    patience: Patience,
    orders: &Orders,
) -> Turn {
    let now = Instant::now();
    let peer = socket.peer;
    let pace = Pace::new(patience, now);
    let io = TokioIo::new(PacedStream::new(socket, pace.clone()));
    let service_pace = pace.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        service_pace.working(Instant::now());
        let (front, pace) = (front.clone(), service_pace.clone());
        async move {
            let answer = front.answer(request.map(into_body), peer).await;
            // Only of one that is sent at once it is known already when all of it has left.
            if answer.body().size_hint().exact().is_some() {
                pace.answered(Instant::now());
                return Ok(answer);
            }
            pace.in_parts(Instant::now());
            Ok::<_, Infallible>(answer.map(|body| Body::new(InParts { body, pace })))
        }
    });
    let alarm = Box::pin(sleep_until(pace.deadline(now)));
    let mut served = Served { connection: http.serve_connection(io, service), alarm, pace };

    let end = tokio::select! {
        biased;
        end = &mut served => end,
        () = orders.stop.cancelled() => {
            Pin::new(&mut served.connection).graceful_shutdown();
            tokio::select! {
                biased;
                end = &mut served => end,
                () = orders.abandon.cancelled() => Some(End::Abandoned),
            }
        }
    };
    let in_head = served.pace.is_in_head();
    let parts = served.connection.into_parts();
    let PacedStream { stream, held_back, .. } = parts.io.into_inner();
    let Some(end) = end else {
        return Turn::Rests(Socket { stream, peer, unused: parts.read_buf });
    };
    let problem = match (end, held_back) {
        (End::TooSlow, _) if in_head => Some(
            Problem::new(Code::RequestTimeout)
                .detail("the request line and header fields did not arrive in time"),
        ),
        (_, Some(status)) => Some(unreadable(status)),
        _ => None,
    };
    if let Some(problem) = problem {
        answer_by_hand(stream, &problem).await;
    }
    Turn::Ends(end)
}

/// What is said of a head that hyper cannot read and would answer with `status` and nothing else.
fn unreadable(status: StatusCode) -> Problem {
    match status {
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE | StatusCode::URI_TOO_LONG => {
            Problem::new(Code::HeadersTooLarge)
                .detail("the request line and header fields are too large, or too many")
        }
        _ => Problem::bad_request("the request line and header fields are not those of HTTP/1.1"),
    }
}

/// Most requests have no body, and an empty one needs no allocation.
fn into_body(incoming: Incoming) -> Body {
    if incoming.is_end_stream() { Body::empty() } else { Body::new(incoming) }
}

/// A body that tells the pace of its connection when it has ended.
struct InParts {
    body: Body,
    pace: Arc<Pace>,
}

impl hyper::body::Body for InParts {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(frame, Poll::Ready(None)) {
            self.pace.answered(Instant::now());
        }
        frame
    }
}

/// A connection and its alarm: ends when either does, with none if the connection rests.
struct Served<S: HttpService<Incoming>> {
    connection: http1::Connection<TokioIo<PacedStream>, S>,
    alarm: Pin<Box<Sleep>>,
    pace: Arc<Pace>,
}

impl<S> Future for Served<S>
where
    S: HttpService<Incoming, ResBody = Body, Error = Infallible>,
    http1::Connection<TokioIo<PacedStream>, S>: Future + Unpin,
{
    type Output = Option<End>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<End>> {
        // What went wrong here is between the peer and hyper. What hyper could say about it was
        // held back.
        if Pin::new(&mut self.connection).poll(cx).is_ready() {
            return Poll::Ready(Some(End::Closed));
        }
        let deadline = self.pace.deadline(Instant::now());
        if deadline < self.alarm.deadline() {
            self.alarm.as_mut().reset(deadline);
        }
        while self.alarm.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let deadline = self.pace.deadline(now);
            if deadline <= now {
                return Poll::Ready((!self.pace.is_resting()).then_some(End::TooSlow));
            }
            self.alarm.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

/// Refuses a connection that is one too many: reads what the client says first, because an
/// answer before the question confuses some clients, and answers 503.
pub(super) async fn refuse(mut stream: TcpStream) {
    let mut ignored = [0; 1_024];
    if matches!(timeout(HAND_STEP, stream.read(&mut ignored)).await, Ok(Ok(1..))) {
        let problem = Problem::new(Code::Overloaded).detail("too many connections are open here");
        answer_by_hand(stream, &problem).await;
    }
}

/// Writes one answer without hyper and closes.
///
/// Closing while the client's bytes are unread would reset the connection and may take the answer
/// with it; so the client has a moment to close first.
async fn answer_by_hand(mut stream: TcpStream, problem: &Problem) {
    let answer = by_hand(problem);
    let told = async {
        stream.write_all(&answer).await?;
        stream.shutdown().await
    };
    if matches!(timeout(HAND_STEP, told).await, Ok(Ok(()))) {
        let mut ignored = [0; 1_024];
        let drained = async { while matches!(stream.read(&mut ignored).await, Ok(1..)) {} };
        // A client that keeps sending is cut off.
        let _ = timeout(HAND_STEP, drained).await;
    }
}

/// A whole HTTP/1.1 answer that ends its connection.
fn by_hand(problem: &Problem) -> Vec<u8> {
    let id = RequestId::fresh();
    let (head, body) = context::with_id(id, || (problem.headers(), problem.body()));
    let (code, status) = (problem.code().as_str(), problem.code().status());
    tracing::debug!(status = status.as_u16(), code, request_id = %id, "refused unread");
    let reason = status.canonical_reason().unwrap_or_default();
    let mut answer = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).into_bytes();
    for (name, value) in &head {
        if name != CONNECTION {
            write_field(&mut answer, name.as_str(), value.as_bytes());
        }
    }
    write_field(&mut answer, X_REQUEST_ID.as_str(), id.as_str().as_bytes());
    write_field(&mut answer, CONNECTION.as_str(), b"close");
    write_field(&mut answer, CONTENT_LENGTH.as_str(), body.len().to_string().as_bytes());
    answer.extend_from_slice(b"\r\n");
    answer.extend_from_slice(&body);
    answer
}

fn write_field(answer: &mut Vec<u8>, name: &str, value: &[u8]) {
    answer.extend_from_slice(name.as_bytes());
    answer.extend_from_slice(b": ");
    answer.extend_from_slice(value);
    answer.extend_from_slice(b"\r\n");
}
