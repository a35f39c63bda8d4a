//! `make bench`: every route beside the limit of HTTP, Redis and PostgreSQL on this machine, in one
//! run.
//!
//! The machine may be shared and drift, so only quotients are compared: a route and its limit run
//! right after each other with the same requests, all routes take turns for some rounds, and a cell
//! is the median with its least and greatest value. Prints one table, writes it as JSON and
//! Markdown, and ends with an error if a route answered what it should not. Needs Linux (`/proc`),
//! and `redis-cli`, `redis-benchmark` and `pgbench` beside the servers.
//!
//! Run: `cargo bench --bench sale -- [--quick] [--rounds N] [--only TEXT] [--out DIR]`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a report is printed")]

mod bare;
mod figures;
mod growth;
mod journey;
mod limits;
mod load;
mod overload;
mod report;
mod rig;
mod routes;
mod targets;
mod world;

use std::path::PathBuf;

use anyhow::{Context, bail};

use figures::{RouteRow, Spread};
use report::Report;
use rig::Rig;
use world::{Sizes, World};

/// As the server's, so that the bare route has no handicap.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How the bench is run.
struct Options {
    rounds: usize,
    quick: bool,
    /// Measures only routes whose name contains it, and nothing else.
    only: Option<String>,
    out: PathBuf,
}

impl Options {
    fn parse() -> anyhow::Result<Self> {
        let out = rig::project().join("target/bench-report");
        let mut options = Self { rounds: 3, quick: false, only: None, out };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} needs a value"));
            match word.as_str() {
                "--quick" => options.quick = true,
                "--rounds" => options.rounds = value()?.parse().context("--rounds")?,
                "--only" => options.only = Some(value()?),
                "--out" => options.out = value()?.into(),
                // What cargo itself adds.
                "--bench" => {}
                other => bail!("unknown: {other}; see benches/sale/main.rs"),
            }
        }
        anyhow::ensure!(options.rounds > 0, "--rounds must be at least 1");
        Ok(options)
    }

    fn sizes(&self) -> Sizes {
        let measurements = self.rounds * routes::CONNECTIONS.len();
        let share = if self.quick { 0.2 } else { 1.0 };
        let line = if self.quick { 100_000 } else { 1_000_000 };
        let buyers = measurements * if self.quick { 1_000 } else { 5_000 };
        Sizes { line, buyers, share, measurements }
    }
}

fn main() -> anyhow::Result<()> {
    if std::env::args().nth(1).as_deref() == Some("bare") {
        return bare::process();
    }
    let options = Options::parse()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let sizes = options.sizes();
    let rig = runtime
        .block_on(Rig::start(env!("CARGO_BIN_EXE_onsale").into(), &world::catalogue(sizes)))?;
    let report = measure(&options, &rig, &runtime)?;
    runtime.block_on(rig.stores.stop())?;
    report.write(&options.out)?;
    println!("{}", report.markdown());
    println!("Written to {}.", options.out.display());
    anyhow::ensure!(report.errors() == 0, "{} answers were not as expected", report.errors());
    Ok(())
}

fn measure(
    options: &Options,
    rig: &Rig,
    runtime: &tokio::runtime::Runtime,
) -> anyhow::Result<Report> {
    let sizes = options.sizes();
    let world = World::seed(rig, sizes)?;
    let mut report = Report::new(options.quick, options.rounds, sizes.line)?;
    if options.only.is_none() {
        eprintln!("memory …");
        report.memory = Some(growth::memory(rig, sizes.line)?);
        report.commands_of_polls = Some(growth::commands_of_polls(rig, &world)?);
        runtime.block_on(limits::prepare(rig))?;
    }
    let all = journey::all(&world);
    let wanted = |name: &str| options.only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    let mut bares = Vec::new();
    for route in all.iter().filter(|route| wanted(&route.name)) {
        bares.push((route, route.bare(rig)?));
        for connections in routes::CONNECTIONS {
            report.routes.push(RouteRow::new(&route.name, connections));
        }
    }
    for round in 0..options.rounds {
        eprintln!("round {} of {} …", round + 1, options.rounds);
        for (route, bare) in &bares {
            for connections in routes::CONNECTIONS {
                let sample = route.measure(rig, bare, connections)?;
                report.take_route(&route.name, connections, sample);
            }
        }
        if options.only.is_none() {
            round_of_the_rest(rig, &world, round, options, &mut report)?;
        }
    }
    if options.only.is_none() {
        eprintln!("idle connections …");
        report.idle_bytes = Some(growth::idle(rig, &world)?);
        eprintln!("past the limit …");
        report.overload = Some(overload::past_the_limit(rig, &world, options.quick)?);
    }
    Ok(report)
}

fn round_of_the_rest(
    rig: &Rig,
    world: &World,
    round: usize,
    options: &Options,
    report: &mut Report,
) -> anyhow::Result<()> {
    let seconds = if options.quick { 1 } else { 3 };
    for limit in limits::postgres(rig, seconds)?.into_iter().chain(limits::redis(rig, world)?) {
        report.take_limit(&limit);
    }
    let rates = growth::lines(rig, world, round)?;
    for (kind, rates) in [("poll", rates.polls), ("arrival", rates.arrivals)] {
        for (index, rate) in rates.into_iter().enumerate() {
            report.take_growth(kind, index, rate);
        }
    }
    for (name, rate) in growth::servers(rig, world)? {
        Spread::of(&mut report.growth, &name).push(rate);
    }
    let promotion = growth::promotion(rig, world, round)?;
    let taken = &mut report.promotion;
    taken.p99_without.push(promotion.poll_p99_us[0]);
    taken.p99_with.push(promotion.poll_p99_us[1]);
    taken.redis_p999.push(promotion.redis_p999_us);
    taken.took_ms.push(promotion.took_ms);
    Ok(())
}

impl Report {
    fn take_route(&mut self, name: &str, connections: usize, sample: routes::Sample) {
        let row =
            self.routes.iter_mut().find(|row| row.name == name && row.connections == connections);
        if let Some(row) = row {
            row.take(&sample);
        }
    }

    fn take_limit(&mut self, limit: &limits::Limit) {
        Spread::of(&mut self.limits, &limit.name).push(limit.rate);
    }

    fn take_growth(&mut self, kind: &str, index: usize, rate: f64) {
        let waiting = self.line / [1, 10, 1_000][index];
        Spread::of(&mut self.growth, &format!("{kind}, {waiting} waiting")).push(rate);
    }
}
