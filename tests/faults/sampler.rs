//! Counts the tokens of every concert again and again, by Redis' own clock.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::history::{ConcertSetup, Entry, Sample, Stall};
use crate::recorder::Recorder;
use crate::wire::Wire;
use crate::world::World;

/// How often it counts.
const EVERY: Duration = Duration::from_millis(10);

/// A sleeper that wakes up so much too late says that the machine stalls.
const LATE_US: u64 = 50_000;

/// One step, so that neither the clock nor anybody goes on between two counts.
const COUNT: &str = "local t = redis.call('TIME') \
    local now = string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000)) \
    local waiting, active, stats = KEYS[1], KEYS[2], KEYS[3] \
    local count = redis.call('HMGET', stats, 'issued', 'expired', 'consumed', 'left') \
    for i = 1, 4 do count[i] = tonumber(count[i] or 0) end \
    local there = redis.call('ZCARD', waiting) + redis.call('ZCARD', active) \
    return { redis.call('ZCOUNT', active, '(' .. now, '+inf'), count[1], \
        there + count[2] + count[3] + count[4] }";

/// Counts the tokens of one concert until it is aborted; while Redis is away there is nothing to
/// count.
pub async fn run(world: Arc<World>, concert: ConcertSetup, recorder: Recorder) {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut wire: Option<Wire> = None;
    loop {
        tick.tick().await;
        if wire.is_none() {
            wire = world.redis.wire(concert.id).await.ok();
        }
        if let Some(open) = &mut wire
            && count(open, &concert, &recorder).await.is_err()
        {
            // Its keys may be somebody else's by now.
            wire = None;
        }
    }
}

/// Notes when the machine stalls, until it is aborted.
pub async fn watch_the_machine(recorder: Recorder) {
    loop {
        let from_us = recorder.now_us();
        tokio::time::sleep(EVERY).await;
        let to_us = recorder.now_us();
        if to_us - from_us > LATE_US {
            recorder.note(Entry::Stall(Stall { from_us, to_us }));
        }
    }
}

async fn count(wire: &mut Wire, of: &ConcertSetup, recorder: &Recorder) -> io::Result<()> {
    let key = |rest| format!("{{c{}}}:{rest}", of.id);
    let [waiting, active, stats] = ["waiting", "active", "stats"].map(key);
    let counts = wire.send(&["EVAL", COUNT, "3", &waiting, &active, &stats]).await?.counts()?;
    let [active, issued, accounted] = counts[..] else { return Ok(()) };
    recorder.note(Entry::Sample(Sample {
        at_us: recorder.now_us(),
        concert: of.id,
        active,
        capacity: of.capacity,
        issued,
        accounted,
    }));
    Ok(())
}
