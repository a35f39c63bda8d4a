//! How many requests are in work, and how many may be.
//!
//! A request is in work while this server works for it. While it waits for the rest of a body it is
//! not: otherwise some thousand clients that send a byte now and then would take all the room there
//! is, and people who are about to pay would be refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::problem::{Code, Problem};
use super::routing::Priority;

/// The room of one server.
#[derive(Debug)]
pub(super) struct Room {
    taken: AtomicUsize,
    most: usize,
}

/// Where the request at hand is counted, and as what.
pub(super) type Place = (Arc<Room>, Priority);

impl Room {
    /// Room for `most` requests.
    pub fn new(most: usize) -> Self {
        Self { taken: AtomicUsize::new(0), most }
    }

    /// Counts a request in, if there is room for one of its kind.
    pub fn enter(&self, priority: Priority) -> Option<InWork<'_>> {
        let in_work = InWork(self);
        self.take(priority).then_some(in_work)
    }

    /// Waits for `outside`, which is none of this server's work, without taking room meanwhile.
    ///
    /// # Errors
    ///
    /// 503 if there is no room any more afterwards.
    pub async fn step_out<F: Future>(
        &self,
        priority: Priority,
        outside: F,
    ) -> Result<F::Output, Problem> {
        self.taken.fetch_sub(1, Ordering::Relaxed);
        let mut outside_of = Outside { room: Some(self) };
        let output = outside.await;
        // Whether or not there is room, the request is counted again until it is answered.
        outside_of.room = None;
        if self.take(priority) { Ok(output) } else { Err(Self::full()) }
    }

    /// How many are in work, and how many may be.
    pub fn taken(&self) -> (usize, usize) {
        (self.taken.load(Ordering::Relaxed), self.most)
    }

    /// What is answered when there is no room.
    pub fn full() -> Problem {
        Problem::new(Code::Overloaded).detail("too many requests are in work here")
    }

    fn take(&self, priority: Priority) -> bool {
        self.taken.fetch_add(1, Ordering::Relaxed) < priority.share(self.most)
    }
}

/// Counts its request out.
pub(super) struct InWork<'a>(&'a Room);

impl Drop for InWork<'_> {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts its request in again if the client goes away, because [`InWork`] will count it out.
struct Outside<'a> {
    room: Option<&'a Room>,
}

impl Drop for Outside<'_> {
    fn drop(&mut self) {
        if let Some(room) = self.room {
            room.taken.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn taken(room: &Room) -> usize {
        room.taken.load(Ordering::Relaxed)
    }

    #[test]
    fn a_request_takes_room_until_it_is_answered_and_none_while_it_waits_for_its_body() {
        let room = Room::new(1);
        let first = room.enter(Priority::Seats).unwrap();
        assert!(room.enter(Priority::Seats).is_none());
        let mut body = Box::pin(room.step_out(Priority::Seats, futures::future::pending::<()>()));
        assert!(body.as_mut().now_or_never().is_none());
        let second = room.enter(Priority::Seats).unwrap();
        drop(body);
        assert_eq!(taken(&room), 2, "the first has given up, and is not yet counted out");
        drop(second);
        let arrived = room.step_out(Priority::Seats, async { 7 }).now_or_never().unwrap();
        assert_eq!(arrived, Ok(7));
        drop(first);
        assert_eq!(taken(&room), 0);
    }

    #[test]
    fn a_body_that_arrives_when_the_room_is_full_is_refused() {
        let room = Room::new(1);
        let first = room.enter(Priority::Seats).unwrap();
        let other = async { std::mem::forget(room.enter(Priority::Seats).unwrap()) };
        let late = room.step_out(Priority::Seats, other).now_or_never().unwrap();
        assert_eq!(late.map_err(|problem| problem.code()), Err(Code::Overloaded));
        drop(first);
        assert_eq!(taken(&room), 1, "the other one");
    }
}
