//! One concert, and what its dates mean on the clock.

use chrono::{DateTime, Days, FixedOffset, NaiveTime, SecondsFormat, TimeZone};
use chrono_tz::Tz;

use crate::redis::ConcertKeys;
use crate::words::{ConcertDate, ConcertId, SeatNumber, Won};

/// What is sold: bookable dates with numbered seats 1..=n at one price, behind one waiting line.
#[derive(Debug, Clone)]
pub struct Concert {
    /// Its id.
    pub id: ConcertId,
    /// Its name, for people.
    pub name: String,
    /// Its dates, ascending, each once; 1 to [`Self::DATES_MAX`].
    pub dates: Vec<ConcertDate>,
    /// The number of seats of every date; seats are numbered from 1.
    pub seats: SeatNumber,
    /// The price of every seat.
    pub price: Won,
    /// The zone in which dates and `expireAt` are given.
    pub time_zone: Tz,
    /// Nobody is promoted before.
    pub opens_at: Option<DateTime<FixedOffset>>,
    /// Nobody arrives or is promoted from then on.
    pub closes_at: Option<DateTime<FixedOffset>>,
    /// In which order they come who are there before it opens.
    pub prequeue: Prequeue,
    /// The most active tokens; `ONSALE_CAPACITY` if not set.
    pub capacity: Option<u32>,
    /// The most tokens promoted per second; `ONSALE_BATCH` if not set.
    pub batch: Option<u32>,
    /// Its keys in Redis.
    pub keys: ConcertKeys,
}

/// The order of those who come before the opening.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Prequeue {
    /// Who comes first is served first.
    #[default]
    Fifo,
    /// They are drawn; the concert has an opening.
    Lottery {
        /// The round of a public beacon whose value is mixed in, in words; 1 to
        /// [`Self::ROUND_CHARACTERS_MAX`] visible ASCII characters and spaces.
        beacon_round: Option<String>,
    },
}

impl Prequeue {
    /// The most characters of a beacon's round.
    pub const ROUND_CHARACTERS_MAX: usize = 200;

    /// The word for it.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Fifo => "fifo",
            Self::Lottery { .. } => "lottery",
        }
    }
}

impl Concert {
    /// The most dates of a concert: some scripts take the keys of every date.
    pub const DATES_MAX: usize = 40;

    /// Whether the concert is played on `date`.
    #[must_use]
    pub fn has_date(&self, date: ConcertDate) -> bool {
        self.dates.binary_search(&date).is_ok()
    }

    /// The date of a concert that is played once.
    #[must_use]
    pub fn only_date(&self) -> Option<ConcertDate> {
        if let [date] = *self.dates { Some(date) } else { None }
    }

    /// Seats of all dates together.
    #[must_use]
    pub fn seats_total(&self) -> u64 {
        u64::from(self.seats.get()) * self.dates.len() as u64
    }

    /// When `date` becomes past: the first moment of the next day in the concert's zone, Unix ms.
    #[must_use]
    pub fn date_ends_ms(&self, date: ConcertDate) -> u64 {
        let next = date.checked_add_days(Days::new(1)).unwrap_or(date).and_time(NaiveTime::MIN);
        // A zone that skips midnight has no such local time; the day then ends an hour later.
        let end = self.time_zone.from_local_datetime(&next).earliest().or_else(|| {
            (next + chrono::Duration::hours(1)).and_local_timezone(self.time_zone).earliest()
        });
        end.and_then(|end| u64::try_from(end.timestamp_millis()).ok()).unwrap_or(0)
    }

    /// The dates that are not past at `now_ms` (Redis' clock, Unix ms), ascending.
    pub fn bookable_dates(&self, now_ms: u64) -> impl Iterator<Item = ConcertDate> + '_ {
        self.dates.iter().copied().filter(move |date| now_ms < self.date_ends_ms(*date))
    }

    /// A moment in the API's form `YYYY-MM-DD hh:mm:ss`, in the concert's zone.
    #[must_use]
    pub fn local_time(&self, unix_ms: u64) -> String {
        let seconds = i64::try_from(unix_ms / 1000).unwrap_or(i64::MAX);
        match self.time_zone.timestamp_opt(seconds, 0).single() {
            Some(time) => time.format("%Y-%m-%d %H:%M:%S").to_string(),
            None => String::new(),
        }
    }

    /// The opening in Unix ms; 0 if the sale is open from the start.
    #[must_use]
    pub fn opens_at_ms(&self) -> u64 {
        unix_ms(self.opens_at)
    }

    /// The end of the sale in Unix ms; 0 if it has none.
    #[must_use]
    pub fn closes_at_ms(&self) -> u64 {
        unix_ms(self.closes_at)
    }
}

/// A moment in Unix ms as operators are told it: RFC 3339 in UTC, to the second.
#[must_use]
pub fn utc_time(unix_ms: u64) -> String {
    let moment = i64::try_from(unix_ms).ok().and_then(DateTime::from_timestamp_millis);
    moment.map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true)).unwrap_or_default()
}

fn unix_ms(moment: Option<DateTime<FixedOffset>>) -> u64 {
    moment.and_then(|at| u64::try_from(at.timestamp_millis()).ok()).unwrap_or(0)
}
