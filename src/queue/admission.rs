//! Who may use the protected routes: the first use of a token claims it and binds it to its user.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::line::Line;
use super::service::Found;
use super::token_scripts::{Claim, ClaimOutcome, TokenValue};
use super::{Board, OnBoard, Queue, QueueError};
use crate::concerts::Concert;
use crate::mutant;
use crate::words::{ConcertId, Place, UserId};

/// An active token, claimed, and bound if its user is known.
#[derive(Debug, Clone)]
pub struct Admitted {
    /// The token's concert.
    pub concert: Arc<Concert>,
    /// The token's place.
    pub place: Place,
    /// Whose it is, once bound.
    pub user: Option<UserId>,
    /// Whether it may ever have held a seat.
    pub has_held: bool,
}

/// What a route that takes a consumed token too learns of it.
#[derive(Debug, Clone)]
pub enum Admission {
    /// It is active.
    Active(Admitted),
    /// It is genuine, it was let in once, and it is no longer live: consumed by a payment, expired
    /// or given up. Only PostgreSQL knows which.
    Gone {
        /// The token's concert.
        concert: Arc<Concert>,
        /// The token's place.
        place: Place,
    },
}

impl Queue {
    /// Admits an active token, for `concert` if the request names one and `user` if it names one.
    pub async fn admit(
        &self,
        token: &str,
        concert: Option<ConcertId>,
        user: Option<UserId>,
    ) -> Result<Admitted, QueueError> {
        match self.admit_or_spent(token, concert, user).await? {
            Admission::Active(admitted) => Ok(admitted),
            Admission::Gone { .. } => Err(QueueError::TokenExpired),
        }
    }

    /// The concert and the place of a genuine token that is not known to wait: whether it is active,
    /// and whose, is left to a script of the caller that looks at the token's key. None: ask
    /// [`Self::admit`].
    pub fn perhaps_admitted(
        &self,
        token: &str,
        concert: Option<ConcertId>,
    ) -> Result<Option<(Arc<Concert>, Place)>, QueueError> {
        let (line, own, place) = self.open(token)?;
        let is_its_own = concert.is_none_or(|concert| concert == own.id);
        let board = line.known_board(Instant::now());
        let waits = |board: Arc<Board>| matches!(board.position_of(place), OnBoard::Waiting { .. });
        Ok((is_its_own && !board.is_some_and(waits)).then_some((own, place)))
    }

    /// As [`Self::admit`]; a token that is no longer live is left to the caller to judge.
    pub async fn admit_or_spent(
        &self,
        token: &str,
        concert: Option<ConcertId>,
        user: Option<UserId>,
    ) -> Result<Admission, QueueError> {
        let (line, own, place) = self.open(token)?;
        // Whoever is let in uses the token more often than anybody else: its key comes first.
        let value = self.0.redis.get(&own.keys.token(place)).await;
        let value = match value.map_err(QueueError::read)? {
            Some(value) => TokenValue::parse(&value),
            None => self.value_of_unlisted(&line, &own, place).await?,
        };
        let Some(value) = value else {
            return Ok(Admission::Gone { concert: own, place });
        };
        if concert.is_some_and(|concert| concert != own.id) {
            return Err(QueueError::WrongConcert { concert: own.id });
        }
        let owner = match (value.owner, user) {
            (Some(owner), Some(user)) if owner != user && !mutant::lacks("owner-check") => {
                return Err(QueueError::NotYours);
            }
            (None, Some(_)) => self.claim(&own, place, user).await?,
            _ if !value.claimed => self.claim(&own, place, user).await?,
            (owner, _) => Some(owner),
        };
        Ok(match owner {
            Some(user) => {
                let has_held = value.has_held;
                Admission::Active(Admitted { concert: own, place, user, has_held })
            }
            None => Admission::Gone { concert: own, place },
        })
    }

    /// How long the token lives if nothing happens to it; none if it is no longer active.
    pub async fn life(&self, admitted: &Admitted) -> Result<Option<Duration>, QueueError> {
        let key = admitted.concert.keys.token(admitted.place);
        let value = self.0.redis.get_with_ttl(&key).await.map_err(QueueError::read)?;
        Ok(value.map(|(_, expires_in_ms)| Duration::from_millis(expires_in_ms)))
    }

    /// A token without a key waits, or is gone; or it was let in since the key was read.
    async fn value_of_unlisted(
        &self,
        line: &Arc<Line>,
        concert: &Concert,
        place: Place,
    ) -> Result<Option<TokenValue>, QueueError> {
        let mut found = self.find(line, concert, place).await?;
        if let Found::Waiting { .. } = found
            && !self.still_waits(concert, place).await?
        {
            // The board is older than the promotion, perhaps even than a payment after it.
            found = self.find_served(line, concert, place).await?;
        }
        match found {
            Found::Active { value, .. } => Ok(Some(value)),
            Found::Gone => Ok(None),
            Found::Waiting { position, board } => {
                let standing = self.waiting(concert.id, position, &board);
                Err(QueueError::StillWaiting { position, poll_after: standing.poll_after })
            }
        }
    }

    async fn still_waits(&self, concert: &Concert, place: Place) -> Result<bool, QueueError> {
        let waits = self.0.redis.has_score(&concert.keys.waiting, place.get()).await;
        waits.map_err(QueueError::read)
    }

    /// The owner after the claim; none if the token is not active any more.
    async fn claim(
        &self,
        concert: &Concert,
        place: Place,
        user: Option<UserId>,
    ) -> Result<Option<Option<UserId>>, QueueError> {
        let call = Claim {
            concert,
            place,
            user,
            active_ttl: self.0.config.active_ttl,
            session_max: self.0.config.session_max,
        };
        match self.0.redis.run(&call).await.map_err(QueueError::write)? {
            ClaimOutcome::Active { owner, .. } => Ok(Some(owner)),
            ClaimOutcome::NotYours => Err(QueueError::NotYours),
            ClaimOutcome::UserHasToken => Err(QueueError::UserHasToken),
            ClaimOutcome::Gone => Ok(None),
        }
    }
}
