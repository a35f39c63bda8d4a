//! Hearing of one's place instead of asking: what has changed for one token, board by board.
//!
//! A listener asks no store: it looks at the boards that its server reads for everybody. Only when
//! its place was served, or no board knows it, does it read its own token's key.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::boards::BoardListener;
use super::line::Line;
use super::{Board, OnBoard, Queue, QueueError, Standing, Status};
use crate::concerts::Concert;
use crate::words::{Place, UserId};

/// How long a listener who was told numbers is not told others.
const TOLD_EVERY: Duration = Duration::from_millis(900);

/// Many places are gone at once when the line is cleared: they are looked up within this time, or as
/// many in a millisecond if they are fewer.
const LOST_WITHIN_MS: u64 = 500;
const LOST_PER_MS: u64 = 20;

/// Places that no board knows are looked up within this time, not all at once: after a loss of Redis
/// they may be everybody's.
const LOOK_UP_WITHIN_MS: u64 = 2_000;

/// Who listens, as far as the request says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// Whoever has the token: users need no proof here.
    Anybody,
    /// A user.
    User(UserId),
    /// Somebody who should have said it: learns nothing that only the token's owner may.
    Unknown,
}

/// What has changed since a listener was last told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// The place in line, or that it counts again.
    Position,
    /// Only the estimated wait, by more than a tenth.
    Estimate,
    /// What operators tell everybody who waits.
    Message,
    /// No seat is free, or how many are only held.
    SoldOut,
    /// The sale is over.
    Closed,
    /// It is this token's turn. The last thing that is told.
    Promoted,
}

/// Somebody who waits, and listens.
pub struct Listener {
    queue: Queue,
    line: Arc<Line>,
    concert: Arc<Concert>,
    place: Place,
    asker: Asker,
    boards: BoardListener,
    /// The line as the place was last seen in it.
    seen: Option<Seen>,
    told: Standing,
    told_at: Instant,
}

/// A line at one moment, as far as it tells whether it was cleared since.
#[derive(Debug, Clone, Copy)]
struct Seen {
    head: Option<Place>,
    last: Option<Place>,
    waiting: u64,
    promoted: u64,
}

impl Seen {
    fn of(board: &Board) -> Self {
        let facts = board.facts();
        let (head, last) = (facts.head, facts.last);
        Self { head, last, waiting: facts.waiting, promoted: facts.promoted }
    }

    /// How many of those who waited then had lost their place by `now`, if the line was cleared. All
    /// lose it together: while one of them still waits, it was not.
    fn lost_by(self, now: Self) -> u64 {
        if now.head.is_some() && now.head <= self.last {
            return 0;
        }
        self.waiting.saturating_sub(now.promoted.saturating_sub(self.promoted))
    }
}

/// Within which time so many who lost their place are looked up, so that Redis does other things, too.
/// Somebody's turn may be among them if all others left: a few are looked up at once.
fn lost_within_ms(lost: u64) -> u64 {
    (lost / LOST_PER_MS).min(LOST_WITHIN_MS)
}

impl Queue {
    /// Listens for what becomes of `token`, which stands as [`Listener::told`] now.
    ///
    /// # Errors
    ///
    /// As for [`Self::standing`], and [`QueueError::NotYours`].
    pub async fn listen(&self, token: &str, asker: Asker) -> Result<Listener, QueueError> {
        let (line, concert, place) = self.open(token)?;
        // Before the token is looked at, so that nothing is missed.
        let boards = line.listen();
        let standing = self.standing_of(&line, &concert, place).await?;
        let told = fit_for(asker, standing.ok_or(QueueError::TokenExpired)?)?;
        let (queue, told_at) = (self.clone(), Instant::now());
        Ok(Listener { queue, line, concert, place, asker, boards, seen: None, told, told_at })
    }
}

/// What `asker` may know of a token.
fn fit_for(asker: Asker, mut standing: Standing) -> Result<Standing, QueueError> {
    match asker {
        Asker::User(user) => standing.check_owner(Some(user))?,
        Asker::Unknown => standing.expires_in_seconds = None,
        Asker::Anybody => {}
    }
    Ok(standing)
}

impl Listener {
    /// How the token stands, as it was last told.
    #[must_use]
    pub fn told(&self) -> &Standing {
        &self.told
    }

    /// Waits for a change: what has changed, at least one thing; none when the token is gone.
    /// After [`Heard::Promoted`] there is nothing more to wait for.
    pub async fn next(&mut self) -> Option<Vec<Heard>> {
        loop {
            let board = self.boards.next().await?;
            let standing = match board.position_of(self.place) {
                OnBoard::Waiting { position } => {
                    self.seen = Some(Seen::of(&board));
                    Ok(Some(self.queue.waiting(self.concert.id, position, &board)))
                }
                OnBoard::Dead => Ok(None),
                OnBoard::Served => {
                    let lost = self.seen.map_or(0, |seen| seen.lost_by(Seen::of(&board)));
                    pause_within(lost_within_ms(lost)).await;
                    self.look_up().await
                }
                OnBoard::Beyond => self.look_up_later(&board).await,
            };
            let Ok(standing) = standing else {
                // The next board tries again.
                continue;
            };
            let standing = standing?;
            let heard = changes(&self.told, &standing);
            let is_urgent = heard.contains(&Heard::Promoted)
                || heard.contains(&Heard::Message)
                || is_another_kind(&self.told, &standing);
            if heard.is_empty() || (!is_urgent && self.told_at.elapsed() < TOLD_EVERY) {
                continue;
            }
            self.told = standing;
            self.told_at = Instant::now();
            return Some(heard);
        }
    }

    /// The token's own key; none if it is no longer live, or somebody else's.
    async fn look_up(&self) -> Result<Option<Standing>, QueueError> {
        let standing = self.queue.standing_of(&self.line, &self.concert, self.place).await?;
        Ok(standing.and_then(|standing| fit_for(self.asker, standing).ok()))
    }

    /// The same for a place above the last one of `board`, which is perhaps only older.
    async fn look_up_later(&self, board: &Board) -> Result<Option<Standing>, QueueError> {
        pause_within(LOOK_UP_WITHIN_MS).await;
        let newest = self.line.fresh_board(Instant::now());
        let is_known = newest.is_some_and(|newest| {
            newest.sent() > board.sent() && newest.position_of(self.place) != OnBoard::Beyond
        });
        if is_known { Ok(Some(self.told.clone())) } else { self.look_up().await }
    }
}

async fn pause_within(ms: u64) {
    if ms > 0 {
        tokio::time::sleep(Duration::from_millis(rand::random_range(0..ms))).await;
    }
}

/// What of a listener's standing is news.
fn changes(told: &Standing, now: &Standing) -> Vec<Heard> {
    if now.status == Status::Active {
        return vec![Heard::Promoted];
    }
    let mut heard = Vec::new();
    let is_another = is_another_kind(told, now);
    match now.status {
        Status::SoldOut { .. } if now.status != told.status => heard.push(Heard::SoldOut),
        Status::Closed if is_another => heard.push(Heard::Closed),
        _ => {}
    }
    if now.message != told.message {
        heard.push(Heard::Message);
    }
    let goes_on = is_another && !matches!(now.status, Status::SoldOut { .. } | Status::Closed);
    let (wait, told_wait) = (now.estimated_wait_seconds, told.estimated_wait_seconds);
    if now.position != told.position || goes_on {
        heard.push(Heard::Position);
    } else if !is_another && wait.abs_diff(told_wait) * 10 > told_wait {
        heard.push(Heard::Estimate);
    }
    heard
}

/// Whether it is at another part of its way, whatever the numbers are there.
fn is_another_kind(told: &Standing, now: &Standing) -> bool {
    std::mem::discriminant(&told.status) != std::mem::discriminant(&now.status)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::queue::PollAfter;
    use crate::words::ConcertId;

    fn standing(status: Status, position: u64, wait: u64, message: Option<&str>) -> Standing {
        Standing {
            concert: ConcertId::try_from(1).unwrap(),
            status,
            position,
            estimated_wait_seconds: wait,
            poll_after: PollAfter::new(wait, 0.5, Duration::from_secs(45)),
            expires_in_seconds: None,
            owner: None,
            message: message.map(Arc::from),
        }
    }

    #[rstest]
    #[case(Status::Waiting, 9, 100, None, &[])]
    #[case(Status::Waiting, 8, 100, None, &[Heard::Position])]
    #[case(Status::Waiting, 8, 50, None, &[Heard::Position])]
    #[case(Status::Waiting, 9, 110, None, &[])]
    #[case(Status::Waiting, 9, 111, None, &[Heard::Estimate])]
    #[case(Status::Waiting, 9, 89, None, &[Heard::Estimate])]
    #[case(Status::Waiting, 9, 100, Some("soon"), &[Heard::Message])]
    #[case(Status::Waiting, 8, 100, Some("soon"), &[Heard::Message, Heard::Position])]
    #[case(Status::SoldOut { held: 2 }, 9, 86_400, None, &[Heard::SoldOut])]
    #[case(Status::Closed, 9, 86_400, None, &[Heard::Closed])]
    #[case(Status::Prequeue { opens_in_seconds: 9 }, 9, 100, None, &[Heard::Position])]
    #[case(Status::Active, 0, 0, None, &[Heard::Promoted])]
    fn each_change_is_told_by_its_name(
        #[case] status: Status,
        #[case] position: u64,
        #[case] wait: u64,
        #[case] message: Option<&str>,
        #[case] heard: &[Heard],
    ) {
        let told = standing(Status::Waiting, 9, 100, None);
        assert_eq!(changes(&told, &standing(status, position, wait, message)), heard);
    }

    fn seen(head: Option<u64>, last: u64, waiting: u64, promoted: u64) -> Seen {
        let place = |number: u64| Place::try_from(i128::from(number)).unwrap();
        Seen { head: head.map(place), last: Some(place(last)), waiting, promoted }
    }

    #[rstest]
    #[case::a_turn_whose_predecessors_left(seen(Some(9_001), 10_000, 1_000, 501), 0)]
    #[case::a_turn_at_the_end_of_a_line_that_left(seen(Some(10_000), 10_000, 1, 501), 0)]
    #[case::turns_of_all(seen(None, 10_000, 0, 10_500), 0)]
    #[case::turns_of_all_and_newcomers(seen(Some(10_001), 10_009, 9, 10_500), 0)]
    #[case::cleared(seen(None, 10_000, 0, 500), 10_000)]
    #[case::cleared_after_some_were_let_in(seen(None, 10_000, 0, 600), 9_900)]
    #[case::cleared_and_newcomers(seen(Some(10_001), 10_009, 9, 500), 10_000)]
    fn only_a_line_that_is_gone_as_a_whole_was_cleared(#[case] now: Seen, #[case] lost: u64) {
        assert_eq!(seen(Some(1), 10_000, 10_000, 500).lost_by(now), lost);
    }

    #[rstest]
    #[case(0, 0)]
    #[case(19, 0)]
    #[case(8_000, 400)]
    #[case(1_000_000, 500)]
    fn a_few_who_lost_their_place_are_looked_up_at_once(#[case] lost: u64, #[case] ms: u64) {
        assert_eq!(lost_within_ms(lost), ms);
    }

    #[test]
    fn a_place_that_counts_again_after_a_sell_out_is_told_as_a_position() {
        let told = standing(Status::SoldOut { held: 0 }, 9, 86_400, Some("a"));
        let now = standing(Status::Waiting, 9, 100, None);
        assert_eq!(changes(&told, &now), [Heard::Message, Heard::Position]);
    }
}
