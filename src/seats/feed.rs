//! Seats taken and freed, told to everybody who looks at a date.
//!
//! While anybody listens, one task per date looks once a second: at the date's version, and if that
//! has changed or a hold has lapsed, at the list. However many listen, Redis is asked once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::cache::{Moment, SeatLists};
use super::domain::FreeSeats;
use super::{Seats, SeatsError};
use crate::concerts::Concert;
use crate::words::{ConcertDate, ConcertId, SeatNumber};

/// How often somebody looks.
const EVERY: Duration = Duration::from_secs(1);

/// The dates that somebody listens to.
#[derive(Default)]
pub(super) struct Feeds(Mutex<HashMap<(ConcertId, ConcertDate), watch::Sender<Seen>>>);

/// What a look has found.
#[derive(Clone, Default)]
enum Seen {
    /// Nothing yet.
    #[default]
    Nothing,
    /// Seats.
    Seats(Arc<Change>),
    /// The date is past, or no longer sold here.
    Over,
}

/// One moment of a date, and how it differs from an earlier one.
struct Change {
    moment: Arc<Moment>,
    free: FreeSeats,
    /// The moment before, and what has changed since; none for the first.
    since: Option<(Arc<Moment>, Bytes)>,
}

/// What a listener is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SeatNews {
    /// All free seats: `{"availableSeats":[…]}`, encoded.
    All(Bytes),
    /// Those that were taken and freed since: `{"taken":[…],"freed":[…]}`, encoded.
    Changes(Bytes),
}

/// Somebody who looks at one date.
pub struct SeatListener {
    looks: watch::Receiver<Seen>,
    /// All free seats, until they are told.
    all: Option<Bytes>,
    told: Arc<Change>,
}

impl Seats {
    /// Listens to what becomes of the seats of `date`, from a moment after this call on.
    ///
    /// # Errors
    ///
    /// 404 `unknown-date` for a date that is not on sale or past, 503 while the seats cannot be read.
    pub async fn listen(
        &self,
        concert: &Concert,
        date: ConcertDate,
    ) -> Result<SeatListener, SeatsError> {
        if !concert.has_date(date) {
            return Err(SeatsError::unknown_date(date));
        }
        // The last look may be a second old, and whoever has just taken a seat would be shown it as
        // free. What is seen from now on must not be missed, so this comes before the own look.
        let looks = self.subscribe(concert.id, date);
        let moment = self.look(concert, date).await?;
        let all = moment.list.clone().ok_or_else(|| SeatsError::unknown_date(date))?;
        let told = Arc::new(Change::first(moment, concert.seats));
        Ok(SeatListener { looks, all: Some(all), told })
    }

    /// A receiver of what is seen of `date`; somebody looks from now on.
    fn subscribe(&self, concert: ConcertId, date: ConcertDate) -> watch::Receiver<Seen> {
        let mut feeds = self.feeds.0.lock();
        if let Some(looks) = feeds.get(&(concert, date)) {
            return looks.subscribe();
        }
        let (sender, receiver) = watch::channel(Seen::Nothing);
        feeds.insert((concert, date), sender.clone());
        tokio::spawn(self.clone().look_after(concert, date, sender));
        receiver
    }

    /// Looks once a second, until nobody listens or there is nothing more to see.
    async fn look_after(self, id: ConcertId, date: ConcertDate, looks: watch::Sender<Seen>) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last: Option<Arc<Change>> = None;
        // However this task ends, the next listener starts another.
        let mut removed = Removed { seats: &self, of: (id, date), is_done: false };
        loop {
            ticks.tick().await;
            if self.is_unheard(id, date, &looks) {
                removed.is_done = true;
                return;
            }
            let concert = self.concerts.get(id).filter(|concert| concert.has_date(date));
            let Some(concert) = concert else {
                looks.send_replace(Seen::Over);
                return;
            };
            match self.look(&concert, date).await {
                Ok(moment) if moment.list.is_none() => {
                    looks.send_replace(Seen::Over);
                    return;
                }
                Ok(moment) => {
                    if let Some(change) = change(last.as_deref(), moment, concert.seats) {
                        let change = Arc::new(change);
                        last = Some(change.clone());
                        looks.send_replace(Seen::Seats(change));
                    }
                }
                // The next look tries again; whoever listens keeps what it knows.
                Err(error) => tracing::debug!(concert = %id, %date, %error, "seats not seen"),
            }
        }
    }

    async fn look(&self, concert: &Concert, date: ConcertDate) -> Result<Arc<Moment>, SeatsError> {
        self.generation(concert)?;
        let seen = SeatLists::version(&self.redis, concert, date).await;
        let seen = seen.map_err(SeatsError::Read)?;
        let moment = self.lists.moment(&self.redis, concert, date, seen).await;
        moment.map_err(SeatsError::Read)
    }

    /// Whether nobody listens; nobody finds this feed then.
    fn is_unheard(&self, id: ConcertId, date: ConcertDate, looks: &watch::Sender<Seen>) -> bool {
        let mut feeds = self.feeds.0.lock();
        let is_unheard = looks.receiver_count() == 0;
        if is_unheard {
            feeds.remove(&(id, date));
        }
        is_unheard
    }
}

/// Takes a feed out of the table when its task ends.
struct Removed<'a> {
    seats: &'a Seats,
    of: (ConcertId, ConcertDate),
    /// It was, and by now another one may be in its place.
    is_done: bool,
}

impl Drop for Removed<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            self.seats.feeds.0.lock().remove(&self.of);
        }
    }
}

impl Change {
    fn first(moment: Arc<Moment>, seats: SeatNumber) -> Self {
        Self { free: moment.reading.free(seats), moment, since: None }
    }
}

/// What is new in `moment`, if anything.
fn change(last: Option<&Change>, moment: Arc<Moment>, seats: SeatNumber) -> Option<Change> {
    let Some(last) = last else {
        return Some(Change::first(moment, seats));
    };
    if Arc::ptr_eq(&last.moment, &moment) {
        return None;
    }
    let free = moment.reading.free(seats);
    let changes = free.encode_changes(&last.free)?;
    Some(Change { moment, free, since: Some((last.moment.clone(), changes)) })
}

impl SeatListener {
    /// What is new: all seats at first, then changes; none when the date is over.
    pub async fn next(&mut self) -> Option<SeatNews> {
        if let Some(all) = self.all.take() {
            return Some(SeatNews::All(all));
        }
        loop {
            self.looks.changed().await.ok()?;
            let now = match &*self.looks.borrow_and_update() {
                Seen::Nothing => continue,
                Seen::Over => return None,
                Seen::Seats(change) => change.clone(),
            };
            // A look that had begun before this listener's own.
            if now.moment.read_at < self.told.moment.read_at {
                continue;
            }
            let changes = match &now.since {
                // Whoever was told the moment before shares the work of everybody.
                Some((before, changes)) if Arc::ptr_eq(before, &self.told.moment) => {
                    Some(changes.clone())
                }
                _ => now.free.encode_changes(&self.told.free),
            };
            self.told = now;
            if changes.is_some() {
                return changes.map(SeatNews::Changes);
            }
        }
    }
}
