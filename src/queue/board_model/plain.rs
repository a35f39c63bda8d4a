//! The plain line of the model: what may happen to it, and what a read of it answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::Index;

use crate::queue::board::{BoardFacts, BoardReading, LineSettings};
use crate::queue::dead::{DeadEntry, PlaceRange};
use crate::words::Place;

/// How many servers read the line.
pub(super) const SERVERS: usize = 3;

/// One event of a history.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Time(u64),
    Arrive(u64),
    Promote(usize),
    /// Everybody who waits loses their place.
    Clear,
    /// Somebody who waits leaves through a server.
    Leave(usize, Index),
    /// Numbers are skipped, as `settle` does when `seq` is below the floor.
    Skip(u64),
    /// Dead entries below the head are dropped, by a random mask.
    Trim(u32),
    /// A server sends a read with a limit; a read that is out is given up.
    Send(usize, usize),
    /// Redis runs it.
    Execute(usize),
    /// The answer arrives.
    Receive(usize),
    /// A given-up answer arrives after all.
    ReceiveLate,
    /// Somebody polls a server.
    Poll(usize, Index),
    /// Redis restarts with an older state; `settle` jumps over the numbers it forgot.
    Restore(Index),
    /// Redis is emptied, and settled and rebuilt by a later step.
    Empty,
    Settle,
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let server = || 0..SERVERS;
    let step = prop_oneof![
        6 => (1_u64..400).prop_map(Step::Time),
        6 => (1_u64..9).prop_map(Step::Arrive),
        3 => (1_usize..5).prop_map(Step::Promote),
        1 => Just(Step::Clear),
        6 => (server(), any::<Index>()).prop_map(|(server, who)| Step::Leave(server, who)),
        1 => (1_u64..30).prop_map(Step::Skip),
        2 => any::<u32>().prop_map(Step::Trim),
        9 => (server(), 1_usize..4).prop_map(|(server, limit)| Step::Send(server, limit)),
        12 => server().prop_map(Step::Execute),
        12 => server().prop_map(Step::Receive),
        1 => Just(Step::ReceiveLate),
        6 => (server(), any::<Index>()).prop_map(|(server, who)| Step::Poll(server, who)),
        1 => any::<Index>().prop_map(Step::Restore),
        1 => Just(Step::Empty),
        3 => Just(Step::Settle),
    ];
    prop::collection::vec(step, 0..400)
}

/// The line as the store has it.
#[derive(Debug, Clone, Default)]
pub(super) struct Line {
    pub(super) seq: Option<u64>,
    pub(super) waiting: BTreeSet<u64>,
    pub(super) dead: BTreeMap<u64, (u64, u64)>,
    pub(super) promoted: u64,
    pub(super) run: Option<u64>,
    pub(super) epoch: Option<u64>,
}

impl Line {
    pub(super) fn bury(&mut self, first: u64, last: u64) {
        let ordinal = self.dead.last_key_value().map_or(0, |(top, _)| *top) + 1;
        self.dead.insert(ordinal, (first, last));
    }

    pub(super) fn read(&self, now_ms: u64, after: u64, limit: usize) -> BoardReading {
        let newer = || self.dead.range(after + 1..);
        let entry = |(ordinal, (first, last)): (&u64, &(u64, u64))| DeadEntry {
            ordinal: *ordinal,
            range: PlaceRange::new(place(*first), place(*last)).expect("a range"),
        };
        BoardReading {
            facts: BoardFacts {
                redis_now_ms: now_ms,
                run: self.run.map(|run| Arc::from(run.to_string())),
                epoch: self.epoch.map(|epoch| Arc::from(epoch.to_string())),
                last: self.seq.map(place),
                head: self.waiting.first().copied().map(place),
                waiting: self.waiting.len() as u64,
                active: 0,
                promoted: self.promoted,
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
            dead: newer().take(limit).map(entry).collect(),
            dead_complete: newer().count() <= limit,
            order: None,
        }
    }
}

pub(super) fn place(number: u64) -> Place {
    Place::try_from(i128::from(number)).expect("a place")
}
