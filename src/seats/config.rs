//! Settings of the seats slice.

use std::time::Duration;

use super::scripts::HoldTerms;

/// Settings of holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeatsConfig {
    /// How long a hold lasts (`ONSALE_HOLD_TTL`). 1 s to 1 h, and with `hard_extra` below
    /// `session_max`.
    ///
    /// Too low: people cannot finish paying. Too high: seats lie idle in abandoned carts.
    pub hold_ttl: Duration,

    /// From a hold's deadline to its hard deadline, up to which a payment that began in time can
    /// move the deadline. Must be above the payment's own deadlines together.
    pub hard_extra: Duration,

    /// How long the token lives on after the hard deadline, so that the payment can be repeated.
    pub token_extra: Duration,

    /// The end of every token, from its promotion (`ONSALE_SESSION_MAX`); the same as the line's.
    pub session_max: Duration,

    /// The most live holds of a user in a concert (`ONSALE_MAX_SEATS_PER_USER`), 1 to
    /// [`super::SeatSelection::SEATS_MAX`]; owned seats do not count.
    pub max_seats_per_user: u32,

    /// How long a reservation waits for PostgreSQL's word that the seat was never sold, before the
    /// hold is given back and the answer is 503. Too low: a short stall costs people their hold.
    pub database_timeout: Duration,
}

impl Default for SeatsConfig {
    fn default() -> Self {
        Self {
            hold_ttl: Duration::from_mins(5),
            hard_extra: Duration::from_mins(1),
            token_extra: Duration::from_mins(1),
            session_max: Duration::from_mins(30),
            max_seats_per_user: 4,
            database_timeout: Duration::from_millis(800),
        }
    }
}

impl SeatsConfig {
    pub(super) fn hold_terms(&self) -> HoldTerms {
        HoldTerms {
            hold_ttl: self.hold_ttl,
            hard_extra: self.hard_extra,
            token_extra: self.token_extra,
            session_max: self.session_max,
            seats_max: self.max_seats_per_user,
        }
    }
}
