//! Seats taken and freed, told to everybody who looks at a date.
//!
//! While anybody listens, one task per date looks once a second: at the date's version, and if that
//! has changed or a hold has lapsed, at the list. However many listen, Redis is asked once; only
//! whoever is new looks once for itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::cache::{Moment, SeatLists};
use super::domain::FreeSeats;
use super::{Seats, SeatsError};
use crate::concerts::Concert;
use crate::words::{ConcertDate, ConcertId};

/// How often somebody looks.
const EVERY: Duration = Duration::from_secs(1);

/// The dates that somebody listens to.
#[derive(Default)]
pub(super) struct Feeds(Mutex<HashMap<(ConcertId, ConcertDate), watch::Sender<Seen>>>);

/// What the last look has found.
#[derive(Default)]
enum Seen {
    /// Nothing yet.
    #[default]
    Nothing,
    /// Seats.
    Seats(Look),
    /// The date is past, or no longer sold here.
    Over,
}

/// The free seats at one moment.
#[derive(Clone)]
struct Look {
    at: Instant,
    free: FreeSeats,
    /// When the look before was, and what has changed since, if anything; none for the first.
    since: Option<(Instant, Option<Bytes>)>,
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
    /// What was told, and of which moment it is.
    told: FreeSeats,
    told_at: Instant,
}

impl Seats {
    /// Listens to the seats of `date`: as they are at a moment after this call, then what changes.
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
        self.generation(concert)?;
        // First, so that nothing is missed that is seen after the look below. The last look for
        // everybody may be a second old: whoever has just taken a seat would find it free.
        let looks = self.subscribe(concert.id, date);
        let moment = self.look(concert, date).await?;
        let all = moment.list.clone().ok_or_else(|| SeatsError::unknown_date(date))?;
        let (told, told_at) = (moment.free.clone(), moment.read_at);
        Ok(SeatListener { looks, all: Some(all), told, told_at })
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
                    let look = Look::new(&moment, &looks.borrow());
                    if let Some(look) = look {
                        looks.send_replace(Seen::Seats(look));
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

impl Look {
    /// None if it shows the same moment as the look before.
    ///
    /// A later moment is told even if nothing is different: some listeners were told another one in
    /// between, by their own look.
    fn new(moment: &Moment, before: &Seen) -> Option<Self> {
        let since = match before {
            Seen::Seats(before) if before.at == moment.read_at => return None,
            Seen::Seats(before) => Some((before.at, moment.free.encode_changes(&before.free))),
            Seen::Nothing | Seen::Over => None,
        };
        Some(Self { at: moment.read_at, free: moment.free.clone(), since })
    }
}

impl SeatListener {
    /// What is new: all seats at first, then changes; none when the date is over.
    pub async fn next(&mut self) -> Option<SeatNews> {
        if let Some(all) = self.all.take() {
            return Some(SeatNews::All(all));
        }
        loop {
            self.looks.changed().await.ok()?;
            let look = match &*self.looks.borrow_and_update() {
                Seen::Nothing => continue,
                Seen::Over => return None,
                Seen::Seats(look) => look.clone(),
            };
            // A look that had begun before this listener's own.
            if look.at <= self.told_at {
                continue;
            }
            let changes = match look.since {
                // Whoever was told the moment before shares the work of everybody.
                Some((before, changes)) if before == self.told_at => changes,
                _ => look.free.encode_changes(&self.told),
            };
            (self.told, self.told_at) = (look.free, look.at);
            if let Some(changes) = changes {
                return Some(SeatNews::Changes(changes));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::seats::domain::{SeatReading, SoldSeats};
    use crate::words::SeatNumber;

    fn seat(number: i128) -> SeatNumber {
        SeatNumber::try_from(number).unwrap()
    }

    /// Three seats, of which these are held.
    fn free(held: &[i128]) -> FreeSeats {
        let held = held.iter().map(|number| seat(*number)).collect();
        let sold = SoldSeats::default();
        SeatReading { now_ms: 0, version: None, sold, next_deadline_ms: None, held }.free(seat(3))
    }

    struct Feed {
        looks: watch::Sender<Seen>,
        begun: Instant,
        last: Option<(Instant, FreeSeats)>,
    }

    impl Feed {
        fn new() -> Self {
            Self { looks: watch::channel(Seen::Nothing).0, begun: Instant::now(), last: None }
        }

        fn at(&self, second: u64) -> Instant {
            self.begun + Duration::from_secs(second)
        }

        fn listener(&self, second: u64, held: &[i128]) -> SeatListener {
            let (looks, told_at) = (self.looks.subscribe(), self.at(second));
            SeatListener { looks, all: None, told: free(held), told_at }
        }

        fn sees(&mut self, second: u64, held: &[i128]) {
            let (at, free) = (self.at(second), free(held));
            let since = self.last.replace((at, free.clone()));
            let since = since.map(|(before, seats)| (before, free.encode_changes(&seats)));
            self.looks.send_replace(Seen::Seats(Look { at, free, since }));
        }
    }

    /// What a listener is told at once; none if it waits.
    fn told(listener: &mut SeatListener) -> Option<String> {
        let news = listener.next().now_or_never()?.expect("it goes on");
        let (SeatNews::All(body) | SeatNews::Changes(body)) = news;
        Some(String::from_utf8(body.to_vec()).unwrap())
    }

    #[test]
    fn whoever_looked_in_between_is_told_what_is_no_change_for_others() {
        let mut feed = Feed::new();
        feed.sees(1, &[]);
        let (mut before, mut between) = (feed.listener(1, &[]), feed.listener(2, &[2]));
        feed.sees(3, &[]);
        assert_eq!(told(&mut before), None);
        assert_eq!(told(&mut between).unwrap(), r#"{"taken":[],"freed":[2]}"#);
        feed.sees(4, &[1]);
        for listener in [&mut before, &mut between] {
            assert_eq!(told(listener).unwrap(), r#"{"taken":[1],"freed":[]}"#);
        }
    }

    #[test]
    fn nobody_is_told_a_moment_twice_or_one_before_the_last() {
        let mut feed = Feed::new();
        let mut listener = feed.listener(2, &[2]);
        feed.sees(1, &[]);
        assert_eq!(told(&mut listener), None);
        feed.sees(2, &[2]);
        assert_eq!(told(&mut listener), None);
        feed.sees(3, &[2, 3]);
        assert_eq!(told(&mut listener).unwrap(), r#"{"taken":[3],"freed":[]}"#);
    }

    #[test]
    fn whoever_missed_looks_is_told_what_became_of_all() {
        let mut feed = Feed::new();
        let mut listener = feed.listener(1, &[]);
        feed.sees(1, &[]);
        feed.sees(2, &[1]);
        feed.sees(3, &[2, 3]);
        assert_eq!(told(&mut listener).unwrap(), r#"{"taken":[2,3],"freed":[]}"#);
    }

    #[test]
    fn a_listener_ends_with_the_date_and_with_the_feed() {
        let feed = Feed::new();
        let mut listener = feed.listener(1, &[]);
        feed.looks.send_replace(Seen::Over);
        assert_eq!(listener.next().now_or_never(), Some(None));
        let mut listener = feed.listener(1, &[]);
        drop(feed);
        assert_eq!(listener.next().now_or_never(), Some(None));
    }
}
