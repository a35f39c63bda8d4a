//! What a caller may conclude when Redis did not give the answer it should have.

use super::reply::ReplyFault;

/// Why a call to Redis gave no outcome.
///
/// The variants differ in what the caller knows about the effect, because that decides the answer:
/// `redis-unavailable` says that nothing happened, `outcome-unknown` that something may have.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RedisError {
    /// Nothing was sent: the connection is down, or the breaker is open.
    #[error("Redis cannot be reached")]
    Unavailable,
    /// Nothing was sent: this process has as many calls in flight as it allows itself.
    #[error("too many calls to Redis are in flight")]
    Overloaded,
    /// Nothing happened: Redis refused the command (out of memory, read-only, busy, a fault in a
    /// script before its first write).
    #[error("Redis refused {what}")]
    Refused {
        /// The script or command.
        what: &'static str,
        /// What Redis said.
        #[source]
        source: fred::error::Error,
    },
    /// Sent, and the answer is lost: it may have taken effect, or may still.
    #[error("the answer of Redis to {what} was lost")]
    Lost {
        /// The script or command.
        what: &'static str,
        /// What the client library said.
        #[source]
        source: fred::error::Error,
    },
    /// The answer has a tag or a shape that this build does not know.
    #[error("script {script} gave an answer that this build does not know")]
    Reply {
        /// The script's name.
        script: &'static str,
        /// What was wrong.
        #[source]
        source: ReplyFault,
    },
    /// Redis does not know the scripts, and settling the lines did not succeed yet.
    #[error("Redis is not ready: {0}")]
    NotReady(String),
}

impl RedisError {
    /// Whether the call may have taken effect, now or later.
    #[must_use]
    pub fn may_have_happened(&self) -> bool {
        matches!(self, Self::Lost { .. } | Self::Reply { .. })
    }
}
