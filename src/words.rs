//! The words of the domain as types: parsed once at the edge, trusted everywhere behind it.
//!
//! Every number that a client may send has one type here, with its range. What is *not* here: a
//! token (it is signed, see the queue slice) and anything that reads a store.

use std::fmt;

use chrono::NaiveDate;
use serde::Serialize;

/// A number outside of the range that its meaning allows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be {min} to {max}, not {given}")]
pub struct OutOfRange {
    /// What the number means, for people: "a seat number".
    pub what: &'static str,
    /// The smallest allowed value.
    pub min: i128,
    /// The largest allowed value.
    pub max: i128,
    /// What was given.
    pub given: i128,
}

/// Declares an integer newtype with a closed range, a checked constructor and plain formatting.
macro_rules! ranged {
    ($(#[$doc:meta])* $name:ident($inner:ty), $what:literal, $min:expr, $max:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name($inner);

        impl $name {
            /// The smallest value.
            pub const MIN: $inner = $min;
            /// The largest value.
            pub const MAX: $inner = $max;

            /// The plain number.
            #[must_use]
            pub const fn get(self) -> $inner {
                self.0
            }
        }

        impl TryFrom<i128> for $name {
            type Error = OutOfRange;

            fn try_from(given: i128) -> Result<Self, OutOfRange> {
                match <$inner>::try_from(given) {
                    Ok(value) if (Self::MIN..=Self::MAX).contains(&value) => Ok(Self(value)),
                    _ => Err(OutOfRange {
                        what: $what,
                        min: i128::from(Self::MIN),
                        max: i128::from(Self::MAX),
                        given,
                    }),
                }
            }
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::Type::Integer)
                    .description(Some($what))
                    .minimum(Some(Self::MIN))
                    .maximum(Some(Self::MAX))
                    .into()
            }
        }

        impl utoipa::ToSchema for $name {}

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

ranged! {
    /// A concert of the catalogue. 22 bits, because it is part of every token.
    ConcertId(u32), "a concert id", 1, (1 << 22) - 1
}

ranged! {
    /// A person, as the gateway or the JWT names it. Exact in a JavaScript number.
    UserId(u64), "a user id", 1, (1 << 53) - 1
}

ranged! {
    /// A numbered seat; a concert has seats 1..=n with n of at most this type's maximum.
    SeatNumber(u32), "a seat number", 1, 100_000
}

ranged! {
    /// Money added to a balance in one charge, in the smallest unit of the currency.
    ChargeAmount(i64), "an amount", 1, 10_000_000
}

ranged! {
    /// An amount of money in the smallest unit of the currency (won), never negative.
    Won(i64), "an amount of money", 0, 1_000_000_000_000
}

ranged! {
    /// A number in one concert's line: given once, in order of arrival. 50 bits.
    Place(u64), "a place", 1, (1 << 50) - 1
}

ranged! {
    /// How many people a line lets in, at a moment or per second.
    People(u32), "a number of people", 0, 10_000_000
}

ranged! {
    /// A moment, in Unix ms. Exact in a JavaScript number.
    UnixMs(u64), "a moment in Unix ms", 1, (1 << 53) - 1
}

/// A day on which a concert is played, in the concert's own time zone.
pub type ConcertDate = NaiveDate;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_a_range_are_inside_and_their_neighbours_are_not() {
        assert_eq!(ConcertId::try_from(1).map(ConcertId::get), Ok(1));
        assert_eq!(ConcertId::try_from((1 << 22) - 1).map(ConcertId::get), Ok(4_194_303));
        for given in [0, -1, 1 << 22, 1 << 64, i128::MAX, i128::MIN] {
            let refusal = ConcertId::try_from(given).expect_err("outside of the range");
            assert_eq!((refusal.min, refusal.max, refusal.given), (1, 4_194_303, given));
        }
        assert!(UserId::try_from((1 << 53) - 1).is_ok());
        assert!(UserId::try_from(1 << 53).is_err());
    }
}
