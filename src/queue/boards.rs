//! Keeping a line's board fresh: one reader per line and server, and only while somebody asks.
//!
//! The reader is a task of its own. Every 250 ms, or at once when a request needs it, it reads
//! until a board is complete, swaps it in and tells whoever waits. Requests that wait share that
//! one read; none of them waits longer than 300 ms.
//!
//! Whoever listens is told of every board. While people listen and nobody asks, one is read each
//! second, however many they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::draw::Draw;
use super::line::Line;
use super::scripts::{BoardRow, ReadBoard};
use super::settings::{knob, moment};
use super::{Board, BoardBuilder, BoardFacts, BoardReading, LineSettings, Progress, QueueError};
use crate::concerts::Concert;
use crate::redis::RedisError;
use crate::words::Place;

/// How often a board is read while somebody asks.
const EVERY: Duration = Duration::from_millis(250);
/// The shortest pause between two boards, however many requests want a fresh one.
const PAUSE: Duration = Duration::from_millis(10);
/// The pause after a failure.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(50);
/// How long a request waits for a fresh board.
const WAIT_MAX: Duration = Duration::from_millis(300);
/// How long one read may take: less than a request waits, so that it learns the reason.
const READ_TIMEOUT: Duration = Duration::from_millis(250);
/// How long a failure answers requests by itself.
const FAILURE_HOLDS_FOR: Duration = Duration::from_millis(100);
/// How often a board is read while people listen and nobody asks.
const EVERY_FOR_LISTENERS: Duration = Duration::from_secs(1);
/// Nobody asked for so many boards in a row: the reader ends, or reads for listeners alone.
const IDLE_READS: u32 = 8;
/// How long a listener hears of no read before it looks whether there will ever be another.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// The most dead numbers of one read.
const DEAD_MAX: usize = 1000;
/// The most reads for one board: as many dead numbers as a line can have, and an end.
const READS_MAX: usize = 10_000;

/// The newest board of a line, and its reader.
pub(super) struct Boards {
    current: ArcSwapOption<Board>,
    builder: Mutex<BoardBuilder>,
    is_asked: AtomicBool,
    is_reading: AtomicBool,
    listeners: AtomicUsize,
    wake: Notify,
    ends: watch::Sender<ReadEnd>,
}

/// How the newest read ended.
#[derive(Clone)]
struct ReadEnd {
    /// Before it was sent; none before the first read.
    sent: Option<Instant>,
    outcome: Result<(), QueueError>,
}

impl Boards {
    pub fn new(active_ttl: Duration) -> Self {
        let none = ReadEnd { sent: None, outcome: Ok(()) };
        Self {
            current: ArcSwapOption::empty(),
            builder: Mutex::new(BoardBuilder::new(active_ttl)),
            is_asked: AtomicBool::new(false),
            is_reading: AtomicBool::new(false),
            listeners: AtomicUsize::new(0),
            wake: Notify::new(),
            ends: watch::Sender::new(none),
        }
    }

    /// Overlays a leave that the store has just confirmed.
    pub fn leave(&self, place: Place) {
        let mut builder = self.builder.lock();
        if let Some(board) = builder.leave(place, Instant::now()) {
            self.current.store(Some(board));
        }
    }
}

impl Line {
    /// A board that may answer polls now.
    pub async fn board(self: &Arc<Self>) -> Result<Arc<Board>, QueueError> {
        let now = Instant::now();
        match self.fresh_board(now) {
            Some(board) => Ok(board),
            None => Box::pin(self.board_sent_since(now.checked_sub(FAILURE_HOLDS_FOR))).await,
        }
    }

    /// The board that is here, if it may answer polls at `now`.
    pub fn fresh_board(self: &Arc<Self>, now: Instant) -> Option<Arc<Board>> {
        self.keep_reading();
        self.boards.current.load_full().filter(|board| board.is_fresh(now))
    }

    /// The board that is here, if it may answer polls at `now`; it does not count as asked for.
    pub fn known_board(&self, now: Instant) -> Option<Arc<Board>> {
        self.boards.current.load_full().filter(|board| board.is_fresh(now))
    }

    /// A board that was read after this call.
    pub async fn next_board(self: &Arc<Self>) -> Result<Arc<Board>, QueueError> {
        self.keep_reading();
        self.board_sent_since(Some(Instant::now())).await
    }

    /// Hears of every board from now on.
    pub fn listen(self: &Arc<Self>) -> BoardListener {
        self.boards.listeners.fetch_add(1, Ordering::SeqCst);
        let ends = self.boards.ends.subscribe();
        self.keep_reading();
        BoardListener { line: Arc::clone(self), ends }
    }

    /// Waits for the end of a read that was sent at `since` or later.
    async fn board_sent_since(&self, since: Option<Instant>) -> Result<Arc<Board>, QueueError> {
        let mut ends = self.boards.ends.subscribe();
        self.boards.wake.notify_one();
        let end = ends.wait_for(|end| end.sent.is_some() && end.sent >= since);
        let Ok(Ok(end)) = tokio::time::timeout(WAIT_MAX, end).await else {
            return Err(QueueError::BoardLate);
        };
        end.outcome.clone()?;
        drop(end);
        self.boards.current.load_full().ok_or(QueueError::BoardLate)
    }

    /// Sees to it that somebody reads boards.
    fn keep_reading(self: &Arc<Self>) {
        let boards = &self.boards;
        // Polls come here, so the common case writes nothing.
        if !boards.is_asked.load(Ordering::SeqCst) {
            boards.is_asked.store(true, Ordering::SeqCst);
        }
        self.start_reading();
    }

    fn start_reading(self: &Arc<Self>) {
        let boards = &self.boards;
        if !boards.is_reading.load(Ordering::SeqCst)
            && !boards.is_reading.swap(true, Ordering::SeqCst)
        {
            tokio::spawn(Reader(Arc::clone(self)).run());
        }
    }

    /// Reads until a board is complete.
    async fn read_board(self: &Arc<Self>, concert: &Concert) -> Result<(), QueueError> {
        let mut may_freeze = true;
        for _ in 0..READS_MAX {
            let ask = self.boards.builder.lock().ask(Instant::now());
            let call = ReadBoard { concert, after: ask.after(), limit: DEAD_MAX };
            let row = self.redis.run_within(&call, READ_TIMEOUT).await;
            let row = row.map_err(|error: RedisError| QueueError::read(error))?;
            self.learn_epoch(row.epoch.as_deref());
            row.last.into_iter().for_each(|last| self.raise_floor(last));
            let reading = self.reading(concert, row);
            if let Some(draw) = &reading.facts.draw {
                self.lottery.see(draw);
                if std::mem::take(&mut may_freeze) && is_due(&reading.facts, draw) {
                    // If it fails, the board is right all the same: nobody is let in yet.
                    let _ = self.advance_draw(concert).await;
                    continue;
                }
                // Nobody needs the order of people of whom none waits.
                let needs_order = reading.facts.is_in_draw();
                if needs_order && self.lottery.lacks(draw) {
                    // Without the order a board would tell people who are in that they wait.
                    if self.lottery.compute(self.id, draw).await.is_none() {
                        return Err(QueueError::NotReady);
                    }
                    continue;
                }
                if needs_order && draw.drawn().is_some() && reading.order.is_none() {
                    return Err(QueueError::NotReady);
                }
            }
            let mut builder = self.boards.builder.lock();
            if let Progress::Complete(board) = builder.take(ask, reading) {
                self.boards.current.store(Some(board));
                return Ok(());
            }
        }
        Err(QueueError::NotReady)
    }

    pub(super) fn reading(&self, concert: &Concert, row: BoardRow) -> BoardReading {
        let settings = LineSettings {
            capacity: knob(row.capacity.as_deref())
                .unwrap_or(concert.capacity.unwrap_or(self.config.capacity)),
            batch: knob(row.batch.as_deref()).unwrap_or(concert.batch.unwrap_or(self.config.batch)),
            paused: row.paused.as_deref() == Some("1"),
            opens_at_ms: moment(row.opens_at.as_deref()).unwrap_or(concert.opens_at_ms()),
            closes_at_ms: moment(row.closes_at.as_deref()).unwrap_or(concert.closes_at_ms()),
        };
        let draw = row.draw.map(Arc::new);
        BoardReading {
            order: draw.as_ref().and_then(|draw| self.lottery.order(draw)),
            dead_complete: row.dead.len() < DEAD_MAX,
            dead: row.dead,
            facts: BoardFacts {
                redis_now_ms: row.now_ms,
                run: row.run.map(Arc::from),
                epoch: row.epoch.map(Arc::from),
                last: row.last,
                head: row.head,
                waiting: row.waiting,
                active: row.active,
                promoted: row.promoted,
                sold: row.sold,
                held: row.held,
                withheld: row.withheld,
                seats: concert.seats_total(),
                draw,
                settings,
                message: row.message.map(Arc::from),
            },
        }
    }
}

/// Whether it is time to freeze who takes part in `draw`.
fn is_due(facts: &BoardFacts, draw: &Draw) -> bool {
    draw.frozen.is_none() && facts.redis_now_ms >= facts.settings.opens_at_ms
}

/// Somebody who hears of every board of a line.
pub(super) struct BoardListener {
    line: Arc<Line>,
    ends: watch::Receiver<ReadEnd>,
}

impl Drop for BoardListener {
    fn drop(&mut self) {
        self.line.boards.listeners.fetch_sub(1, Ordering::SeqCst);
    }
}

impl BoardListener {
    /// The next board that could be read; none if the concert has left the catalogue.
    pub async fn next(&mut self) -> Option<Arc<Board>> {
        loop {
            match tokio::time::timeout(SILENCE_MAX, self.ends.changed()).await {
                Ok(Ok(())) if self.ends.borrow_and_update().outcome.is_ok() => {
                    if let Some(board) = self.line.boards.current.load_full() {
                        return Some(board);
                    }
                }
                Ok(Ok(())) => {}
                // The line keeps the sender.
                Ok(Err(_)) => return None,
                Err(_) => {
                    self.line.concerts.get(self.line.id)?;
                    self.line.start_reading();
                }
            }
        }
    }
}

/// The task that reads a line's boards. However it ends, the next request starts another.
struct Reader(Arc<Line>);

impl Drop for Reader {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.boards.is_reading.store(false, Ordering::SeqCst);
        }
    }
}

impl Reader {
    async fn run(self) {
        let line = &self.0;
        let mut idle = 0;
        loop {
            let sent = Instant::now();
            let Some(concert) = line.concerts.get(line.id) else {
                line.boards.is_reading.store(false, Ordering::SeqCst);
                return;
            };
            let outcome = line.read_board(&concert).await;
            let failed = outcome.is_err();
            line.boards.ends.send_replace(ReadEnd { sent: Some(sent), outcome });
            let was_asked = line.boards.is_asked.swap(false, Ordering::SeqCst);
            idle = if was_asked { 0 } else { idle + 1 };
            if idle >= IDLE_READS && self.may_end() {
                return;
            }
            let pause = if failed { PAUSE_AFTER_FAILURE } else { PAUSE };
            tokio::time::sleep(pause).await;
            let every = if idle < IDLE_READS { EVERY } else { EVERY_FOR_LISTENERS };
            let _ = tokio::time::timeout(every.saturating_sub(pause), line.boards.wake.notified())
                .await;
        }
    }

    /// Whether nobody listens, and nobody asked while the reader was about to end.
    fn may_end(&self) -> bool {
        let boards = &self.0.boards;
        if boards.listeners.load(Ordering::SeqCst) > 0 {
            return false;
        }
        boards.is_reading.store(false, Ordering::SeqCst);
        // Somebody may have asked and seen the reader still there: then it has to go on, unless
        // another one was started already.
        !boards.is_asked.load(Ordering::SeqCst) || boards.is_reading.swap(true, Ordering::SeqCst)
    }
}
