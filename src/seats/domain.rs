//! The rules of seats: what a request may ask for, and which seats of a date are free.

use bytes::Bytes;
use uuid::Uuid;

use crate::words::{ConcertDate, Place, SeatNumber, UserId, Won};

/// The deadline of a withheld seat in Redis, Unix ms: the last millisecond of the year 9999.
pub const WITHHELD_UNTIL_MS: u64 = 253_402_300_799_999;

/// Who holds seats: a user, through a place in the concert's line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// The user that the token is bound to.
    pub user: UserId,
    /// The token's place.
    pub place: Place,
}

/// A hold as somebody saw it: enough to name it, whatever became of it since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldSeat {
    /// The seat.
    pub seat: SeatNumber,
    /// The id of this hold.
    pub reservation: Uuid,
    /// Whose it is.
    pub holder: Holder,
}

impl HeldSeat {
    /// Reads the record of `seat` in `{c<id>}:hold:<date>`,
    /// `<reservation>:<place>:<user>:<price>:<hard_ms>`; none if it is no person's.
    #[must_use]
    pub fn read(seat: SeatNumber, record: &str) -> Option<Self> {
        let mut parts = record.split(':');
        let reservation = parts.next()?.parse().ok()?;
        let mut number = || parts.next()?.parse::<i128>().ok();
        let place = Place::try_from(number()?).ok()?;
        let user = UserId::try_from(number()?).ok()?;
        Some(Self { seat, reservation, holder: Holder { user, place } })
    }
}

/// The seats of one request: some, each once, in the order asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeatSelection(Vec<SeatNumber>);

/// A list of seats that is no selection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSelection {
    /// None, or too many.
    #[error("a request names 1 to {most} seats, not {given}")]
    Length {
        /// How many were named.
        given: usize,
        /// How many it may name.
        most: usize,
    },
    /// One seat is named twice.
    #[error("seat {seat} is named twice")]
    Repeated {
        /// That seat.
        seat: SeatNumber,
    },
}

impl SeatSelection {
    /// The most seats that a request reserves; also bounds the script that holds them.
    pub const SEATS_MAX: usize = 20;

    /// Several seats, `most` at most.
    pub fn new(seats: Vec<SeatNumber>, most: usize) -> Result<Self, BadSelection> {
        if !(1..=most).contains(&seats.len()) {
            return Err(BadSelection::Length { given: seats.len(), most });
        }
        let mut sorted = seats.clone();
        sorted.sort_unstable();
        match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(BadSelection::Repeated { seat: pair[0] }),
            None => Ok(Self(seats)),
        }
    }

    /// The seats, in the order asked.
    #[must_use]
    pub fn seats(&self) -> &[SeatNumber] {
        &self.0
    }

    /// The first seat that a concert with seats 1..=`last` does not have.
    #[must_use]
    pub fn beyond(&self, last: SeatNumber) -> Option<SeatNumber> {
        self.0.iter().copied().find(|seat| *seat > last)
    }
}

impl From<SeatNumber> for SeatSelection {
    fn from(seat: SeatNumber) -> Self {
        Self(vec![seat])
    }
}

/// A seat set aside until a deadline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// The date.
    pub date: ConcertDate,
    /// The seat.
    pub seat: SeatNumber,
    /// The id of this hold, new for every hold.
    pub reservation: Uuid,
    /// Its price, fixed when it was made.
    pub price: Won,
    /// Until when, Unix ms by Redis' clock.
    pub deadline_ms: u64,
}

/// Live holds, as they were at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holds {
    /// That moment: Unix ms by Redis' clock.
    pub now_ms: u64,
    /// The holds.
    pub holds: Vec<Hold>,
}

impl Holds {
    /// Whole seconds that `hold` has left; rounded down, so that no client trusts it too long.
    #[must_use]
    pub fn expires_in_seconds(&self, hold: &Hold) -> u64 {
        hold.deadline_ms.saturating_sub(self.now_ms) / 1000
    }

    /// The hold that ends first.
    #[must_use]
    pub fn first_to_end(&self) -> Option<&Hold> {
        self.holds.iter().min_by_key(|hold| hold.deadline_ms)
    }
}

/// What is not free on one date, as it was at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeatReading {
    /// That moment: Unix ms by Redis' clock.
    pub now_ms: u64,
    /// The date's version; None if nothing was ever held or sold.
    pub version: Option<String>,
    /// Seats sold, as Redis stores them: see [`SoldSeats`].
    pub sold: SoldSeats,
    /// When the next hold ends.
    pub next_deadline_ms: Option<u64>,
    /// The seats held, ascending.
    pub held: Vec<SeatNumber>,
}

/// Why a seat is not free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfree {
    /// Somebody holds it.
    Held(SeatNumber),
    /// Somebody owns it.
    Sold(SeatNumber),
}

/// A bitmap with one bit per seat number, most significant bit first; bit 0 is unused.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SoldSeats(pub Bytes);

impl SoldSeats {
    /// Whether `seat` is sold.
    #[must_use]
    pub fn contains(&self, seat: SeatNumber) -> bool {
        let (byte, bit) = position(seat);
        self.0.get(byte).is_some_and(|bits| bits & bit != 0)
    }

    /// The sold seats, ascending.
    pub fn iter(&self) -> impl Iterator<Item = SeatNumber> + '_ {
        let numbers = self.0.iter().zip(0_i128..).flat_map(|(bits, byte)| {
            (0..8).filter(move |bit| bits & (0x80 >> bit) != 0).map(move |bit| byte * 8 + bit)
        });
        // A bit outside of the range is no seat; nobody sets one.
        numbers.filter_map(|number| SeatNumber::try_from(number).ok())
    }
}

fn position(seat: SeatNumber) -> (usize, u8) {
    let number = seat.get() as usize;
    (number / 8, 0x80 >> (number % 8))
}

impl SeatReading {
    /// Why `seat` is not free, if it is not.
    #[must_use]
    pub fn unfree(&self, seat: SeatNumber) -> Option<Unfree> {
        if self.sold.contains(seat) {
            Some(Unfree::Sold(seat))
        } else if self.held.binary_search(&seat).is_ok() {
            Some(Unfree::Held(seat))
        } else {
            None
        }
    }

    /// The free seats of a concert with seats 1..=`last`.
    #[must_use]
    pub fn free(&self, last: SeatNumber) -> FreeSeats {
        let last = last.get() as usize;
        let mut bits: Vec<u8> = self.sold.0.iter().map(|sold| !sold).collect();
        bits.resize(last / 8 + 1, 0xff);
        bits[0] &= 0x7f;
        bits[last / 8] &= 0xff << (7 - last % 8);
        for seat in &self.held {
            let (byte, bit) = position(*seat);
            if let Some(bits) = bits.get_mut(byte) {
                *bits &= !bit;
            }
        }
        FreeSeats(bits.into())
    }
}

/// The free seats of one date: a bitmap as [`SoldSeats`], with nothing outside of the seats there are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FreeSeats(Bytes);

impl FreeSeats {
    /// All of them: the answer `{"availableSeats":[…]}`, encoded.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let count: u32 = self.0.iter().map(|bits| bits.count_ones()).sum();
        let mut body = Vec::with_capacity(32 + 7 * count as usize);
        body.extend_from_slice(br#"{"availableSeats":"#);
        push_seats(&mut body, self.0.iter().copied());
        body.push(b'}');
        body.into()
    }

    /// What became of the seats since `before`: `{"taken":[…],"freed":[…]}`, encoded; none if nothing
    /// did.
    #[must_use]
    pub fn encode_changes(&self, before: &Self) -> Option<Bytes> {
        if self == before {
            return None;
        }
        let byte = |seats: &Self, at: usize| seats.0.get(at).copied().unwrap_or(0);
        let all = || 0..self.0.len().max(before.0.len());
        let mut body = br#"{"taken":"#.to_vec();
        push_seats(&mut body, all().map(|at| byte(before, at) & !byte(self, at)));
        body.extend_from_slice(br#","freed":"#);
        push_seats(&mut body, all().map(|at| byte(self, at) & !byte(before, at)));
        body.push(b'}');
        Some(body.into())
    }
}

/// Appends the seats of a bitmap as a JSON list, ascending.
fn push_seats(body: &mut Vec<u8>, bitmap: impl Iterator<Item = u8>) {
    body.push(b'[');
    let open = body.len();
    for (first, bits) in (0..).step_by(8).zip(bitmap) {
        for bit in (0..8).filter(|bit| bits & (0x80 >> bit) != 0) {
            if body.len() > open {
                body.push(b',');
            }
            push_decimal(body, first + bit);
        }
    }
    body.push(b']');
}

/// Appends `number` in decimal. A list may have 100,000 of them, so no formatting machinery.
fn push_decimal(body: &mut Vec<u8>, number: u32) {
    let mut digits = [0_u8; 10];
    let mut start = digits.len();
    let mut rest = number;
    while rest > 0 || start == digits.len() {
        start -= 1;
        digits[start] = b'0' + u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
    }
    body.extend_from_slice(&digits[start..]);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn seat(number: u32) -> SeatNumber {
        SeatNumber::try_from(i128::from(number)).expect("a seat")
    }

    #[test]
    fn a_hold_is_read_with_its_holder_and_what_is_no_persons_is_none() {
        let id = Uuid::from_u128(7);
        let read =
            HeldSeat::read(seat(3), &format!("{id}:12:5:50000:1764183600000")).expect("held");
        assert_eq!((read.seat, read.reservation), (seat(3), id));
        assert_eq!((read.holder.place.get(), read.holder.user.get()), (12, 5));
        for record in
            ["", "x:12:5:1:1", &format!("{id}"), &format!("{id}:12"), &format!("{id}:0:0:0:1")]
        {
            assert_eq!(HeldSeat::read(seat(3), record), None, "{record}");
        }
    }

    #[test]
    fn a_selection_is_some_different_seats() {
        let new =
            |numbers: &[u32]| SeatSelection::new(numbers.iter().copied().map(seat).collect(), 20);
        assert_eq!(new(&[]), Err(BadSelection::Length { given: 0, most: 20 }));
        assert_eq!(new(&[3, 1, 3]), Err(BadSelection::Repeated { seat: seat(3) }));
        let many: Vec<_> = (1..=21).collect();
        assert_eq!(new(&many), Err(BadSelection::Length { given: 21, most: 20 }));
        let asked = new(&[9, 2]).expect("a selection");
        assert_eq!(asked.seats(), [seat(9), seat(2)], "the order asked is kept");
        assert_eq!(asked.beyond(seat(9)), None);
        assert_eq!(asked.beyond(seat(8)), Some(seat(9)));
    }

    proptest! {
        #[test]
        fn the_encoded_list_is_everything_neither_sold_nor_held(
            last in 1_u32..3000,
            sold in prop::collection::btree_set(1_u32..3000, 0..200),
            held in prop::collection::btree_set(1_u32..3000, 0..200),
        ) {
            let mut bits = vec![0_u8; 400];
            for number in &sold {
                let (byte, bit) = position(seat(*number));
                bits[byte] |= bit;
            }
            let sold_seats = SoldSeats(bits.into());
            prop_assert_eq!(sold_seats.iter().map(SeatNumber::get).collect::<BTreeSet<_>>(), sold.clone());
            let reading = SeatReading {
                now_ms: 0,
                version: None,
                sold: sold_seats,
                next_deadline_ms: None,
                held: held.iter().copied().map(seat).collect(),
            };
            let free: Vec<u32> =
                (1..=last).filter(|number| !sold.contains(number) && !held.contains(number)).collect();
            let expected = serde_json::json!({ "availableSeats": free }).to_string();
            prop_assert_eq!(reading.free(seat(last)).encode(), expected.as_bytes());
        }

        #[test]
        fn changes_lead_from_one_moment_to_the_next(
            last in 1_u32..300,
            before in prop::collection::btree_set(1_u32..300, 0..100),
            after in prop::collection::btree_set(1_u32..300, 0..100),
        ) {
            let free = |held: &BTreeSet<u32>| {
                SeatReading {
                    now_ms: 0,
                    version: None,
                    sold: SoldSeats::default(),
                    next_deadline_ms: None,
                    held: held.iter().copied().map(seat).collect(),
                }
                .free(seat(last))
            };
            let within = |seats: &BTreeSet<u32>, others: &BTreeSet<u32>| -> Vec<u32> {
                seats.difference(others).copied().filter(|number| *number <= last).collect()
            };
            let (taken, freed) = (within(&after, &before), within(&before, &after));
            let nothing = taken.is_empty() && freed.is_empty();
            let expected = serde_json::json!({ "taken": taken, "freed": freed });
            let told = free(&after).encode_changes(&free(&before));
            prop_assert_eq!(told.is_none(), nothing);
            if let Some(told) = told {
                prop_assert_eq!(serde_json::from_slice::<serde_json::Value>(&told).unwrap(), expected);
            }
        }
    }
}
