//! Settings of the waiting line.

use std::time::Duration;

/// Settings of the waiting line. A concert's own `capacity` and `batch` in the catalogue win over
/// these, and the live ones in `{c<id>}:settings` over both.
#[derive(Debug, Clone)]
pub struct QueueConfig {
    /// The most active tokens of a concert at any moment. Protects seats and payments from more
    /// people than they can serve; too low, and the line waits although the server is idle.
    pub capacity: u32,
    /// The most tokens promoted per second. Spreads the rush that follows a promotion; too low, and
    /// freed capacity stays unused.
    pub batch: u32,
    /// How long a promoted token lives until its first use. Protects the line from people who went
    /// away; below a few seconds, slow clients lose their turn.
    pub claim_ttl: Duration,
    /// How long a token lives from its first use. Too low, and people lose their turn while they
    /// choose; too high, and those who gave up hold up the line.
    pub active_ttl: Duration,
    /// The longest life of a token since its promotion, holds included. At least `active_ttl`.
    pub session_max: Duration,
    /// The most arrivals of one concert that wait in this server for their group to be sent; above
    /// it arrivals are refused at once instead of being answered late.
    pub arrivals_max: usize,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            capacity: 1000,
            batch: 100,
            claim_ttl: Duration::from_secs(45),
            active_ttl: Duration::from_mins(10),
            session_max: Duration::from_mins(30),
            arrivals_max: 20_000,
        }
    }
}
