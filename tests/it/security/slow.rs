//! Thousands of connections that say little: others notice nothing, and nothing of them stays.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::support::concert;
use crate::support::process::ServerProcess;
use crate::support::server::Deployment;

const SLOW: usize = 5_000;
/// The bound of the normal client, 99 of 100 requests.
const P99_MAX: Duration = Duration::from_millis(200);
/// How many requests it makes at least.
const REQUESTS: usize = 1_000;
/// For how long at least: every deadline of a slow client ends in it, and it begins again.
const ATTACKED_FOR: Duration = Duration::from_secs(12);

/// How many attacks follow the first.
const ATTACKS_MORE: usize = 8;

/// What each slow client begins with and never completes. It says one more byte every two seconds.
const BEGINNINGS: [&str; 4] = [
    "",
    "GET /user/token/status HTTP/1.1\r\nHost: x\r\nX-Slow: ",
    "POST /payment HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{",
    "POST /user/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{",
];

/// The attack, until it is dropped.
struct Attack {
    open: Arc<AtomicUsize>,
    stop: CancellationToken,
    clients: tokio_util::task::TaskTracker,
}

impl Attack {
    /// Starts it and waits until every slow client has begun.
    async fn start(address: std::net::SocketAddr) -> Self {
        let (open, stop) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new());
        let clients = tokio_util::task::TaskTracker::new();
        for number in 0..SLOW {
            let (open, stop) = (open.clone(), stop.clone());
            clients.spawn(async move {
                let stopped = stop.cancelled();
                tokio::select! {
                    () = stopped => {}
                    () = be_slow(address, BEGINNINGS[number % BEGINNINGS.len()], &open) => {}
                }
            });
        }
        let attack = Self { open, stop, clients };
        crate::support::eventually("all are there", || async { attack.open() >= SLOW * 95 / 100 })
            .await;
        attack
    }

    fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    async fn end(self) {
        self.stop.cancel();
        self.clients.close();
        self.clients.wait().await;
    }
}

/// Opens a connection, says little, and opens another when it is cut off; for ever.
async fn be_slow(address: std::net::SocketAddr, beginning: &str, open: &AtomicUsize) {
    loop {
        let Ok(mut connection) = TcpStream::connect(address).await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let _open = Open::count(open);
        let _ = connection.write_all(beginning.as_bytes()).await;
        let mut answer = [0; 1_024];
        loop {
            let heard = tokio::time::timeout(Duration::from_secs(2), connection.read(&mut answer));
            match heard.await {
                Ok(Ok(1..)) => {}
                Ok(_) => break,
                // Some say nothing at all.
                Err(_) if beginning.is_empty() => {}
                Err(_) => {
                    let _ = connection.write_all(b" ").await;
                }
            }
        }
    }
}

/// A connection that is counted while it is open.
struct Open<'a>(&'a AtomicUsize);

impl<'a> Open<'a> {
    fn count(open: &'a AtomicUsize) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(open)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

/// Waits until the server has closed what the attack had opened.
async fn until_closed(process: &ServerProcess, before: usize) {
    let closed = || async { process.open_files() <= before + 8 };
    crate::support::eventually("every slow connection is closed", closed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_slow_connections_slow_nobody_down_and_leave_nothing_behind() {
    onsale::http::sockets::raise_open_files_limit().expect("enough files");
    let deployment = Deployment::new(vec![concert(10, 1)]).await;
    let process = ServerProcess::start(&deployment).await;
    let (server, concert) = (&process.server, deployment.concert());
    let token = server.admitted(concert, 1).await;
    server.charge(&token, 1, 1000).await;
    let (files_before, memory_before) = (process.open_files(), process.memory_kib());

    let attack = Attack::start(server.address).await;
    let (mut times, mut open) = (Vec::new(), Vec::new());
    let fresh = reqwest::Client::builder().pool_max_idle_per_host(0).build().expect("a client");
    let dates = format!("/concert/available-seats?concertId={}&concertDate=2099-12-01", concert.id);
    let attacked_since = Instant::now();
    while times.len() < REQUESTS || attacked_since.elapsed() < ATTACKED_FOR {
        let begun = Instant::now();
        match times.len() % 4 {
            0 => server.get_as(&token, "/user/token/status").await.expect(200),
            1 => server.get_as(&token, &dates).await.expect(200),
            2 => server
                .post_as(&token, "/payment/charge", json!({"userId": 1, "amount": 1}))
                .await
                .expect(200),
            // On a connection of its own.
            _ => server
                .answer(fresh.get(format!("http://{}/healthz", server.address)))
                .await
                .expect(200),
        };
        times.push(begun.elapsed());
        open.push(attack.open());
    }
    let requests = times.len();
    open.sort_unstable();
    let (fewest, usual) = (open[0], open[open.len() / 2]);
    let (worst, p99) = (times.iter().max().copied().unwrap_or_default(), p99(times));
    println!(
        "{requests} requests beside {usual} slow connections (at one moment {fewest}): p99 {p99:?}, worst {worst:?}"
    );
    assert!(usual >= SLOW * 95 / 100, "{usual} slow connections");
    assert!(p99 < P99_MAX, "{p99:?}");
    attack.end().await;
    until_closed(&process, files_before).await;

    // The allocator keeps what was freed for the next time, and in its own time, so memory may stay
    // where it was under attack, and be half as much again; but what an attack leaves behind adds up.
    let memory_first = process.memory_most_kib();
    for _ in 0..ATTACKS_MORE {
        let attack = Attack::start(server.address).await;
        attack.end().await;
        until_closed(&process, files_before).await;
    }
    let memory_most = process.memory_most_kib();
    println!(
        "memory in KiB: {memory_before} before, {memory_first} in the first attack, {memory_most} in all"
    );
    let bound = memory_first + (memory_first - memory_before) / 2;
    assert!(memory_most < bound, "{memory_most} KiB, {memory_first} in the first attack");
}

/// What is kept of a body is its bytes, not the pieces in which they came.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_in_single_bytes_take_no_more_memory_than_their_bytes() {
    const CLIENTS: usize = 200;
    const PIECES: usize = 8_000;
    let deployment = Deployment::new(vec![concert(10, 1)]).await;
    let process = ServerProcess::start(&deployment).await;
    let memory_before = process.memory_kib();
    let head = "POST /payment HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    let request =
        format!("{head}Transfer-Encoding: chunked\r\n\r\n{}", "1\r\n \r\n".repeat(PIECES));
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = TcpStream::connect(process.server.address).await.expect("a connection");
        client.write_all(request.as_bytes()).await.expect("it is read");
        clients.push(client);
    }
    // Whoever is answered was read to the end.
    for client in &mut clients {
        client.write_all(b"0\r\n\r\n").await.expect("it is read");
        let mut answer = [0; 12];
        client.read_exact(&mut answer).await.expect("an answer");
        assert!([b"HTTP/1.1 400", b"HTTP/1.1 408"].contains(&&answer));
    }
    let grown = process.memory_most_kib() - memory_before;
    println!("{} KiB for each of {CLIENTS} bodies of {PIECES} bytes", grown / CLIENTS as u64);
    assert!(grown < CLIENTS as u64 * 200, "{grown} KiB");
}
