//! Group commit: arrivals of one concert travel to Redis together.
//!
//! One group is in flight at a time; the next one is whatever arrived meanwhile. There is no timer,
//! so an idle server adds no delay. The groups are sent by a task of their own: a client that goes
//! away cannot take the others' answers with it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::QueueError;
use super::line::Line;
use super::scripts::{Enter, EnterOutcome, EnteredGroup, KnownArrival};
use crate::concerts::Concert;
use crate::redis::RedisError;
use crate::words::{Place, UserId};

/// How long the second copy of a group may take. Shorter than the first, so that a Redis that does
/// not answer costs its client less than half a second.
const RESEND_TIMEOUT: Duration = Duration::from_millis(150);

/// What an arrival got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arrived {
    pub place: Place,
    pub stands: Stands,
}

/// How the place of an arrival stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stands {
    /// Given now, at this position.
    New { position: u64 },
    /// The user had it already, and it waits.
    Waiting,
    /// The user had it already, and it is active for so long.
    Active { expires_in_ms: u64 },
}

struct Arrival {
    user: Option<UserId>,
    answer: oneshot::Sender<Result<Arrived, QueueError>>,
}

/// The arrivals that wait for their group.
pub(super) struct Arrivals {
    queue: Mutex<Queue>,
    queued_max: usize,
}

#[derive(Default)]
struct Queue {
    arrivals: VecDeque<Arrival>,
    is_sending: bool,
}

impl Arrivals {
    pub fn new(queued_max: usize) -> Self {
        Self { queue: Mutex::default(), queued_max }
    }

    /// Adds an arrival; true if the caller must start to send.
    fn add(&self, arrival: Arrival) -> Result<bool, QueueError> {
        let mut queue = self.queue.lock();
        if queue.arrivals.len() >= self.queued_max {
            return Err(QueueError::Overloaded);
        }
        queue.arrivals.push_back(arrival);
        Ok(!std::mem::replace(&mut queue.is_sending, true))
    }

    /// The next group, in order of arrival; empty when nobody is left, and then sending has ended.
    fn next_group(&self) -> Vec<Arrival> {
        let mut queue = self.queue.lock();
        let mut group = Vec::new();
        let mut named = 0;
        while group.len() < Enter::ARRIVALS_MAX {
            let Some(next) = queue.arrivals.front() else {
                break;
            };
            if next.user.is_some() && named == Enter::NAMED_MAX {
                break;
            }
            // Whoever hung up before anything was sent takes no place.
            let gone = next.answer.is_closed();
            named += usize::from(next.user.is_some() && !gone);
            group.extend(queue.arrivals.pop_front().filter(|_| !gone));
        }
        queue.is_sending = !group.is_empty();
        group
    }
}

/// Ends sending when the task ends in any other way than by an empty queue.
struct Sending(Arc<Line>);

impl Drop for Sending {
    fn drop(&mut self) {
        let mut queue = self.0.arrivals.queue.lock();
        if std::thread::panicking() {
            queue.arrivals.clear();
            queue.is_sending = false;
        }
    }
}

impl Line {
    /// Gives `user` (or somebody anonymous) a place, together with whoever arrives meanwhile.
    pub async fn arrive(
        self: &Arc<Self>,
        concert: &Arc<Concert>,
        user: Option<UserId>,
    ) -> Result<Arrived, QueueError> {
        let (answer, arrived) = oneshot::channel();
        if self.arrivals.add(Arrival { user, answer })? {
            tokio::spawn(Arc::clone(self).send_groups(Arc::clone(concert)));
        }
        arrived.await.unwrap_or(Err(QueueError::OutcomeUnknown))
    }

    async fn send_groups(self: Arc<Self>, concert: Arc<Concert>) {
        let sending = Sending(self);
        let line = &sending.0;
        loop {
            // Whoever is being read from a socket right now travels along: a group costs Redis, and
            // this server, nearly the same with one more. With nobody there it costs nothing.
            tokio::task::yield_now().await;
            let group = line.arrivals.next_group();
            if group.is_empty() {
                return;
            }
            let users: Vec<_> = group.iter().map(|arrival| arrival.user).collect();
            let outcome = line.enter(&concert, &users).await;
            for (index, arrival) in group.into_iter().enumerate() {
                let answer = match &outcome {
                    Ok(places) => places.get(index).copied().ok_or(QueueError::OutcomeUnknown),
                    Err(error) => Err(error.clone()),
                };
                // A client that went away still has its place; nobody waits for this answer.
                let _ = arrival.answer.send(answer);
            }
        }
    }

    /// One group; settles the line first where that is needed, once.
    async fn enter(
        &self,
        concert: &Concert,
        users: &[Option<UserId>],
    ) -> Result<Vec<Arrived>, QueueError> {
        let group = Uuid::new_v4();
        let (mut settled, mut drawn) = (false, false);
        loop {
            if let Some(epoch) = self.epoch() {
                let (floor, has_draw) = (self.floor(), self.lottery.seen().is_some());
                let call =
                    Enter { concert, group, floor, epoch: &epoch, has_draw, arrivals: users };
                match self.enter_safely(&call).await? {
                    EnterOutcome::Entered(entered) => {
                        let places = places(&entered, users.len())?;
                        for arrived in &places {
                            self.raise_floor(arrived.place);
                        }
                        return Ok(places);
                    }
                    EnterOutcome::Closed => return Err(QueueError::Closed),
                    EnterOutcome::Undrawn if !drawn => {
                        self.advance_draw(concert).await.map_err(QueueError::read)?;
                        drawn = true;
                        continue;
                    }
                    EnterOutcome::Undrawn => return Err(QueueError::NotReady),
                    EnterOutcome::Unsettled => {}
                }
            }
            if settled {
                return Err(QueueError::NotReady);
            }
            self.settle(concert).await.map_err(QueueError::read)?;
            settled = true;
        }
    }

    /// Sends a group, and once more after its answer was lost: the same id gives the same places.
    async fn enter_safely(&self, call: &Enter<'_>) -> Result<EnterOutcome, QueueError> {
        let lost = match self.redis.run(call).await {
            Err(error @ RedisError::Lost { .. }) => error,
            outcome => return outcome.map_err(QueueError::write),
        };
        let second = self.redis.run_within(call, RESEND_TIMEOUT).await;
        // That the second copy was refused says nothing about the first.
        second.map_err(|_| QueueError::write(lost))
    }
}

/// The places of a group, in the order of its arrivals.
fn places(entered: &EnteredGroup, arrivals: usize) -> Result<Vec<Arrived>, QueueError> {
    let mut known = entered.known.iter().peekable();
    let mut new = 0;
    let mut places = Vec::with_capacity(arrivals);
    for index in 0..arrivals {
        if let Some(known) = known.next_if(|known| known.index == index) {
            places
                .push(Arrived { place: known.place, stands: known_stands(known, entered.now_ms) });
            continue;
        }
        let place = i128::from(entered.first.get()) + i128::from(new);
        new += 1;
        places.push(Arrived {
            place: Place::try_from(place).map_err(|_| QueueError::OutcomeUnknown)?,
            stands: Stands::New { position: entered.before + new },
        });
    }
    Ok(places)
}

fn known_stands(known: &KnownArrival, now_ms: u64) -> Stands {
    // 0 is the answer for a place that waits.
    match known.expires_ms.checked_sub(now_ms) {
        Some(expires_in_ms) => Stands::Active { expires_in_ms },
        None => Stands::Waiting,
    }
}
