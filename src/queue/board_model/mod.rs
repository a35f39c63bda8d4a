//! Boards against a plain sorted list, in random histories: arrivals, promotions, leavings, dead
//! ranges, trimmed entries, reads in parts, answers that come late, servers that lag, lost data.

mod plain;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::sample::Index;

use self::plain::{Line, Step, place, steps};
use super::board::{Board, BoardReading, OnBoard};
use super::catch_up::{Ask, BoardBuilder, Progress};

/// What people are told to wait between polls, at least.
const POLL_AFTER: Duration = Duration::from_millis(800);

/// A read on its way.
#[derive(Debug, Clone)]
struct Flight {
    ask: Ask,
    limit: usize,
    sent: Instant,
    /// The answer, with the line it was read from.
    answer: Option<(BoardReading, Seen)>,
}

/// The line as a read found it.
#[derive(Debug, Clone)]
struct Seen {
    life: u64,
    line: Line,
    sent: Instant,
}

struct Server {
    builder: BoardBuilder,
    flight: Option<Flight>,
    board: Option<(Arc<Board>, Seen)>,
    /// The life that its last reading showed.
    life: u64,
    left: Vec<Left>,
}

/// Somebody left through a server.
struct Left {
    at: Instant,
    life: u64,
    number: u64,
}

/// The last thing somebody was told.
#[derive(Debug, Clone, Copy)]
struct Told {
    at: Instant,
    life: u64,
    position: u64,
}

struct World {
    start: Instant,
    now: Instant,
    line: Line,
    /// Counts losses of data.
    life: u64,
    /// Redis' turn: a restart changes it and keeps the epoch, emptying it does the opposite.
    process: u64,
    older: Vec<Line>,
    /// The highest number that any server ever gave or saw.
    floor: u64,
    servers: Vec<Server>,
    late: Vec<(usize, Ask, BoardReading)>,
    told: BTreeMap<u64, Told>,
}

impl World {
    fn new() -> Self {
        let start = Instant::now();
        let server = || Server {
            builder: BoardBuilder::new(Duration::from_mins(10)),
            flight: None,
            board: None,
            life: 0,
            left: Vec::new(),
        };
        Self {
            start,
            now: start,
            line: Line { seq: Some(1_000), run: Some(0), epoch: Some(0), ..Line::default() },
            life: 0,
            process: 0,
            older: Vec::new(),
            floor: 1_000,
            servers: (0..plain::SERVERS).map(|_| server()).collect(),
            late: Vec::new(),
            told: BTreeMap::new(),
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Time(ms) => self.now += Duration::from_millis(ms),
            Step::Arrive(count) => self.arrive(count),
            Step::Promote(count) => {
                for _ in 0..count {
                    self.line.promoted += u64::from(self.line.waiting.pop_first().is_some());
                }
            }
            Step::Clear => self.line.waiting.clear(),
            Step::Leave(server, who) => self.leave(server, who),
            Step::Skip(count) => self.skip(count),
            Step::Trim(mask) => self.trim(mask),
            Step::Send(server, limit) => self.send(server, limit),
            Step::Execute(server) => self.execute(server),
            Step::Receive(server) => self.receive(server),
            Step::ReceiveLate => {
                if let Some((server, ask, reading)) = self.late.pop() {
                    let taken = self.servers[server].builder.take(ask, reading);
                    assert!(matches!(taken, Progress::Outdated));
                }
            }
            Step::Poll(server, who) => self.poll(server, who),
            Step::Restore(which) => self.restore(which),
            Step::Empty => {
                self.life += 1;
                self.older.clear();
                self.line = Line::default();
            }
            Step::Settle => self.settle(),
        }
    }

    fn arrive(&mut self, count: u64) {
        // An unsettled line refuses arrivals.
        let (Some(seq), Some(_)) = (self.line.seq, self.line.epoch) else {
            return;
        };
        self.older.push(self.line.clone());
        for number in seq + 1..=seq + count {
            self.line.waiting.insert(number);
            let told =
                Told { at: self.now, life: self.life, position: self.line.waiting.len() as u64 };
            self.told.insert(number, told);
        }
        self.line.seq = Some(seq + count);
        self.floor = self.floor.max(seq + count);
    }

    fn leave(&mut self, server: usize, who: Index) {
        if self.line.waiting.is_empty() {
            return;
        }
        let numbers: Vec<u64> = self.line.waiting.iter().copied().collect();
        let number = *who.get(&numbers);
        self.line.waiting.remove(&number);
        self.line.bury(number, number);
        let server = &mut self.servers[server];
        server.left.push(Left { at: self.now, life: self.life, number });
        if let Some(board) = server.builder.leave(place(number), self.now) {
            let (shown, _) = server.board.as_mut().expect("a board was made before");
            *shown = board;
        } else {
            server.board = None;
        }
        self.check_boards();
    }

    fn skip(&mut self, count: u64) {
        if let Some(seq) = self.line.seq {
            self.line.bury(seq + 1, seq + count);
            self.line.seq = Some(seq + count);
            self.floor = self.floor.max(seq + count);
        }
    }

    fn trim(&mut self, mask: u32) {
        let head = match self.line.waiting.first() {
            Some(head) => *head,
            None => self.line.seq.unwrap_or(0) + 1,
        };
        let top = self.line.dead.last_key_value().map(|(top, _)| *top);
        let picked = |ordinal: u64| mask >> (ordinal % 32) & 1 == 1;
        self.line.dead.retain(|ordinal, (_, last)| {
            *last >= head || Some(*ordinal) == top || !picked(*ordinal)
        });
    }

    fn send(&mut self, server: usize, limit: usize) {
        let now = self.now;
        let at = server;
        let server = &mut self.servers[server];
        if let Some(Flight { ask, answer: Some((reading, _)), .. }) = server.flight.take() {
            self.late.push((at, ask, reading));
        }
        server.flight =
            Some(Flight { ask: server.builder.ask(now), limit, sent: now, answer: None });
    }

    fn execute(&mut self, server: usize) {
        let now_ms = u64::try_from((self.now - self.start).as_millis()).expect("in u64");
        if let Some(flight) = &mut self.servers[server].flight
            && flight.answer.is_none()
        {
            let reading = self.line.read(now_ms, flight.ask.after(), flight.limit);
            let seen = Seen { life: self.life, line: self.line.clone(), sent: flight.sent };
            flight.answer = Some((reading, seen));
        }
    }

    fn receive(&mut self, at: usize) {
        let server = &mut self.servers[at];
        let Some((ask, (reading, seen))) = server
            .flight
            .take_if(|flight| flight.answer.is_some())
            .and_then(|flight| Some((flight.ask, flight.answer?)))
        else {
            return;
        };
        let is_another_life = std::mem::replace(&mut server.life, seen.life) != seen.life;
        match server.builder.take(ask, reading.clone()) {
            Progress::Complete(board) => {
                server.board = Some((board, seen));
                assert!(matches!(server.builder.take(ask, reading), Progress::Outdated));
                self.check_boards();
            }
            // Never to repair itself: what was read was right.
            Progress::More => assert!(is_another_life || !reading.dead_complete),
            Progress::Outdated => panic!("this was the newest ask"),
        }
    }

    /// Every board in use says of every number what the plain list of its moment says.
    fn check_boards(&self) {
        for server in &self.servers {
            let Some((board, seen)) = &server.board else {
                continue;
            };
            if !board.is_fresh(self.now) {
                continue;
            }
            assert_eq!(board.discrepancy(), 0);
            let own = server.left.iter().filter(|left| left.at >= seen.sent);
            let own: BTreeSet<u64> = own.map(|left| left.number).collect();
            let line = &seen.line;
            let last = line.seq.unwrap_or(0);
            let head = line.waiting.first().copied().unwrap_or(last + 1);
            let sorted: Vec<u64> = line.waiting.difference(&own).copied().collect();
            // The list's own positions first: they are the proof against gaps.
            for (index, number) in sorted.iter().enumerate() {
                let position = index as u64 + 1;
                assert_eq!(board.position_of(place(*number)), OnBoard::Waiting { position });
            }
            assert_eq!(board.waiting(), sorted.len() as u64);
            let ends = [1, last.max(1), last + 1, last + 1_000_000];
            for number in ends.into_iter().chain(self.told.keys().copied()) {
                let on_board = board.position_of(place(number));
                match on_board {
                    OnBoard::Served => assert!(number < head),
                    OnBoard::Beyond => assert!(number > last),
                    OnBoard::Dead => {
                        assert!((head..=last).contains(&number));
                        assert!(sorted.binary_search(&number).is_err());
                    }
                    OnBoard::Waiting { .. } => assert!(sorted.binary_search(&number).is_ok()),
                }
            }
        }
    }

    fn poll(&mut self, server: usize, who: Index) {
        let numbers: Vec<u64> = self.told.keys().copied().collect();
        let server = &self.servers[server];
        let Some((board, seen)) = &server.board else {
            return;
        };
        // Hidden for the length of one read, then back in line: a loss of data may do that.
        let forgotten = |left: &Left| left.at >= seen.sent && left.life != seen.life;
        if server.left.iter().any(forgotten) {
            return;
        }
        if numbers.is_empty() || !board.is_fresh(self.now) {
            return;
        }
        let number = *who.get(&numbers);
        let told = self.told[&number];
        if self.now < told.at + POLL_AFTER {
            return;
        }
        if let OnBoard::Waiting { position } = board.position_of(place(number)) {
            assert!(seen.life >= told.life, "told by an older board");
            if seen.life == told.life {
                assert!(position <= told.position, "{number} went back");
            }
            let told = Told { at: self.now, life: seen.life, position };
            self.told.insert(number, told);
        }
    }

    fn restore(&mut self, which: Index) {
        if self.older.is_empty() {
            return;
        }
        let kept = which.index(self.older.len());
        self.line = self.older[kept].clone();
        self.older.truncate(kept);
        self.life += 1;
        self.process += 1;
        self.line.run = None;
        self.settle();
    }

    fn settle(&mut self) {
        if self.line.run.is_some() {
            return;
        }
        let jumped = self.floor + 20;
        if let Some(seq) = self.line.seq {
            self.line.bury(seq + 1, jumped);
        }
        self.line.seq = Some(jumped);
        self.floor = jumped;
        self.line.run = Some(self.process);
        self.line.epoch.get_or_insert(self.life);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn a_board_says_what_the_plain_list_of_its_moment_says(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.step(&step);
        }
    }
}
