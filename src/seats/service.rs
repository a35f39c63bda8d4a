//! What happens to seats, in which order.

use std::sync::Arc;

use bytes::Bytes;
use sqlx::PgPool;
use uuid::Uuid;

use super::cache::{SeatLists, SeenVersion};
use super::domain::{HeldSeat, Hold, Holder, Holds, SeatSelection, Unfree};
use super::feed::Feeds;
use super::questions::{NoAnswer, SoldQuestions};
use super::scripts::{
    HoldOutcome, HoldSeats, ReadDates, ReadHolds, ReleaseHolds, ReleaseOutcome, RestoreSold,
    WhyReleased,
};
use super::{SeatsConfig, SeatsError};
use crate::concerts::{Concert, Concerts, Gates, Generation};
use crate::redis::Redis;
use crate::words::{ConcertDate, SeatNumber, UserId};

/// Free, held and sold seats. Cheap to clone.
#[derive(Clone)]
pub struct Seats {
    pub(super) redis: Redis,
    pub(super) concerts: Concerts,
    gates: Gates,
    pub(super) database: PgPool,
    questions: SoldQuestions,
    pub(super) lists: Arc<SeatLists>,
    pub(super) feeds: Arc<Feeds>,
    config: SeatsConfig,
}

/// Seats that a request holds, now or since an earlier request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reserved {
    /// The holds, in the order asked; at least one.
    pub holds: Holds,
    /// Whether this request made one of them.
    pub is_new: bool,
}

/// One request for seats, after everything that needs no store was checked.
struct Wish {
    concert: Arc<Concert>,
    generation: Generation,
    date: ConcertDate,
    holder: Holder,
    /// Each seat with the id that a new hold of it gets.
    seats: Vec<(SeatNumber, Uuid)>,
}

impl Seats {
    /// The most live holds of a user in a concert.
    #[must_use]
    pub fn max_seats_per_user(&self) -> u32 {
        self.config.max_seats_per_user
    }

    /// Seats of `concerts`, held in `redis`, sold in `database`.
    #[must_use]
    pub fn new(
        redis: Redis,
        concerts: Concerts,
        gates: Gates,
        database: PgPool,
        config: SeatsConfig,
    ) -> Self {
        let questions = SoldQuestions::new(database.clone(), config.database_timeout);
        Self {
            redis,
            concerts,
            gates,
            database,
            questions,
            lists: Arc::default(),
            feeds: Arc::default(),
            config,
        }
    }

    /// The dates of `concert` that have a free seat and are not past, ascending.
    pub async fn dates(&self, concert: &Concert) -> Result<Vec<ConcertDate>, SeatsError> {
        self.generation(concert)?;
        let reading = self.redis.run(&ReadDates { concert }).await.map_err(SeatsError::Read)?;
        let seats = concert.seats.get();
        let free = concert.dates.iter().zip(&reading.unfree).filter(|(_, unfree)| **unfree < seats);
        let not_past = |date: &ConcertDate| reading.now_ms < concert.date_ends_ms(*date);
        Ok(free.map(|(date, _)| *date).filter(not_past).collect())
    }

    /// The version of one date, for [`Self::list`] and [`Self::refuse_taken`]; cheap enough to be asked for together with the
    /// token, before it is known whether the caller may see the list. None without such a date.
    pub async fn version(
        &self,
        concert: Option<&Concert>,
        date: Option<ConcertDate>,
    ) -> Result<Option<SeenVersion>, SeatsError> {
        match (concert, date) {
            (Some(concert), Some(date)) if concert.has_date(date) => {
                let seen = SeatLists::version(&self.redis, concert, date).await;
                seen.map(Some).map_err(SeatsError::Read)
            }
            _ => Ok(None),
        }
    }

    /// The answer `{"availableSeats":[…]}` for one date, encoded; `seen` is its version if
    /// [`Self::version`] found it during this request.
    pub async fn list(
        &self,
        concert: &Concert,
        date: ConcertDate,
        seen: Option<SeenVersion>,
    ) -> Result<Bytes, SeatsError> {
        if !concert.has_date(date) {
            return Err(SeatsError::unknown_date(date));
        }
        self.generation(concert)?;
        let seen = match seen {
            Some(seen) => seen,
            None => {
                SeatLists::version(&self.redis, concert, date).await.map_err(SeatsError::Read)?
            }
        };
        let list = self.lists.list(&self.redis, concert, date, seen).await;
        list.map_err(SeatsError::Read)?.ok_or_else(|| SeatsError::unknown_date(date))
    }

    /// Refuses `selection` if `seen` proves that a seat of it was taken or sold by somebody else.
    ///
    /// In a rush nearly everybody loses, so losing must be cheap: no script runs. It is only for
    /// those who had never held a seat after `seen` was read; others may be asking for their own.
    pub fn refuse_taken(
        &self,
        concert: &Concert,
        date: ConcertDate,
        selection: &SeatSelection,
        seen: &SeenVersion,
    ) -> Result<(), SeatsError> {
        self.generation(concert)?;
        match self.lists.unfree(concert, date, seen, selection.seats()) {
            _ if selection.beyond(concert.seats).is_some() => Ok(()),
            Some(Unfree::Sold(seat)) => Err(SeatsError::Sold { seat }),
            Some(Unfree::Held(seat)) => Err(SeatsError::Taken { seat }),
            None => Ok(()),
        }
    }

    /// Whether nothing is known here against a reservation of `selection`.
    pub fn may_be_free(
        &self,
        concert: &Concert,
        date: ConcertDate,
        selection: &SeatSelection,
    ) -> bool {
        concert.has_date(date)
            && selection.beyond(concert.seats).is_none()
            && self.generation(concert).is_ok()
            && self.lists.may_be_free(concert, date, selection.seats())
    }

    /// Holds all of `selection` for `holder`, or none; without a date on the only bookable one.
    ///
    /// Runs to its end even when this future is dropped: a hold that was made is confirmed by
    /// PostgreSQL or given back.
    pub async fn reserve(
        &self,
        concert: &Arc<Concert>,
        holder: Holder,
        date: Option<ConcertDate>,
        selection: &SeatSelection,
    ) -> Result<Reserved, SeatsError> {
        let date = self.meant_date(concert, date).await?;
        if let Some(seat) = selection.beyond(concert.seats) {
            return Err(SeatsError::UnknownSeat { seat, last: concert.seats });
        }
        let wish = Wish {
            concert: concert.clone(),
            generation: self.generation(concert)?,
            date,
            holder,
            seats: selection.seats().iter().map(|seat| (*seat, Uuid::now_v7())).collect(),
        };
        let seats = self.clone();
        tokio::spawn(async move { seats.hold_and_confirm(&wish).await })
            .await
            .map_err(SeatsError::Interrupted)?
    }

    /// Gives one hold of `holder` back; answers which it was.
    ///
    /// A hold that is gone, lapsed, paid or another user's is unknown: whoever asks learns nothing
    /// about other people's holds.
    pub async fn release(
        &self,
        concert: &Concert,
        holder: Holder,
        reservation: Uuid,
    ) -> Result<Hold, SeatsError> {
        let live = self.live_holds(concert, holder.user).await?;
        let hold = live.holds.into_iter().find(|hold| hold.reservation == reservation);
        let hold = hold.ok_or(SeatsError::UnknownReservation)?;
        let release = ReleaseHolds {
            concert,
            date: hold.date,
            why: WhyReleased::Asked,
            version: Uuid::now_v7(),
            seats: &[HeldSeat { seat: hold.seat, reservation: hold.reservation, holder }],
        };
        match self.redis.run(&release).await.map_err(SeatsError::Write)? {
            ReleaseOutcome::Released { seats, .. } if seats.is_empty() => {
                Err(SeatsError::UnknownReservation)
            }
            ReleaseOutcome::Released { .. } => Ok(hold),
            ReleaseOutcome::Paying(_) => Err(SeatsError::PaymentInProgress),
        }
    }

    /// The live holds of `user` in `concert`, by date and seat.
    pub async fn live_holds(&self, concert: &Concert, user: UserId) -> Result<Holds, SeatsError> {
        self.redis.run(&ReadHolds { concert, user }).await.map_err(SeatsError::Read)
    }

    pub(super) fn generation(&self, concert: &Concert) -> Result<Generation, SeatsError> {
        self.gates.verified(concert.id).ok_or(SeatsError::NotReady)
    }

    /// The date that a request means. Whether it is past is left to the script, if it is named.
    async fn meant_date(
        &self,
        concert: &Concert,
        date: Option<ConcertDate>,
    ) -> Result<ConcertDate, SeatsError> {
        match date.or(concert.only_date()) {
            Some(date) if concert.has_date(date) => return Ok(date),
            Some(date) => return Err(SeatsError::unknown_date(date)),
            None => {}
        }
        let reading = self.redis.run(&ReadDates { concert }).await.map_err(SeatsError::Read)?;
        let dates: Vec<_> = concert.bookable_dates(reading.now_ms).collect();
        match dates.as_slice() {
            [] => Err(SeatsError::UnknownDate { date: super::error::NamedDate(None) }),
            [date] => Ok(*date),
            _ => Err(SeatsError::SeveralDates { dates }),
        }
    }

    async fn hold_and_confirm(&self, wish: &Wish) -> Result<Reserved, SeatsError> {
        crate::crash::point("reserve.before_hold");
        let holds = self.hold(wish).await?;
        // Those that were held before this request keep their own ids.
        let is_mine = |hold: &Hold| wish.seats.contains(&(hold.seat, hold.reservation));
        let made: Vec<_> = holds.holds.iter().filter(|hold| is_mine(hold)).collect();
        let made: Vec<_> = made.iter().map(|hold| (hold.seat, hold.reservation)).collect();
        crate::crash::point("reserve.after_hold");
        if crate::mutant::lacks("winner-check") {
            return Ok(Reserved { is_new: !made.is_empty(), holds });
        }
        let asked = wish.seats.iter().map(|(seat, _)| (wish.concert.id, wish.date, *seat));
        let sold = match self.questions.ask(asked.collect()).await {
            Ok(sold) => sold,
            Err(no_answer) => return Err(self.give_up(wish, &made, no_answer).await),
        };
        crate::crash::point("reserve.after_confirm");
        // The same token may have paid meanwhile for what this request has just made: then it did
        // hold it, and was sold nothing that it is refused. A token buys once, so what it held before
        // was in that payment, too.
        let asked = || std::iter::zip(&wish.seats, &sold);
        let has_paid = asked().any(|((_, new), sold)| *sold == Some(*new));
        let is_own = |reservation| {
            has_paid && holds.holds.iter().any(|hold| hold.reservation == reservation)
        };
        let sold: Vec<_> = asked()
            .filter(|(_, sold)| sold.is_some_and(|reservation| !is_own(reservation)))
            .map(|((seat, _), _)| *seat)
            .collect();
        match sold.first() {
            None => Ok(Reserved { is_new: !made.is_empty(), holds }),
            Some(first) => Err(self.withdraw(wish, &made, &sold, *first).await),
        }
    }

    async fn hold(&self, wish: &Wish) -> Result<Holds, SeatsError> {
        let concert = &*wish.concert;
        let call = HoldSeats {
            concert,
            generation: &wish.generation,
            date: wish.date,
            holder: wish.holder,
            terms: self.config.hold_terms(),
            version: Uuid::now_v7(),
            seats: &wish.seats,
        };
        Err(match self.redis.run(&call).await.map_err(SeatsError::Write)? {
            HoldOutcome::Held(holds) => return Ok(holds),
            HoldOutcome::NotReady => SeatsError::NotReady,
            HoldOutcome::TokenExpired => SeatsError::TokenExpired,
            HoldOutcome::NotYours => SeatsError::NotYours,
            HoldOutcome::Unclaimed => SeatsError::Unclaimed,
            HoldOutcome::Past => SeatsError::unknown_date(wish.date),
            HoldOutcome::Paying => SeatsError::PaymentInProgress,
            HoldOutcome::Sold(seat) => self.lost(wish, SeatsError::Sold { seat }),
            HoldOutcome::Taken(seat) => self.lost(wish, SeatsError::Taken { seat }),
            HoldOutcome::Limit(held) => {
                SeatsError::HoldLimit { limit: self.config.max_seats_per_user, held }
            }
            HoldOutcome::SessionEnding(ends_ms) => {
                SeatsError::SessionEnding { ends_at: concert.local_time(ends_ms) }
            }
        })
    }

    /// Sees to it that the next losers learn it from [`Self::refuse_taken`].
    fn lost(&self, wish: &Wish, refusal: SeatsError) -> SeatsError {
        let (seats, concert, date) = (self.clone(), wish.concert.clone(), wish.date);
        tokio::spawn(async move {
            // Without a list the script goes on to refuse them.
            let _ = seats.lists.refresh(&seats.redis, &concert, date).await;
        });
        refusal
    }

    /// PostgreSQL did not answer: gives back what this request made, and says whether that worked.
    async fn give_up(
        &self,
        wish: &Wish,
        made: &[(SeatNumber, Uuid)],
        no_answer: NoAnswer,
    ) -> SeatsError {
        if self.give_back(wish, made).await {
            SeatsError::Database(no_answer)
        } else {
            SeatsError::Unconfirmed(no_answer)
        }
    }

    /// PostgreSQL knows an owner that Redis forgot: marks the seats, and gives back the others.
    async fn withdraw(
        &self,
        wish: &Wish,
        made: &[(SeatNumber, Uuid)],
        sold: &[SeatNumber],
        first: SeatNumber,
    ) -> SeatsError {
        tracing::warn!(concert = %wish.concert.id, date = %wish.date, ?sold,
            "seats were held that PostgreSQL knows to be sold");
        let restore = RestoreSold {
            concert: &wish.concert,
            date: wish.date,
            lock: None,
            version: Uuid::now_v7(),
            seats: sold,
        };
        if let Err(error) = self.redis.run(&restore).await {
            // PostgreSQL goes on refusing them, and the comparison with it repairs the mark.
            tracing::warn!(%error, "sold seats could not be marked");
        }
        let rest: Vec<_> = made.iter().copied().filter(|(seat, _)| !sold.contains(seat)).collect();
        if self.give_back(wish, &rest).await {
            SeatsError::Sold { seat: first }
        } else {
            SeatsError::NotGivenBack
        }
    }

    /// Releases what this request made; whether nothing of it is left.
    async fn give_back(&self, wish: &Wish, made: &[(SeatNumber, Uuid)]) -> bool {
        if made.is_empty() {
            return true;
        }
        let held = |(seat, reservation): &(SeatNumber, Uuid)| {
            let (seat, reservation, holder) = (*seat, *reservation, wish.holder);
            HeldSeat { seat, reservation, holder }
        };
        let release = ReleaseHolds {
            concert: &wish.concert,
            date: wish.date,
            why: WhyReleased::GivenUp,
            version: Uuid::now_v7(),
            seats: &made.iter().map(held).collect::<Vec<_>>(),
        };
        crate::crash::point("reserve.before_give_back");
        let given_back = self.redis.run(&release).await;
        crate::crash::point("reserve.after_give_back");
        match given_back {
            // What is neither given back nor kept was perhaps paid for meanwhile.
            Ok(ReleaseOutcome::Released { seats, .. }) => seats.len() == made.len(),
            Ok(ReleaseOutcome::Paying(_)) => false,
            Err(error) => {
                tracing::warn!(%error, "holds that could not be confirmed could not be given back");
                false
            }
        }
    }
}
