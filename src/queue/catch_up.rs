//! Making boards from readings: several may be needed until all dead places are known.
//!
//! One [`BoardBuilder`] per line and server, behind a lock, and one read in flight at a time:
//! [`BoardBuilder::ask`], read, [`BoardBuilder::take`], until it answers [`Progress::Complete`].
//! A change of run, epoch or order, or numbers that went back, discard everything cached.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::board::{Board, BoardFacts, BoardReading};
use super::dead::{DeadSet, PlaceRange};
use super::draw::Order;
use super::pace::Pace;
use crate::words::Place;

/// What the next read must ask for. Only the newest one is accepted back.
#[derive(Debug, Clone, Copy)]
pub struct Ask {
    after: u64,
    sent: Instant,
    serial: u64,
}

impl Ask {
    /// Dead entries are wanted with an ordinal above this one.
    #[must_use]
    pub fn after(self) -> u64 {
        self.after
    }
}

/// What came of a reading.
#[derive(Debug, Clone)]
pub enum Progress {
    /// A board, complete as of this reading.
    Complete(Arc<Board>),
    /// Not complete yet: ask and read again at once.
    More,
    /// The answer to an earlier ask. Ignored; whoever asked later goes on.
    Outdated,
}

/// What a server keeps of one line between reads.
#[derive(Debug)]
pub struct BoardBuilder {
    /// The newest reading of this generation.
    seen: Option<BoardFacts>,
    /// The order that everything read is kept in.
    order: Option<Arc<Order>>,
    /// The highest dead ordinal read.
    ordinal: u64,
    dead: Arc<DeadSet>,
    /// What lies wholly below this was dropped from `dead`.
    dropped_below: u64,
    /// Dead places read since the last complete board.
    pending: Vec<PlaceRange>,
    /// Places that left through this server, and when the store's answer came. They outlast a
    /// change of life: the leave may be younger than the read that shows the change.
    own_leaves: VecDeque<(Instant, Place)>,
    pace: Pace,
    serial: u64,
    /// The last complete board of this generation.
    board: Option<Arc<Board>>,
    /// A contradiction that reading everything anew did not solve.
    known_discrepancy: i64,
}

impl BoardBuilder {
    /// Nothing read yet. `active_ttl` is what a slot's turnover is guessed by until it was seen.
    #[must_use]
    pub fn new(active_ttl: Duration) -> Self {
        Self {
            seen: None,
            order: None,
            ordinal: 0,
            dead: Arc::default(),
            dropped_below: 0,
            pending: Vec::new(),
            own_leaves: VecDeque::new(),
            pace: Pace::new(active_ttl),
            serial: 0,
            board: None,
            known_discrepancy: 0,
        }
    }

    /// What to read next; `now` is the moment before the read is sent.
    pub fn ask(&mut self, now: Instant) -> Ask {
        self.serial += 1;
        Ask { after: self.ordinal, sent: now, serial: self.serial }
    }

    /// Takes the answer to `ask`.
    pub fn take(&mut self, ask: Ask, reading: BoardReading) -> Progress {
        if ask.serial != self.serial {
            return Progress::Outdated;
        }
        // One ask, one answer: the same reading again would find an ordinal that moved on.
        self.serial += 1;
        let BoardReading { facts, dead, dead_complete, order } = reading;
        let is_another_order =
            self.order.as_ref().map(Arc::as_ptr) != order.as_ref().map(Arc::as_ptr);
        let is_another_life = self.seen.as_ref().is_some_and(|seen| is_another_life(seen, &facts));
        if is_another_life || is_another_order && !self.may_be_ordered(order.as_deref()) {
            self.read_anew();
            self.order = order;
            if ask.after > 0 {
                // What it says of dead places begins in the middle of a line that is gone.
                return Progress::More;
            }
        } else if is_another_order {
            self.put_in_order(order);
        }
        self.pace.observe(&facts);
        for entry in dead {
            self.ordinal = self.ordinal.max(entry.ordinal);
            self.bury(entry.range);
        }
        self.seen = Some(facts.clone());
        if !dead_complete {
            return Progress::More;
        }
        self.complete(ask, facts)
    }

    /// Whether all that was read, as places, can be kept as numbers in service of `order`: at the
    /// opening half a million may have left, and every server would read them again at once.
    fn may_be_ordered(&self, order: Option<&Order>) -> bool {
        // A place that takes part may have been dropped: it was the first in line, and is not here.
        self.order.is_none()
            && order.is_some_and(|order| self.dropped_below <= order.segments().first())
    }

    fn put_in_order(&mut self, order: Option<Arc<Order>>) {
        self.order = order;
        let (dead, pending) = (std::mem::take(&mut self.dead), std::mem::take(&mut self.pending));
        dead.places().chain(pending).for_each(|range| self.bury(range));
    }

    /// Keeps dead places as numbers in service.
    fn bury(&mut self, range: PlaceRange) {
        let Some(order) = &self.order else {
            self.pending.push(range);
            return;
        };
        let pending = &mut self.pending;
        range.in_service(order, |range| pending.push(range));
    }

    /// Notes that `place` left: the store answered so at `answered`. The board to use from now on,
    /// if there is one.
    pub fn leave(&mut self, place: Place, answered: Instant) -> Option<Arc<Board>> {
        // Older ones matter only to boards that are too old to be used.
        while let Some((earlier, _)) = self.own_leaves.front()
            && *earlier + Board::FRESH_FOR < answered
        {
            self.own_leaves.pop_front();
        }
        self.own_leaves.push_back((answered, place));
        let board = self.board.as_ref()?.with_own_leave(place);
        Some(self.publish(board))
    }

    fn complete(&mut self, ask: Ask, facts: BoardFacts) -> Progress {
        let front = facts.front_in(self.order.as_deref());
        // Dropping what was served costs a copy, so it waits for new entries or for half of it.
        let stale = self.dead.ranges_below(front) * 2 > self.dead.ranges();
        if stale || !self.pending.is_empty() {
            let pending = std::mem::take(&mut self.pending);
            self.dead = Arc::new(self.dead.merged(pending, front));
            self.dropped_below = front;
        }
        let outlook = self.pace.outlook(&facts);
        let (order, dead) = (self.order.clone(), Arc::clone(&self.dead));
        let board = Board::new(facts, order, dead, outlook, ask.sent);
        let discrepancy = board.discrepancy();
        if discrepancy != self.known_discrepancy {
            let read_in_part = self.board.is_some();
            if discrepancy != 0 && read_in_part {
                self.read_anew();
                return Progress::More;
            }
            self.known_discrepancy = discrepancy;
        }
        // A read that was sent after the store's answer shows the leave itself.
        self.own_leaves.retain(|(answered, _)| *answered >= ask.sent);
        let board = board.with_own_leaves(self.own_leaves.iter().map(|(_, place)| *place));
        Progress::Complete(self.publish(board))
    }

    fn publish(&mut self, board: Board) -> Arc<Board> {
        let board = Arc::new(board);
        self.board = Some(Arc::clone(&board));
        board
    }

    /// Discards what was read of this line.
    fn read_anew(&mut self) {
        self.seen = None;
        self.ordinal = 0;
        self.dead = Arc::default();
        self.dropped_below = 0;
        self.pending.clear();
        self.board = None;
    }
}

/// Whether `now` cannot follow `before` in one life of the line's data.
fn is_another_life(before: &BoardFacts, now: &BoardFacts) -> bool {
    // In one life numbers are only given and served, never taken back. The front alone may stand
    // still; `Option` orders a missing number below every other.
    before.run != now.run
        || before.epoch != now.epoch
        || now.last < before.last
        || now.front() < before.front()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::queue::board::{LineSettings, OnBoard, Phase};
    use crate::queue::dead::DeadEntry;
    use crate::queue::draw::seal::Terms;
    use crate::queue::draw::{Draw, Frozen, Seal, Seed, Segments};

    fn place(number: u64) -> Place {
        Place::try_from(i128::from(number)).expect("a place")
    }

    /// Numbers up to 20, of which 11.. wait; the given ones died, in this order.
    fn reading(dead: &[u64], after: u64) -> BoardReading {
        let entry =
            |(ordinal, number): (u64, &u64)| DeadEntry { ordinal, range: place(*number).into() };
        BoardReading {
            facts: BoardFacts {
                redis_now_ms: 5_000,
                run: Some(Arc::from("run")),
                epoch: Some(Arc::from("epoch")),
                last: Some(place(20)),
                head: Some(place(11)),
                waiting: 10 - dead.len() as u64,
                active: 3,
                promoted: 10,
                sold: 0,
                held: 0,
                withheld: 0,
                draw: None,
                seats: 50,
                settings: LineSettings {
                    capacity: 1000,
                    batch: 100,
                    paused: false,
                    opens_at_ms: 0,
                    closes_at_ms: 0,
                },
                message: None,
            },
            dead: (1..).zip(dead).map(entry).filter(|entry| entry.ordinal > after).collect(),
            dead_complete: true,
            order: None,
        }
    }

    fn builder() -> BoardBuilder {
        BoardBuilder::new(Duration::from_mins(10))
    }

    fn complete(progress: Progress) -> Arc<Board> {
        match progress {
            Progress::Complete(board) => board,
            other => panic!("no board: {other:?}"),
        }
    }

    #[test]
    fn a_board_ages_from_before_its_read_was_sent() {
        let (mut builder, sent) = (builder(), Instant::now());
        let ask = builder.ask(sent);
        let board = complete(builder.take(ask, reading(&[], 0)));
        assert!(board.is_fresh(sent + Duration::from_millis(699)));
        assert!(!board.is_fresh(sent + Duration::from_millis(700)));
        assert_eq!(board.redis_now_ms(sent + Duration::from_millis(250)), 5_250);
        let generation = board.generation().expect("settled and rebuilt");
        assert_eq!((&*generation.run, &*generation.epoch), ("run", "epoch"));
    }

    #[test]
    fn a_board_waits_for_every_dead_number() {
        let mut builder = builder();
        let ask = builder.ask(Instant::now());
        let mut first = reading(&[13, 15], 0);
        first.dead.truncate(1);
        first.dead_complete = false;
        assert!(matches!(builder.take(ask, first), Progress::More));
        let ask = builder.ask(Instant::now());
        assert_eq!(ask.after(), 1);
        let board = complete(builder.take(ask, reading(&[13, 15], ask.after())));
        assert_eq!(board.position_of(place(16)), OnBoard::Waiting { position: 4 });
        assert_eq!(board.position_of(place(15)), OnBoard::Dead);
        assert_eq!(board.position_of(place(10)), OnBoard::Served);
        assert_eq!(board.position_of(place(21)), OnBoard::Beyond);
    }

    #[test]
    fn an_own_leave_shows_until_a_read_that_was_sent_after_it() {
        let (mut builder, start) = (builder(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        assert!(builder.leave(place(12), at(0)).is_none(), "no board yet");
        let ask = builder.ask(at(0));
        let board = complete(builder.take(ask, reading(&[], 0)));
        assert_eq!(board.position_of(place(12)), OnBoard::Dead);
        let board = builder.leave(place(14), at(1)).expect("a board");
        assert_eq!(board.position_of(place(14)), OnBoard::Dead);
        assert_eq!(board.position_of(place(15)), OnBoard::Waiting { position: 3 });
        assert_eq!(board.waiting(), 8);
        let ask = builder.ask(at(2));
        let board = complete(builder.take(ask, reading(&[12, 14], 0)));
        assert_eq!(board.position_of(place(15)), OnBoard::Waiting { position: 3 });
        assert_eq!(board.waiting(), 8);
    }

    /// Somebody removed a number by hand. It is read anew once, then shown as it is and reported.
    #[test]
    fn contradicting_keys_are_read_anew_once_and_then_reported() {
        let mut builder = builder();
        let ask = builder.ask(Instant::now());
        assert_eq!(complete(builder.take(ask, reading(&[12], 0))).discrepancy(), 0);
        let wrong = |after| {
            let mut wrong = reading(&[12], after);
            wrong.facts.waiting -= 1;
            wrong
        };
        let ask = builder.ask(Instant::now());
        assert!(matches!(builder.take(ask, wrong(ask.after())), Progress::More));
        for expected_after in [0, 1, 1] {
            let ask = builder.ask(Instant::now());
            assert_eq!(ask.after(), expected_after);
            let board = complete(builder.take(ask, wrong(ask.after())));
            assert_eq!(board.discrepancy(), 1);
        }
        let ask = builder.ask(Instant::now());
        let board = complete(builder.take(ask, reading(&[12], ask.after())));
        assert_eq!(board.discrepancy(), 0);
    }

    /// Ten people, four numbers that were never given, ten more; then six who came too late.
    fn drawn() -> Arc<Order> {
        let segments = Segments::new([(11, 20), (25, 34)]).expect("two ranges");
        Arc::new(Order::draw(&Seed::new([3; 32]), segments))
    }

    fn of_a_lottery(
        order: &Arc<Order>,
        cursor: u64,
        left: &[u64],
        waiting: &[u64],
    ) -> BoardReading {
        let terms = Terms { id: uuid::Uuid::nil(), round: None };
        let seal = Seal { terms, commitment: [0; 32], sealed: [0; 32] };
        let frozen = Frozen { segments: order.segments().clone(), at_ms: 0, value: None };
        let draw = Draw { seal, committed_ms: 0, frozen: Some(frozen), cursor };
        let skipped = DeadEntry { ordinal: 1, range: PlaceRange::parse("21-24").expect("a range") };
        let left = (2..)
            .zip(left)
            .map(|(ordinal, left)| DeadEntry { ordinal, range: place(*left).into() });
        let empty = reading(&[], 0);
        BoardReading {
            dead: std::iter::once(skipped).chain(left).collect(),
            order: Some(Arc::clone(order)),
            facts: BoardFacts {
                last: Some(place(40)),
                head: waiting.iter().min().map(|head| place(*head)),
                waiting: waiting.len() as u64,
                draw: Some(Arc::new(draw)),
                ..empty.facts
            },
            ..empty
        }
    }

    /// The same line as a server saw it before it knew the order; `left` in the order of leaving.
    fn before_the_draw(order: &Arc<Order>, left: &[u64], after: u64) -> BoardReading {
        let waiting: Vec<u64> =
            (11..=20).chain(25..=40).filter(|place| !left.contains(place)).collect();
        let mut reading = of_a_lottery(order, 0, left, &waiting);
        (reading.order, reading.facts.draw) = (None, None);
        reading.dead.retain(|entry| entry.ordinal > after);
        reading
    }

    proptest! {
        /// Whoever left, before or after the draw, and however far it is: a position is the number
        /// of people before, in the order in which promotion lets them in.
        #[test]
        fn positions_are_the_order_of_the_draw_and_then_of_arrival(
            left in prop::sample::subsequence((11..=20).chain(25..=40).collect::<Vec<u64>>(), 0..=20)
                .prop_shuffle(),
            served in 0_usize..=26,
            known in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let order = drawn();
            let all: Vec<u64> = order.places(0, 20).chain(35..=40).collect();
            let mut line: Vec<u64> = all.iter().copied().filter(|n| !left.contains(n)).collect();
            let promoted: Vec<u64> = line.drain(..served.min(line.len())).collect();
            // Promotion looks at ranks until it has let everybody in that it may.
            let done = promoted.iter().filter_map(|place| order.rank_of(*place)).max();
            let cursor = match done {
                None => 0,
                Some(_) if promoted.iter().any(|place| *place >= 35) => 20,
                Some(rank) => rank + 1,
            };
            let mut builder = builder();
            if let Some(known) = known {
                // So many had left when this server last looked, before the draw.
                let ask = builder.ask(Instant::now());
                let known = &left[..known.index(left.len() + 1)];
                complete(builder.take(ask, before_the_draw(&order, known, 0)));
            }
            let board = loop {
                let ask = builder.ask(Instant::now());
                let mut reading = of_a_lottery(&order, cursor, &left, &line);
                reading.dead.retain(|entry| entry.ordinal > ask.after());
                if let Progress::Complete(board) = builder.take(ask, reading) {
                    break board;
                }
            };
            prop_assert_eq!(board.discrepancy(), 0);
            for (position, waits) in (1..).zip(&line) {
                prop_assert_eq!(board.position_of(place(*waits)), OnBoard::Waiting { position });
            }
            for gone in left.iter().chain(&promoted) {
                let on_board = board.position_of(place(*gone));
                prop_assert!(matches!(on_board, OnBoard::Dead | OnBoard::Served), "{} {:?}", gone, on_board);
            }
            // Somebody leaves through this server, and everybody behind moves up.
            if let Some((leaver, others)) = line.split_first() {
                let board = builder.leave(place(*leaver), Instant::now()).expect("a board");
                for (position, waits) in (1..).zip(others) {
                    prop_assert_eq!(board.position_of(place(*waits)), OnBoard::Waiting { position });
                }
            }
        }
    }

    #[test]
    fn until_the_order_is_known_here_the_sale_is_not_open() {
        let order = drawn();
        let waiting: Vec<u64> = (11..=20).chain(25..=40).collect();
        let unknown = |mut reading: BoardReading| {
            reading.order = None;
            reading
        };
        let mut builder = builder();
        let ask = builder.ask(Instant::now());
        let board = builder.take(ask, unknown(of_a_lottery(&order, 0, &[], &waiting)));
        assert_eq!(complete(board).phase(), Phase::Before);
        // What was read of the dead is put in order, and not read again.
        let ask = builder.ask(Instant::now());
        assert_eq!(ask.after(), 1);
        let mut known = of_a_lottery(&order, 0, &[], &waiting);
        known.dead.clear();
        let board = complete(builder.take(ask, known));
        assert_eq!(board.phase(), Phase::Open);
        let first = order.place_at(0).expect("somebody");
        assert_eq!(board.position_of(place(first)), OnBoard::Waiting { position: 1 });
    }
}
