//! A sale under faults, judged by what everybody was told: `make faults`.
//!
//! Load with faults → heal → wait → final reads → check → report. Not a test that `cargo test` runs:
//!
//! ```text
//! cargo test --features crash-points --test faults -- --minutes 10 --seed 7
//! cargo test --features crash-points --test faults -- --minutes 3 --topology cluster
//! cargo test --features crash-points --test faults -- --check target/faults/alone-7/history.jsonl
//! cargo test --features mutants --test faults -- --mutants all
//! ```

#![allow(missing_docs, reason = "the names say it")]

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

mod api;
mod checker;
mod clients;
mod faults;
mod finals;
mod history;
mod market;
mod measures;
mod mutants;
mod processes;
#[path = "../it/support/proxy.rs"]
#[allow(dead_code, reason = "its own tests use the rest")]
mod proxy;
mod recorder;
mod report;
mod sampler;
mod schedule;
mod stage;
mod topology;
mod wire;
mod world;

use api::Api;
use clients::{Client, HANDS};
use history::{Entry, History};
use market::Market;
use recorder::Recorder;
use schedule::Schedule;
use stage::{Plan, Stage};
use topology::Topology;
use world::World;

const SERVERS: usize = 3;
const CLIENTS: u32 = 80;

/// What the command line asks for.
struct Options {
    seed: u64,
    minutes: f64,
    topology: Topology,
    check: Option<PathBuf>,
    mutants: Option<String>,
}

impl Options {
    fn read() -> anyhow::Result<Self> {
        let topology = Topology::Alone;
        let mut options = Self { seed: 1, minutes: 10.0, topology, check: None, mutants: None };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let value = words.next().with_context(|| format!("{word} needs a value"))?;
            match word.as_str() {
                "--seed" => options.seed = value.parse()?,
                "--minutes" => options.minutes = value.parse()?,
                "--topology" => options.topology = value.parse()?,
                "--check" => options.check = Some(value.into()),
                "--mutants" => options.mutants = Some(value),
                _ => bail!(
                    "unknown: {word}; there are --seed, --minutes, --topology, --check, --mutants"
                ),
            }
        }
        Ok(options)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let options = Options::read()?;
    let good = match &options {
        Options { mutants: Some(names), .. } => mutants::run(names).await?,
        Options { check: Some(path), .. } => report(path)?,
        Options { seed, minutes, topology, .. } => {
            let load = Duration::from_secs_f64(minutes * 60.0);
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/faults");
            let folder = folder.join(format!("{}-{seed}", topology.name()));
            let stage = Stage::of_all_faults(*seed, load, *topology);
            report(&run(&Plan { stage, out: Vec::new(), folder }).await?)?
        }
    };
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Judges a history and says so; whether it is good.
fn report(path: &Path) -> anyhow::Result<bool> {
    let history = read(path)?;
    let good = report::print(&history, &checker::check(&history));
    println!("\nThe history is {}", path.display());
    Ok(good)
}

fn read(path: &Path) -> anyhow::Result<History> {
    Ok(History::read(BufReader::new(File::open(path)?))?)
}

/// One run: the path of its history.
async fn run(plan: &Plan) -> anyhow::Result<PathBuf> {
    let Plan { stage, folder, .. } = plan;
    let _ = std::fs::remove_dir_all(folder);
    std::fs::create_dir_all(folder)?;
    let path = folder.join("history.jsonl");
    let (recorder, writer) = Recorder::start(&path)?;
    let world = Arc::new(World::start(plan, SERVERS).await?);
    recorder.note(Entry::Setup(world.setup.clone()));
    finals::wait_until_ready(&world).await?;

    let addresses: Vec<_> =
        world.servers.iter().map(|server| server.from_clients.address()).collect();
    let api = Api::new(addresses.clone(), recorder.clone())?;
    let mut samplers = JoinSet::new();
    for concert in world.setup.concerts.clone() {
        samplers.spawn(sampler::run(Arc::clone(&world), concert, recorder.clone()));
    }
    samplers.spawn(sampler::watch_the_machine(recorder.clone()));
    let market = Arc::new(Market::new(&world.setup.concerts));
    let stop = CancellationToken::new();
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let (api, market) = (api.clone(), Arc::clone(&market));
        let client = Client::new(api, market, stage.seed, number, stop.clone());
        clients.spawn(client.with(stage.habit).run());
    }
    let broken = break_things(&world, &recorder, stage).await;
    stop.cancel();
    while clients.join_next().await.is_some() {}
    broken?;

    finals::wait_for_rest(&world).await?;
    finals::read_through_api(&world, &api, CLIENTS * HANDS).await?;
    finals::wait_for_rest(&world).await?;
    samplers.shutdown().await;
    let mut finals = finals::read_stores(&world, &recorder).await?;
    // What the clients keep open is theirs.
    drop(api);
    finals::wait_for_silence(&world).await?;
    let api = Api::new(addresses, recorder.clone())?;
    finals.servers = measures::servers(&world, &api).await?;
    finals.repeats = measures::repeats(&world).await?;
    recorder.note(Entry::Finals(Box::new(finals)));
    drop((api, recorder));
    writer.finish()?;
    Ok(path)
}

/// Makes and heals faults until the time is up.
async fn break_things(world: &World, recorder: &Recorder, stage: &Stage) -> anyhow::Result<()> {
    let until = Instant::now() + stage.load;
    // Without faults at first: the load must work by itself.
    sleep(Duration::from_secs(3)).await;
    for step in Schedule::new(stage, world.servers.len()) {
        if Instant::now() > until {
            break;
        }
        let said: Vec<_> = step.faults.iter().map(|fault| fault.kind.name()).collect();
        println!("{:>7} operations; now: {}", recorder.ops(), said.join(" and "));
        let together = step.faults.iter().enumerate().map(|(index, fault)| async move {
            if index > 0 {
                sleep(step.apart).await;
            }
            fault.run(world, recorder).await
        });
        futures::future::try_join_all(together).await?;
        sleep(step.rest).await;
    }
    sleep(until.saturating_duration_since(Instant::now())).await;
    Ok(())
}
