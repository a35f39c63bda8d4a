//! How fast a line was really served, from successive readings of its board.
//!
//! Two things limit admission: **slots** (an active token must end before the next one begins) and
//! **supply** (at most `batch` a second, in one tick a second). They are seen apart, because at an
//! opening the empty slots fill at full supply, and whoever took that for the line's rate would
//! promise minutes to people who wait an hour.
//!
//! * Turnover: how many active tokens ended per second of active token. It needs nobody to wait, so
//!   a quiet minute does not make the next crowd's estimate absurd. Until enough of it was seen, a
//!   slot is thought to last as long as an active token may.
//! * Supply: the share of `batch` that was really admitted while somebody waited, promotion was on
//!   and slots were plenty. Normally 1; below when promotion itself is slow.

use std::collections::VecDeque;
use std::time::Duration;

use super::board::{BoardFacts, Phase};
use super::estimate::Outlook;

/// What counts as "lately".
const WINDOW_MS: u64 = 60_000;
/// A slow line needs a longer look back: at most so long …
const WINDOW_MAX_MS: u64 = 300_000;
/// … and until so many tokens ended; fewer are mostly chance.
const ENOUGH_ENDED: u64 = 200;
/// Readings are added up to steps of this length.
const STEP_MS: u64 = 1_000;
/// Between readings further apart too much may have happened unseen.
const GAP_MAX_MS: u64 = 40_000;
/// So many tokens are thought to have ended after `active_ttl`, beside those really seen; the guess
/// fades as the seen ones become enough.
const GUESSED_ENDED: f64 = 2.0;
/// So many seconds at full supply are thought to have been, beside those really seen.
const GUESSED_SUPPLY_SECONDS: f64 = 3.0;

/// What was seen between two moments.
#[derive(Debug, Clone, Copy, Default)]
struct Step {
    length_ms: u64,
    /// Active tokens that ended (expired, consumed, left).
    ended: u64,
    /// Σ active tokens × ms.
    active_ms: f64,
    /// Promoted while nothing but supply was the limit, and how many `batch` allowed meanwhile.
    supplied: f64,
    allowed: f64,
}

impl Step {
    fn add(&mut self, more: Self) {
        self.length_ms += more.length_ms;
        self.ended += more.ended;
        self.active_ms += more.active_ms;
        self.supplied += more.supplied;
        self.allowed += more.allowed;
    }
}

/// The last minutes of one line.
#[derive(Debug)]
pub struct Pace {
    active_ttl_seconds: f64,
    last: Option<BoardFacts>,
    /// Oldest first.
    steps: VecDeque<Step>,
}

impl Pace {
    /// No history yet. `active_ttl`: how long a claimed token lives without a hold.
    #[must_use]
    pub fn new(active_ttl: Duration) -> Self {
        Self {
            active_ttl_seconds: active_ttl.as_secs_f64().max(1.0),
            last: None,
            steps: VecDeque::new(),
        }
    }

    /// Takes the next reading of the same line, in order of time.
    pub fn observe(&mut self, facts: &BoardFacts) {
        let Some(before) = self.last.replace(facts.clone()) else {
            return;
        };
        if facts.promoted < before.promoted {
            // Redis lost the counter, and with it the line that the history speaks of.
            self.steps.clear();
            return;
        }
        match facts.redis_now_ms.checked_sub(before.redis_now_ms) {
            Some(length_ms) if (1..=GAP_MAX_MS).contains(&length_ms) => {
                self.push(step_between(&before, facts, length_ms));
            }
            _ => {}
        }
    }

    /// What may be expected from the moment of `facts` on.
    #[must_use]
    pub fn outlook(&self, facts: &BoardFacts) -> Outlook {
        let settings = &facts.settings;
        let opens_in_ms = settings.opens_at_ms.saturating_sub(facts.redis_now_ms);
        let supply = f64::from(settings.batch) * self.supply_share(settings.batch);
        let turnover = f64::from(settings.capacity) * self.ended_per_slot_second();
        Outlook {
            is_halted: settings.paused || facts.is_sold_out() || facts.phase() == Phase::Closed,
            opens_in_seconds: float(opens_in_ms) / 1000.0,
            free_slots: facts.free_slots(),
            supply_per_second: supply,
            rate_per_second: supply.min(turnover),
        }
    }

    /// How many tokens end per second and slot; never fewer than if all lived `active_ttl`.
    fn ended_per_slot_second(&self) -> f64 {
        let mut seen = Step::default();
        for step in self.steps.iter().rev() {
            if seen.length_ms >= WINDOW_MS && seen.ended >= ENOUGH_ENDED {
                break;
            }
            seen.add(*step);
        }
        let unsure = 1.0 - float(seen.ended.min(ENOUGH_ENDED)) / float(ENOUGH_ENDED);
        let guessed = GUESSED_ENDED * unsure;
        let slot_seconds = seen.active_ms / 1000.0 + guessed * self.active_ttl_seconds;
        ((float(seen.ended) + guessed) / slot_seconds).max(1.0 / self.active_ttl_seconds)
    }

    /// The share of `batch` that was really admitted when it could be, at most 1.
    fn supply_share(&self, batch: u32) -> f64 {
        let mut seen = Step::default();
        for step in self.steps.iter().rev() {
            if seen.length_ms >= WINDOW_MS {
                break;
            }
            seen.add(*step);
        }
        let guess = GUESSED_SUPPLY_SECONDS * f64::from(batch);
        if seen.allowed <= 0.0 {
            return 1.0;
        }
        ((seen.supplied + guess) / (seen.allowed + guess)).min(1.0)
    }

    fn push(&mut self, step: Step) {
        match self.steps.back_mut() {
            Some(last) if last.length_ms < STEP_MS => last.add(step),
            _ => self.steps.push_back(step),
        }
        let mut kept_ms: u64 = self.steps.iter().map(|step| step.length_ms).sum();
        while kept_ms > WINDOW_MAX_MS {
            let Some(oldest) = self.steps.pop_front() else {
                return;
            };
            kept_ms -= oldest.length_ms;
        }
    }
}

fn step_between(before: &BoardFacts, now: &BoardFacts, length_ms: u64) -> Step {
    let promoted = now.promoted - before.promoted;
    let length = float(length_ms);
    let (mut supplied, mut allowed) = (0.0, 0.0);
    if is_limited_by_supply(before, now) {
        supplied = float(promoted);
        allowed = f64::from(now.settings.batch) * length / 1000.0;
    }
    Step {
        length_ms,
        ended: (before.active + promoted).saturating_sub(now.active),
        active_ms: f64::midpoint(float(before.active), float(now.active)) * length,
        supplied,
        allowed,
    }
}

/// Whether nothing but `batch` kept people waiting all the time between two readings.
fn is_limited_by_supply(before: &BoardFacts, now: &BoardFacts) -> bool {
    // Service is in order of number: if the first in line stood there before, nobody can have seen
    // the line empty in between.
    let always_somebody = now.head.is_some() && now.head <= before.last;
    let can_promote = |facts: &BoardFacts| {
        facts.is_promoting() && facts.free_slots() >= u64::from(facts.settings.batch)
    };
    always_somebody
        && can_promote(before)
        && can_promote(now)
        && before.settings.batch == now.settings.batch
}

/// Counts and milliseconds stay far below 2^52, where this is exact.
#[expect(clippy::cast_precision_loss, reason = "an estimate needs no 53rd bit")]
pub(super) fn float(value: u64) -> f64 {
    value as f64
}
