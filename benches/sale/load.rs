//! The load generator: keep-alive connections that each send the next request when the last one is
//! answered (a closed loop), on one thread.
//!
//! Written here because it must do three things together that no finished tool does: send distinct
//! data made while it runs (a token each), hand answers on to the next step (tokens, reservations),
//! and cost the same for the server and for the limit that it is compared with. It parses no more
//! of an answer than status and length.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

/// Latencies are told up to here; longer ones count as this.
const LATENCY_US_MAX: u64 = 60_000_000;

/// No answer takes this long unless something hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// Makes the request with a number: appends its bytes.
pub type Write<'a> = &'a (dyn Fn(usize, &mut Vec<u8>) + Sync);

/// What to send.
#[derive(Clone, Copy)]
pub struct Plan<'a> {
    /// Where to.
    pub target: SocketAddr,
    /// Over how many connections at once.
    pub connections: usize,
    /// The numbers of the requests to send.
    pub numbers: (usize, usize),
    /// Makes each.
    pub write: Write<'a>,
    /// The statuses that are as they should be.
    pub expected: &'a [u16],
    /// Whether bodies are kept.
    pub keep_bodies: bool,
}

/// What came of it.
pub struct Measured {
    /// From the first request sent to the last answer.
    pub elapsed: Duration,
    /// Microseconds.
    pub latencies: Histogram<u64>,
    /// Answers of other statuses than expected, the first few in words.
    pub unexpected: Vec<String>,
    /// How many of those.
    pub unexpected_count: usize,
    /// The bodies by number, if they were to be kept.
    pub bodies: Vec<String>,
}

impl Measured {
    /// Answers per second.
    pub fn rate(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let answered = self.latencies.len() as f64;
        answered / self.elapsed.as_secs_f64()
    }
}

/// Runs `plan` to its end.
pub fn run(plan: &Plan<'_>) -> anyhow::Result<Measured> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, drive(plan))
}

/// What the connections of one run share.
struct Run<'a> {
    plan: Plan<'a>,
    next: Cell<usize>,
    latencies: RefCell<Histogram<u64>>,
    unexpected: RefCell<Vec<String>>,
    unexpected_count: Cell<usize>,
    bodies: RefCell<Vec<String>>,
}

async fn drive(plan: &Plan<'_>) -> anyhow::Result<Measured> {
    let (first, end) = plan.numbers;
    let kept = if plan.keep_bodies { end - first } else { 0 };
    let run = Rc::new(Run {
        plan: *plan,
        next: Cell::new(first),
        latencies: RefCell::new(Histogram::new_with_max(LATENCY_US_MAX, 3)?),
        unexpected: RefCell::default(),
        unexpected_count: Cell::new(0),
        bodies: RefCell::new(vec![String::new(); kept]),
    });
    // Connecting is not what is measured.
    let mut streams = Vec::with_capacity(plan.connections);
    for _ in 0..plan.connections {
        let stream = TcpStream::connect(plan.target).await.context("cannot connect")?;
        stream.set_nodelay(true)?;
        streams.push(stream);
    }
    let started = Instant::now();
    futures::future::try_join_all(streams.into_iter().map(|stream| connection(&run, stream)))
        .await?;
    let elapsed = started.elapsed();
    let Ok(run) = Rc::try_unwrap(run).map_err(drop) else {
        bail!("a connection outlived its run");
    };
    Ok(Measured {
        elapsed,
        latencies: run.latencies.into_inner(),
        unexpected: run.unexpected.into_inner(),
        unexpected_count: run.unexpected_count.get(),
        bodies: run.bodies.into_inner(),
    })
}

async fn connection(run: &Run<'_>, mut stream: TcpStream) -> anyhow::Result<()> {
    let (first, end) = run.plan.numbers;
    let (mut request, mut answer) = (Vec::with_capacity(512), Vec::with_capacity(4096));
    loop {
        let number = run.next.get();
        if number >= end {
            return Ok(());
        }
        run.next.set(number + 1);
        request.clear();
        (run.plan.write)(number, &mut request);
        let sent = Instant::now();
        stream.write_all(&request).await?;
        let head = receive(&mut stream, &mut answer).await.with_context(|| {
            format!("no answer to: {}", String::from_utf8_lossy(&request).escape_debug())
        })?;
        let micros = u64::try_from(sent.elapsed().as_micros()).unwrap_or(u64::MAX);
        run.latencies.borrow_mut().saturating_record(micros);
        let body = || String::from_utf8_lossy(&answer[head.bytes..]).into_owned();
        if !run.plan.expected.contains(&head.status) {
            run.unexpected_count.set(run.unexpected_count.get() + 1);
            let mut unexpected = run.unexpected.borrow_mut();
            if unexpected.len() < 3 {
                unexpected.push(format!("{} {}", head.status, body()));
            }
        }
        if run.plan.keep_bodies {
            run.bodies.borrow_mut()[number - first] = body();
        }
    }
}

/// The head of an answer.
struct Head {
    status: u16,
    /// Its length, the empty line included.
    bytes: usize,
}

/// Reads one whole answer into `answer`.
async fn receive(stream: &mut TcpStream, answer: &mut Vec<u8>) -> anyhow::Result<Head> {
    answer.clear();
    let mut whole: Option<(Head, usize)> = None;
    loop {
        if let Some((head, length)) = whole.take() {
            if answer.len() >= length {
                ensure!(answer.len() == length, "more than one answer");
                return Ok(head);
            }
            whole = Some((head, length));
        } else if let Some(end) = find(answer, b"\r\n\r\n") {
            let bytes = end + 4;
            let head = Head { status: status(answer)?, bytes };
            let length = bytes + content_length(&answer[..bytes])?;
            whole = Some((head, length));
            continue;
        }
        let read = tokio::time::timeout(PATIENCE, stream.read_buf(answer)).await??;
        ensure!(read > 0, "the server closed the connection");
    }
}

fn status(answer: &[u8]) -> anyhow::Result<u16> {
    let digits = answer.get(9..12).context("a status line is shorter than it can be")?;
    Ok(std::str::from_utf8(digits)?.parse()?)
}

fn content_length(head: &[u8]) -> anyhow::Result<usize> {
    // hyper writes its names in lower case, as both servers here do.
    let name = b"\r\ncontent-length: ";
    let start = find(head, name).context("an answer without its length")? + name.len();
    let length = head[start..].split(|byte| *byte == b'\r').next().unwrap_or_default();
    Ok(std::str::from_utf8(length)?.parse()?)
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
