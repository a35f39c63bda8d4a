//! What grows with the crowd, and what must not: long lines, a big promotion, idle connections.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::load::{self, Measured, Plan};
use super::rig::{Rig, wait_until};
use super::world::{self, LINES, World};

/// Connections of every measurement here.
const CONNECTIONS: usize = 64;
/// People who are let in at once.
pub const PROMOTED: u64 = 10_000;
/// Connections that do nothing.
pub const IDLE: usize = 10_000;
/// How many of them are opened at once.
const IDLE_LOT: usize = 1_000;

/// Rates by length of the line, the longest first: polls, then arrivals.
pub struct LineRates {
    pub polls: [f64; 3],
    pub arrivals: [f64; 3],
}

/// Polls and arrivals in lines of three lengths.
pub fn lines(rig: &Rig, world: &World, round: usize) -> anyhow::Result<LineRates> {
    let mut rates = LineRates { polls: [0.0; 3], arrivals: [0.0; 3] };
    for (index, line) in LINES.into_iter().enumerate() {
        rates.polls[index] = polls(rig.server, world, index, 30_000)?.rate();
        let write = move |_: usize, out: &mut Vec<u8>| world::join(line, None, out);
        // Few, because they make the short line longer.
        let numbers = (round * 2_000, (round + 1) * 2_000);
        rates.arrivals[index] = checked(&Plan {
            target: rig.server,
            connections: CONNECTIONS,
            numbers,
            write: &write,
            expected: &[201],
            keep_bodies: false,
        })?
        .rate();
    }
    Ok(rates)
}

/// Polls by the last tenth of a line.
fn polls(target: SocketAddr, world: &World, line: usize, count: usize) -> anyhow::Result<Measured> {
    let tokens = &world.lines[line];
    let (from, among) = (tokens.len() - tokens.len() / 10 - 1, tokens.len() / 10 + 1);
    let write = |n: usize, out: &mut Vec<u8>| {
        let token = &tokens[from + n.wrapping_mul(7_919) % among];
        world::get(format_args!("/user/token/status"), token, out);
    };
    let plan = Plan {
        target,
        connections: CONNECTIONS,
        numbers: (0, count),
        write: &write,
        expected: &[200],
        keep_bodies: false,
    };
    checked(&plan)
}

/// Polls and arrivals per second of one server, then of two that share a port.
pub fn servers(rig: &Rig, world: &World) -> anyhow::Result<Vec<(String, f64)>> {
    let mut rates = Vec::new();
    let (_first, target) = rig.server_of_several(None)?;
    let mut measure = |servers: &str| -> anyhow::Result<()> {
        // The first polls read the board.
        polls(target, world, 0, 1_000)?;
        rates.push((format!("poll, {servers}"), polls(target, world, 0, 60_000)?.rate()));
        let write = |_: usize, out: &mut Vec<u8>| world::join(world::ARRIVALS_ANONYMOUS, None, out);
        let (connections, numbers) = (256, (0, 40_000));
        let arrivals = checked(&Plan {
            target,
            connections,
            numbers,
            write: &write,
            expected: &[201],
            keep_bodies: false,
        })?;
        rates.push((format!("arrival, {servers}"), arrivals.rate()));
        Ok(())
    };
    measure("1 server")?;
    let _second = rig.server_of_several(Some(target))?;
    measure("2 servers on one port")?;
    Ok(rates)
}

fn checked(plan: &Plan<'_>) -> anyhow::Result<Measured> {
    let measured = load::run(plan)?;
    ensure!(measured.unexpected_count == 0, "{:?}", measured.unexpected);
    Ok(measured)
}

/// What polls noticed of a promotion.
#[derive(Debug, Clone, Copy)]
pub struct Promotion {
    /// p99 of polls in µs, without and with the promotion.
    pub poll_p99_us: [f64; 2],
    /// The slowest 0.1 % of Redis' script calls meanwhile took at least this, in µs (the bound of a
    /// bucket of `LATENCY HISTOGRAM`, a power of two).
    pub redis_p999_us: f64,
    /// How long the promotion took in Redis, all calls together, in ms.
    pub took_ms: f64,
}

/// Lets [`PROMOTED`] people in while others poll.
pub fn promotion(rig: &Rig, world: &World, round: usize) -> anyhow::Result<Promotion> {
    let line = LINES[0];
    let settings = format!("{{c{line}}}:settings");
    let promoted = || rig.redis_number(&["hget", &format!("{{c{line}}}:stats"), "promoted"]);
    let count = 60_000;
    let without = polls(rig.server, world, 0, count)?;
    let before = promoted()?;
    let capacity = (round as u64 + 1) * PROMOTED;
    rig.redis(&["config", "resetstat"])?;
    rig.redis(&[
        "hset",
        &settings,
        "capacity",
        &capacity.to_string(),
        "batch",
        &PROMOTED.to_string(),
        "paused",
        "0",
    ])?;
    let with = polls(rig.server, world, 0, count)?;
    let histogram = rig.redis(&["latency", "histogram", "evalsha"])?;
    wait_until("ten thousand people are let in", || Ok(promoted()? >= before + PROMOTED))?;
    rig.redis(&["hset", &settings, "paused", "1"])?;
    ensure!(promoted()? == before + PROMOTED, "more were let in than the capacity allows");
    let (p999, total) = slowest(&histogram)?;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let p99 = |polls: &Measured| polls.latencies.value_at_quantile(0.99) as f64;
    Ok(Promotion { poll_p99_us: [p99(&without), p99(&with)], redis_p999_us: p999, took_ms: total })
}

/// The bound of the bucket of the 99.9th percentile, and an upper bound of the sum in ms.
///
/// The answer lists, flat, `calls`, n, `histogram_usec`, then pairs of bound and cumulated count.
fn slowest(histogram: &str) -> anyhow::Result<(f64, f64)> {
    let words: Vec<&str> = histogram.lines().map(str::trim).collect();
    let start = words.iter().position(|word| *word == "histogram_usec").context("a histogram")? + 1;
    let numbers: Vec<f64> = words[start..].iter().map_while(|word| word.parse().ok()).collect();
    let buckets: Vec<(f64, f64)> = numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
    let calls = buckets.last().context("no calls")?.1;
    let slow = buckets.iter().find(|(_, count)| *count >= calls * 0.999).context("no bucket")?;
    let mut total = 0.0;
    let mut earlier = 0.0;
    for (bound, count) in &buckets {
        total += bound * (count - earlier);
        earlier = *count;
    }
    Ok((slow.0, total / 1_000.0))
}

/// Bytes of server memory per idle connection, each of which has polled once.
///
/// Opened one lot after the other: who is in work at the same moment needs more.
pub fn idle(rig: &Rig, world: &World) -> anyhow::Result<f64> {
    onsale::http::sockets::raise_open_files_limit()?;
    // A server of its own, whose memory nothing else has stretched.
    let (server, address) = rig.another_server(&[])?;
    let request = |n: usize| {
        let mut request = Vec::new();
        let token = &world.lines[0][world.lines[0].len() / 2 + n];
        world::get(format_args!("/user/token/status"), token, &mut request);
        request
    };
    let open = |count: usize, first: usize| -> anyhow::Result<Vec<std::net::TcpStream>> {
        use std::io::{Read, Write};
        let mut buffer = [0; 4096];
        (first..first + count)
            .map(|n| {
                let mut stream = std::net::TcpStream::connect(address)?;
                stream.write_all(&request(n))?;
                ensure!(stream.read(&mut buffer)? > 0, "no answer");
                Ok(stream)
            })
            .collect()
    };
    let warm = open(200, 0)?;
    let before = server.memory()?;
    let mut connections = Vec::new();
    for first in (0..IDLE).step_by(IDLE_LOT) {
        connections.extend(open(IDLE_LOT, 200 + first)?);
        // A connection gives its buffers up when it has rested for a second.
        std::thread::sleep(Duration::from_millis(1_500));
    }
    let after = server.memory()?;
    drop((warm, connections));
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    Ok((after - before) as f64 / IDLE as f64)
}

/// Redis commands of 1,000 polls of waiting tokens, beside those of the board and the jobs, which go
/// on when only somebody looks now and then.
pub fn commands_of_polls(rig: &Rig, world: &World) -> anyhow::Result<f64> {
    let quiet = || {
        std::thread::sleep(Duration::from_millis(100));
        polls(rig.server, world, 0, 1)
    };
    let (_, idle) = commands(rig, quiet)?;
    let (answered, busy) = commands(rig, || polls(rig.server, world, 0, 2_000))?;
    Ok((busy - idle) / answered * 1_000.0)
}

/// Polls and Redis commands per second while `poll` is repeated.
fn commands(rig: &Rig, poll: impl Fn() -> anyhow::Result<Measured>) -> anyhow::Result<(f64, f64)> {
    let (started, before, mut answered) = (Instant::now(), rig.redis_commands()?, 0);
    while started.elapsed() < Duration::from_secs(4) {
        answered += poll()?.latencies.len();
    }
    let (commands, seconds) = (rig.redis_commands()? - before, started.elapsed().as_secs_f64());
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    Ok((answered as f64 / seconds, commands as f64 / seconds))
}

/// Bytes of Redis per waiting token, without and with a user: what `count` arrivals add.
pub fn memory(rig: &Rig, count: usize) -> anyhow::Result<[f64; 2]> {
    let mut bytes = [0.0; 2];
    for (index, (line, user)) in
        [(world::ARRIVALS_ANONYMOUS, 0), (world::ARRIVALS_NAMED, 100_000_000)]
            .into_iter()
            .enumerate()
    {
        let write = move |n: usize, out: &mut Vec<u8>| {
            world::join(line, (user > 0).then_some(user + n), out);
        };
        let before = settled_memory(rig)?;
        checked(&Plan {
            target: rig.server,
            connections: 256,
            numbers: (0, count),
            write: &write,
            expected: &[201],
            keep_bodies: false,
        })?;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let count = count as f64;
        bytes[index] = (settled_memory(rig)? - before) / count;
    }
    Ok(bytes)
}

/// Redis' memory once the answers that are kept for a re-send (5 s) are gone.
fn settled_memory(rig: &Rig) -> anyhow::Result<f64> {
    std::thread::sleep(Duration::from_secs(7));
    rig.redis_memory()
}
