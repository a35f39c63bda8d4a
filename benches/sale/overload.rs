//! Past the limit: k6 offers a server more than it takes (an open model: who is not answered in time
//! does not hold up the next one).

use std::process::Command;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use super::load::{self, Plan, Until};
use super::rig::{self, Rig};
use super::world::{self, ARRIVALS_ANONYMOUS, World};

/// Requests in work at once, half of them arrivals at most (0.7, rounded down): the server's limit is
/// then far below the machine's, which k6 needs for itself.
const REQUESTS_MAX: &str = "4";
/// Arrivals in work at once.
const ARRIVALS_MAX: usize = 2;

/// k6 takes at least as much of the machine as the server: about this much of what a closed loop
/// measures is left to the server beside it.
const BESIDE_K6: f64 = 0.5;

/// What k6 saw; see `loadtest/past_limit.js`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Overload {
    /// Answers that were neither as expected nor 503 with `Retry-After`.
    pub wrong: f64,
    /// What k6 was too slow to send.
    pub dropped: f64,
    /// Without arrivals, then at ever more of the limit.
    pub phases: Vec<Phase>,
}

/// One load, for some seconds; all per second.
#[derive(Debug, Serialize, Deserialize)]
pub struct Phase {
    /// Arrivals, as a share of the limit.
    pub load: f64,
    /// Arrivals that got a place.
    pub answered: f64,
    /// Arrivals that got a 503 with `Retry-After`.
    pub refused: f64,
    /// Charges that were made at once: none of them is repeated after a 503.
    pub charged: f64,
    /// Of the arrivals that got a place.
    pub p99_ms: f64,
}

/// Measures a server of its own with few permits.
pub fn past_the_limit(rig: &Rig, world: &World, quick: bool) -> anyhow::Result<Overload> {
    let (_server, address) = rig.another_server(&[("ONSALE_REQUESTS_MAX", REQUESTS_MAX)])?;
    let write = |_: usize, out: &mut Vec<u8>| world::join(ARRIVALS_ANONYMOUS, None, out);
    let limit = load::run(&Plan {
        target: address,
        connections: ARRIVALS_MAX,
        first: 0,
        until: Until::Elapsed(world.sizes.window.length),
        write: &write,
        expected: &[201],
    })?;
    let limit = limit.checked().context("below the limit")?.rate();

    let folder = rig.stores.folder().path();
    let (payers, summary) = (folder.join("payers.json"), folder.join("past_limit.json"));
    let people = world.readers[0].iter();
    let people = people.map(|p| serde_json::json!({ "user": p.user, "token": p.token }));
    std::fs::write(&payers, people.collect::<serde_json::Value>().to_string())?;
    let run = Command::new(k6()?)
        .args(["run", "--quiet", "--no-color", "--no-usage-report"])
        .arg(rig::project().join("loadtest/past_limit.js"))
        .env("BASE_URL", format!("http://{address}"))
        .env("CONCERT_ID", ARRIVALS_ANONYMOUS.to_string())
        .env("RATE", format!("{:.0}", limit * BESIDE_K6))
        .env("PHASE_SECONDS", if quick { "4" } else { "8" })
        .env("PAYERS", &payers)
        .env("SUMMARY", &summary)
        .output()?;
    let said = String::from_utf8_lossy(&run.stderr);
    let text = std::fs::read_to_string(&summary)
        .with_context(|| format!("k6 wrote no summary: {said}"))?;
    ensure!(run.status.success(), "k6 ended with {}: {said}{text}", run.status);
    Ok(serde_json::from_str(&text)?)
}

fn k6() -> anyhow::Result<std::path::PathBuf> {
    let own = rig::project().join(".venv-k6/bin/k6");
    if own.is_file() { Ok(own) } else { rig::program("k6") }
}

impl Overload {
    /// The most arrivals per second that got a place, in any phase but the last, which is past the
    /// limit.
    pub fn peak(&self) -> f64 {
        let below = self.phases.split_last().map_or(&[][..], |(_, below)| below);
        below.iter().map(|phase| phase.answered).fold(0.0, f64::max)
    }
}
