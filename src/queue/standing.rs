//! What somebody is told of a token: where it is on its way, and when to ask again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::board::Phase;
use super::{Board, PollAfter, Queue, QueueError};
use crate::words::{ConcertId, UserId};

/// How a token stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// The token's concert.
    pub concert: ConcertId,
    /// Where it is on its way.
    pub status: Status,
    /// 1 is next, 0 is active.
    pub position: u64,
    /// How long it will wait, as far as that is known.
    pub estimated_wait_seconds: u64,
    /// When to ask again.
    pub poll_after: PollAfter,
    /// How long an active token lives.
    pub expires_in_seconds: Option<u64>,
    /// Whose an active token is, once bound; nobody looks at a waiting one's.
    pub owner: Option<UserId>,
    /// What operators tell everybody who waits.
    pub message: Option<Arc<str>>,
}

impl Standing {
    /// Refuses `asker` if the token is known to be somebody else's.
    pub fn check_owner(&self, asker: Option<UserId>) -> Result<(), QueueError> {
        match (self.owner, asker) {
            (Some(owner), Some(asker)) if owner != asker => Err(QueueError::NotYours),
            _ => Ok(()),
        }
    }
}

/// Where a live token is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The sale is not open yet. The position is the number of people who have come.
    Prequeue {
        /// Until it opens, rounded up.
        opens_in_seconds: u64,
    },
    /// In line.
    Waiting,
    /// In line, and no seat is free.
    SoldOut {
        /// Seats that are only held: each may come back.
        held: u64,
    },
    /// In line, and the sale is over.
    Closed,
    /// Let in.
    Active,
}

impl Queue {
    /// Somebody who waits at this position of `board`.
    pub(super) fn waiting(&self, concert: ConcertId, position: u64, board: &Board) -> Standing {
        self.waiting_of(board.waiting(), concert, position, board)
    }

    /// Somebody who came after `board` was read, and was the last then: of those on the board some may
    /// have gone since, or all.
    pub(super) fn arrived(&self, concert: ConcertId, position: u64, board: &Board) -> Standing {
        self.waiting_of(position, concert, position, board)
    }

    /// Somebody in a line of `people`.
    fn waiting_of(
        &self,
        people: u64,
        concert: ConcertId,
        position: u64,
        board: &Board,
    ) -> Standing {
        let facts = board.facts();
        let (status, position) = match board.phase() {
            Phase::Closed => (Status::Closed, position),
            _ if facts.is_taken() => (Status::SoldOut { held: facts.held }, position),
            Phase::Before => (before_the_opening(board), position.max(people)),
            Phase::Open => (Status::Waiting, position),
        };
        let wait_seconds = board.estimated_wait_seconds(position);
        Standing {
            concert,
            status,
            position,
            estimated_wait_seconds: wait_seconds,
            poll_after: self.poll_after(wait_seconds),
            expires_in_seconds: None,
            owner: None,
            message: facts.message.clone(),
        }
    }

    pub(super) fn active(
        &self,
        concert: ConcertId,
        owner: Option<UserId>,
        expires_in_ms: u64,
    ) -> Standing {
        let expires_in_seconds = Duration::from_millis(expires_in_ms).as_secs();
        Standing {
            concert,
            status: Status::Active,
            position: 0,
            estimated_wait_seconds: 0,
            poll_after: self.poll_after(expires_in_seconds),
            expires_in_seconds: Some(expires_in_seconds),
            owner,
            message: None,
        }
    }

    fn poll_after(&self, wait_seconds: u64) -> PollAfter {
        PollAfter::new(wait_seconds, rand::random(), self.0.config.claim_ttl)
    }
}

fn before_the_opening(board: &Board) -> Status {
    Status::Prequeue { opens_in_seconds: board.opens_in_seconds(Instant::now()) }
}
