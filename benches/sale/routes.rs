//! A route beside its limit: the same requests to a bare axum route and to the server, in turns.

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::bare::Fixed;
use super::load::{self, Measured, Plan, Until};
use super::rig::{Process, Rig};
use super::world::Window;

/// The numbers of connections that every route is measured with.
pub const CONNECTIONS: [usize; 2] = [64, 256];

/// Writes the request of a number.
type Write<'a> = Box<dyn Fn(usize, &mut Vec<u8>) + Sync + 'a>;

/// One route with its data.
pub struct Route<'a> {
    /// As the table names it.
    pub name: String,
    method: &'static str,
    path: &'static str,
    write: Write<'a>,
    expected: u16,
    /// The number of the next request; a consumable one is never sent twice.
    next: Cell<usize>,
    /// How many requests one measurement takes, if each of them can be sent only once.
    each: Option<usize>,
    /// The statement of [`super::limits::STATEMENTS`] that it is compared with, too.
    pub statement: Option<&'static str>,
}

/// The limit of one route: a process that answers what the route answers.
pub struct Bare {
    process: Process,
    address: SocketAddr,
    body_bytes: usize,
}

/// One measurement of a route and its limit.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Requests per second.
    pub rate: f64,
    /// The same of the bare route.
    pub bare_rate: f64,
    /// Latencies of the route in µs: p50, p99, p99.9.
    pub latency_us: [f64; 3],
    /// Redis CPU per request in µs.
    pub redis_us: f64,
    /// Redis commands per request.
    pub redis_commands: f64,
    /// Server CPU per request in µs.
    pub server_us: f64,
    /// The same of the bare route's process.
    pub bare_us: f64,
    /// Generator CPU per request of the route in µs.
    pub generator_us: f64,
    /// Resident memory of the server afterwards, in MB.
    pub server_mb: f64,
    /// Answers of another status than expected.
    pub errors: usize,
}

impl<'a> Route<'a> {
    pub fn new(
        name: &str,
        request: &'static str,
        write: impl Fn(usize, &mut Vec<u8>) + Sync + 'a,
    ) -> Self {
        let (method, path) = request.split_once(' ').unwrap_or_default();
        Self {
            name: name.to_owned(),
            method,
            path,
            write: Box::new(write),
            expected: 200,
            next: Cell::new(0),
            each: None,
            statement: None,
        }
    }

    /// With the status that is expected instead of 200.
    pub fn answers(self, status: u16) -> Self {
        Self { expected: status, ..self }
    }

    /// With requests that can be sent once each, so many per measurement.
    pub fn consuming(self, each: usize) -> Self {
        Self { each: Some(each), ..self }
    }

    /// Compared also with a statement that PostgreSQL executes by itself.
    pub fn beside(self, statement: &'static str) -> Self {
        Self { statement: Some(statement), ..self }
    }

    /// Measures the limit, then the route, with the same requests.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub fn measure(
        &self,
        rig: &Rig,
        bare: &Bare,
        connections: usize,
        window: Window,
    ) -> anyhow::Result<Sample> {
        let (limit, bare_cpu) = self.run_bare(bare, connections, window)?;
        if self.each.is_none() {
            self.run(rig.server, connections, Until::Elapsed(window.warm_up))?;
        }
        let end = self.each.map(|each| Until::Number(self.next.get() + each));
        let before = Cost::so_far(rig)?;
        let measured =
            self.run(rig.server, connections, end.unwrap_or(Until::Elapsed(window.length)))?;
        let after = Cost::so_far(rig)?;
        if let Some(first) = measured.unexpected.first() {
            eprintln!("{}: {} unexpected, such as {first}", self.name, measured.unexpected_count);
        }
        let others = measured.body_bytes as f64 / measured.answers() / bare.body_bytes as f64;
        ensure!(
            (0.9..1.1).contains(&others),
            "the bare route's body has 1/{others:.2} of the bytes"
        );
        let micros = |cpu: Duration| cpu.as_secs_f64() * 1e6 / measured.answers();
        let (commands, memory) =
            ((after.commands - before.commands) as f64, rig.server_memory()? as f64);
        Ok(Sample {
            rate: measured.rate(),
            bare_rate: limit.rate(),
            latency_us: [0.5, 0.99, 0.999].map(|share| measured.quantile_us(share)),
            redis_us: micros(after.redis.saturating_sub(before.redis)),
            redis_commands: commands / measured.answers(),
            server_us: micros(after.server.saturating_sub(before.server)),
            bare_us: bare_cpu.as_secs_f64() * 1e6 / limit.answers(),
            generator_us: micros(measured.cpu),
            server_mb: memory / 1e6,
            errors: measured.unexpected_count,
        })
    }

    /// The next requests, to `target`.
    fn run(
        &self,
        target: SocketAddr,
        connections: usize,
        until: Until<'_>,
    ) -> anyhow::Result<Measured> {
        let (first, write, expected) = (self.next.get(), &*self.write, &[self.expected]);
        let measured = load::run(&Plan { target, connections, first, until, write, expected })?;
        self.next.set(measured.next);
        Ok(measured)
    }

    /// The same requests to the bare route, which uses nothing up; and its CPU time.
    fn run_bare(
        &self,
        bare: &Bare,
        connections: usize,
        window: Window,
    ) -> anyhow::Result<(Measured, Duration)> {
        let (first, each, once) = (self.next.get(), self.each, &*self.write);
        let write = |n: usize, out: &mut Vec<u8>| {
            once(each.map_or(n, |each| first + (n - first) % each), out);
        };
        let (target, expected) = (bare.address, &[self.expected]);
        let run = |length| {
            let until = Until::Elapsed(length);
            load::run(&Plan { target, connections, first, until, write: &write, expected })?
                .checked()
        };
        run(window.warm_up)?;
        let before = bare.process.cpu()?;
        let limit = run(window.length)?;
        let cpu = bare.process.cpu()?.saturating_sub(before);
        let expected_bytes = bare.body_bytes as u64 * limit.latencies.len();
        ensure!(limit.body_bytes as u64 == expected_bytes, "the bare route answers other bodies");
        Ok((limit, cpu))
    }

    /// The limit of this route: a process that answers what the route answers to its next request,
    /// which is sent once to see.
    pub fn bare(&self, rig: &Rig) -> anyhow::Result<Bare> {
        let end = self.next.get() + 1;
        let seen = self.run(rig.server, 1, Until::Kept(end))?.checked();
        let mut seen = seen.with_context(|| self.name.clone())?;
        let body = seen.bodies.pop().unwrap_or_default();
        let body_bytes = body.len();
        let (process, address) = Process::bare(&Fixed {
            method: self.method.to_owned(),
            path: self.path.to_owned(),
            status: self.expected,
            body,
        })?;
        Ok(Bare { process, address, body_bytes })
    }
}

/// What a server and its Redis have used so far.
struct Cost {
    redis: Duration,
    server: Duration,
    commands: u64,
}

impl Cost {
    fn so_far(rig: &Rig) -> anyhow::Result<Self> {
        Ok(Self {
            redis: rig.redis_cpu()?,
            server: rig.server_cpu()?,
            commands: rig.redis_commands()?,
        })
    }
}
