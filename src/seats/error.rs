//! Why the seats slice refused a request.

use super::questions::NoAnswer;
use crate::http::store_errors::{Effect, redis_problem};
use crate::http::{Code, Problem};
use crate::postgres::PgError;
use crate::redis::RedisError;
use crate::words::{ConcertDate, SeatNumber};

/// Why the seats slice refused a request. Every variant is one documented problem.
///
/// `Display` is written for the client and becomes `detail`; the source goes to the log only.
#[derive(Debug, thiserror::Error)]
pub enum SeatsError {
    /// The concert has no such date, or it is past.
    #[error("{date} is not on sale")]
    UnknownDate {
        /// The date asked for; None if none was given and none is bookable.
        date: NamedDate,
    },
    /// No date was given, and the concert has several.
    #[error("concertDate is missing: the concert can be booked for {}", listed(dates))]
    SeveralDates {
        /// Those that can be booked.
        dates: Vec<ConcertDate>,
    },
    /// The concert has fewer seats.
    #[error("there is no seat {seat}: the seats are 1 to {last}")]
    UnknownSeat {
        /// The seat asked for.
        seat: SeatNumber,
        /// The highest seat there is.
        last: SeatNumber,
    },
    /// The user has no such live hold.
    #[error("there is no such reservation of this user, or it has ended")]
    UnknownReservation,
    /// The token is not active any more.
    #[error("the token is no longer live")]
    TokenExpired,
    /// The token is bound to another user, or to nobody yet.
    #[error("the token belongs to another user")]
    NotYours,
    /// The token was not used before.
    #[error("the token was not used before; repeat the request")]
    Unclaimed,
    /// Somebody else holds the seat.
    #[error("seat {seat} is held by somebody else")]
    Taken {
        /// That seat.
        seat: SeatNumber,
    },
    /// The seat is sold.
    #[error("seat {seat} is sold")]
    Sold {
        /// That seat.
        seat: SeatNumber,
    },
    /// Seats that were to be withheld are sold.
    #[error("these seats are sold: {}", numbers(seats))]
    SomeSold {
        /// Those seats.
        seats: Vec<SeatNumber>,
    },
    /// Seats that were to be withheld are held by people.
    #[error("people hold these seats: {}", numbers(seats))]
    SomeHeld {
        /// Those seats.
        seats: Vec<SeatNumber>,
    },
    /// Seats are withheld, and PostgreSQL may not have noted it.
    #[error(
        "the seats are withheld, but that may be forgotten if Redis loses its data; repeat the \
        request"
    )]
    NotNoted(#[source] PgError),
    /// PostgreSQL did not say that it has forgotten withheld seats; they are withheld still.
    #[error("the seats are withheld still; repeat the request")]
    NotForgotten(#[source] PgError),
    /// PostgreSQL has forgotten withheld seats, and Redis may withhold them still.
    #[error("the seats may be withheld still; repeat the request")]
    StillWithheld(#[source] RedisError),
    /// The user would hold too many seats.
    #[error("a user holds at most {limit} seats of a concert, and this one holds {held}")]
    HoldLimit {
        /// The most live holds of a user.
        limit: u32,
        /// Those the user has now.
        held: u32,
    },
    /// The token's session ends before the hold would.
    #[error("the session ends before a new hold would")]
    SessionEnding {
        /// When, in the API's form.
        ends_at: String,
    },
    /// A payment of this token is under way.
    #[error("a payment of this token is under way; try again when it is answered")]
    PaymentInProgress,
    /// A payment for a hold that an operator releases is under way.
    #[error("a payment for the hold of seat {seat} is under way; try again when it is answered")]
    PaymentForSeat {
        /// That seat.
        seat: SeatNumber,
    },
    /// This server has not yet compared the concert's sold seats with PostgreSQL.
    #[error("the concert's seats are being compared with the payments")]
    NotReady,
    /// PostgreSQL could not say whether the seat is sold; what was held before is held still.
    #[error(
        "the database cannot be asked whether the seat is sold; nothing changed: there is no new \
        hold, and an earlier one stands"
    )]
    Database(#[source] NoAnswer),
    /// A hold was made, could not be confirmed, and may not have been given back.
    #[error("the seat may be held for this user; repeat the request")]
    Unconfirmed(#[source] NoAnswer),
    /// Some seats are sold, and the hold of the others may not have been given back.
    #[error("some of the seats are sold, the others may be held for this user")]
    NotGivenBack,
    /// The task that does the work ended before its work.
    #[error("it is not known whether this took effect; repeat the request")]
    Interrupted(#[source] tokio::task::JoinError),
    /// Redis did not answer a question.
    #[error("the seats cannot be read")]
    Read(#[source] RedisError),
    /// Redis did not answer a change.
    #[error("the seats cannot be changed")]
    Write(#[source] RedisError),
}

fn listed(dates: &[ConcertDate]) -> String {
    dates.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn numbers(seats: &[SeatNumber]) -> String {
    seats.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// A date in an error's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamedDate(pub Option<ConcertDate>);

impl std::fmt::Display for NamedDate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(date) => write!(f, "{date}"),
            None => f.write_str("no date of the concert"),
        }
    }
}

impl SeatsError {
    /// Whether the token alone was refused, and nothing else was looked at.
    pub(super) fn is_about_the_token(&self) -> bool {
        matches!(self, Self::TokenExpired | Self::NotYours | Self::Unclaimed)
    }

    pub(super) fn unknown_date(date: ConcertDate) -> Self {
        Self::UnknownDate { date: NamedDate(Some(date)) }
    }
}

impl From<SeatsError> for Problem {
    fn from(error: SeatsError) -> Self {
        Self::from(&error)
    }
}

impl From<&SeatsError> for Problem {
    fn from(error: &SeatsError) -> Self {
        let problem = match error {
            SeatsError::UnknownDate { date } => {
                Self::new(Code::UnknownDate).with("concertDate", date.0)
            }
            SeatsError::SeveralDates { dates } => Self::new(Code::BadRequest)
                .with("field", "concertDate")
                .with("availableDates", dates),
            SeatsError::UnknownSeat { seat, last } => {
                Self::new(Code::UnknownSeat).with("seatNumber", seat).with("seats", last)
            }
            SeatsError::UnknownReservation => Self::new(Code::UnknownReservation),
            SeatsError::TokenExpired => Self::new(Code::TokenExpired),
            SeatsError::NotYours => Self::new(Code::NotYours),
            SeatsError::Taken { seat } => Self::new(Code::SeatTaken).with("seatNumber", seat),
            SeatsError::Sold { seat } => Self::new(Code::SeatSold).with("seatNumber", seat),
            SeatsError::SomeSold { seats } => Self::new(Code::SeatSold).with("seatNumbers", seats),
            SeatsError::SomeHeld { seats } => Self::new(Code::SeatTaken).with("seatNumbers", seats),
            SeatsError::NotNoted(source) => Self::new(Code::OutcomeUnknown).caused_by(source),
            SeatsError::NotForgotten(source) if source.may_have_happened() => {
                Self::new(Code::OutcomeUnknown).caused_by(source)
            }
            SeatsError::NotForgotten(source) => {
                Self::new(Code::DatabaseUnavailable).caused_by(source)
            }
            SeatsError::StillWithheld(source) => Self::new(Code::OutcomeUnknown).caused_by(source),
            SeatsError::HoldLimit { limit, held } => {
                Self::new(Code::HoldLimit).with("limit", limit).with("held", held)
            }
            SeatsError::SessionEnding { ends_at } => {
                Self::new(Code::SessionEnding).with("sessionEndsAt", ends_at)
            }
            SeatsError::PaymentInProgress => Self::new(Code::PaymentInProgress),
            SeatsError::PaymentForSeat { seat } => {
                Self::new(Code::PaymentInProgress).with("seatNumber", seat)
            }
            SeatsError::NotReady | SeatsError::Unclaimed => Self::new(Code::NotReady),
            SeatsError::Database(source) => Self::new(Code::DatabaseUnavailable).caused_by(source),
            SeatsError::NotGivenBack => Self::new(Code::OutcomeUnknown),
            SeatsError::Unconfirmed(source) => Self::new(Code::OutcomeUnknown).caused_by(source),
            SeatsError::Interrupted(source) => Self::new(Code::OutcomeUnknown).caused_by(source),
            SeatsError::Read(source) => redis_problem(source, Effect::Read),
            SeatsError::Write(source) => redis_problem(source, Effect::Write),
        };
        match error {
            // The shared words for these say whether something happened.
            SeatsError::Read(_) | SeatsError::Write(_) => problem,
            _ => problem.detail(error.to_string()),
        }
    }
}

impl From<super::domain::BadSelection> for Problem {
    fn from(error: super::domain::BadSelection) -> Self {
        use super::domain::BadSelection;
        let problem = match error {
            BadSelection::Length { most, .. } => {
                Self::new(Code::OutOfRange).with("min", 1).with("max", most)
            }
            BadSelection::Repeated { seat } => Self::new(Code::BadRequest).with("seatNumber", seat),
        };
        problem.with("field", "seatNumbers").detail(format!("seatNumbers: {error}"))
    }
}
