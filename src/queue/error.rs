//! Why the waiting line refused.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat};

use super::settings::NotAwaited;
use super::{PollAfter, TokenInvalid};
use crate::http::{Code, Effect, Problem, redis_problem};
use crate::redis::RedisError;
use crate::words::ConcertId;

/// Why the waiting line refused. Every variant is one documented problem.
///
/// `Display` is written for the client; the sources go to the log only. Cheap to clone, because one
/// failure may answer a whole group.
#[derive(Debug, Clone, thiserror::Error)]
pub enum QueueError {
    /// The text is no token of this deployment.
    #[error(transparent)]
    TokenInvalid(TokenInvalid),
    /// Genuine, and no longer live: expired, consumed, left, or lost by Redis.
    #[error("this token is no longer live: get a new one with POST /user/token")]
    TokenExpired,
    /// The token is of another concert than the request.
    #[error("this token is for concert {concert}")]
    WrongConcert {
        /// The token's own concert.
        concert: ConcertId,
    },
    /// The token's concert left the catalogue.
    #[error("concert {concert} is not on sale here")]
    UnknownConcert {
        /// The token's concert.
        concert: ConcertId,
    },
    /// It is not this token's turn yet.
    #[error("it is not your turn yet: you are number {position} in line")]
    StillWaiting {
        /// 1 is next.
        position: u64,
        /// When to ask again.
        poll_after: PollAfter,
    },
    /// The token is bound to another user.
    #[error("this token belongs to another user")]
    NotYours,
    /// The user has another live token of this concert.
    #[error("this user is in line with another token already")]
    UserHasToken,
    /// Before a lottery is drawn everybody who comes has a name.
    #[error("there will be a lottery: until it is drawn, userId must say who you are")]
    Anonymous,
    /// The sale is over.
    #[error("the sale is over")]
    Closed,
    /// Every seat of every date is sold.
    #[error("everything is sold")]
    SoldOut,
    /// A payment of this token is under way.
    #[error("a payment of this token is under way: wait for its answer")]
    PaymentInProgress,
    /// With a change of the opening or the end, the sale would never be open.
    #[error("closesAt, {}, must be later than opensAt, {}", moment(*closes_at_ms), moment(*opens_at_ms))]
    NeverOpen {
        /// When it would open, Unix ms.
        opens_at_ms: u64,
        /// When it would end, Unix ms.
        closes_at_ms: u64,
    },
    /// No draw waits for a beacon's value.
    #[error(transparent)]
    BeaconNotAwaited(NotAwaited),
    /// Too many arrivals wait in this server.
    #[error("too many people arrive at once: try again")]
    Overloaded,
    /// Redis was emptied or is new, and not verified yet.
    #[error("the waiting line is being restored: try again")]
    NotReady,
    /// No board could be read in time.
    #[error("the waiting line cannot be seen right now: try again")]
    BoardLate,
    /// The arrival may or may not have got its place.
    #[error("it is not known whether this took effect: repeat the request")]
    OutcomeUnknown,
    /// Redis failed in a step that changes nothing.
    #[error("the waiting line cannot be reached right now: try again")]
    Read(#[source] Arc<RedisError>),
    /// Redis failed in a step that changes something.
    #[error("the waiting line did not answer: repeat the request")]
    Write(#[source] Arc<RedisError>),
}

/// A moment in Unix ms by RFC 3339.
fn moment(unix_ms: u64) -> String {
    let at = i64::try_from(unix_ms).ok().and_then(DateTime::from_timestamp_millis);
    at.map_or_else(|| unix_ms.to_string(), |at| at.to_rfc3339_opts(SecondsFormat::AutoSi, true))
}

impl QueueError {
    /// A failure of a read.
    pub(crate) fn read(error: RedisError) -> Self {
        Self::Read(Arc::new(error))
    }

    /// A failure of a write.
    pub(super) fn write(error: RedisError) -> Self {
        Self::Write(Arc::new(error))
    }
}

impl From<QueueError> for Problem {
    fn from(error: QueueError) -> Self {
        let problem = match &error {
            QueueError::TokenInvalid(_) => Self::new(Code::TokenInvalid),
            QueueError::TokenExpired => Self::new(Code::TokenExpired),
            QueueError::WrongConcert { concert } => {
                Self::new(Code::WrongConcert).with("concertId", concert)
            }
            QueueError::UnknownConcert { concert } => {
                Self::new(Code::UnknownConcert).with("concertId", concert)
            }
            QueueError::StillWaiting { position, poll_after } => Self::new(Code::StillWaiting)
                .with("queuePosition", position)
                .with("pollAfter", poll_after.seconds())
                .retry_after(Duration::from_secs(poll_after.retry_after_seconds())),
            QueueError::NotYours => Self::new(Code::NotYours),
            QueueError::UserHasToken => Self::new(Code::UserHasToken),
            QueueError::Anonymous => Self::new(Code::BadRequest).with("field", "userId"),
            QueueError::Closed => Self::new(Code::Closed),
            QueueError::SoldOut => Self::new(Code::SoldOut),
            QueueError::NeverOpen { opens_at_ms, closes_at_ms } => Self::new(Code::OutOfRange)
                .with("field", "closesAt")
                .with("opensAt", moment(*opens_at_ms))
                .with("closesAt", moment(*closes_at_ms)),
            QueueError::BeaconNotAwaited(_) => Self::new(Code::BeaconNotAwaited),
            QueueError::PaymentInProgress => Self::new(Code::PaymentInProgress),
            QueueError::Overloaded => Self::new(Code::Overloaded),
            QueueError::NotReady => Self::new(Code::NotReady),
            QueueError::BoardLate => Self::new(Code::RedisUnavailable),
            QueueError::OutcomeUnknown => Self::new(Code::OutcomeUnknown),
            QueueError::Read(source) => redis_problem(source, Effect::Read),
            QueueError::Write(source) => redis_problem(source, Effect::Write),
        };
        problem.detail(error.to_string())
    }
}
