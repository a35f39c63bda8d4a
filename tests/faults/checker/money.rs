//! Money: balances, the ledger and what was paid for (M1 to M8).

use std::collections::{BTreeSet, HashMap};

use super::Verdict;
use super::index::{Index, is_info, is_ok, ok_body, place_of, refusal};
use crate::history::{Call, LedgerRow, Op, PaymentRow};

pub fn check(index: &Index) -> Vec<Verdict> {
    vec![m1(index), m2(index), m3(index), m4(index), m5(index), m6(index), m7(index), m8(index)]
}

fn entries<'i>(index: &'i Index, user: u64) -> impl Iterator<Item = &'i LedgerRow> {
    index.history.finals.ledger.iter().filter(move |row| row.user == user)
}

/// balance = Σ ledger = Σ charges − Σ payments, per user and in total.
fn m1(index: &Index) -> Verdict {
    let mut verdict = Verdict::new("M1");
    let finals = &index.history.finals;
    let mut users: BTreeSet<u64> = finals.balances.keys().copied().collect();
    users.extend(finals.ledger.iter().map(|row| row.user));
    users.extend(finals.payments.iter().map(|row| row.user));
    for user in users {
        let balance = finals.balances.get(&user).copied().unwrap_or(0);
        let sum: i64 = entries(index, user).map(|row| row.amount).sum();
        let charged: i64 =
            entries(index, user).filter(|row| row.payment.is_none()).map(|row| row.amount).sum();
        let paid: i64 =
            finals.payments.iter().filter(|row| row.user == user).map(|row| row.total).sum();
        verdict.expect(balance == sum && sum == charged - paid, || {
            format!("user {user}: balance {balance}, ledger {sum}, charges {charged}, paid {paid}")
        });
    }
    verdict
}

/// One charge per key; surely charged ≤ entries ≤ possibly charged, per user and amount.
fn m2(index: &Index) -> Verdict {
    let mut verdict = Verdict::new("M2");
    let mut bounds: HashMap<(u64, i64), (usize, usize, usize)> = HashMap::new();
    for charge in &index.charges {
        let entry = bounds.entry((charge.user, charge.amount)).or_default();
        entry.0 += usize::from(!charge.ok.is_empty());
        entry.2 += 1;
    }
    for row in index.history.finals.ledger.iter().filter(|row| row.payment.is_none()) {
        bounds.entry((row.user, row.amount)).or_default().1 += 1;
    }
    for ((user, amount), (least, rows, most)) in bounds {
        verdict.expect(least <= rows && rows <= most, || {
            format!("user {user} was charged {amount} {rows} times, not {least} to {most} times")
        });
    }
    verdict
}

/// Payments and their entries are 1:1, equal to the price.
fn m3(index: &Index) -> Verdict {
    let mut verdict = Verdict::new("M3");
    let mut entries: HashMap<&str, Vec<&LedgerRow>> = HashMap::new();
    for row in &index.history.finals.ledger {
        if let Some(payment) = &row.payment {
            entries.entry(payment).or_default().push(row);
            verdict.expect(index.payments.contains_key(payment.as_str()), || {
                format!("an entry without its payment: {row:?}")
            });
        }
    }
    let prices: HashMap<u32, i64> =
        index.history.setup.concerts.iter().map(|concert| (concert.id, concert.price)).collect();
    for row in &index.history.finals.payments {
        let of_payment = entries.get(row.id.as_str()).map_or(&[][..], Vec::as_slice);
        let seats = index.owned.get(row.id.as_str()).map_or(&[][..], Vec::as_slice);
        let price: i64 = seats.iter().map(|seat| seat.price).sum();
        let fair = seats.iter().all(|seat| prices.get(&seat.concert) == Some(&seat.price));
        let one =
            matches!(of_payment, [entry] if entry.amount == -row.total && entry.user == row.user);
        verdict.expect(one && fair && price == row.total, || {
            format!("{row:?} with seats for {price} has the entries {of_payment:?}")
        });
    }
    verdict
}

/// Nothing is ever negative, and `balance_after` is the running sum.
fn m4(index: &Index) -> Verdict {
    let mut verdict = Verdict::new("M4");
    let mut sums: HashMap<u64, i64> = HashMap::new();
    let mut rows: Vec<_> = index.history.finals.ledger.iter().collect();
    rows.sort_by_key(|row| row.id);
    for row in rows {
        let sum = sums.entry(row.user).or_default();
        *sum += row.amount;
        let sum = *sum;
        verdict.expect(sum >= 0 && row.balance_after == sum, || {
            format!("the sum is {sum} at {row:?}")
        });
    }
    for (user, balance) in &index.history.finals.balances {
        verdict.expect(*balance >= 0, || format!("user {user} has {balance}"));
    }
    verdict
}

/// Whether a payment was surely made before `at_us`, and whether it possibly was.
fn made_before(index: &Index, row: &PaymentRow, sure_us: u64, possible_us: u64) -> (bool, bool) {
    let requests = index.requests_of((row.concert, row.place)).iter();
    let pays: Vec<_> = requests
        .filter(|op| matches!(op.call, Call::Pay { .. }) && refusal(op).is_none())
        .collect();
    // An old key is answered with its old payment, whatever the token could buy.
    let told = index.paid.iter().filter(|paid| paid.payments.contains(&row.id));
    let sure = told.map(|paid| paid.op.returned_us).any(|at_us| at_us < sure_us);
    (sure, pays.is_empty() || pays.iter().any(|op| op.invoked_us < possible_us))
}

/// Every balance read lies between the surely-done and the possibly-done.
fn m5(index: &Index) -> Verdict {
    let mut verdict = Verdict::new("M5");
    for op in &index.history.ops {
        let (Call::Balance { user, .. }, Some(body)) = (&op.call, ok_body(op)) else { continue };
        let Some(balance) = body["balance"].as_i64() else { continue };
        let (mut least, mut most) = (0, 0);
        for charge in index.charges.iter().filter(|charge| charge.user == *user) {
            least += if charge.surely_before(op.invoked_us) { charge.amount } else { 0 };
            most += if charge.possibly_before(op.returned_us) { charge.amount } else { 0 };
        }
        for row in index.history.finals.payments.iter().filter(|row| row.user == *user) {
            let (sure, possible) = made_before(index, row, op.invoked_us, op.returned_us);
            most -= if sure { row.total } else { 0 };
            least -= if possible { row.total } else { 0 };
        }
        verdict.expect(least <= balance && balance <= most, || {
            format!("operation {} read {balance}, not {least} to {most}", op.id)
        });
    }
    verdict
}

/// The balance in an answer is that entry's `balance_after`.
fn m6(index: &Index) -> Verdict {
    let mut verdict = Verdict::new("M6");
    for paid in &index.paid {
        let entry = entries(index, paid.user)
            .find(|row| row.payment.as_ref().is_some_and(|id| paid.payments.contains(id)));
        verdict.expect(entry.map(|row| row.balance_after) == paid.balance, || {
            format!("operation {} told {:?}, the entry is {entry:?}", paid.op.id, paid.balance)
        });
    }
    for charge in &index.charges {
        for op in &charge.ok {
            let told = ok_body(op).and_then(|body| body["balance"].as_i64());
            let found = entries(index, charge.user).any(|row| {
                row.payment.is_none()
                    && row.amount == charge.amount
                    && Some(row.balance_after) == told
            });
            verdict.expect(found, || format!("operation {} told {told:?}: no such entry", op.id));
        }
    }
    verdict
}

/// Nobody is charged without owning the seat.
fn m7(index: &Index) -> Verdict {
    let mut verdict = Verdict::new("M7");
    for row in &index.history.finals.ledger {
        let Some(id) = &row.payment else { continue };
        let payment = index.payments.get(id.as_str());
        let owns = payment.is_some_and(|payment| payment.user == row.user)
            && index.owned.get(id.as_str()).is_some_and(|seats| !seats.is_empty());
        verdict.expect(owns, || format!("{row:?} bought nothing"));
    }
    verdict
}

/// A refusal left no entry, no payment and no key, also not later.
fn m8(index: &Index) -> Verdict {
    let mut verdict = Verdict::new("M8");
    for op in index.history.ops.iter().filter(|op| refusal(op).is_some()) {
        if let Some(left) = left_behind(index, op) {
            verdict.expect(left.is_empty(), || format!("operation {} left {left}", op.id));
        }
    }
    verdict
}

/// What a refused request about money left, empty for nothing; none if it is not about money, or
/// if another request may have left the same.
pub fn left_behind(index: &Index, refused: &Op) -> Option<String> {
    let finals = &index.history.finals;
    let (by, key) = match &refused.call {
        Call::Charge { user, key, .. } | Call::Pay { user, key, .. } => (*user, key.as_ref()),
        _ => return None,
    };
    let mut left = Vec::new();
    let mut compared = false;
    if let Some(key) = key {
        let shared = index.requests_with(by, key).iter().any(|op| refusal(op).is_none());
        compared |= !shared;
        if !shared && finals.idempotency_keys.iter().any(|row| row.user == by && row.key == *key) {
            left.push("its key");
        }
    }
    match &refused.call {
        Call::Charge { amount, .. } => {
            let shared = index.charges.iter().any(|own| own.user == by && own.amount == *amount);
            compared |= !shared;
            let entry =
                entries(index, by).any(|row| row.payment.is_none() && row.amount == *amount);
            if !shared && entry {
                left.push("its entry");
            }
        }
        Call::Pay { token, .. } => {
            let place = place_of(token)?;
            let mut pays = index.requests_of(place).iter();
            let shared =
                pays.any(|op| matches!(op.call, Call::Pay { .. }) && (is_ok(op) || is_info(op)));
            compared |= !shared;
            let paid = finals.payments.iter().any(|row| (row.concert, row.place) == place);
            if !shared && paid {
                left.push("its payment");
            }
        }
        _ => {}
    }
    compared.then(|| left.join(" and "))
}
