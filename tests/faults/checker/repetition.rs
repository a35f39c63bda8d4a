//! Repetition: what a repeated request, key, token or script does (D1 to D5).

use std::collections::{BTreeMap, HashMap, HashSet};

use super::Verdict;
use super::index::{Index, Paid, is_ok, ok_body, place_of, refusal, token_of};
use crate::history::{Call, Op};

pub fn check(index: &Index) -> Vec<Verdict> {
    vec![d1(index), d2(index), d3(index), d4(index), d5(index)]
}

/// The same key and body: one effect, equal answers.
fn d1(index: &Index) -> Verdict {
    let mut verdict = Verdict::new("D1");
    for charge in &index.charges {
        let Some(key) = charge.key.filter(|_| charge.ok.len() + charge.unclear.len() > 1) else {
            continue;
        };
        let told: HashSet<_> =
            charge.ok.iter().filter_map(|op| ok_body(op)?["balance"].as_i64()).collect();
        verdict.expect(told.len() <= 1, || format!("key {key} was answered {told:?}"));
        let same = |user, amount| (user, amount) == (charge.user, charge.amount);
        let groups = index.charges.iter().filter(|other| same(other.user, other.amount)).count();
        let rows = index.history.finals.ledger.iter();
        let rows = rows.filter(|row| row.payment.is_none() && same(row.user, row.amount)).count();
        verdict.expect(rows <= groups, || format!("key {key} charged more than once: {rows} rows"));
    }
    for (key, paid) in by_key(index) {
        for again in paid.iter().skip(1) {
            verdict.expect(again.payments == paid[0].payments, || {
                format!("key {key:?} paid {:?} and {:?}", paid[0].payments, again.payments)
            });
        }
    }
    verdict
}

fn by_key<'i>(index: &'i Index) -> BTreeMap<(u64, &'i str), Vec<&'i Paid<'i>>> {
    let mut by_key: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for paid in &index.paid {
        if let Some(key) = paid.key {
            by_key.entry((paid.user, key)).or_default().push(paid);
        }
    }
    by_key
}

/// The body that a key stands for: an amount, or none of a payment.
fn amount(op: &Op) -> Option<i64> {
    match &op.call {
        Call::Charge { amount, .. } => Some(*amount),
        _ => None,
    }
}

/// The same key with another body is refused with 422, and does nothing (see M8).
fn d2(index: &Index) -> Verdict {
    let mut verdict = Verdict::new("D2");
    for ((user, key), ops) in &index.by_key {
        for first in ops.iter().filter(|op| is_ok(op)) {
            for other in ops.iter().filter(|other| amount(other) != amount(first)) {
                let later = first.returned_us < other.invoked_us;
                let wrong = matches!(refusal(other), Some((400 | 402 | 404 | 409, _)));
                verdict.expect(!(is_ok(other) || later && wrong), || {
                    format!("key {key} of user {user} stood for {} and {}", first.id, other.id)
                });
            }
        }
    }
    verdict
}

/// Whether the key of a payment was sent with the token of another place, too.
fn key_is_shared(index: &Index, paid: &Paid) -> bool {
    let same = paid.key.map_or(&[][..], |key| index.requests_with(paid.user, key));
    same.iter().any(|op| token_of(op).and_then(place_of) != Some(paid.place))
}

/// Any number of attempts with one token: one payment, equal answers, also once it is consumed.
fn d3(index: &Index) -> Verdict {
    let mut verdict = Verdict::new("D3");
    let mut first_of: HashMap<_, &Paid> = HashMap::new();
    for paid in index.paid.iter().filter(|paid| !key_is_shared(index, paid)) {
        let first = *first_of.entry(paid.place).or_insert(paid);
        if first.op.id != paid.op.id {
            let same = (&first.payments, &first.seats, first.balance)
                == (&paid.payments, &paid.seats, paid.balance);
            verdict.expect(same, || {
                format!("operations {} and {} differ for one token", first.op.id, paid.op.id)
            });
        }
        for op in index.requests_of(paid.place) {
            let Call::Pay { user, key: None, .. } = &op.call else { continue };
            if *user == paid.user && paid.op.returned_us < op.invoked_us {
                let refused = matches!(refusal(op), Some((401..=404 | 409 | 422, _)));
                verdict.expect(!refused, || {
                    format!("operation {} refuses what operation {} paid", op.id, paid.op.id)
                });
            }
        }
    }
    verdict
}

/// An old key after a new hold answers the old payment.
fn d4(index: &Index) -> Verdict {
    let mut verdict = Verdict::new("D4");
    for ((user, key), paid) in by_key(index) {
        let first = paid.iter().min_by_key(|paid| paid.op.returned_us);
        for (first, again) in
            first.iter().flat_map(|first| paid.iter().map(move |again| (first, again)))
        {
            if again.place != first.place && first.op.returned_us < again.op.invoked_us {
                verdict.expect(again.payments == first.payments, || {
                    format!("user {user}: the old key {key} paid anew in operation {}", again.op.id)
                });
            }
        }
    }
    verdict
}

/// A script or statement that is run twice changes nothing.
fn d5(index: &Index) -> Verdict {
    let mut verdict = Verdict::new("D5");
    for repeat in &index.history.finals.repeats {
        let again = &repeat.after_second;
        verdict.expect(repeat.after_first == *again && again["told"].get("Err").is_none(), || {
            format!("{} was repeated: {}, then {again}", repeat.what, repeat.after_first)
        });
    }
    verdict
}
