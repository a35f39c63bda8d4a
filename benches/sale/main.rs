//! `make bench`: every route beside the limit of HTTP, Redis and PostgreSQL on this machine, in one
//! run.
//!
//! The machine may be shared and drift, so only quotients are compared: a route and its limit run
//! right after each other with the same requests, all routes take turns for some rounds, and a cell
//! is the median with its least and greatest value. Prints one table, writes it as JSON and
//! Markdown, and ends with an error if a route answered what it should not. Needs Linux (`/proc`),
//! and `redis-cli`, `redis-benchmark` and `pgbench` beside the servers.
//!
//! Run: `cargo bench --bench sale -- [--quick] [--rounds N] [--only TEXT[,TEXT]] [--out DIR]
//! [--server PROGRAM]`; the last one is for comparing two builds of the server in turns.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a report is printed")]

mod bare;
mod figures;
mod growth;
mod journey;
mod limits;
mod load;
mod overload;
mod promotion;
mod report;
mod rig;
mod routes;
mod targets;
mod world;

use std::path::PathBuf;

use anyhow::{Context, bail};

use figures::Spread;
use promotion::PROMOTED;
use report::Report;
use rig::Rig;
use routes::{Bare, Route};
use world::{Sizes, Window, World};

/// As the server's, so that the bare route has no handicap.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How the bench is run.
struct Options {
    rounds: usize,
    quick: bool,
    /// Measures only routes whose name contains one of these, and nothing else.
    only: Vec<String>,
    out: Option<PathBuf>,
    server: PathBuf,
}

impl Options {
    fn parse() -> anyhow::Result<Self> {
        let server = env!("CARGO_BIN_EXE_onsale").into();
        let mut options = Self { rounds: 3, quick: false, only: Vec::new(), out: None, server };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} needs a value"));
            match word.as_str() {
                "--quick" => options.quick = true,
                "--rounds" => options.rounds = value()?.parse().context("--rounds")?,
                "--only" => options.only = value()?.split(',').map(str::to_owned).collect(),
                "--server" => options.server = value()?.into(),
                "--out" => options.out = Some(value()?.into()),
                // What cargo itself adds.
                "--bench" => {}
                other => bail!("unknown: {other}; see benches/sale/main.rs"),
            }
        }
        anyhow::ensure!(options.rounds > 0, "--rounds must be at least 1");
        Ok(options)
    }

    fn sizes(&self) -> Sizes {
        let let_in = usize::try_from(PROMOTED * promotion::PER_ROUND).unwrap_or(usize::MAX);
        Sizes::new(self.quick, self.rounds, routes::CONNECTIONS.len(), let_in)
    }

    /// Whether all is measured, and not some routes alone.
    fn is_whole(&self) -> bool {
        self.only.is_empty()
    }

    fn wants(&self, route: &str) -> bool {
        self.is_whole() || self.only.iter().any(|text| route.contains(text.as_str()))
    }

    /// As it was called, as far as that matters.
    fn command(&self) -> String {
        let quick = if self.quick { " --quick" } else { "" };
        let only = if self.is_whole() {
            String::new()
        } else {
            format!(" --only {}", self.only.join(","))
        };
        format!("make bench ARGS=\"--rounds {}{quick}{only}\"", self.rounds)
    }

    /// Where the report goes: that of a part, or of a quick run, never replaces a full one.
    fn folder(&self) -> PathBuf {
        let quick = if self.quick { "-quick" } else { "" };
        let part = if self.is_whole() { "" } else { "-part" };
        let usual = || rig::project().join(format!("target/bench-report{quick}{part}"));
        self.out.clone().unwrap_or_else(usual)
    }
}

fn main() -> anyhow::Result<()> {
    if std::env::args().nth(1).as_deref() == Some("bare") {
        return bare::process();
    }
    let options = Options::parse()?;
    let catalogue = world::catalogue(options.sizes());
    let rig = Rig::start(options.server.clone(), &catalogue)?;
    let report = measure(&options, &rig)?;
    rig.stop()?;
    let folder = options.folder();
    report.write(&folder)?;
    println!("{}", report.markdown());
    println!("Written to {}.", folder.display());
    anyhow::ensure!(report.errors() == 0, "{} things were not as expected", report.errors());
    Ok(())
}

fn measure(options: &Options, rig: &Rig) -> anyhow::Result<Report> {
    let sizes = options.sizes();
    let world = World::seed(rig, sizes)?;
    let mut report = Report::new(options.command(), sizes.line)?;
    let everything = journey::all(&world);
    let mut routes = Vec::new();
    for route in everything.iter().filter(|route| options.wants(&route.name)) {
        let bare = route.bare(rig);
        routes.extend(report.note(&route.name, bare).map(|bare| (route, bare)));
    }
    if options.is_whole() {
        eprintln!("memory …");
        report.memory = report.note("memory", growth::memory(rig, sizes.line));
        let commands = growth::commands_of_polls(rig, &world);
        report.commands_of_polls = report.note("commands of polls", commands);
    }
    let prepared = limits::prepare(rig);
    report.note("pgbench", prepared);
    for round in 1..=options.rounds {
        eprintln!("round {round} of {} …", options.rounds);
        for (route, bare) in &routes {
            for connections in routes::CONNECTIONS {
                let window = sizes.window;
                let measured = one(rig, (route, bare), connections, window, &mut report);
                report.note(&route.name, measured);
            }
        }
        if options.is_whole() {
            round_of_the_rest(rig, &world, &mut report);
        }
    }
    if options.is_whole() {
        eprintln!("idle connections …");
        report.idle_bytes = report.note("idle connections", growth::idle(rig, &world));
        eprintln!("past the limit …");
        let overload = overload::past_the_limit(rig, &world, options.quick);
        report.overload = report.note("past the limit", overload);
    }
    Ok(report)
}

/// One route, right after its limits.
fn one(
    rig: &Rig,
    (route, bare): (&Route<'_>, &Bare),
    connections: usize,
    window: Window,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut limit = None;
    if let Some(statement) = route.statement {
        let (name, rate) = limits::postgres(rig, statement, limits::CLIENTS, window.length)?;
        Spread::of(&mut report.limits, &name).push(rate);
        limit = Some(rate);
    }
    let sample = route.measure(rig, bare, connections, window)?;
    let row = report.row_of(&route.name, connections);
    row.take(&sample);
    row.statement_share.extend(limit.map(|limit| sample.rate / limit));
    Ok(())
}

/// What is measured once in a round. A part that fails does not keep the others from it.
fn round_of_the_rest(rig: &Rig, world: &World, report: &mut Report) {
    for (statement, _) in limits::STATEMENTS {
        let limit = limits::postgres(rig, statement, 8, world.sizes.window.length);
        if let Some((name, rate)) = report.note("pgbench", limit) {
            Spread::of(&mut report.limits, &name).push(rate);
        }
    }
    for (name, rate) in
        report.note("redis-benchmark", limits::redis(rig, world)).into_iter().flatten()
    {
        Spread::of(&mut report.limits, &name).push(rate);
    }
    if let Some(rates) = report.note("lines", growth::lines(rig, world)) {
        for (kind, rates) in [("poll", rates.polls), ("arrival", rates.arrivals)] {
            for (index, rate) in rates.into_iter().enumerate() {
                let waiting = world.sizes.line / [1, 10, 1_000][index];
                Spread::of(&mut report.growth, &format!("{kind}, {waiting} waiting")).push(rate);
            }
        }
    }
    for (name, rate) in
        report.note("two servers", growth::servers(rig, world)).into_iter().flatten()
    {
        Spread::of(&mut report.growth, &name).push(rate);
    }
    let let_in = report.promotion.measure(rig, world);
    report.note("promotion", let_in);
}
