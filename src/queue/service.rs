//! The waiting line as the rest of the server sees it: arrive, ask, leave.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use futures::{StreamExt, TryStreamExt};
use parking_lot::RwLock;
use uuid::Uuid;

use super::arrivals::{Arrived, Stands};
use super::draw::Proof;
use super::draw::proof::PublicDraw;
use super::line::Line;
use super::scripts::{ReadBoard, Settled};
use super::settings::{Configure, ConfigureOutcome, SettingsChange};
use super::token_scripts::{Leave, LeaveOutcome, TokenValue};
use super::{
    Board, BoardFacts, OnBoard, Phase, QueueConfig, QueueError, Standing, Token, TokenKeys,
};
use crate::concerts::{Concert, Concerts, Gates, Prequeue};
use crate::redis::{Redis, RedisError, Shard};
use crate::words::{ConcertId, Place, UserId};

/// How many lines are settled at a time.
const SETTLES_AT_ONCE: usize = 16;

/// The waiting lines of all concerts. Cheap to clone.
#[derive(Clone)]
pub struct Queue(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub redis: Redis,
    pub concerts: Concerts,
    pub gates: Gates,
    pub config: Arc<QueueConfig>,
    keys: TokenKeys,
    /// Made at the first use; as many as the catalogue has concerts.
    lines: RwLock<HashMap<ConcertId, Arc<Line>>>,
}

/// What an arrival is answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Joined {
    /// The token in the form that the API gives.
    pub token: String,
    /// How it stands.
    pub standing: Standing,
    /// Whether it was given now.
    pub is_new: bool,
}

/// Where a verified token was found.
pub(super) enum Found {
    Waiting { position: u64, board: Arc<Board> },
    Active { value: TokenValue, expires_in_ms: u64 },
    Gone,
}

impl Queue {
    /// The lines of `concerts`. Nothing is read before somebody asks.
    #[must_use]
    pub fn new(
        redis: Redis,
        concerts: Concerts,
        gates: Gates,
        config: QueueConfig,
        token_keys: TokenKeys,
    ) -> Self {
        Self(Arc::new(Inner {
            redis,
            concerts,
            gates,
            config: Arc::new(config),
            keys: token_keys,
            lines: RwLock::default(),
        }))
    }

    /// Gives `user` a place in the line of `concert`, or says which one they have already.
    ///
    /// Without a user it is a new place each time.
    pub async fn join(
        &self,
        concert: &Arc<Concert>,
        user: Option<UserId>,
    ) -> Result<Joined, QueueError> {
        let line = self.line(concert.id);
        let mut board = line.board().await?;
        if concert.prequeue != Prequeue::Fifo {
            board = Box::pin(before_a_lottery(&line, concert, user, board)).await?;
        }
        let arrived = match refusal(board.facts()) {
            Some(refusal) => Err(refusal),
            None => line.arrive(concert, user).await,
        };
        let Arrived { place, stands } = match arrived {
            Err(refusal @ (QueueError::Closed | QueueError::SoldOut)) => {
                let kept = Box::pin(self.rejoin(&line, concert, user)).await?;
                return kept.ok_or(refusal);
            }
            arrived => arrived?,
        };
        let standing = match stands {
            Stands::New { position } => self.arrived(concert.id, position, &board),
            Stands::Active { expires_in_ms } => self.active(concert.id, user, expires_in_ms),
            Stands::Waiting => {
                let standing = self.standing_of(&line, concert, place).await?;
                // It was let in and expired, or left, since the group was answered.
                standing.ok_or(QueueError::OutcomeUnknown)?
            }
        };
        Ok(self.joined(place, standing, matches!(stands, Stands::New { .. })))
    }

    /// The place that `user` has already; nobody is given one. For a sale that takes nobody in.
    async fn rejoin(
        &self,
        line: &Arc<Line>,
        concert: &Concert,
        user: Option<UserId>,
    ) -> Result<Option<Joined>, QueueError> {
        let Some(user) = user else {
            return Ok(None);
        };
        let Some(place) = self.place_of(concert, user).await? else {
            return Ok(None);
        };
        let standing = self.standing_of(line, concert, place).await?;
        Ok(standing.map(|standing| self.joined(place, standing, false)))
    }

    fn joined(&self, place: Place, standing: Standing, is_new: bool) -> Joined {
        let token = Token { concert: standing.concert, place }.sign(&self.0.keys);
        Joined { token: token.with_position(standing.position), standing, is_new }
    }

    /// How `token` stands. While it waits, no store is asked.
    pub async fn standing(&self, token: &str) -> Result<Standing, QueueError> {
        let (line, concert, place) = self.open(token)?;
        line.count_poll();
        self.standing_of(&line, &concert, place).await?.ok_or(QueueError::TokenExpired)
    }

    /// How the token of `place` stands; none if it is no longer live.
    pub(super) async fn standing_of(
        &self,
        line: &Arc<Line>,
        concert: &Concert,
        place: Place,
    ) -> Result<Option<Standing>, QueueError> {
        Ok(match self.find(line, concert, place).await? {
            Found::Waiting { position, board } => Some(self.waiting(concert.id, position, &board)),
            Found::Active { value, expires_in_ms } => {
                Some(self.active(concert.id, value.owner, expires_in_ms))
            }
            Found::Gone => None,
        })
    }

    /// Gives up the place of `token`, and its holds, for `asker` if the request says who asks.
    ///
    /// A second time it is [`QueueError::TokenExpired`], as for any token that is no longer live.
    pub async fn leave(&self, token: &str, asker: Option<UserId>) -> Result<(), QueueError> {
        let (line, concert, place) = self.open(token)?;
        let key = concert.keys.token(place);
        // Twice, because the token may be bound to its user in between; never more often.
        for _ in 0..2 {
            let value = self.0.redis.get(&key).await.map_err(QueueError::read)?;
            let call = Leave {
                concert: &concert,
                place,
                user: value.as_deref().and_then(TokenValue::parse).and_then(|token| token.owner),
                asker,
                version: Uuid::new_v4(),
            };
            match self.0.redis.run(&call).await.map_err(QueueError::write)? {
                LeaveOutcome::Left { .. } => {
                    line.boards.leave(place);
                    return Ok(());
                }
                LeaveOutcome::Gone => return Err(QueueError::TokenExpired),
                LeaveOutcome::NotYours => return Err(QueueError::NotYours),
                LeaveOutcome::Paying => return Err(QueueError::PaymentInProgress),
                LeaveOutcome::OtherUser => {}
            }
        }
        Err(QueueError::NotYours)
    }

    /// What everybody may know of the pre-line of `concert`.
    pub async fn proof(&self, concert: &Arc<Concert>) -> Result<Proof, QueueError> {
        let line = self.line(concert.id);
        let board = line.board().await?;
        let facts = board.facts();
        let draw = facts.draw.as_ref();
        let seed = draw.and_then(|draw| line.lottery.seed(concert.id, draw));
        let missed_lottery = facts.has_missed_lottery(&concert.prequeue);
        let prequeue = match draw {
            Some(_) => "lottery",
            None if missed_lottery => Prequeue::Fifo.as_str(),
            // A lottery is committed to within a second, or at the first arrival.
            None => concert.prequeue.as_str(),
        };
        Ok(Proof {
            concert_id: concert.id.get(),
            prequeue: prequeue.to_owned(),
            missed_lottery,
            opens_at: facts.settings.opens_at(),
            draw: draw.map(|draw| PublicDraw::new(draw, seed.as_ref())),
        })
    }

    /// A board of `concert` that may answer polls now.
    pub async fn board(&self, concert: &Arc<Concert>) -> Result<Arc<Board>, QueueError> {
        self.line(concert.id).board().await
    }

    /// The line of `concert` as Redis has it now: a read of its own, which makes no board.
    pub async fn facts(&self, concert: &Arc<Concert>) -> Result<BoardFacts, QueueError> {
        // No dead number is asked for.
        let call = ReadBoard { concert, after: u64::MAX, limit: 1 };
        let row = self.0.redis.run(&call).await.map_err(QueueError::read)?;
        Ok(self.line(concert.id).reading(concert, row).facts)
    }

    /// Changes live settings of `concert`, all or none, on all servers, and notes each change.
    pub async fn configure(
        &self,
        concert: &Arc<Concert>,
        request: &str,
        change: &SettingsChange,
    ) -> Result<(), QueueError> {
        let call = Configure { concert, request, change };
        match self.0.redis.run(&call).await.map_err(QueueError::write)? {
            ConfigureOutcome::Configured => Ok(()),
            ConfigureOutcome::NeverOpen { opens_at_ms, closes_at_ms } => {
                Err(QueueError::NeverOpen { opens_at_ms, closes_at_ms })
            }
            ConfigureOutcome::NotAwaited(why) => Err(QueueError::BeaconNotAwaited(why)),
        }
    }

    /// Makes sure that Redis gives no number of `concert` twice.
    pub async fn settle(&self, concert: &Arc<Concert>) -> Result<Settled, RedisError> {
        self.line(concert.id).settle(concert).await
    }

    /// Settles every line of `shard`: what must come before scripts are loaded into its Redis.
    pub async fn settle_all(&self, shard: &Shard) -> Result<(), RedisError> {
        let concerts = self.0.concerts.load();
        let here = concerts.iter().filter(|concert| shard.has(&concert.keys.run));
        let here: Vec<_> = here.cloned().collect();
        futures::stream::iter(here)
            .map(|concert| async move { self.settle(&concert).await })
            .buffer_unordered(SETTLES_AT_ONCE)
            .try_for_each(|_| async { Ok(()) })
            .await
    }

    /// This server's part of the line of `concert`.
    pub(super) fn line(&self, concert: ConcertId) -> Arc<Line> {
        if let Some(line) = self.0.lines.read().get(&concert) {
            return Arc::clone(line);
        }
        let inner = &self.0;
        let new = || {
            let (redis, concerts) = (inner.redis.clone(), inner.concerts.clone());
            let config = Arc::clone(&inner.config);
            Arc::new(Line::new(concert, redis, concerts, config, inner.keys.clone()))
        };
        Arc::clone(inner.lines.write().entry(concert).or_insert_with(new))
    }

    /// Verifies a token and opens the line that it belongs to.
    pub(super) fn open(&self, token: &str) -> Result<(Arc<Line>, Arc<Concert>, Place), QueueError> {
        let token = self.0.keys.verify(token).map_err(QueueError::TokenInvalid)?;
        let concert = self.0.concerts.get(token.concert);
        let concert = concert.ok_or(QueueError::UnknownConcert { concert: token.concert })?;
        Ok((self.line(concert.id), concert, token.place))
    }

    /// Where the token of `place` is: on the board, or below it by its own key.
    ///
    /// Nearly every request is a poll that the board here answers; only the others pay for the
    /// size of what may follow.
    pub(super) async fn find(
        &self,
        line: &Arc<Line>,
        concert: &Concert,
        place: Place,
    ) -> Result<Found, QueueError> {
        if let Some(board) = line.fresh_board(Instant::now())
            && let OnBoard::Waiting { position } = board.position_of(place)
        {
            return Ok(Found::Waiting { position, board });
        }
        Box::pin(self.look_up(line, concert, place)).await
    }

    async fn look_up(
        &self,
        line: &Arc<Line>,
        concert: &Concert,
        place: Place,
    ) -> Result<Found, QueueError> {
        let mut board = line.board().await?;
        if board.position_of(place) == OnBoard::Beyond {
            board = self.board_that_knows(line, concert, place).await?;
        }
        match board.position_of(place) {
            OnBoard::Waiting { position } => Ok(Found::Waiting { position, board }),
            OnBoard::Dead => Ok(Found::Gone),
            OnBoard::Beyond => Err(QueueError::NotReady),
            OnBoard::Served => self.find_served(line, concert, place).await,
        }
    }

    /// A number above the board's last was given after that board, or by a Redis that lost it.
    async fn board_that_knows(
        &self,
        line: &Arc<Line>,
        concert: &Concert,
        place: Place,
    ) -> Result<Arc<Board>, QueueError> {
        let board = line.next_board().await?;
        if board.position_of(place) != OnBoard::Beyond {
            return Ok(board);
        }
        line.raise_floor(place);
        line.settle(concert).await.map_err(QueueError::read)?;
        line.next_board().await
    }

    /// Below the head only the token's own key knows.
    pub(super) async fn find_served(
        &self,
        line: &Arc<Line>,
        concert: &Concert,
        place: Place,
    ) -> Result<Found, QueueError> {
        let (redis, keys) = (&self.0.redis, &concert.keys);
        let token = redis.get_with_ttl(&keys.token(place)).await;
        if let Some((value, expires_in_ms)) = token.map_err(QueueError::read)? {
            let value = TokenValue::parse(&value).ok_or(QueueError::TokenExpired)?;
            return Ok(Found::Active { value, expires_in_ms });
        }
        // Redis may have lost the promotion, and with it the key: then the place waits again.
        let waits = redis.has_score(&keys.waiting, place.get()).await;
        if !waits.map_err(QueueError::read)? {
            return Ok(Found::Gone);
        }
        let board = line.next_board().await?;
        match board.position_of(place) {
            OnBoard::Waiting { position } => Ok(Found::Waiting { position, board }),
            // In front of a draw's people is whoever Redis forgot to have gone before it.
            OnBoard::Served if board.facts().is_in_draw() => {
                Ok(Found::Waiting { position: 1, board })
            }
            _ => Err(QueueError::NotReady),
        }
    }
}

/// What an arrival at a lottery needs: the seed is committed to before anybody comes, and who comes
/// before the draw has a name, because one person is drawn once.
async fn before_a_lottery(
    line: &Arc<Line>,
    concert: &Concert,
    user: Option<UserId>,
    mut board: Arc<Board>,
) -> Result<Arc<Board>, QueueError> {
    let may_be_committed = |facts: &BoardFacts| {
        facts.draw.is_none() && facts.waiting == 0 && facts.phase() == Phase::Before
    };
    if may_be_committed(board.facts()) && line.lottery.seen().is_none() {
        line.advance_draw(concert).await.map_err(QueueError::read)?;
        board = line.next_board().await?;
    }
    let is_frozen =
        |facts: &BoardFacts| facts.draw.as_ref().is_none_or(|draw| draw.frozen.is_some());
    if user.is_none() && !is_frozen(board.facts()) {
        // Nobody is refused by a board that is older than the opening.
        board = line.next_board().await?;
        if !is_frozen(board.facts()) {
            return Err(QueueError::Anonymous);
        }
    }
    Ok(board)
}

/// Why a line takes nobody in.
fn refusal(facts: &BoardFacts) -> Option<QueueError> {
    if facts.phase() == Phase::Closed {
        return Some(QueueError::Closed);
    }
    facts.is_sold_out().then_some(QueueError::SoldOut)
}
