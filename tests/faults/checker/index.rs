//! A history, read once: who bought, held and charged what, and between which moments.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use crate::history::{Call, History, Op, Outcome, OwnedRow, PaymentRow};

/// What has piled up while the machine stalled is worked off for so long; and a stall is noticed only
/// when it is over.
const STALL_US: u64 = 500_000;

/// A concert's line and a number in it.
pub type Place = (u32, u64);
/// Concert, date, number.
pub type Seat = (u32, String, u32);

/// A payment that was answered 2xx.
pub struct Paid<'a> {
    pub op: &'a Op,
    pub place: Place,
    pub user: u64,
    pub key: Option<&'a str>,
    pub payments: BTreeSet<String>,
    /// Seat, reservation, price.
    pub seats: BTreeSet<(Seat, String, i64)>,
    pub balance: Option<i64>,
}

/// A seat in a 2xx answer to a reservation.
pub struct Held<'a> {
    pub op: &'a Op,
    pub place: Place,
    pub user: u64,
    pub seat: Seat,
    pub reservation: String,
    /// Until when it was certainly held, and not yet paid.
    pub certain_until_us: u64,
    /// Until when it could certainly be paid, or had been.
    pub payable_until_us: u64,
}

impl Held<'_> {
    pub fn certain_from_us(&self) -> u64 {
        self.op.returned_us
    }

    pub fn covers(&self, from_us: u64, to_us: u64) -> bool {
        self.certain_from_us() <= from_us && to_us <= self.certain_until_us
    }
}

/// Charges that have one effect together: those of one key, or a single one without.
pub struct Charge<'a> {
    pub user: u64,
    pub amount: i64,
    pub key: Option<&'a str>,
    /// Its attempts that were answered 2xx.
    pub ok: Vec<&'a Op>,
    /// Its attempts without a clear answer.
    pub unclear: Vec<&'a Op>,
}

impl Charge<'_> {
    pub fn surely_before(&self, at_us: u64) -> bool {
        self.ok.iter().any(|op| op.returned_us < at_us)
    }

    pub fn possibly_before(&self, at_us: u64) -> bool {
        self.ok.iter().chain(&self.unclear).any(|op| op.invoked_us < at_us)
    }
}

pub struct Index<'a> {
    pub history: &'a History,
    pub paid: Vec<Paid<'a>>,
    pub held: Vec<Held<'a>>,
    pub charges: Vec<Charge<'a>>,
    pub payments: HashMap<&'a str, &'a PaymentRow>,
    pub owned: HashMap<&'a str, Vec<&'a OwnedRow>>,
    /// Requests by the place that their token names.
    pub by_place: HashMap<Place, Vec<&'a Op>>,
    /// Charges and payments by their user and key.
    pub by_key: HashMap<(u64, &'a str), Vec<&'a Op>>,
}

impl<'a> Index<'a> {
    pub fn new(history: &'a History) -> Self {
        let mut by_place: HashMap<Place, Vec<&Op>> = HashMap::new();
        for op in &history.ops {
            if let Some(place) = token_of(op).and_then(place_of) {
                by_place.entry(place).or_default().push(op);
            }
        }
        let mut by_key: HashMap<_, Vec<&Op>> = HashMap::new();
        for op in &history.ops {
            if let Some(key) = key_of(op) {
                by_key.entry(key).or_default().push(op);
            }
        }
        let mut owned: HashMap<&str, Vec<&OwnedRow>> = HashMap::new();
        for row in &history.finals.owned_seats {
            owned.entry(&row.payment).or_default().push(row);
        }
        Self {
            paid: history.ops.iter().filter_map(paid).collect(),
            held: history.ops.iter().flat_map(|op| held(op, &by_place)).collect(),
            charges: charges(&history.ops),
            payments: history.finals.payments.iter().map(|row| (row.id.as_str(), row)).collect(),
            owned,
            by_place,
            by_key,
            history,
        }
    }

    /// Whether Redis can have lost data, or its clock can have jumped, in between.
    pub fn loss_between(&self, from_us: u64, to_us: u64) -> bool {
        self.history.faults.iter().any(|fault| {
            (fault.loss || fault.kind.contains("redis-clock"))
                && fault.from_us <= to_us
                && from_us <= fault.to_us
        })
    }

    /// The same for what an answer says of the line: it may come from a board that was read a while
    /// before the request.
    pub fn board_lost_between(&self, from_us: u64, to_us: u64) -> bool {
        self.loss_between(from_us.saturating_sub(self.history.setup.board_age_us), to_us)
    }

    /// Whether the machine was too busy to let a request be answered in time.
    pub fn machine_stalled(&self, op: &Op) -> bool {
        self.history.stalls.iter().any(|stall| {
            stall.from_us <= op.returned_us + STALL_US && op.invoked_us <= stall.to_us + STALL_US
        })
    }

    /// The requests that were sent with this key of this user.
    pub fn requests_with<'s>(&'s self, user: u64, key: &'s str) -> &'s [&'a Op] {
        self.by_key.get(&(user, key)).map_or(&[], Vec::as_slice)
    }

    pub fn requests_of(&self, place: Place) -> &[&'a Op] {
        self.by_place.get(&place).map_or(&[], Vec::as_slice)
    }
}

/// The token of a request, or the one that an arrival was told.
pub fn token_of(op: &Op) -> Option<&str> {
    match &op.call {
        Call::Join { .. } => ok_body(op)?["token"].as_str(),
        Call::Poll { token }
        | Call::Leave { token }
        | Call::Dates { token, .. }
        | Call::Seats { token, .. }
        | Call::Reserve { token, .. }
        | Call::Release { token, .. }
        | Call::Charge { token, .. }
        | Call::Balance { token, .. }
        | Call::Pay { token, .. }
        | Call::Reservations { token, .. } => Some(token),
    }
}

/// The user and key of a charge or a payment that has one.
pub fn key_of(op: &Op) -> Option<(u64, &str)> {
    match &op.call {
        Call::Charge { user, key: Some(key), .. } | Call::Pay { user, key: Some(key), .. } => {
            Some((*user, key))
        }
        _ => None,
    }
}

/// The user whom the body names.
pub fn named_user(call: &Call) -> Option<u64> {
    match call {
        Call::Join { user, .. } => *user,
        Call::Reserve { user, .. }
        | Call::Release { user, .. }
        | Call::Charge { user, .. }
        | Call::Balance { user, .. }
        | Call::Pay { user, .. }
        | Call::Reservations { user, .. } => Some(*user),
        Call::Poll { .. } | Call::Leave { .. } | Call::Dates { .. } | Call::Seats { .. } => None,
    }
}

/// Concert and place of a token; none if it has not the form of one.
pub fn place_of(token: &str) -> Option<Place> {
    let bits = uuid::Uuid::parse_str(token.split('_').next()?).ok()?.as_u128();
    if bits >> 76 & 0xf != 8 || bits >> 62 & 0b11 != 0b10 {
        return None;
    }
    let payload = bits >> 80 << 74 | (bits >> 64 & 0xfff) << 62 | bits & ((1 << 62) - 1);
    let place = payload >> 50 & ((1 << 50) - 1);
    Some((u32::try_from(payload >> 100).ok()?, u64::try_from(place).ok()?))
}

pub fn ok_body(op: &Op) -> Option<&Value> {
    match &op.outcome {
        Outcome::Ok { body, .. } => Some(body),
        Outcome::Fail { .. } | Outcome::Info { .. } => None,
    }
}

pub fn is_ok(op: &Op) -> bool {
    matches!(op.outcome, Outcome::Ok { .. })
}

pub fn is_info(op: &Op) -> bool {
    matches!(op.outcome, Outcome::Info { .. })
}

/// Status and code of a definite refusal.
pub fn refusal(op: &Op) -> Option<(u16, &str)> {
    match &op.outcome {
        Outcome::Fail { status, code, .. } => Some((*status, code)),
        Outcome::Ok { .. } | Outcome::Info { .. } => None,
    }
}

pub fn list<'v>(body: &'v Value, field: &str) -> &'v [Value] {
    body[field].as_array().map_or(&[], Vec::as_slice)
}

pub fn seat_in(value: &Value) -> Option<Seat> {
    let number = |field: &str| u32::try_from(value[field].as_u64()?).ok();
    Some((number("concertId")?, value["concertDate"].as_str()?.to_owned(), number("seatNumber")?))
}

pub fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}

fn paid(op: &Op) -> Option<Paid<'_>> {
    let Call::Pay { token, user, key } = &op.call else { return None };
    let body = ok_body(op)?;
    let rows = list(body, "payments");
    let seat =
        |row: &Value| Some((seat_in(row)?, text(row, "reservationId"), row["amount"].as_i64()?));
    Some(Paid {
        op,
        place: place_of(token)?,
        user: *user,
        key: key.as_deref(),
        payments: rows.iter().map(|row| text(row, "paymentId")).collect(),
        seats: rows.iter().filter_map(seat).collect(),
        balance: body["balance"].as_i64(),
    })
}

fn held<'a>(op: &'a Op, by_place: &HashMap<Place, Vec<&Op>>) -> Vec<Held<'a>> {
    let Call::Reserve { token, user, .. } = &op.call else { return Vec::new() };
    let (Some(body), Some(place)) = (ok_body(op), place_of(token)) else { return Vec::new() };
    let rows =
        if body["seats"].is_array() { list(body, "seats") } else { std::slice::from_ref(body) };
    let others = by_place.get(&place).map_or(&[][..], Vec::as_slice);
    let hold = |row: &Value| {
        let reservation = text(row, "reservationId");
        // The deadline is on Redis' clock, which stood between `invoke` and `return`.
        let by_clock_us = op.invoked_us + row["expiresIn"].as_u64()? * 1_000_000;
        let first = |ends: &dyn Fn(&Call) -> bool| {
            // Whatever was sent before this answer came may still end the hold, if it is unclear.
            let ended = others.iter().filter(|other| {
                ends(&other.call)
                    && refusal(other).is_none()
                    && (is_info(other) || other.returned_us > op.invoked_us)
            });
            ended.map(|other| other.invoked_us).min().unwrap_or(u64::MAX)
        };
        let given_up_us = first(&|call| match call {
            Call::Release { reservation: of, .. } => *of == reservation,
            other => matches!(other, Call::Leave { .. }),
        });
        let payable_until_us = by_clock_us.min(given_up_us);
        let certain_until_us =
            payable_until_us.min(first(&|call| matches!(call, Call::Pay { .. })));
        let seat = seat_in(row)?;
        Some(Held { op, place, user: *user, seat, reservation, certain_until_us, payable_until_us })
    };
    rows.iter().filter_map(hold).collect()
}

fn charges(ops: &[Op]) -> Vec<Charge<'_>> {
    let mut keyed: BTreeMap<(u64, &str, i64), Charge> = BTreeMap::new();
    let mut all = Vec::new();
    for op in ops {
        let Call::Charge { user, amount, key, .. } = &op.call else { continue };
        if refusal(op).is_some() {
            continue;
        }
        let new = || Charge {
            user: *user,
            amount: *amount,
            key: key.as_deref(),
            ok: Vec::new(),
            unclear: Vec::new(),
        };
        let mut single = new();
        let charge = match key {
            Some(key) => keyed.entry((*user, key, *amount)).or_insert_with(new),
            None => &mut single,
        };
        let list = if is_ok(op) { &mut charge.ok } else { &mut charge.unclear };
        list.push(op);
        if key.is_none() {
            all.push(single);
        }
    }
    all.extend(keyed.into_values());
    all
}
