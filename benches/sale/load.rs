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
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use super::rig;

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
    /// The number of the first request.
    pub first: usize,
    /// When it ends.
    pub until: Until<'a>,
    /// Makes each request.
    pub write: Write<'a>,
    /// The statuses that are as they should be.
    pub expected: &'a [u16],
}

/// When a run ends.
#[derive(Clone, Copy)]
pub enum Until<'a> {
    /// Everything below this number was sent; the bodies of the answers are kept.
    Kept(usize),
    /// Everything below this number was sent.
    Number(usize),
    /// So much time has passed.
    Elapsed(Duration),
    /// Somebody says so, and also from when on it counts.
    Told(&'a Signal),
}

/// From when on a run counts, and when it ends.
#[derive(Debug, Default)]
pub struct Signal(AtomicU8);

impl Signal {
    /// What was sent so far does not count.
    pub fn begin(&self) {
        self.0.store(1, Ordering::Relaxed);
    }

    /// Nothing more is sent.
    pub fn end(&self) {
        self.0.store(2, Ordering::Relaxed);
    }

    fn counts(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    fn is_over(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 1
    }
}

/// What came of it.
pub struct Measured {
    /// From the first request that counts to the last answer.
    pub elapsed: Duration,
    /// Microseconds.
    pub latencies: Histogram<u64>,
    /// Answers of other statuses than expected, the first few in words.
    pub unexpected: Vec<String>,
    /// How many of those.
    pub unexpected_count: usize,
    /// Bytes of all bodies.
    pub body_bytes: usize,
    /// The bodies by number, if they were to be kept.
    pub bodies: Vec<String>,
    /// The number after the last that was sent.
    pub next: usize,
    /// CPU time of the generator.
    pub cpu: Duration,
}

impl Measured {
    /// Answers per second.
    pub fn rate(&self) -> f64 {
        self.answers() / self.elapsed.as_secs_f64()
    }

    /// How many answers count.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub fn answers(&self) -> f64 {
        self.latencies.len() as f64
    }

    /// The latency below which a share of the answers came, in microseconds.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub fn quantile_us(&self, share: f64) -> f64 {
        self.latencies.value_at_quantile(share) as f64
    }

    /// Itself, if every answer was as expected.
    pub fn checked(self) -> anyhow::Result<Self> {
        ensure!(self.unexpected_count == 0, "unexpected answers: {:?}", self.unexpected);
        Ok(self)
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
    started: Instant,
    next: Cell<usize>,
    /// When the first request that counts was sent.
    counts_from: Cell<Option<Instant>>,
    latencies: RefCell<Histogram<u64>>,
    unexpected: RefCell<Vec<String>>,
    unexpected_count: Cell<usize>,
    body_bytes: Cell<usize>,
    bodies: RefCell<Vec<String>>,
}

impl Run<'_> {
    /// The number of the request that is sent at `now`, if there is one.
    fn take(&self, now: Instant) -> Option<usize> {
        let number = self.next.get();
        let is_over = match self.plan.until {
            Until::Kept(end) | Until::Number(end) => number >= end,
            Until::Elapsed(length) => now.duration_since(self.started) >= length,
            Until::Told(signal) => signal.is_over(),
        };
        if is_over {
            return None;
        }
        self.next.set(number + 1);
        Some(number)
    }

    /// Takes what came for request `number`, which was sent at `sent`.
    fn record(&self, number: usize, sent: Instant, status: u16, body: &[u8]) {
        let text = || String::from_utf8_lossy(body).into_owned();
        if !self.plan.expected.contains(&status) {
            self.unexpected_count.set(self.unexpected_count.get() + 1);
            let mut unexpected = self.unexpected.borrow_mut();
            if unexpected.len() < 3 {
                unexpected.push(format!("{status} {}", text()));
            }
        }
        if let Until::Kept(_) = self.plan.until {
            self.bodies.borrow_mut()[number - self.plan.first] = text();
        }
        if let Until::Told(signal) = self.plan.until
            && !signal.counts()
        {
            return;
        }
        if self.counts_from.get().is_none() {
            self.counts_from.set(Some(sent));
        }
        self.body_bytes.set(self.body_bytes.get() + body.len());
        let micros = u64::try_from(sent.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.latencies.borrow_mut().saturating_record(micros);
    }
}

async fn drive(plan: &Plan<'_>) -> anyhow::Result<Measured> {
    // Connecting is not what is measured.
    let mut streams = Vec::with_capacity(plan.connections);
    for _ in 0..plan.connections {
        let stream = TcpStream::connect(plan.target).await.context("cannot connect")?;
        stream.set_nodelay(true)?;
        streams.push(stream);
    }
    let kept = if let Until::Kept(end) = plan.until { end - plan.first } else { 0 };
    let (cpu, started) = (rig::thread_cpu()?, Instant::now());
    let run = Rc::new(Run {
        plan: *plan,
        started,
        next: Cell::new(plan.first),
        counts_from: Cell::new(None),
        latencies: RefCell::new(Histogram::new_with_max(LATENCY_US_MAX, 3)?),
        unexpected: RefCell::default(),
        unexpected_count: Cell::new(0),
        body_bytes: Cell::new(0),
        bodies: RefCell::new(vec![String::new(); kept]),
    });
    futures::future::try_join_all(streams.into_iter().map(|stream| connection(&run, stream)))
        .await?;
    let cpu = rig::thread_cpu()?.saturating_sub(cpu);
    let Ok(run) = Rc::try_unwrap(run).map_err(drop) else {
        bail!("a connection outlived its run");
    };
    Ok(Measured {
        elapsed: run.counts_from.get().unwrap_or(started).elapsed(),
        latencies: run.latencies.into_inner(),
        unexpected: run.unexpected.into_inner(),
        unexpected_count: run.unexpected_count.get(),
        body_bytes: run.body_bytes.get(),
        bodies: run.bodies.into_inner(),
        next: run.next.get(),
        cpu,
    })
}

async fn connection(run: &Run<'_>, mut stream: TcpStream) -> anyhow::Result<()> {
    let (mut request, mut answer) = (Vec::with_capacity(512), Vec::with_capacity(4096));
    loop {
        let sent = Instant::now();
        let Some(number) = run.take(sent) else {
            return Ok(());
        };
        request.clear();
        (run.plan.write)(number, &mut request);
        stream.write_all(&request).await?;
        let head = receive(&mut stream, &mut answer).await.with_context(|| {
            format!("no answer to: {}", String::from_utf8_lossy(&request).escape_debug())
        })?;
        run.record(number, sent, head.status, &answer[head.bytes..]);
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
