//! From a position to a wait, and from a wait to the moment of the next poll.

use std::time::Duration;

use super::pace::float;

/// How fast a line will be served, as seen lately ([`super::pace`]). Made once per board.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outlook {
    /// Nobody is let in until somebody changes that: paused, over, or sold out.
    pub is_halted: bool,
    /// Seconds until the sale opens; 0 once it is open.
    pub opens_in_seconds: f64,
    /// Slots that stand empty now; they fill at `supply_per_second`.
    pub free_slots: u64,
    /// Tokens per second that promotion manages, at most `batch`.
    pub supply_per_second: f64,
    /// Tokens per second once no slot is empty, at most `supply_per_second`.
    pub rate_per_second: f64,
}

impl Outlook {
    /// The longest wait that is ever told, in seconds (a day): "not today". It is also the answer
    /// while promotion is halted, because nobody can know for how long.
    pub const WAIT_MAX_SECONDS: u64 = 86_400;

    /// The wait of somebody at `position` (1 = next), in whole seconds, rounded up; 0 for 0.
    #[must_use]
    pub fn wait_seconds(&self, position: u64) -> u64 {
        if position == 0 {
            return 0;
        }
        if self.is_halted {
            return Self::WAIT_MAX_SECONDS;
        }
        let at_once = position.min(self.free_slots);
        let later = position - at_once;
        let wait = self.opens_in_seconds
            + seconds(at_once, self.supply_per_second)
            + seconds(later, self.rate_per_second);
        // A division by zero has become infinite here, and the cap makes it a day.
        let wait = wait.ceil().clamp(1.0, float(Self::WAIT_MAX_SECONDS));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to 1..=86,400"
        )]
        let wait = wait as u64;
        wait
    }
}

fn seconds(tokens: u64, per_second: f64) -> f64 {
    if tokens == 0 {
        return 0.0;
    }
    float(tokens) / per_second
}

/// When somebody who waits should poll again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PollAfter {
    tenths: u32,
}

impl PollAfter {
    /// The shortest, in tenths of a second: longer than a board is used, so that nobody who polls
    /// as told sees an older board than before, on whatever server.
    const TENTHS_MIN: u32 = 8;
    /// At the front, before jitter.
    const FRONT_SECONDS: f64 = 1.0;
    /// Far back, before jitter.
    const BACK_SECONDS: f64 = 30.0;
    /// In between: a tenth of the wait, so that a turn is seen within a tenth of it.
    const SHARE_OF_WAIT: f64 = 0.1;
    /// Jitter goes this far to both sides, so that those who came together poll apart.
    const JITTER: f64 = 0.2;
    /// A promoted token dies unclaimed after `claim_ttl`; the rest is for the poll itself.
    const SHARE_OF_CLAIM_TTL: f64 = 0.7;

    /// For somebody who waits `wait_seconds` more. `jitter` is any number of 0..1, best random;
    /// whatever it is, the answer is at most 0.7 × `claim_ttl` (which wins) and at least 0.8 s.
    #[must_use]
    pub fn new(wait_seconds: u64, jitter: f64, claim_ttl: Duration) -> Self {
        let longest = claim_ttl.as_secs_f64() * Self::SHARE_OF_CLAIM_TTL;
        let base = (float(wait_seconds) * Self::SHARE_OF_WAIT)
            .clamp(Self::FRONT_SECONDS, Self::BACK_SECONDS)
            // Below the limit even with the most jitter: a limit cut off would bunch the polls.
            .min(longest / (1.0 + Self::JITTER));
        let factor = 1.0 - Self::JITTER + 2.0 * Self::JITTER * jitter.clamp(0.0, 1.0);
        let tenths_max = tenths_below(longest).max(1);
        Self { tenths: tenths_below(base * factor).max(Self::TENTHS_MIN).min(tenths_max) }
    }

    /// Seconds with one decimal, as `pollAfter` says it.
    #[must_use]
    pub fn seconds(self) -> f64 {
        f64::from(self.tenths) / 10.0
    }

    /// Whole seconds, rounded up, as `Retry-After` says it.
    #[must_use]
    pub fn retry_after_seconds(self) -> u64 {
        u64::from(self.tenths.div_ceil(10))
    }
}

/// Tenths of a second, rounded down; a millionth is allowed for what floats cannot hold.
fn tenths_below(seconds: f64) -> u32 {
    let tenths = (seconds * 10.0 + 1e-6).floor().clamp(0.0, 1e6);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to 0..=1,000,000"
    )]
    let tenths = tenths as u32;
    tenths
}
