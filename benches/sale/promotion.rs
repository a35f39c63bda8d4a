//! Ten thousand people let in at once: what polls and Redis notice of it.

use anyhow::{Context, ensure};
use serde::Serialize;

use super::figures::Spread;
use super::growth::polls;
use super::load::{Measured, Signal, Until};
use super::rig::{Rig, wait_until};
use super::world::{LINES, World};

/// People who are let in at once.
pub const PROMOTED: u64 = 10_000;
/// How often that is done in a round: with people who poll, and with nobody.
pub const PER_ROUND: u64 = 2;
/// Calls of a script that took at least this long are told one by one.
const TOLD_FROM_US: &str = "50";

/// What polls and Redis felt of a promotion.
#[derive(Debug, Default, Serialize)]
pub struct Promotions {
    /// p99 of polls in µs, before and during.
    pub p99_without: Spread,
    pub p99_with: Spread,
    /// While people poll.
    pub with_polls: Calls,
    /// While nobody does: what the calls take by themselves.
    pub alone: Calls,
}

/// The calls of scripts meanwhile: those that let in, and others.
#[derive(Debug, Default, Serialize)]
pub struct Calls {
    pub count: Spread,
    /// The slowest call in µs. There are some hundred, so it is p99.9 as well.
    pub slowest_us: Spread,
    /// All together in ms.
    pub total_ms: Spread,
    /// How long Redis was ready to run and had no core, in ms.
    pub without_a_core_ms: Spread,
}

impl Promotions {
    /// Lets people in while others poll, then while nobody does.
    pub fn measure(&mut self, rig: &Rig, world: &World) -> anyhow::Result<()> {
        let window = world.sizes.window;
        polls(rig.server, world, 0, Until::Elapsed(window.warm_up))?;
        let without = polls(rig.server, world, 0, Until::Elapsed(window.length))?;
        self.p99_without.push(without.quantile_us(0.99));

        let signal = Signal::default();
        let with = std::thread::scope(|scope| -> anyhow::Result<Measured> {
            let polling = scope.spawn(|| polls(rig.server, world, 0, Until::Told(&signal)));
            let let_in = self.with_polls.measure(rig, &signal);
            signal.end();
            let polled = polling.join().map_err(|_| anyhow::anyhow!("the polls panicked"))?;
            let_in.and(polled)
        })?;
        self.p99_with.push(with.quantile_us(0.99));
        self.alone.measure(rig, &Signal::default())
    }
}

impl Calls {
    /// Lets [`PROMOTED`] people in; `signal` begins with the first of them, and ends with the last.
    fn measure(&mut self, rig: &Rig, signal: &Signal) -> anyhow::Result<()> {
        let line = LINES[0];
        let (settings, stats) = (format!("{{c{line}}}:settings"), format!("{{c{line}}}:stats"));
        let promoted = || rig.redis_number(&["hget", &stats, "promoted"]);
        let before = promoted()?;
        rig.redis(&["config", "set", "slowlog-log-slower-than", TOLD_FROM_US])?;
        rig.redis(&["config", "set", "slowlog-max-len", "10000"])?;
        rig.redis(&["slowlog", "reset"])?;
        rig.redis(&["config", "resetstat"])?;
        let without_a_core = rig.redis_without_a_core()?;
        let capacity = (before + PROMOTED).to_string();
        let batch = PROMOTED.to_string();
        let knobs = ["capacity", &capacity, "batch", &batch, "paused", "0"];
        rig.redis(&[&["hset", settings.as_str()], &knobs[..]].concat())?;
        wait_until("the first are let in", || Ok(promoted()? > before))?;
        signal.begin();
        wait_until("ten thousand people are let in", || Ok(promoted()? >= before + PROMOTED))?;
        signal.end();
        let without_a_core = rig.redis_without_a_core()?.saturating_sub(without_a_core);
        rig.redis(&["hset", &settings, "paused", "1"])?;
        let slowest = slowest_us(rig)?;
        ensure!(promoted()? == before + PROMOTED, "more were let in than the capacity allows");
        let stats = rig.redis(&["info", "commandstats"])?;
        self.count.push(of_scripts(&stats, "calls")?);
        self.total_ms.push(of_scripts(&stats, "usec")? / 1e3);
        self.slowest_us.push(slowest);
        self.without_a_core_ms.push(without_a_core.as_secs_f64() * 1e3);
        Ok(())
    }
}

/// What the slowest call of a script took, from Redis' own list, which has every call's time.
fn slowest_us(rig: &Rig) -> anyhow::Result<f64> {
    // Flat, because an entry holds the call's words, of which there may be any number.
    let times = "local times = {} for _, entry in ipairs(redis.call('SLOWLOG', 'GET', '10000')) do \
        if entry[4][1] == 'EVALSHA' then times[#times + 1] = entry[3] end end return times";
    let times = rig.redis(&["eval", times, "0"])?;
    let times = times.lines().filter_map(|time| time.parse().ok());
    times.reduce(f64::max).with_context(|| format!("no call took {TOLD_FROM_US} µs"))
}

/// A figure of `EVALSHA` in `INFO commandstats`.
fn of_scripts(stats: &str, name: &str) -> anyhow::Result<f64> {
    let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:"));
    let figures = line.context("no script was called")?.split(',');
    let mut found = figures.filter_map(|figure| figure.split_once('='));
    let found = found.find(|(known, _)| *known == name);
    Ok(found.with_context(|| format!("no {name} of scripts"))?.1.parse()?)
}
