//! The accept loop: takes connections, bounds their number, and stops in order.
//!
//! `axum::serve` has no deadline for a request's head and no bound on connections, so a few
//! thousand slow senders would stop a sale. Here every connection has deadlines
//! (see `pace.rs`), and one above the limit is answered 503 `overloaded` and closed: waiting
//! unaccepted behind idle keep-alive connections could take a minute, and its client would not
//! know why.
//!
//! # Requests that cannot be read
//!
//! What hyper cannot parse it answers by itself, before any of our code, with an empty body. Such an
//! answer is held back (see `pace.rs`), and a problem is written in its place by hand: 400 for a
//! malformed head (repeated and different or signed `Content-Length`, a `Transfer-Encoding` other
//! than `chunked`), 431 for too many or too large header fields and for a path above 64 KiB. The
//! connection is closed after it. A request with both `Content-Length` and
//! `Transfer-Encoding: chunked` is read as chunked, and its connection is closed after the answer
//! (RFC 9112, 6.3), so that nothing can be smuggled behind it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::server::conn::http1;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::config::{HEAD_BYTES_MIN, HttpConfig};
use super::connection::{self, Orders};
use super::front::Front;
use super::pace::{Patience, Socket};

/// The most connections that are being told 503 at one moment; one more is closed without a word.
const REFUSALS_MAX: usize = 512;

/// How long to wait when the process has no file descriptor or memory for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a server did, told when it has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServeReport {
    /// Connections that were served.
    pub connections: u64,
    /// Connections above [`HttpConfig::connections_max`].
    pub refused: u64,
    /// Connections that were still in work when the stop's deadline came, and were dropped.
    pub abandoned: u64,
}

/// Serves `front` on `listener` until `stop` is cancelled and every request in work is answered,
/// for which [`HttpConfig::shutdown_timeout`] is left.
pub async fn serve(
    listener: TcpListener,
    front: Front,
    stop: CancellationToken,
    config: &HttpConfig,
) -> ServeReport {
    let server = Server::new(front, stop.clone(), config);
    let mut report = ServeReport { connections: 0, refused: 0, abandoned: 0 };
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let socket = Socket { stream, peer: peer.ip(), unused: Bytes::new() };
                let count = if server.admit(socket) {
                    &mut report.connections
                } else {
                    &mut report.refused
                };
                *count += 1;
            }
            Err(error) => after_failed_accept(&error, &stop).await,
        }
    }
    // New connections are refused by the kernel from here on.
    drop(listener);
    report.abandoned = server.finish(config.shutdown_timeout).await;
    report
}

/// What every connection of one server shares.
struct Server {
    front: Arc<Front>,
    http: Arc<http1::Builder>,
    patience: Patience,
    stop: CancellationToken,
    abandon: CancellationToken,
    connections: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Server {
    fn new(front: Front, stop: CancellationToken, config: &HttpConfig) -> Self {
        // hyper panics below it.
        let head_bytes_max = config.head_bytes_max.max(HEAD_BYTES_MIN);
        let mut http = http1::Builder::new();
        http.max_header_size(head_bytes_max).max_buf_size(head_bytes_max).header_read_timeout(None);
        Self {
            front: Arc::new(front),
            http: Arc::new(http),
            patience: Patience { head: config.header_timeout, rest: config.idle_timeout },
            stop,
            abandon: CancellationToken::new(),
            connections: semaphore(config.connections_max),
            refusals: semaphore(REFUSALS_MAX),
            tasks: TaskTracker::new(),
        }
    }

    /// Serves a connection in a task of its own, or refuses it; tells which.
    fn admit(&self, socket: Socket) -> bool {
        let Ok(permit) = self.connections.clone().try_acquire_owned() else {
            self.refuse(socket.stream);
            return false;
        };
        // Answers are one small write each; without this one may wait 40 ms for an ACK. It can
        // fail only if the peer has gone already.
        let _ = socket.stream.set_nodelay(true);
        // A phone that lost its network says nothing: its stream would stay until the kernel gives up
        // sending heartbeats, a quarter of an hour.
        let _ = SockRef::from(&socket.stream).set_tcp_user_timeout(Some(self.patience.rest));
        let (front, http, patience) = (self.front.clone(), self.http.clone(), self.patience);
        let orders = Orders {
            // A child each, so that ten thousand tasks do not share one lock at every poll.
            stop: self.stop.child_token(),
            abandon: self.abandon.clone(),
        };
        self.tasks.spawn(async move {
            let end = connection::run(socket, front, &http, patience, orders).await;
            tracing::trace!(?end, "connection");
            drop(permit);
        });
        true
    }

    fn refuse(&self, stream: TcpStream) {
        if let Ok(permit) = self.refusals.clone().try_acquire_owned() {
            tokio::spawn(async move {
                connection::refuse(stream).await;
                drop(permit);
            });
        }
    }

    /// Waits for every connection, at most `patience`; answers how many were dropped.
    async fn finish(self, patience: Duration) -> u64 {
        self.tasks.close();
        self.front.end_streams();
        if tokio::time::timeout(patience, self.tasks.wait()).await.is_ok() {
            return 0;
        }
        let left = self.tasks.len();
        tracing::warn!(connections = left, "dropping connections that did not finish in time");
        self.abandon.cancel();
        self.tasks.wait().await;
        left as u64
    }
}

fn semaphore(permits: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)))
}

/// A peer that gave up is nothing; anything else is a lack that accepting again at once would
/// only turn into a busy loop.
async fn after_failed_accept(error: &io::Error, stop: &CancellationToken) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};

    if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
    {
        return;
    }
    tracing::error!(%error, "cannot accept connections");
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(ACCEPT_PAUSE) => {}
    }
}
