//! Answers that go on: server-sent events, how many there may be, and how they end.
//!
//! A stream is open for minutes, so it is no request in work: its request is answered with the head,
//! and what is limited from then on is the number of streams, of the server and of one client
//! address. A heartbeat shows both sides that the other one is there. A server that stops ends its
//! streams, whose clients then connect to another one, some seconds apart.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::Stream;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::HttpConfig;
use super::context;
use super::problem::{Code, Problem};
use super::throttle::Network;

/// The media type of a stream.
pub const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");

/// A line that a client ignores.
const HEARTBEAT: Bytes = Bytes::from_static(b":\n\n");

/// When a client connects again after its stream has ended, in ms: between these two, so that the
/// clients of a server that stopped do not all come at once.
const RETRY_MS: std::ops::Range<u32> = 1_000..5_000;

/// When somebody who is refused a stream may ask again.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// The streams of one server.
#[derive(Debug)]
pub(super) struct Streams {
    most: usize,
    per_address: usize,
    heartbeat: Duration,
    open: Mutex<Open>,
    ending: CancellationToken,
}

/// How many are open.
#[derive(Debug, Default)]
struct Open {
    all: usize,
    /// Of each address that has any.
    by_address: HashMap<Network, usize>,
}

impl Streams {
    /// None is open.
    pub fn new(config: &HttpConfig) -> Arc<Self> {
        Arc::new(Self {
            most: config.streams_max,
            per_address: config.streams_per_address,
            heartbeat: config.heartbeat,
            open: Mutex::default(),
            ending: CancellationToken::new(),
        })
    }

    /// Ends every stream that is open, and every one that will be.
    pub fn end(&self) {
        self.ending.cancel();
    }

    /// Counts a stream in.
    fn take(self: &Arc<Self>, client: Network) -> Result<Slot, Problem> {
        let mut open = self.open.lock();
        if open.all >= self.most {
            return Err(Problem::new(Code::Overloaded)
                .detail("too many streams are open here: poll instead")
                .retry_after(RETRY_AFTER));
        }
        let own = open.by_address.get(&client).copied().unwrap_or(0);
        if self.per_address > 0 && own >= self.per_address {
            return Err(Problem::new(Code::TooManyRequests)
                .detail("too many streams of this address are open here: poll instead")
                .retry_after(RETRY_AFTER));
        }
        open.all += 1;
        open.by_address.insert(client, own + 1);
        Ok(Slot { streams: Arc::clone(self), client })
    }
}

/// The right of the request at hand to become a stream: of routes with [`super::Priority::Stream`].
#[derive(Debug, Clone)]
pub(super) struct Opening {
    pub streams: Arc<Streams>,
    pub client: Network,
}

/// One stream, counted as open until it is dropped.
#[derive(Debug)]
pub struct Slot {
    streams: Arc<Streams>,
    client: Network,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.streams.open.lock();
        open.all -= 1;
        if let Entry::Occupied(mut own) = open.by_address.entry(self.client) {
            *own.get_mut() -= 1;
            if *own.get() == 0 {
                own.remove();
            }
        }
    }
}

/// Makes room for the stream that the request at hand asks for.
///
/// # Errors
///
/// 503 `overloaded` if the server has too many streams, 429 if the client's address has.
pub fn open() -> Result<Slot, Problem> {
    let opening = context::opening().ok_or(Problem::new(Code::Internal))?;
    opening.streams.take(opening.client)
}

/// One event, in the form that is sent. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event(Bytes);

impl Event {
    /// An event of the kind `name`, which is plain text, with data as JSON. None if the data has no
    /// JSON form.
    #[must_use]
    pub fn new(name: &str, data: &impl Serialize) -> Option<Self> {
        // JSON has no line break of its own, so it is one line of data.
        Some(Self::encoded(name, &serde_json::to_vec(data).ok()?))
    }

    /// The same with data that is JSON already, in one line.
    #[must_use]
    pub fn encoded(name: &str, json: &[u8]) -> Self {
        let head = format!("event: {name}\ndata: ");
        Self([head.as_bytes(), json, b"\n\n"].concat().into())
    }
}

impl Slot {
    /// Answers with `events`, until they end or the server stops.
    pub fn answer(self, events: impl Stream<Item = Event> + Send + 'static) -> Response {
        let retry = rand::random_range(RETRY_MS);
        let body = Body::from_stream(Sent {
            greeting: Some(format!("retry: {retry}\n\n").into()),
            events: Box::pin(events),
            beat: Box::pin(sleep(self.streams.heartbeat)),
            // A child of its own, so that thousands of streams do not share one lock at every poll.
            ending: Box::pin(self.streams.ending.child_token().cancelled_owned()),
            slot: self,
        });
        let headers = [
            (CONTENT_TYPE, EVENT_STREAM),
            (CACHE_CONTROL, HeaderValue::from_static("no-store")),
            // nginx would keep events until it has enough of them.
            (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
        ];
        (headers, body).into_response()
    }
}

/// What a stream sends: a greeting, events, and heartbeats between them.
struct Sent {
    greeting: Option<Bytes>,
    events: Pin<Box<dyn Stream<Item = Event> + Send>>,
    beat: Pin<Box<Sleep>>,
    ending: Pin<Box<WaitForCancellationFutureOwned>>,
    slot: Slot,
}

impl Stream for Sent {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(greeting) = self.greeting.take() {
            return Poll::Ready(Some(Ok(greeting)));
        }
        if self.ending.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        let next = match self.events.as_mut().poll_next(cx) {
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Ready(Some(Event(bytes))) => bytes,
            Poll::Pending if self.beat.as_mut().poll(cx).is_ready() => HEARTBEAT,
            Poll::Pending => return Poll::Pending,
        };
        let beat_at = Instant::now() + self.slot.streams.heartbeat;
        self.beat.as_mut().reset(beat_at);
        Poll::Ready(Some(Ok(next)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn streams(streams_max: usize, streams_per_address: usize) -> Arc<Streams> {
        let config = HttpConfig { streams_max, streams_per_address, ..HttpConfig::default() };
        Streams::new(&config)
    }

    fn client(address: &str) -> Network {
        Network::of(address.parse().unwrap())
    }

    fn refusal(streams: &Arc<Streams>, address: &str) -> Option<Code> {
        streams.take(client(address)).err().map(|problem| problem.code())
    }

    #[test]
    fn a_server_and_an_address_have_so_many_streams_and_an_end_makes_room() {
        let streams = streams(3, 2);
        let take = |address| streams.take(client(address)).unwrap();
        let first = take("192.0.2.1");
        let _second = take("192.0.2.1");
        assert_eq!(refusal(&streams, "192.0.2.1"), Some(Code::TooManyRequests));
        let _third = take("192.0.2.2");
        assert_eq!(refusal(&streams, "192.0.2.3"), Some(Code::Overloaded));
        drop(first);
        assert_eq!(refusal(&streams, "192.0.2.1"), None);
        assert_eq!(streams.open.lock().by_address.len(), 2);
    }

    #[test]
    fn without_a_limit_per_address_only_the_servers_counts() {
        let streams = streams(3, 0);
        let slots: Vec<_> = (0..3).map(|_| streams.take(client("192.0.2.1")).unwrap()).collect();
        assert_eq!(refusal(&streams, "192.0.2.1"), Some(Code::Overloaded));
        drop(slots);
        let open = streams.open.lock();
        assert_eq!((open.all, open.by_address.len()), (0, 0), "nothing is kept");
    }

    #[test]
    fn an_event_is_two_lines_and_an_end() {
        let event = Event::new("message", &serde_json::json!({"message": "a\nb"})).unwrap();
        assert_eq!(&event.0[..], b"event: message\ndata: {\"message\":\"a\\nb\"}\n\n");
    }
}
