//! Seats: who may hold one, who owns it, and what is told of it (S1 to S8).

use std::collections::{HashMap, HashSet};

use super::Verdict;
use super::index::{Held, Index, Seat, is_info, is_ok, list, ok_body, place_of, refusal};
use crate::history::{Call, Op, OwnedRow};

pub fn check(index: &Index) -> Vec<Verdict> {
    vec![s1(index), s2(index), s3(index), s4(index), s5(index), s6(index), s7(index), s8(index)]
}

fn seat_of(row: &OwnedRow) -> Seat {
    (row.concert, row.date.clone(), row.seat)
}

/// No two payments share a seat, a reservation or a token.
fn s1(index: &Index) -> Verdict {
    let mut verdict = Verdict::new("S1");
    let (mut seats, mut reservations, mut places) =
        (HashSet::new(), HashSet::new(), HashSet::new());
    for row in &index.history.finals.owned_seats {
        verdict.expect(seats.insert(seat_of(row)), || format!("two own the seat of {row:?}"));
        verdict.expect(reservations.insert(&row.reservation), || {
            format!("the reservation of {row:?} was paid twice")
        });
    }
    for row in &index.history.finals.payments {
        verdict.expect(places.insert((row.concert, row.place)), || {
            format!("the token of {row:?} paid twice")
        });
    }
    verdict
}

/// Every ok payment has exactly one row, with the same id, user, seats and amount.
fn s2(index: &Index) -> Verdict {
    let mut verdict = Verdict::new("S2");
    for paid in &index.paid {
        let id = paid.payments.first().map_or("", String::as_str);
        let row = index.payments.get(id);
        let owned = index.owned.get(id).map_or(&[][..], Vec::as_slice);
        let seats = owned.iter().map(|row| (seat_of(row), row.reservation.clone(), row.price));
        let holds = paid.payments.len() == 1
            && row.is_some_and(|row| {
                row.user == paid.user
                    && row.total == paid.seats.iter().map(|(_, _, price)| price).sum::<i64>()
            })
            && owned.len() == paid.seats.len()
            && seats.collect::<std::collections::BTreeSet<_>>() == paid.seats;
        verdict.expect(holds, || {
            format!("the payment of operation {} is not so: {row:?}", paid.op.id)
        });
    }
    verdict
}

/// Every row has a cause: a payment, and an earlier reserve by that user, whose hold had not ended.
fn s3(index: &Index) -> Verdict {
    let mut verdict = Verdict::new("S3");
    for row in &index.history.finals.payments {
        let requests = index.requests_of((row.concert, row.place));
        let pays = requests.iter().filter(|op| may_have_paid(op, row.user));
        let latest_us = pays.map(|op| if is_info(op) { u64::MAX } else { op.returned_us }).max();
        verdict.expect(latest_us.is_some(), || format!("nobody asked for {row:?}"));
        for owned in index.owned.get(row.id.as_str()).into_iter().flatten() {
            let reserved = requests.iter().any(|op| {
                op.invoked_us < latest_us.unwrap_or(0) && may_have_held(op, row.user, owned)
            });
            verdict.expect(reserved, || format!("nobody reserved {owned:?} before it was paid"));
            let asked_us = requests.iter().filter(|op| may_have_paid(op, row.user));
            let asked_us = asked_us.map(|op| op.invoked_us).min();
            if let (Some(asked_us), Some(ended_us)) = (asked_us, ended_us(index, owned)) {
                verdict.expect(asked_us <= ended_us, || {
                    format!("the hold had ended before anybody asked to pay {owned:?}")
                });
            }
        }
    }
    verdict
}

fn may_have_paid(op: &Op, by: u64) -> bool {
    matches!(op.call, Call::Pay { user, .. } if user == by) && refusal(op).is_none()
}

/// When the hold of a seat had ended, however often a payment was begun: its hard deadline. None if
/// nobody was told of the hold.
fn ended_us(index: &Index, owned: &OwnedRow) -> Option<u64> {
    let setup = &index.history.setup;
    let told = index.held.iter().filter(|hold| hold.reservation == owned.reservation);
    let made_us = told.map(|hold| hold.op.returned_us).min()?;
    Some(made_us + setup.hold_us + setup.hold_grace_us)
}

fn may_have_held(op: &Op, by: u64, owned: &OwnedRow) -> bool {
    let Call::Reserve { user, date, seats, .. } = &op.call else { return false };
    refusal(op).is_none()
        && *user == by
        && date.as_ref().is_none_or(|date| *date == owned.date)
        && seats.contains(&owned.seat)
}

/// Certain holds of one seat by different users never overlap.
fn s4(index: &Index) -> Verdict {
    let mut verdict = Verdict::new("S4");
    for holds in by_seat(index).values() {
        for (at, first) in holds.iter().enumerate() {
            for second in holds[at + 1..].iter().filter(|second| second.user != first.user) {
                // Between two answers anything may have ended a hold that Redis lost.
                let excused = index.loss_between(first.op.invoked_us, second.op.returned_us);
                let overlap = second.certain_from_us() < first.certain_until_us
                    && second.certain_from_us() < second.certain_until_us;
                if !excused {
                    verdict.expect(!overlap, || {
                        let (first, second) = (first.op.id, second.op.id);
                        format!("operations {first} and {second} hold the same seat")
                    });
                }
            }
        }
    }
    verdict
}

fn by_seat<'i>(index: &'i Index) -> HashMap<&'i Seat, Vec<&'i Held<'i>>> {
    let mut by_seat: HashMap<&Seat, Vec<&Held>> = HashMap::new();
    for hold in &index.held {
        by_seat.entry(&hold.seat).or_default().push(hold);
    }
    for holds in by_seat.values_mut() {
        holds.sort_by_key(|hold| hold.certain_from_us());
    }
    by_seat
}

/// When the payment of each seat was first told.
fn sold_since(index: &Index) -> HashMap<Seat, u64> {
    let mut sold = HashMap::new();
    for paid in &index.paid {
        for (seat, _, _) in &paid.seats {
            let at = sold.entry(seat.clone()).or_insert(u64::MAX);
            *at = paid.op.returned_us.min(*at);
        }
    }
    sold
}

/// A reserve that starts after the payment of that seat was told is never ok.
fn s5(index: &Index) -> Verdict {
    let mut verdict = Verdict::new("S5");
    let sold = sold_since(index);
    for op in &index.history.ops {
        let Call::Reserve { concert, date: Some(date), seats, token, .. } = &op.call else {
            continue;
        };
        let Some(concert) = concert.or_else(|| Some(place_of(token)?.0)) else { continue };
        for seat in seats {
            let since = sold.get(&(concert, date.clone(), *seat));
            if since.is_some_and(|since| *since < op.invoked_us) {
                verdict.expect(!is_ok(op), || {
                    format!("operation {} holds the sold seat {seat}", op.id)
                });
            }
        }
    }
    verdict
}

/// A seat list asked for after a payment was told never shows the seat.
fn s6(index: &Index) -> Verdict {
    let mut verdict = Verdict::new("S6");
    let mut by_date: HashMap<(u32, String), Vec<(u32, u64)>> = HashMap::new();
    for ((concert, date, seat), since) in sold_since(index) {
        by_date.entry((concert, date)).or_default().push((seat, since));
    }
    let recovery_us = index.history.setup.recovery_us;
    for op in &index.history.ops {
        let Call::Seats { token, date, .. } = &op.call else { continue };
        let (Some(body), Some((concert, _))) = (ok_body(op), place_of(token)) else { continue };
        // Until the servers have seen the loss and compared, they may show what Redis forgot.
        if index.loss_between(op.invoked_us.saturating_sub(recovery_us), op.returned_us) {
            continue;
        }
        let shown: HashSet<u64> =
            list(body, "availableSeats").iter().filter_map(serde_json::Value::as_u64).collect();
        for (seat, since) in by_date.get(&(concert, date.clone())).into_iter().flatten() {
            if *since < op.invoked_us {
                verdict.expect(!shown.contains(&u64::from(*seat)), || {
                    format!("operation {} shows the sold seat {seat}", op.id)
                });
            }
        }
    }
    verdict
}

/// A payment that returned before its hold's deadline, with enough money, was not refused.
fn s7(index: &Index) -> Verdict {
    let mut verdict = Verdict::new("S7");
    for op in &index.history.ops {
        let Call::Pay { token, user, key } = &op.call else { continue };
        let Some(place) = place_of(token) else { continue };
        let covering = index.held.iter().find(|hold| {
            (hold.place, hold.user) == (place, *user)
                && hold.certain_from_us() <= op.invoked_us
                && op.returned_us <= hold.payable_until_us
        });
        let Some(hold) = covering else { continue };
        let key_is_new = key.as_ref().is_none_or(|key| index.requests_with(*user, key).len() == 1);
        if !key_is_new
            || index.loss_between(hold.op.invoked_us, op.returned_us)
            || surely_has(index, *user, op.invoked_us) < possible_price(index, place)
        {
            continue;
        }
        let refused = matches!(refusal(op), Some((401..=404 | 409 | 422, _)));
        verdict.expect(!refused, || format!("operation {} was refused: {:?}", op.id, op.outcome));
    }
    verdict
}

/// The least that a user can have had: what surely came in, less all that may have gone out.
fn surely_has(index: &Index, user: u64, at_us: u64) -> i64 {
    let charged = index.charges.iter().filter(|charge| charge.user == user);
    let charged: i64 =
        charged.filter(|charge| charge.surely_before(at_us)).map(|charge| charge.amount).sum();
    let rows = index.history.finals.payments.iter();
    charged - rows.filter(|row| row.user == user).map(|row| row.total).sum::<i64>()
}

/// The most that a place may have had to pay for.
fn possible_price(index: &Index, (concert, place): (u32, u64)) -> i64 {
    let setups = index.history.setup.concerts.iter();
    let price = setups.filter(|setup| setup.id == concert).map(|setup| setup.price).sum::<i64>();
    let reserves = index.requests_of((concert, place)).iter().filter(|op| refusal(op).is_none());
    let seats = reserves.map(|op| match &op.call {
        Call::Reserve { seats, .. } => i64::try_from(seats.len()).unwrap_or(i64::MAX),
        _ => 0,
    });
    price * seats.sum::<i64>()
}

/// Nobody holds more than the setting allows.
fn s8(index: &Index) -> Verdict {
    let mut verdict = Verdict::new("S8");
    let most = index.history.setup.seats_per_user_max;
    let mut by_user: HashMap<(u32, u64), Vec<&Held>> = HashMap::new();
    for hold in &index.held {
        by_user.entry((hold.seat.0, hold.user)).or_default().push(hold);
    }
    for ((_, user), holds) in by_user {
        for last in &holds {
            let at_us = last.certain_from_us();
            let at_once = holds.iter().filter(|hold| {
                hold.certain_from_us() <= at_us
                    && at_us < hold.certain_until_us
                    && !index.loss_between(hold.op.invoked_us, last.op.returned_us)
            });
            let seats: HashSet<_> = at_once.map(|hold| &hold.seat).collect();
            verdict.expect(seats.len() <= most, || {
                format!("user {user} held {} seats after operation {}", seats.len(), last.op.id)
            });
        }
    }
    verdict
}
