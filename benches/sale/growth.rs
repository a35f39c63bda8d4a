//! What grows with the crowd, and what must not: long lines, several servers, idle connections,
//! memory. Letting many in at once is in [`super::promotion`].

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::ensure;

use super::load::{self, Measured, Plan, Until};
use super::rig::{Rig, wait_until};
use super::world::{self, LINES, World};

/// Connections of every measurement here.
const CONNECTIONS: usize = 64;
/// Connections that do nothing.
pub const IDLE: usize = 10_000;
/// How many of them are opened at once.
const IDLE_LOT: usize = 1_000;
/// How many people a line grows by before it is cut to its length again.
const ARRIVALS_LOT: usize = 4_000;

/// Rates by length of the line, the longest first: polls, then arrivals.
pub struct LineRates {
    pub polls: [f64; 3],
    pub arrivals: [f64; 3],
}

/// Polls and arrivals in lines of three lengths.
pub fn lines(rig: &Rig, world: &World) -> anyhow::Result<LineRates> {
    let window = world.sizes.window;
    let mut rates = LineRates { polls: [0.0; 3], arrivals: [0.0; 3] };
    for (index, line) in LINES.into_iter().enumerate() {
        polls(rig.server, world, index, Until::Elapsed(window.warm_up))?;
        let measured = polls(rig.server, world, index, Until::Elapsed(window.length))?;
        rates.polls[index] = measured.rate();
        rates.arrivals[index] = arrivals(rig, line, window.length)?;
    }
    Ok(rates)
}

/// Arrivals per second in a line that does not grow: in lots, after each of which it is cut.
fn arrivals(rig: &Rig, line: u32, length: Duration) -> anyhow::Result<f64> {
    let waiting = format!("{{c{line}}}:waiting");
    let people = rig.redis(&["zcard", &waiting])?;
    let write = move |_: usize, out: &mut Vec<u8>| world::join(line, None, out);
    let (mut elapsed, mut answers) = (Duration::ZERO, 0.0);
    while elapsed < length {
        let lot = load::run(&Plan {
            target: rig.server,
            connections: CONNECTIONS,
            first: 0,
            until: Until::Number(ARRIVALS_LOT),
            write: &write,
            expected: &[201],
        })?
        .checked()?;
        elapsed += lot.elapsed;
        answers += lot.answers();
        rig.redis(&["zremrangebyrank", &waiting, &people, "-1"])?;
    }
    Ok(answers / elapsed.as_secs_f64())
}

/// Polls by the last tenth of a line.
pub fn polls(
    target: SocketAddr,
    world: &World,
    line: usize,
    until: Until<'_>,
) -> anyhow::Result<Measured> {
    let tokens = &world.lines[line];
    let (from, among) = (tokens.len() - tokens.len() / 10 - 1, tokens.len() / 10 + 1);
    let write = |n: usize, out: &mut Vec<u8>| {
        let token = &tokens[from + n.wrapping_mul(7_919) % among];
        world::get(format_args!("/user/token/status"), token, out);
    };
    let (connections, expected) = (CONNECTIONS, &[200]);
    load::run(&Plan { target, connections, first: 0, until, write: &write, expected })?.checked()
}

/// Polls and arrivals per second of one server, then of two that share a port.
pub fn servers(rig: &Rig, world: &World) -> anyhow::Result<Vec<(String, f64)>> {
    let window = world.sizes.window;
    let mut rates = Vec::new();
    let (_first, target) = rig.server_of_several(None)?;
    let mut measure = |servers: &str| -> anyhow::Result<()> {
        // The first polls read the board.
        polls(target, world, 0, Until::Elapsed(window.warm_up))?;
        let polled = polls(target, world, 0, Until::Elapsed(window.length))?;
        rates.push((format!("poll, {servers}"), polled.rate()));
        let write = |_: usize, out: &mut Vec<u8>| world::join(world::ARRIVALS_ANONYMOUS, None, out);
        let arrive = |length| {
            load::run(&Plan {
                target,
                connections: 256,
                first: 0,
                until: Until::Elapsed(length),
                write: &write,
                expected: &[201],
            })?
            .checked()
        };
        arrive(window.warm_up)?;
        rates.push((format!("arrival, {servers}"), arrive(window.length)?.rate()));
        Ok(())
    };
    measure("1 server")?;
    let _second = rig.server_of_several(Some(target))?;
    measure("2 servers on one port")?;
    Ok(rates)
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
        polls(rig.server, world, 0, Until::Number(1))
    };
    let (_, idle) = commands(rig, quiet)?;
    let (answered, busy) = commands(rig, || polls(rig.server, world, 0, Until::Number(2_000)))?;
    Ok((busy - idle) / answered * 1_000.0)
}

/// Polls and Redis commands per second while `poll` is repeated.
fn commands(rig: &Rig, poll: impl Fn() -> anyhow::Result<Measured>) -> anyhow::Result<(f64, f64)> {
    let (started, before, mut answered) = (Instant::now(), rig.redis_commands()?, 0.0);
    while started.elapsed() < Duration::from_secs(4) {
        answered += poll()?.answers();
    }
    let (commands, seconds) = (rig.redis_commands()? - before, started.elapsed().as_secs_f64());
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    Ok((answered / seconds, commands as f64 / seconds))
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
        let arrive = |first, end| {
            load::run(&Plan {
                target: rig.server,
                connections: 256,
                first,
                until: Until::Number(end),
                write: &write,
                expected: &[201],
            })?
            .checked()
        };
        // What Redis makes once, such as the line itself, belongs to nobody.
        arrive(0, 1_000)?;
        let before = settled_memory(rig)?;
        arrive(1_000, 1_000 + count)?;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let count = count as f64;
        bytes[index] = (settled_memory(rig)? - before) / count;
    }
    Ok(bytes)
}

/// Redis' memory once the answers that are kept for a re-send (5 s) are gone.
fn settled_memory(rig: &Rig) -> anyhow::Result<f64> {
    wait_until("kept answers are gone", || Ok(!rig.redis(&["keys", "*:group:*"])?.contains(':')))?;
    rig.redis_memory()
}
