//! Settings of the HTTP server.

use std::time::Duration;

/// The smallest that hyper works with.
pub(super) const HEAD_BYTES_MIN: usize = 8_192;

/// Limits that protect the server from its clients. None of them is needed by a well-behaved one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpConfig {
    /// The most open connections. One more is answered 503 `overloaded` and closed.
    ///
    /// Protects memory (about 20 KiB each) and file descriptors; must stay well below the
    /// process' limit of open files. Too low: idle keep-alive clients lock others out.
    pub connections_max: usize,

    /// Whether several servers of this machine may listen on the same port (`SO_REUSEPORT`).
    pub reuse_port: bool,

    /// The most requests in work at one moment; one more is answered 503 `overloaded`. Payments may
    /// take all of it, the others less: see [`super::Priority`]. A request whose body is still on
    /// its way is not in work.
    ///
    /// Protects everybody's latency: what cannot be served soon is refused at once. Too low:
    /// a burst is refused although Redis and PostgreSQL could have taken it.
    pub requests_max: usize,

    /// The most arrivals per second of one client address (IPv6: of one /64), ten times as many at
    /// once; one more is answered 429 `too-many-requests`. 0: no limit.
    ///
    /// Protects the line against one machine that takes thousands of places. Too low: people
    /// behind one address of a company, a campus or a mobile network are turned away.
    pub arrivals_per_address: u32,

    /// The same for polls.
    ///
    /// Protects everybody's polls against clients that do not wait for `pollAfter`. Too low: as
    /// for arrivals, and whoever cannot poll learns too late that it is their turn.
    pub polls_per_address: u32,

    /// How many trusted proxies stand before this server, each of which appends to
    /// `X-Forwarded-For` whom it was asked by. 0: clients connect to this server itself.
    ///
    /// Too low: all clients seem to have a proxy's address and share one limit. Too high: clients
    /// choose their address.
    pub proxy_hops: usize,

    /// The most streams of events that are open; one more is answered 503 `overloaded`.
    ///
    /// Protects connections and memory (some 30 KiB each): a stream keeps its connection. Must stay
    /// below `connections_max`, so that people can also pay. Too low: people have to poll.
    pub streams_max: usize,

    /// The same of one client address (IPv6: of one /64); one more is answered 429
    /// `too-many-requests`. 0: no limit.
    pub streams_per_address: usize,

    /// How long a stream is silent at most: then it gets a line that clients ignore.
    ///
    /// Must be below `idle_timeout` and what proxies between allow. Too low: traffic for nothing.
    pub heartbeat: Duration,

    /// From the first byte of a request to the end of its head; also from accepting a connection
    /// to its first byte. Later the connection is closed.
    ///
    /// Protects against clients that send a byte now and then. Too low: slow mobile networks fail.
    pub header_timeout: Duration,

    /// How long a connection may stay open without a request, or without taking anything of an
    /// answer that is being sent. What was sent and is not acknowledged for so long ends it, too.
    ///
    /// Must be above the longest `pollAfter` (36 s), so that pollers keep their connection.
    pub idle_timeout: Duration,

    /// From a handler's wish for the body to the body's end; later the answer is 408.
    pub body_timeout: Duration,

    /// The largest body; a larger one is answered 413. The API promises 16 KiB.
    pub body_bytes_max: usize,

    /// The largest request line and header fields together; more is answered 431.
    pub head_bytes_max: usize,

    /// How long a stop waits for requests in work before it drops their connections.
    pub shutdown_timeout: Duration,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            connections_max: 16_384,
            reuse_port: false,
            requests_max: 8_192,
            arrivals_per_address: 100,
            polls_per_address: 500,
            proxy_hops: 0,
            streams_max: 8_192,
            streams_per_address: 1_000,
            heartbeat: Duration::from_secs(15),
            header_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(10),
            body_bytes_max: 16 * 1024,
            head_bytes_max: 32 * 1024,
            shutdown_timeout: Duration::from_secs(10),
        }
    }
}
