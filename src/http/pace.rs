//! How fast a client must be: what its connection is doing, since when, and until when it may.
//!
//! hyper's own header timeout also runs while a kept-alive connection rests between two requests,
//! so it cannot be 5 s against slow senders and 75 s for pollers at the same time; it makes a new
//! timer for each request, too. Here a connection has one timer, which is moved only when it
//! would ring too late.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::StatusCode;
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing ever came: the first byte must come soon.
    Fresh,
    /// Sending an answer.
    Sending,
    /// A part of a request's head is here.
    Head,
    /// A handler is at work; it has deadlines of its own.
    Working,
    /// The answer is sent, and nothing came since.
    Resting,
    /// An answer in parts, of which there is more to come.
    Streaming,
}

/// How long a resting connection keeps what it needs for a request at once.
const AWAKE_FOR: Duration = Duration::from_secs(1);

/// How long each phase may last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// For [`Phase::Fresh`] and [`Phase::Head`].
    pub head: Duration,
    /// For [`Phase::Sending`] and [`Phase::Streaming`], where what the peer takes of an answer starts
    /// it again, and from there to the next request.
    pub rest: Duration,
}

impl Patience {
    /// For [`Phase::Resting`], the first part of `rest`.
    pub fn awake(&self) -> Duration {
        self.rest.min(AWAKE_FOR)
    }
}

/// The state of one connection, shared by its socket, its service and its timer.
///
/// All three are polled by one task, so no ordering is needed; atomics only make it `Sync`.
#[derive(Debug)]
pub(super) struct Pace {
    opened: Instant,
    patience: Patience,
    /// Milliseconds from `opened` to the phase's beginning, times 8, plus the phase.
    state: AtomicU64,
}

impl Pace {
    pub fn new(patience: Patience, opened: Instant) -> Arc<Self> {
        Arc::new(Self { opened, patience, state: AtomicU64::new(0) })
    }

    /// A request's head is complete.
    pub fn working(&self, now: Instant) {
        self.enter(Phase::Working, now);
    }

    /// The handler has answered.
    pub fn answered(&self, now: Instant) {
        self.enter(Phase::Sending, now);
    }

    /// The handler has answered the first part. [`Self::answered`] comes with the last.
    pub fn in_parts(&self, now: Instant) {
        self.enter(Phase::Streaming, now);
    }

    /// Until when the present phase may last.
    pub fn deadline(&self, now: Instant) -> Instant {
        let (phase, since) = self.state();
        match phase {
            Phase::Fresh | Phase::Head => since + self.patience.head,
            Phase::Sending | Phase::Streaming => since + self.patience.rest,
            Phase::Resting => since + self.patience.awake(),
            // Not a deadline, only the next look.
            Phase::Working => now + self.patience.rest,
        }
    }

    /// Whether a request has begun and is not complete, so that an answer would make sense.
    pub fn is_in_head(&self) -> bool {
        self.state().0 == Phase::Head
    }

    /// Whether nothing is asked and nothing left to send.
    pub fn is_resting(&self) -> bool {
        self.state().0 == Phase::Resting
    }

    /// hyper also reads while it sends. What comes then is the beginning of a next request, which
    /// has its time when this answer is gone: the connection rests, and the next one begins with it.
    fn bytes_came(&self, now: Instant) {
        if matches!(self.state().0, Phase::Fresh | Phase::Resting) {
            self.enter(Phase::Head, now);
        }
    }

    fn bytes_left(&self, now: Instant) {
        let phase = self.state().0;
        if matches!(phase, Phase::Sending | Phase::Streaming) {
            self.enter(phase, now);
        }
    }

    /// There is more to send, after all.
    fn has_more(&self, now: Instant) {
        if self.is_resting() {
            self.enter(Phase::Sending, now);
        }
    }

    /// hyper flushes the socket when it has given it everything.
    fn all_left(&self, now: Instant) {
        if self.state().0 == Phase::Sending {
            self.enter(Phase::Resting, now);
        }
    }

    fn enter(&self, phase: Phase, now: Instant) {
        let since = now.saturating_duration_since(self.opened);
        let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX >> 3);
        self.state.store(millis << 3 | phase as u64, Ordering::Relaxed);
    }

    fn state(&self) -> (Phase, Instant) {
        let state = self.state.load(Ordering::Relaxed);
        let phase = match state & 7 {
            0 => Phase::Fresh,
            1 => Phase::Sending,
            2 => Phase::Head,
            3 => Phase::Working,
            4 => Phase::Resting,
            _ => Phase::Streaming,
        };
        (phase, self.opened + Duration::from_millis(state >> 3))
    }
}

/// A socket between two requests.
#[derive(Debug)]
pub(super) struct Socket {
    pub stream: TcpStream,
    /// Who is at its other end.
    pub peer: IpAddr,
    /// What was read of it, and not used.
    pub unused: Bytes,
}

/// A socket that tells its [`Pace`] when bytes come and leave, and lets no answer out that hyper
/// makes by itself.
#[derive(Debug)]
pub(super) struct PacedStream {
    pub stream: TcpStream,
    unused: Bytes,
    pace: Arc<Pace>,
    /// The status of the answer that was not let out.
    pub held_back: Option<StatusCode>,
}

impl PacedStream {
    pub fn new(socket: Socket, pace: Arc<Pace>) -> Self {
        let Socket { stream, unused, .. } = socket;
        Self { stream, unused, pace, held_back: None }
    }

    /// Ends the connection before an answer that is hyper's own: somebody else will write a better
    /// one to the socket.
    ///
    /// Looks only at the beginning of a write. If a good answer is still in hyper's buffer when the
    /// request behind it turns out to be unreadable, both leave in one write, and the second goes
    /// out as hyper made it: the right status, with an empty body.
    fn hold_back(&mut self, first: &[u8]) -> io::Result<()> {
        self.held_back = status_of_bare(first);
        match self.held_back {
            None => Ok(()),
            Some(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

/// The status of what hyper answers, without a body, to what it cannot parse. Every refusal of ours
/// has a `Content-Type`, and it comes first.
fn status_of_bare(answer: &[u8]) -> Option<StatusCode> {
    let status = answer.strip_prefix(b"HTTP/1.")?.get(2..).filter(|rest| rest.starts_with(b"4"))?;
    let (line, fields) = status.split_at(status.iter().position(|byte| *byte == b'\r')?);
    let length = fields.strip_prefix(b"\r\nconnection: close").unwrap_or(fields);
    let is_bare = length.starts_with(b"\r\ncontent-length: 0\r\n");
    StatusCode::from_bytes(line.get(..3)?).ok().filter(|_| is_bare)
}

impl AsyncRead for PacedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = if self.unused.is_empty() {
            Pin::new(&mut self.stream).poll_read(cx, buf)
        } else {
            let fits = self.unused.len().min(buf.remaining());
            buf.put_slice(&self.unused.split_to(fits));
            Poll::Ready(Ok(()))
        };
        if buf.filled().len() > before {
            self.pace.bytes_came(Instant::now());
        }
        polled
    }
}

impl AsyncWrite for PacedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.hold_back(bytes)?;
        self.pace.has_more(Instant::now());
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if polled.is_ready() {
            self.pace.bytes_left(Instant::now());
        }
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.hold_back(slices.first().map_or(&[], |first| first))?;
        self.pace.has_more(Instant::now());
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        if polled.is_ready() {
            self.pace.bytes_left(Instant::now());
        }
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        if matches!(polled, Poll::Ready(Ok(()))) {
            self.pace.all_left(Instant::now());
        }
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Duration = Duration::from_secs(5);
    const REST: Duration = Duration::from_secs(75);

    #[test]
    fn each_phase_has_its_own_deadline() {
        let opened = Instant::now();
        let at = |seconds| opened + Duration::from_secs(seconds);
        let pace = Pace::new(Patience { head: HEAD, rest: REST }, opened);
        assert_eq!(pace.deadline(at(1)), at(5), "the first byte");

        pace.bytes_came(at(2));
        pace.bytes_left(at(3));
        pace.bytes_came(at(4));
        assert_eq!(pace.deadline(at(4)), at(7), "no byte prolongs a head");

        pace.working(at(5));
        pace.bytes_came(at(6));
        pace.bytes_left(at(6));
        assert_eq!(pace.deadline(at(1_000)), at(1_075), "work has none here");
        assert!(!pace.is_in_head());

        pace.answered(at(1_000));
        assert_eq!(pace.deadline(at(1_001)), at(1_075));
        pace.bytes_came(at(1_009));
        assert!(!pace.is_in_head(), "a next request does not end the sending");
        pace.bytes_left(at(1_010));
        assert_eq!(pace.deadline(at(1_010)), at(1_085), "progress starts the rest again");

        pace.all_left(at(1_015));
        assert!(pace.is_resting());
        assert_eq!(pace.deadline(at(1_015)), at(1_016), "then it is put away");
        pace.has_more(at(1_016));
        assert!(!pace.is_resting(), "what is not sent is not put away");
        pace.all_left(at(1_016));

        pace.bytes_came(at(1_020));
        assert_eq!(pace.deadline(at(1_020)), at(1_025));
        assert!(pace.is_in_head());

        pace.working(at(1_021));
        pace.in_parts(at(1_022));
        pace.bytes_came(at(1_023));
        pace.bytes_left(at(1_040));
        pace.all_left(at(1_040));
        assert!(!pace.is_resting(), "there is more to come");
        assert_eq!(pace.deadline(at(1_041)), at(1_115), "what the peer does not take ends it");
        pace.answered(at(1_050));
        pace.all_left(at(1_050));
        assert!(pace.is_resting());
    }
}
