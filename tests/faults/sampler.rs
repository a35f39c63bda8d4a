//! Counts the active tokens of every concert again and again, by Redis' own clock.

use std::sync::Arc;
use std::time::Duration;

use crate::history::{Entry, Sample};
use crate::recorder::Recorder;
use crate::wire::Wire;
use crate::world::World;

/// How often it counts.
const EVERY: Duration = Duration::from_millis(10);

/// One step, so that the clock does not go on between the two: a token that ends meanwhile may have
/// a successor already.
const COUNT: &str = "local t = redis.call('TIME') \
    local now = string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000)) \
    return redis.call('ZCOUNT', KEYS[1], '(' .. now, '+inf')";

/// Counts until it is aborted; while Redis is away there is nothing to count.
pub async fn run(world: Arc<World>, recorder: Recorder) {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut wire: Option<Wire> = None;
    loop {
        tick.tick().await;
        if wire.is_none() {
            wire = world.wire().await.ok();
        }
        if let Some(open) = &mut wire
            && count(open, &world, &recorder).await.is_err()
        {
            wire = None;
        }
    }
}

async fn count(wire: &mut Wire, world: &World, recorder: &Recorder) -> std::io::Result<()> {
    for concert in &world.setup.concerts {
        let key = format!("{{c{}}}:active", concert.id);
        wire.write(&["EVAL", COUNT, "1", &key]).await?;
    }
    for concert in &world.setup.concerts {
        let active = wire.read().await?.int()?;
        recorder.note(Entry::Sample(Sample {
            at_us: recorder.now_us(),
            concert: concert.id,
            active: u64::try_from(active).unwrap_or(0),
            capacity: concert.capacity,
        }));
    }
    Ok(())
}
