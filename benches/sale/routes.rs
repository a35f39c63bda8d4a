//! A route beside its limit: the same requests to a bare axum route and to the server, in turns.

use std::cell::Cell;
use std::net::SocketAddr;

use anyhow::ensure;

use super::bare::Fixed;
use super::load::{self, Plan};
use super::rig::{Process, Rig};

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
    /// Requests per measurement.
    requests: usize,
    write: Write<'a>,
    expected: u16,
    /// The number of the next request; a consumable one is never sent twice.
    next: Cell<usize>,
    /// How many different requests there are, if they can be used up.
    supply: Option<usize>,
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
    /// Resident memory of the server afterwards, in MB.
    pub server_mb: f64,
    /// Answers of another status than expected.
    pub errors: usize,
}

impl<'a> Route<'a> {
    pub fn new(
        name: &str,
        request: &'static str,
        requests: usize,
        write: impl Fn(usize, &mut Vec<u8>) + Sync + 'a,
    ) -> Self {
        let (method, path) = request.split_once(' ').unwrap_or_default();
        let (name, write) = (name.to_owned(), Box::new(write));
        Self {
            name,
            method,
            path,
            requests,
            write,
            expected: 200,
            next: Cell::new(0),
            supply: None,
        }
    }

    /// With the status that is expected instead of 200.
    pub fn answers(self, status: u16) -> Self {
        Self { expected: status, ..self }
    }

    /// With a number of requests that can be sent once each.
    pub fn consuming(self, supply: usize) -> Self {
        Self { supply: Some(supply), ..self }
    }

    /// The numbers of the next measurement.
    fn take(&self) -> anyhow::Result<(usize, usize)> {
        let first = self.next.get();
        let end = first + self.requests;
        let enough = self.supply.is_none_or(|supply| end <= supply);
        ensure!(enough, "{}: {end} requests wanted, too few are prepared", self.name);
        self.next.set(end);
        Ok((first, end))
    }

    /// Measures the limit, then the route, with the same requests.
    pub fn measure(
        &self,
        rig: &Rig,
        (bare_process, bare): &(Process, SocketAddr),
        connections: usize,
    ) -> anyhow::Result<Sample> {
        let numbers = self.take()?;
        let expected = [self.expected];
        let write = &*self.write;
        let plan = |target| Plan {
            target,
            connections,
            numbers,
            write,
            expected: &expected,
            keep_bodies: false,
        };
        let bare_before = bare_process.cpu()?;
        let limit = load::run(&plan(*bare))?;
        let bare_cpu = bare_process.cpu()?.saturating_sub(bare_before);
        let (redis, server) = (rig.redis_cpu()?, rig.server_cpu()?);
        let commands = rig.redis_commands()?;
        let measured = load::run(&plan(rig.server))?;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let (count, commands, memory) = (
            self.requests as f64,
            (rig.redis_commands()? - commands) as f64,
            rig.server_memory()? as f64,
        );
        let redis = rig.redis_cpu()?.saturating_sub(redis);
        let server = rig.server_cpu()?.saturating_sub(server);
        if let Some(first) = measured.unexpected.first() {
            eprintln!("{}: {} unexpected, such as {first}", self.name, measured.unexpected_count);
        }
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let latency = |quantile| measured.latencies.value_at_quantile(quantile) as f64;
        Ok(Sample {
            rate: measured.rate(),
            bare_rate: limit.rate(),
            latency_us: [0.5, 0.99, 0.999].map(latency),
            redis_us: redis.as_secs_f64() * 1e6 / count,
            redis_commands: commands / count,
            server_us: server.as_secs_f64() * 1e6 / count,
            bare_us: bare_cpu.as_secs_f64() * 1e6 / count,
            server_mb: memory / 1e6,
            errors: measured.unexpected_count,
        })
    }

    /// The limit of this route: a process that answers what the route answers to its next request,
    /// which is sent once to see.
    pub fn bare(&self, rig: &Rig) -> anyhow::Result<(Process, SocketAddr)> {
        let first = self.next.get();
        let body = if self.supply.is_some() {
            // Sent once to see, it would be used up.
            "x".repeat(CONSUMED_BODY_BYTES)
        } else {
            self.next.set(first + 1);
            let plan = Plan {
                target: rig.server,
                connections: 1,
                numbers: (first, first + 1),
                write: &*self.write,
                expected: &[self.expected],
                keep_bodies: true,
            };
            let mut seen = load::run(&plan)?;
            ensure!(seen.unexpected_count == 0, "{}: {:?}", self.name, seen.unexpected);
            seen.bodies.pop().unwrap_or_default()
        };
        Process::bare(&Fixed {
            method: self.method.to_owned(),
            path: self.path.to_owned(),
            status: self.expected,
            body,
        })
    }
}

/// About the length of the answer to a reservation.
const CONSUMED_BODY_BYTES: usize = 200;
