//! What a caller may conclude when Redis did not give the answer it should have.

use fred::error::{Error as FredError, ErrorKind};

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

    /// Whether Redis refused with this word: `NOSCRIPT`, `MOVED`.
    pub(super) fn is_refusal(&self, word: &str) -> bool {
        matches!(self, Self::Refused { source, .. } if source.details().starts_with(word))
    }
}

/// An answer by Redis itself is a refusal; everything else happened on the way.
pub(super) fn classify(what: &'static str, source: FredError) -> RedisError {
    // The library gives it to every call in flight, whichever it was the answer of.
    if source.details().starts_with("CLUSTERDOWN") {
        return RedisError::Lost { what, source };
    }
    match source.kind() {
        ErrorKind::Timeout
        | ErrorKind::IO
        | ErrorKind::Canceled
        | ErrorKind::Tls
        | ErrorKind::Protocol
        | ErrorKind::Parse
        | ErrorKind::Backpressure => RedisError::Lost { what, source },
        ErrorKind::Routing | ErrorKind::Config | ErrorKind::Auth => {
            tracing::debug!(what, error = %source, "not sent");
            RedisError::Unavailable
        }
        _ => RedisError::Refused { what, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_redis_said_to_this_very_call_is_a_refusal() {
        let error = |kind, details: &'static str| classify("what", FredError::new(kind, details));
        let moved = error(ErrorKind::Cluster, "MOVED 1 127.0.0.1:7");
        assert!(moved.is_refusal("MOVED") && !moved.may_have_happened());
        assert!(error(ErrorKind::Cluster, "CLUSTERDOWN The cluster is down").may_have_happened());
        assert!(error(ErrorKind::IO, "Connection closed.").may_have_happened());
        assert!(!error(ErrorKind::Auth, "NOAUTH").may_have_happened());
    }
}
