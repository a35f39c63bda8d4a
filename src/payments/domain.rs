//! The words of the slice, and rules that need no store.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::concerts::Concert;
use crate::words::{ChargeAmount, ConcertDate, ConcertId, Place, SeatNumber, UserId, Won};

/// One seat of a purchase: held before the payment, owned after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentSeat {
    /// The hold that it was.
    pub reservation: Uuid,
    /// Its date.
    pub date: ConcertDate,
    /// Its number.
    pub seat: SeatNumber,
    /// Its price, fixed when it was held.
    pub price: Won,
}

/// A payment that PostgreSQL has committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// Its id.
    pub id: Uuid,
    /// Who paid.
    pub user: UserId,
    /// The concert of its seats.
    pub concert: ConcertId,
    /// The place whose token bought them.
    pub place: Place,
    /// When, on PostgreSQL's clock.
    pub paid_at: DateTime<Utc>,
    /// The user's balance right after it.
    pub balance_after: Won,
    /// Its seats, by date and number; at least one.
    pub seats: Vec<PaymentSeat>,
}

/// Payments of a user, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedPage {
    /// The payments.
    pub payments: Vec<Payment>,
    /// The last of them, if there are older ones.
    pub next: Option<Uuid>,
}

impl OwnedPage {
    /// The first `length_max` of `payments`.
    #[must_use]
    pub fn of(mut payments: Vec<Payment>, length_max: usize) -> Self {
        let has_more = payments.len() > length_max;
        payments.truncate(length_max);
        let next = payments.last().filter(|_| has_more).map(|last| last.id);
        Self { payments, next }
    }
}

/// A request to pay for what a token holds.
#[derive(Debug, Clone)]
pub struct Purchase {
    /// The token's concert.
    pub concert: Arc<Concert>,
    /// The token's place.
    pub place: Place,
    /// Who pays.
    pub user: UserId,
    /// The client's own name for this payment.
    pub key: Option<KeyUse>,
}

/// An idempotency key with what it was used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyUse {
    /// The key as the client sent it.
    pub key: String,
    /// Of the body that it came with.
    pub fingerprint: Vec<u8>,
}

impl KeyUse {
    /// A key of a charge.
    #[must_use]
    pub fn of_charge(key: &str, user: UserId, amount: ChargeAmount) -> Self {
        Self::new(key, &format!("userId={user}&amount={amount}"))
    }

    /// A key of a payment. The token is not part of the body: an old key with a new token answers
    /// the old payment.
    #[must_use]
    pub fn of_payment(key: &str, user: UserId) -> Self {
        Self::new(key, &format!("userId={user}"))
    }

    fn new(key: &str, body: &str) -> Self {
        Self { key: key.to_owned(), fingerprint: Sha256::digest(body.as_bytes()).to_vec() }
    }
}

/// How one date's sold set in Redis differs from PostgreSQL.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Sold, and not marked.
    pub missing: Vec<SeatNumber>,
    /// Marked, and not sold.
    pub unknown: Vec<SeatNumber>,
}

impl Difference {
    /// Compares a bitmap (bit index = seat number, most significant bit first) with the seats that
    /// are sold, given ascending.
    #[must_use]
    pub fn between(bitmap: &[u8], sold: &[SeatNumber]) -> Self {
        let marked = |seat: &SeatNumber| {
            let index = seat.get() as usize;
            let byte = bitmap.get(index / 8).copied().unwrap_or(0);
            byte & (0x80 >> (index % 8)) != 0
        };
        let missing = sold.iter().copied().filter(|seat| !marked(seat));
        let unknown = (1..bitmap.len() * 8)
            .map_while(|index| SeatNumber::try_from(i128::try_from(index).ok()?).ok())
            .filter(|seat| marked(seat) && sold.binary_search(seat).is_err());
        Self { missing: missing.collect(), unknown: unknown.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bitmap_is_compared_bit_by_bit_also_beyond_its_end() {
        let seats = |numbers: &[i128]| -> Vec<SeatNumber> {
            numbers.iter().map(|number| SeatNumber::try_from(*number).unwrap()).collect()
        };
        // Bits 1, 7, 8 and 15.
        let bitmap = [0b0100_0001, 0b1000_0001];
        let difference = Difference::between(&bitmap, &seats(&[1, 2, 8, 16, 100_000]));
        assert_eq!(difference.missing, seats(&[2, 16, 100_000]));
        assert_eq!(difference.unknown, seats(&[7, 15]));
        assert_eq!(Difference::between(&[], &[]), Difference::default());
    }

    #[test]
    fn a_fingerprint_tells_bodies_apart() {
        let user = |id: i128| UserId::try_from(id).unwrap();
        let amount = |won: i128| ChargeAmount::try_from(won).unwrap();
        let first = KeyUse::of_charge("k", user(1), amount(5));
        assert_eq!(first, KeyUse::of_charge("k", user(1), amount(5)));
        assert_ne!(first, KeyUse::of_charge("k", user(1), amount(6)));
        assert_ne!(first, KeyUse::of_charge("k", user(2), amount(5)));
        assert_ne!(first.fingerprint, KeyUse::of_payment("k", user(1)).fingerprint);
    }
}
