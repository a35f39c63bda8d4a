//! Settings of the payments slice. Not meant for operation: tests scale them.

use std::time::Duration;

/// The times of the payment protocol. No statement may act after its hold or its lease has ended, so
/// `statement_deadline` is below `begin_extension` and `lease`; the configuration sees to that.
#[derive(Debug, Clone)]
pub struct PaymentsConfig {
    /// How long after `begin` was sent the statement may still act, on PostgreSQL's clock.
    ///
    /// Too low, and a slow network makes payments fail; above `begin_extension`, a seat could be
    /// held by somebody else when it is paid.
    pub statement_deadline: Duration,
    /// How long a hold lives at least from `begin` on; a hold whose hard deadline is nearer cannot
    /// be paid any more.
    pub begin_extension: Duration,
    /// How long an attempt keeps other changes of the holds away if nobody ends it.
    ///
    /// Below `statement_deadline`, a user could release a seat that is being paid.
    pub lease: Duration,
    /// How old a payment without an answer from Redis must be before a job finishes it.
    pub unsynced_after: Duration,
    /// After Redis lost data, payments that are at most this old are finished again.
    pub finish_again: Duration,
    /// How often the sold seats in Redis are compared with PostgreSQL, whatever happens.
    pub compare_every: Duration,
    /// How long a server that rebuilds the sold set may go without a sign of life; and how long
    /// after a rebuild the other servers may write back the live settings that they remember.
    pub rebuild_lock: Duration,
}

impl Default for PaymentsConfig {
    fn default() -> Self {
        Self {
            statement_deadline: Duration::from_secs(10),
            begin_extension: Duration::from_secs(30),
            lease: Duration::from_secs(20),
            unsynced_after: Duration::from_secs(1),
            finish_again: Duration::from_hours(1),
            compare_every: Duration::from_mins(1),
            rebuild_lock: Duration::from_secs(10),
        }
    }
}
