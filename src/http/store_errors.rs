//! What a failure of Redis means for the client: one mapping for every slice.

use super::problem::{Code, Problem};
use crate::redis::RedisError;

/// What the call would have done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing: a lost answer is no unknown outcome.
    Read,
    /// It changes something: after a lost answer nobody knows whether it did.
    Write,
}

/// The 503 that says truly whether something may have happened, with the cause for the log.
pub fn redis_problem(error: &RedisError, effect: Effect) -> Problem {
    let code = match (error, effect) {
        (RedisError::Overloaded, _) => Code::Overloaded,
        (RedisError::NotReady(_), _) => Code::NotReady,
        (RedisError::Unavailable | RedisError::Refused { .. }, _) => Code::RedisUnavailable,
        (RedisError::Lost { .. } | RedisError::Reply { .. }, Effect::Write) => Code::OutcomeUnknown,
        (RedisError::Lost { .. } | RedisError::Reply { .. }, Effect::Read) => {
            Code::RedisUnavailable
        }
    };
    if matches!(error, RedisError::Reply { .. }) {
        // Not a fault of the network but of a deployment: two builds that disagree.
        tracing::error!(%error, "an answer of Redis is not understood");
    }
    Problem::new(code).caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::ReplyFault;

    #[test]
    fn only_a_write_whose_answer_is_lost_has_an_unknown_outcome() {
        let lost =
            RedisError::Reply { script: "queue/enter", source: ReplyFault::Tag("what".to_owned()) };
        let code = |error: &RedisError, effect| redis_problem(error, effect).code();
        assert_eq!(code(&lost, Effect::Write), Code::OutcomeUnknown);
        assert_eq!(code(&lost, Effect::Read), Code::RedisUnavailable);
        for effect in [Effect::Read, Effect::Write] {
            assert_eq!(code(&RedisError::Unavailable, effect), Code::RedisUnavailable);
            assert_eq!(code(&RedisError::Overloaded, effect), Code::Overloaded);
            let not_ready = RedisError::NotReady("settling".to_owned());
            assert_eq!(code(&not_ready, effect), Code::NotReady);
        }
    }
}
